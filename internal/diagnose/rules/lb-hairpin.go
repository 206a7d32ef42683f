package rules

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

var lbHairpin = diagnose.Rule{
	ID: "lb-hairpin",
	Doc: `A backend of an internal load balancer asks that load balancer, and is led back to itself

A machine in the pool of an internal load balancer does not reach itself through it: a connection that the load balancer maps to the machine
it came from gets no answer. With N backends that is one connection in N from each of them, and none from anywhere else; pods are their
node's, as their source is translated to it or lies on the same interface. A Service of type LoadBalancer does not meet this inside its own
cluster, where kube-proxy takes its address first.

Look-alikes: a dead backend of several that its health probe does not notice fails as often, from machines outside the pool as well. Health
probes that fail take backends out, in bursts.

Mend it by the Service's own name inside the cluster, by clients outside the pool, or by a proxy with a second interface.

Sources: https://learn.microsoft.com/azure/load-balancer/load-balancer-troubleshoot-backend-traffic#cause-4-accessing-the-internal-load-balancer-from-the-same-vm-and-nic,
https://learn.microsoft.com/azure/load-balancer/concepts#limitations
`,
	Hop:    model.HopLB,
	Covers: []string{"lb-ilb-hairpin"},
	Needs:  []string{"probe", "loadbalancer", "metric"},
	Sees:   noPort,
	Run: func(p *diagnose.Pass) {
		lb, rule, _ := silentBalancer(p)
		if rule == nil {
			return
		}
		backends := probed(p.Case, lb, rule, p.Seen().Address)
		members := membersOf(lb, rule, backends)
		if len(members) == 0 {
			skipGaps(p, "metric")
			return
		}
		if own := machineOf(p, p.Node()); slices.Contains(members, own) && onlyMembersFail(p, members) {
			p.Report(hairpinFinding(p, lb, own, members, backends))
		}
	},
}

// membersOf are the addresses of a rule's backends that take connections: those of
// an IP-based pool, and those that the health probes are told of, but for the ones
// whose probe failed last.
func membersOf(lb *model.LoadBalancer, rule *model.LBRule, backends []backend) []netip.Addr {
	var out []netip.Addr
	for _, b := range backends {
		if addr, err := netip.ParseAddr(b.addr); err == nil && b.last > 0 {
			out = append(out, addr)
		}
	}
	for _, pool := range lb.Pools {
		if len(backends) == 0 && pool.ID == rule.PoolID {
			out = append(out, pool.Addrs...)
		}
	}
	return out
}

// machineOf is the address by which a load balancer knows a node.
func machineOf(p *diagnose.Pass, node string) netip.Addr {
	if n := p.Case.World.Kube.Nodes[node]; n != nil && len(n.InternalIPs) > 0 {
		return n.InternalIPs[0]
	}
	return netip.Addr{}
}

// onlyMembersFail says that each place on a machine of the pool fails about once in
// as many tries as there are members, and no other place does.
func onlyMembersFail(p *diagnose.Pass, members []netip.Addr) bool {
	expected := 1 / float64(len(members))
	own := false
	for v, rate := range watch.Failures(p.Case.Tries) {
		switch at := machineOf(p, nodeOfPlace(p, v)); {
		case slices.Contains(members, at):
			own = own || v == p.Origin()
			slack := (rate.High - rate.Low) / 2 // four standard deviations in all: several places are compared
			if rate.Of < fewTries || rate.Low-slack > expected || rate.High+slack < expected {
				return false
			}
		case rate.Count > 0:
			return false
		}
	}
	return own
}

// fewTries tell nothing of a share.
const fewTries = 8

// nodeOfPlace is the node that a place's tries came from.
func nodeOfPlace(p *diagnose.Pass, v model.Vantage) string {
	for i := range p.Case.Tries {
		if t := &p.Case.Tries[i]; t.Vantage == v && t.Node != "" {
			return t.Node
		}
	}
	return ""
}

func hairpinFinding(p *diagnose.Pass, lb *model.LoadBalancer, own netip.Addr, members []netip.Addr, backends []backend) diagnose.Finding {
	ref := model.NewRef("loadbalancer", lb.Name)
	f := diagnose.Finding{
		Subject: ref, Confidence: diagnose.Likely, Sometimes: len(members) > 1,
		Title:   fmt.Sprintf("Internal load balancer %s leads node %s back to itself", lb.Name, p.Node()),
		Summary: fmt.Sprintf("The node is one of %s of the load balancer that it asks. What is mapped to the machine it came from gets no answer: one connection in %d.", count(len(members), "backend"), len(members)),
		Evidence: []diagnose.Evidence{
			arm(fmt.Sprintf("the pool's backends are %s; %s is node %s, where the connection comes from", fmt.Sprint(members), own, p.Node()), ref, model.NewRef("node", p.Node())),
		},
		Fix: []diagnose.Command{
			{Text: "Inside the cluster ask the Service by its own name, which leads to its pods without the load balancer"},
			{Text: "Or let the client run on a machine that is not in the pool", Verify: watchAgain(p)},
		},
	}
	if len(backends) > 0 {
		f.Evidence = append(f.Evidence, metric("all of these answer their health probes (DipAvailability)", ref))
	}
	rates := watch.Failures(p.Case.Tries)
	for _, v := range slices.Sorted(maps.Keys(rates)) {
		rate := rates[v]
		f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from %s on %s %d of %d tries get no answer", v, nodeOfPlace(p, v), rate.Count, rate.Of)))
	}
	return f
}
