package reach_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
	"github.com/podpath/podpath/internal/reach"
	"github.com/podpath/podpath/internal/reach/reachtest"
)

var (
	seed   = flag.Uint64("seed", 0, "one World only, of this seed")
	worlds = flag.Int("worlds", 1500, "how many random Worlds")
)

// oneFlow judges a flow at both ends, as package policy does.
func oneFlow(x *policy.Index, from, to *model.Pod, f model.Flow) model.Verdict {
	out := model.Pass
	join := func(d policy.Decision) {
		switch {
		case d.Verdict == model.Drop:
			out = model.Drop
		case d.Verdict == model.Unknown && out == model.Pass:
			out = model.Unknown
		}
	}
	if from != nil {
		f.From = from.Ref()
	}
	if to != nil {
		f.To = to.Ref()
	}
	if policy.Lives(from) {
		join(x.Egress(from, f))
	}
	if policy.Lives(to) {
		join(x.Ingress(to, f))
	}
	return out
}

type side struct {
	pod   *model.Pod
	addr  netip.Addr
	party reach.Party
}

func sides(w *model.World, e *reach.Engine) []side {
	var out []side
	for _, ref := range slices.Sorted(maps.Keys(w.Kube.Pods)) {
		p := w.Kube.Pods[ref]
		if p.HostNetwork {
			continue // its address is its node's, below
		}
		for i := range max(1, len(p.IPs)) {
			if party, ok := e.PodParty(p, i); ok {
				out = append(out, side{p, party.Addr, party})
			}
		}
	}
	for _, s := range []string{"192.168.0.1", "192.168.0.2", "192.168.0.3", "192.168.0.9", "8.8.8.8", "8.8.8.9", "8.8.1.1", "1.1.1.1", "10.0.0.200", "10.0.0.38", "10.9.9.9", "fd00::77", "2001:db8::1"} {
		ip := netip.MustParseAddr(s)
		out = append(out, side{nil, ip, e.AddrParty(ip)})
	}
	return out
}

// TestEqual: the engine of all pairs gives for each pair, protocol and port
// what the evaluator of one flow gives.
func TestEqual(t *testing.T) {
	first, n := uint64(1), *worlds
	if *seed != 0 {
		first, n = *seed, 1
	}
	seen := map[model.Verdict]int{}
	for s := first; s < first+uint64(n); s++ {
		w := reachtest.Random(s)
		r := rand.New(rand.NewPCG(s, 5))
		d := policy.Dialect(r.IntN(4))
		switch { // mostly the dataplane that carries the World's policies out
		case len(w.Kube.CalicoPolicies) > 0 && r.IntN(4) > 0:
			d = policy.Calico
		case len(w.Kube.CiliumPolicies) > 0 && r.IntN(4) > 0:
			d = policy.Cilium
		}
		x := policy.BuildAs(w, d)
		e := reach.New(x, nil)
		all := sides(w, e)
		for range 150 {
			a, b := all[r.IntN(len(all))], all[r.IntN(len(all))]
			if a.addr.IsValid() && b.addr.IsValid() && a.addr.Is4() != b.addr.Is4() {
				continue
			}
			protocol, port := r.IntN(3), []uint16{80, 53, 8080, 99, 443}[r.IntN(5)]
			want := oneFlow(x, a.pod, b.pod, model.Flow{Protocol: reach.Protocols[protocol], Src: a.addr, Dst: b.addr, DstPort: port})
			got := e.Verdict(a.party, b.party, protocol, port)
			seen[got]++
			if got != want {
				f := model.Flow{Protocol: reach.Protocols[protocol], Src: a.addr, Dst: b.addr, DstPort: port}
				if a.pod != nil {
					f.From = a.pod.Ref()
					t.Logf("egress %+v", x.Egress(a.pod, f))
				}
				if b.pod != nil {
					f.To = b.pod.Ref()
					t.Logf("ingress %+v", x.Ingress(b.pod, f))
				}
				t.Fatalf("-seed %d, dialect %s: %s -> %s %s/%d: %s, the evaluator of one flow says %s", s, x.Dialect(), name(a), name(b), reach.Protocols[protocol], port, got, want)
			}
		}
	}
	t.Log(seen)
	if *seed == 0 && (seen[model.Pass] < 1000 || seen[model.Drop] < 1000 || seen[model.Unknown] < 1000) {
		t.Errorf("the Worlds are too uniform: %v", seen)
	}
}

func name(s side) string {
	if s.pod != nil {
		return fmt.Sprintf("%s (%s)", s.pod.Ref(), s.addr)
	}
	return s.addr.String()
}
