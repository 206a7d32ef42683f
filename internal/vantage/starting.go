package vantage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
)

// starting watches one container of one pod until it runs or cannot.
type starting struct {
	since   time.Time
	running chan struct{} // closed when its status says so
	failed  chan error
	timeout <-chan time.Time
	late    error // what to say then
}

// notStarted begins the reason of a container that took too long.
const notStarted = "not started after "

// startError is a container that does not start, in the kubelet's words.
type startError struct {
	Reason, Message string
}

func (e *startError) Error() string {
	if e.Message == "" {
		return e.Reason
	}
	return e.Reason + ": " + oneLine(e.Message)
}

// watchStart begins to watch. Where watching is not allowed, the deadline alone ends the wait.
func (s *session) watchStart(ctx context.Context, pod *corev1.Pod, name string) *starting {
	st := &starting{
		since: time.Now(), running: make(chan struct{}), failed: make(chan error, 1), timeout: time.After(s.req.StartTimeout),
		late: &startError{Reason: notStarted + s.req.StartTimeout.String()},
	}
	go func() {
		w, err := s.Kube.CoreV1().Pods(pod.Namespace).Watch(ctx, metav1.ListOptions{
			FieldSelector: fields.OneTermEqualSelector("metadata.name", pod.Name).String(), ResourceVersion: pod.ResourceVersion,
		})
		if err != nil {
			return
		}
		defer w.Stop()
		st.follow(ctx, w, pod.Name, name)
	}()
	return st
}

func (st *starting) follow(ctx context.Context, w watch.Interface, pod, name string) {
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-w.ResultChan():
			if !ok {
				return
			}
			p, isPod := ev.Object.(*corev1.Pod)
			if !isPod || p.Name != pod {
				continue
			}
			if ev.Type == watch.Deleted || p.DeletionTimestamp != nil {
				st.failed <- errPodGone
				return
			}
			up, err := started(p, name)
			if err != nil {
				st.failed <- err
				return
			}
			if up {
				close(st.running)
				return
			}
		}
	}
}

var errPodGone = errors.New("the pod was deleted meanwhile")

// failures are reasons of a waiting container that time does not mend soon.
var failures = map[string]bool{
	"ErrImageNeverPull": true, "ErrImagePull": true, "ImagePullBackOff": true, "InvalidImageName": true, "ImageInspectError": true, "RegistryUnavailable": true,
	"CreateContainerConfigError": true, "CreateContainerError": true, "RunContainerError": true, "StartError": true, "CrashLoopBackOff": true,
}

// started judges a pod's status for one container.
func started(p *corev1.Pod, name string) (bool, error) {
	for _, list := range [][]corev1.ContainerStatus{p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for _, c := range list {
			if c.Name != name {
				continue
			}
			switch {
			case c.State.Running != nil:
				return true, nil
			case c.State.Terminated != nil:
				t := c.State.Terminated
				return false, &startError{Reason: fmt.Sprintf("%s (exit code %d)", orElse(t.Reason, "ended at once"), t.ExitCode), Message: t.Message}
			case c.State.Waiting != nil && failures[c.State.Waiting.Reason]:
				return false, &startError{Reason: c.State.Waiting.Reason, Message: c.State.Waiting.Message}
			}
		}
	}
	if p.Status.Phase == corev1.PodFailed {
		return false, &startError{Reason: orElse(p.Status.Reason, "the pod failed"), Message: p.Status.Message}
	}
	return false, nil
}

// runs says whether the status says that the container runs.
func (st *starting) runs() bool {
	if st == nil {
		return true
	}
	select {
	case <-st.running:
		return true
	default:
		return false
	}
}

// pause waits for d, for the container to run, or for the reason why it will not.
func (st *starting) pause(ctx context.Context, d time.Duration) error {
	if st == nil {
		return ctx.Err()
	}
	running := st.running
	if st.runs() {
		running = nil // no news
	}
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case err := <-st.failed:
		st.failed <- err
		return err
	case <-st.timeout:
		return st.late
	case <-ctx.Done():
		return ctx.Err()
	case <-running:
	case <-timer.C:
	}
	return ctx.Err()
}

// sandboxTrouble reads why a pod is stuck before its container exists: a CNI that fails says it only in an event.
func (s *session) sandboxTrouble(ctx context.Context, namespace, name string) string {
	list, err := s.Kube.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.name": name, "type": corev1.EventTypeWarning}.String(), Limit: 20,
	})
	if err != nil || len(list.Items) == 0 {
		return ""
	}
	last := list.Items[len(list.Items)-1]
	return last.Reason + ": " + oneLine(last.Message)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// oneLine makes text from the cluster fit a sentence.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' }), " ")
	if len(s) > 400 {
		s = strings.ToValidUTF8(s[:400], "") + "…"
	}
	return s
}
