package rules

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

// endpoint is one address behind the question that was tried by itself.
type endpoint struct {
	seen *model.Observation
	pod  *model.Pod // nil: no pod has the address
	rate watch.Rate // of failures in the series; of nothing: there was none
}

// endpointsTried are the endpoints of the question's Service with how each
// fared; for a question to a pod, the pod.
func endpointsTried(p *diagnose.Pass) []endpoint {
	var out []endpoint
	rates := watch.AtEndpoints(p.Case.Tries)
	by := map[netip.AddrPort][]*model.Observation{}
	for _, o := range p.Control(p.Origin(), "control:endpoint") {
		if by[o.Address] == nil {
			out = append(out, endpoint{o, podAt(p, o), rates[o.Address]})
		}
		by[o.Address] = append(by[o.Address], o)
	}
	for i := range out {
		out[i].seen = usual(by[out[i].seen.Address], out[i].rate)
	}
	if len(out) == 0 && askedService(p) == nil {
		if o := p.Seen(); o != nil && o.Address.IsValid() && podAt(p, o) != nil {
			out = append(out, endpoint{seen: o, pod: podAt(p, o)})
		}
	}
	return out
}

// oddEndpoint is the only one of several endpoints that fails, and fails in this
// way, with how many there are; nil: there is no such one.
func oddEndpoint(p *diagnose.Pass, in func(*model.Observation) bool) (odd *endpoint, of int) {
	tried := endpointsTried(p)
	for i := range tried {
		switch e := &tried[i]; {
		case !diagnose.Fails(e.seen):
		case odd != nil || e.pod == nil || !in(e.seen):
			return nil, len(tried)
		default:
			odd = e
		}
	}
	if len(tried) < 2 {
		odd = nil
	}
	return odd, len(tried)
}

// seldom is the share of failures below which an endpoint is not called bad: a
// packet may get lost anywhere.
const seldom = 0.2

// usual is what stands for an endpoint: its first failure, if the series did not
// show that it seldom fails.
func usual(seen []*model.Observation, rate watch.Rate) *model.Observation {
	bad := slices.IndexFunc(seen, diagnose.Fails)
	good := slices.IndexFunc(seen, func(o *model.Observation) bool { return !diagnose.Fails(o) })
	switch {
	case bad < 0 || good < 0:
		return seen[0]
	case rate.Enough() && rate.Share() < seldom:
		return seen[good]
	}
	return seen[bad]
}

// answersToo says that the series saw it answer more than once in ten tries: it is not dead.
func (e endpoint) answersToo() bool { return e.rate.Of >= 8 && e.rate.Share() < 0.9 }

// often says how often an endpoint failed in the series, in words; "" without one.
func (e endpoint) often() string {
	if e.rate.Of == 0 {
		return ""
	}
	return fmt.Sprintf("; in the series %d of %d tries of it failed", e.rate.Count, e.rate.Of)
}
