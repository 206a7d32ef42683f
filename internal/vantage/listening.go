package vantage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/internal/model"
)

// Backend is one address that the question leads to.
type Backend struct {
	Addr netip.AddrPort
	Pod  model.Ref // "": no pod that was read has it
}

// listening looks into one pod behind the destination, when the connection to it
// was refused: which sockets listen there tells a wrong port from a server that
// listens on 127.0.0.1 only, and both from one that does not run.
func (s *session) listening(ctx context.Context) {
	select {
	case <-s.podDone:
	case <-ctx.Done():
		return
	}
	ref := s.refusing()
	if ref == "" || s.req.Via == ViaNone || s.req.Via == ViaTwin || s.req.Via == ViaExec {
		return
	}
	var found []model.Listener
	if !s.inPod(ctx, ref, "listening sockets of "+string(ref), "listen", &found) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if found == nil {
		found = []model.Listener{}
	}
	s.result.Listeners = map[model.Ref][]model.Listener{ref: found}
}

// ownSockets lists the connections that the asking pod has already.
func (s *session) ownSockets(ctx context.Context) {
	select {
	case <-s.podDone:
	case <-ctx.Done():
		return
	}
	if !s.req.Sockets || s.req.Pod == nil || s.req.Via == ViaNone {
		return
	}
	if s.req.Via == ViaTwin || s.req.Via == ViaExec {
		ref := s.req.Pod.Ref()
		s.gap(model.Gap{What: "own connections of " + string(ref), Ref: ref, Reason: "only an ephemeral container sees them: --probe-via=ephemeral"})
		return
	}
	s.readSockets(ctx)
}

// readSockets asks the pod's own network namespace.
func (s *session) readSockets(ctx context.Context) {
	ref, what := s.req.Pod.Ref(), "own connections of "+string(s.req.Pod.Ref())
	var found []model.Connection
	if s.inPod(ctx, ref, what, "connections", &found) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.result.Sockets = map[model.Ref][]model.Connection{ref: found}
	}
}

// inPod runs a verb of the probe in an ephemeral container of a pod and reads its
// answer. What fails is a Gap.
func (s *session) inPod(ctx context.Context, ref model.Ref, what, verb string, answer any) bool {
	live, err := s.Kube.CoreV1().Pods(ref.Part(0)).Get(ctx, ref.Name(), metav1.GetOptions{})
	if err != nil {
		s.gap(s.explain(what, ref, err, "get pods in namespace "+ref.Part(0)))
		return false
	}
	c, err := s.ephemeral(ctx, live)
	var skip *skipped
	if errors.As(err, &skip) {
		s.gap(model.Gap{What: what, Ref: ref, Reason: skip.why})
		return false
	}
	if err != nil {
		s.gap(s.explain(what, ref, err, wayPermission(ViaEphemeral, ref.Part(0))))
		return false
	}
	out, err := s.verb(ctx, c, nil, nil, func() []string { return []string{verb} })
	if err == nil {
		if err = json.Unmarshal(out, answer); err != nil {
			err = fmt.Errorf("the probe told nothing that can be read: %w; is %s the probe image of this podpath?", err, s.req.Image)
		}
	}
	if err != nil && s.gone(ctx, live) {
		err = errPodGone
	}
	s.stays(c, err)
	if err != nil {
		s.gap(s.failedRun(ctx, what, ref, c, err))
		return false
	}
	return true
}

// refusing is a pod behind the destination that refused the pod's probe.
func (s *session) refusing() model.Ref {
	refused := map[netip.AddrPort]bool{}
	for _, o := range s.podObs {
		if o.Failed == "tcp" && o.Result == model.Refused {
			refused[o.Address] = true
		}
	}
	for _, b := range s.req.Backends {
		if refused[b.Addr] && b.Pod != "" && (s.req.Pod == nil || b.Pod != s.req.Pod.Ref()) {
			return b.Pod
		}
	}
	return ""
}
