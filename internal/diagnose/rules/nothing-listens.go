package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var nothingListens = diagnose.Rule{
	ID: "nothing-listens",
	Doc: `Nothing listens on that port of the pod

The connection reaches the pod, and the pod's own kernel refuses it: no socket listens on that address and port. Either the Service sends
to another port than the server's (targetPort), or the server listens on 127.0.0.1 only, or it does not run although its container does.

Look-alikes: a Service without endpoints is refused by the node, before any pod. A pod that crashes is refused now and then. A NetworkPolicy
drops in silence.

Mend the Service's targetPort; or let the server listen on 0.0.0.0 (or ::). podpath looks at the sockets of the pod to tell which.
`,
	Hop:    model.HopPod,
	Covers: []string{"svc-targetport-mismatch", "app-listens-localhost"},
	Needs:  []string{"probe", "pod", "service", "endpointslice"},
	Under:  []string{"crash-loop", "service-no-endpoints", "pod-terminating", "duplicate-address"},
	Sees: func(o *model.Observation) bool {
		return o.Failed == "tcp" && o.Result == model.Refused
	},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || seen.Failed != "tcp" || seen.Result != model.Refused || seen.Proxy != "" {
			return
		}
		tried := endpointsTried(p)
		if _, _, byName := serviceName(p.Host()); len(tried) == 0 || byName && askedService(p) == nil {
			return
		}
		for _, e := range tried {
			if e.pod == nil || e.seen.Failed != "tcp" || e.seen.Result != model.Refused {
				return
			}
			if _, crashes := crashing(p, e.pod); crashes {
				return
			}
		}
		reportClosed(p, tried)
	},
}

// reportClosed says why nothing listens, as far as the sockets of a pod and the
// declared ports tell.
func reportClosed(p *diagnose.Pass, tried []endpoint) {
	e := tried[0]
	port := e.seen.Address.Port()
	svc := askedService(p)
	f := diagnose.Finding{
		Subject: ownerOf(e.pod),
		Title:   fmt.Sprintf("Nothing listens on port %d of pod %s/%s", port, e.pod.Namespace, e.pod.Name),
		Summary: "The packets arrive, and the pod's own kernel refuses the connection: no socket listens on that address and port.",
	}
	if len(tried) > 1 {
		f.Title = fmt.Sprintf("Nothing listens on port %d of the %d pods behind %s", port, len(tried), p.Host())
	}
	for i, t := range tried {
		if i < 3 {
			f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from %s: %s (pod %s/%s) refuses", diagnose.PlaceOf(t.seen), t.seen.Address, t.pod.Namespace, t.pod.Name), t.seen.From))
		}
	}
	look := diagnose.Command{Text: "See what the server says that it listens on", Line: diagnose.Kubectl("-n", e.pod.Namespace, "logs", e.pod.Name)}
	sockets, ref := socketsOf(p, tried)
	open := others(sockets)
	if slices.Contains(open, fmt.Sprint(port)) {
		return // it does listen: somebody else refuses
	}
	switch {
	case sockets == nil && svc != nil && declaresOther(e.pod, port):
		f.Subject, f.Confidence = model.NewRef("service", svc.Namespace, svc.Name), diagnose.Likely
		f.Evidence = append(f.Evidence, kube(fmt.Sprintf("the Service sends to port %d; the containers declare %s", port, declared(e.pod)), f.Subject, e.pod.Ref()))
		f.Fix = []diagnose.Command{{Text: "Correct the Service's targetPort", Line: diagnose.KubectlFor(f.Subject, "edit"), Verify: again(p)}}
	case sockets == nil && luck(p):
		f.Confidence, f.Sometimes = diagnose.Possible, true // where nothing listens, nothing ever answers
		f.Fix = []diagnose.Command{look}
	case sockets == nil:
		f.Confidence = diagnose.Likely
		f.Summary += " The server does not run, listens on another port, or on 127.0.0.1 only."
		f.Fix = []diagnose.Command{look}
	case onLoopback(sockets, port):
		f.Title = fmt.Sprintf("The server of pod %s listens on 127.0.0.1:%d only", strings.TrimPrefix(string(ref), "pod/"), port)
		f.Summary = "A socket on the loopback address takes connections from inside the pod alone (kubectl port-forward works, nothing else does)."
		f.Evidence = append(f.Evidence, probe("listening in the pod: "+socketText(sockets), ref))
		f.Fix = []diagnose.Command{{Text: "Let the server listen on 0.0.0.0 (or ::)", Line: diagnose.KubectlFor(f.Subject, "edit"), Verify: again(p)}}
	case len(open) > 0 && svc != nil:
		f.Subject = model.NewRef("service", svc.Namespace, svc.Name)
		f.Title = fmt.Sprintf("Service %s/%s sends to port %d; its pods listen on %s", svc.Namespace, svc.Name, port, list(open))
		f.Evidence = append(f.Evidence, probe("listening in the pod: "+socketText(sockets), ref))
		f.Fix = []diagnose.Command{{Text: "Correct the Service's targetPort", Line: diagnose.KubectlFor(f.Subject, "edit"), Verify: again(p)}}
	default:
		f.Evidence = append(f.Evidence, probe("listening in the pod: "+socketText(sockets), ref))
		f.Fix = []diagnose.Command{look}
		if len(open) > 0 {
			f.Fix = append(f.Fix, diagnose.Command{Text: "Ask for a port that it listens on: " + list(open)})
		}
	}
	p.Report(f)
}

// askedService is the Service that the question leads to, or nil.
func askedService(p *diagnose.Pass) *model.Service {
	path := p.Question()
	if path == nil {
		return nil
	}
	for _, s := range path.Steps {
		if s.Hop == model.HopService && s.At.Kind() == "service" {
			return p.Case.World.Kube.Services[s.At]
		}
	}
	return p.Case.World.Kube.Services[path.Flow.To]
}

func podAt(p *diagnose.Pass, o *model.Observation) *model.Pod {
	for _, ref := range sortedRefs(p.Case.World.Kube.Pods) {
		pod := p.Case.World.Kube.Pods[ref]
		if !pod.HostNetwork && pod.Phase == "Running" && slices.Contains(pod.IPs, o.Address.Addr()) {
			return pod
		}
	}
	return nil
}

// socketsOf are the listening sockets of one of the pods that were entered; nil: none was.
func socketsOf(p *diagnose.Pass, tried []endpoint) ([]model.Listener, model.Ref) {
	for _, e := range tried {
		if e.pod != nil {
			if found, ok := p.Case.World.Listeners[e.pod.Ref()]; ok {
				if found == nil {
					found = []model.Listener{}
				}
				return found, e.pod.Ref()
			}
		}
	}
	return nil, ""
}

func onLoopback(sockets []model.Listener, port uint16) bool {
	return slices.ContainsFunc(sockets, func(l model.Listener) bool { return l.Protocol == "tcp" && l.Port == port && l.Addr.IsLoopback() })
}

// others are the TCP ports that take connections from outside the pod.
func others(sockets []model.Listener) []string {
	var out []string
	for _, l := range sockets {
		if text := fmt.Sprint(l.Port); l.Protocol == "tcp" && !l.Addr.IsLoopback() && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

func socketText(sockets []model.Listener) string {
	if len(sockets) == 0 {
		return "no socket at all"
	}
	var out []string
	for _, l := range sockets {
		if len(out) < 8 {
			out = append(out, fmt.Sprintf("%s %s port %d", l.Protocol, l.Addr, l.Port))
		}
	}
	return strings.Join(out, ", ")
}

func declaresOther(pod *model.Pod, port uint16) bool {
	some := false
	for _, c := range pod.Containers {
		for _, cp := range c.Ports {
			if cp.Port == port {
				return false
			}
			some = some || strings.EqualFold(cp.Protocol, "TCP") || cp.Protocol == ""
		}
	}
	return some
}

func declared(pod *model.Pod) string {
	var out []string
	for _, c := range pod.Containers {
		for _, cp := range c.Ports {
			out = append(out, fmt.Sprint(cp.Port))
		}
	}
	return strings.Join(out, ", ")
}
