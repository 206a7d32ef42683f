package examine

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// login lets the kubeconfig's credential plugin do its work before the calls
// that have deadlines of a few seconds: somebody may have to type a code into a
// browser. client-go gives plugins no context, so one that hangs is left behind.
func login(ctx context.Context, config *rest.Config, cs kubernetes.Interface, progress func(string)) error {
	if config.ExecProvider == nil {
		return nil
	}
	plugin := config.ExecProvider.Command
	progress("logging in with " + plugin)
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Whatever this answers: reading the cluster says it better.
		_ = cs.Discovery().RESTClient().Get().AbsPath("/version").Do(ctx).Error()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("the kubeconfig's credential plugin %q gave no answer in time: run it by hand to see what it waits for", plugin)
	}
	return ctx.Err()
}
