// Package cli is podpath's command line. It reads flags, asks package examine,
// and hands the answer to package report; kubectl's flags mean what they mean
// in kubectl.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/report"
)

// Version is set by the linker.
var Version = "dev"

// Exit is an error that carries the process's exit code. Without a text
// nothing is printed: the report has said it.
type Exit struct {
	Code int
	Err  error
}

func (e *Exit) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

func (e *Exit) Unwrap() error { return e.Err }

// Streams are the process's standard streams.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Main runs podpath and returns its exit code: 0 the flow works, 1 a cause was
// found, 2 it fails and no cause could be proven, 3 podpath could not do its work.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // under nohup it stays ignored
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	klog.SetLogger(logr.Discard()) // client-go would log beside the report what is told in it
	// A second Ctrl-C ends at once: the first one is cleaning up.
	go func() { <-ctx.Done(); stop() }()
	root := newRoot(filepath.Base(args[0]), Streams{in, out, errOut})
	root.SetArgs(args[1:])
	err := root.ExecuteContext(ctx)
	return exitCode(ctx, err, errOut)
}

func exitCode(ctx context.Context, err error, errOut io.Writer) int {
	if err == nil {
		return 0
	}
	var exit *Exit
	if errors.As(err, &exit) {
		if exit.Err != nil {
			fmt.Fprintln(errOut, "error: "+firstLine(exit.Err))
		}
		return exit.Code
	}
	if ctx.Err() != nil {
		fmt.Fprintln(errOut, "interrupted: what was created in the cluster is removed or expires by itself")
		return report.ExitUnable
	}
	fmt.Fprintln(errOut, "error: "+firstLine(err))
	return report.ExitUnable
}

// firstLine keeps what an error says printable: API servers and proxies put
// whole pages, and sometimes terminal codes, into theirs.
func firstLine(err error) string {
	s := strings.Map(func(r rune) rune {
		if r == '\n' || r >= 0x20 && r != 0x7f && (r < 0x80 || r >= 0xa0) {
			return r
		}
		return ' '
	}, model.WithoutUsers(err.Error()))
	if r := []rune(s); len(r) > 2000 {
		s = string(r[:2000]) + "…"
	}
	return s
}

func newRoot(name string, s Streams) *cobra.Command {
	use := "podpath"
	if strings.HasPrefix(name, "kubectl-") {
		use = "kubectl podpath"
	}
	root := &cobra.Command{
		Use:   "podpath",
		Short: "Follow one connection hop by hop and name what breaks it",
		Long: "podpath follows one connection from a pod to anywhere, hop by hop, and names the hop where it dies,\n" +
			"the line of configuration that kills it, and the command that mends it.",
		Example: "  # Why can the pod not reach it?\n  podpath why shop/deploy/checkout https://api.example.com\n\n" +
			"  # Keep the case, and look at it elsewhere\n  podpath snapshot save shop/deploy/checkout https://api.example.com --file case.podpath\n" +
			"  podpath why --snapshot case.podpath",
		SilenceErrors: true, SilenceUsage: true, Version: Version,
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: use},
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w\nSee '%s --help'", err, c.CommandPath())
	})
	root.AddCommand(newWhy(s), newWatch(s), newCheck(s), newReach(s), newSnapshot(s), newExplain(s), newVersion(s))
	return root
}

func newVersion(s Streams) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print podpath's version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(s.Out, Version)
			return err
		},
	}
}
