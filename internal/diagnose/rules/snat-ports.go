package rules

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
	"github.com/podpath/podpath/internal/trace"
	"github.com/podpath/podpath/internal/watch"
)

var snatPorts = diagnose.Rule{
	ID: "snat-ports",
	Doc: `The node has no source port left towards this destination

A load balancer's outbound rule gives each node a fixed number of source ports (1,024 by default in clusters of up to 50 nodes). Each connection to the
same destination address and port takes one, and keeps it for a while after it closed. When all are taken, new connections to that
destination are dropped silently. Ports are counted for each destination: others go on working from the same node, and so does this
one from other nodes.

Some of the ports may serve nobody: a connection that is over keeps its port for a while, one that is idle until the rule's idle time-out. UDP is
counted by itself: many lookups at public resolvers, without a cache, use up its ports. And a number can shrink: the default table gives each
machine 1,024 ports in a pool of up to 50, 512 up to 100, 256 up to 200, so that a pool that grows takes ports away from all; a
number that was set on the load balancer itself is lost when AKS next reconciles it. While ports come free one by one, it fails now and then.

Look-alikes: a destination that is down fails from every node. A rule on this node's NIC shows in the configuration. A firewall that
limits an address would hit all nodes behind the same public address.

Mend it by keeping connections open and using them again, by more ports for each node (fewer nodes then share an address, so more
addresses), or by a NAT gateway, which shares its ports among all nodes. Private endpoints need no source port at all.

Sources: https://learn.microsoft.com/azure/load-balancer/troubleshoot-outbound-connection,
https://learn.microsoft.com/azure/aks/load-balancer-standard#configure-the-allocated-outbound-ports
`,
	Hop:    model.HopSNAT,
	Covers: []string{"snat-exhaustion-lb", "snat-port-hold-after-close", "snat-scale-out-shrinks-ports", "snat-udp-dns-pressure", "snat-ports-reset"},
	Needs:  []string{"probe", "probe:node", "probe:other-node", "loadbalancer", "subnet", "metric"},
	Sees:   noPort,
	Run: func(p *diagnose.Pass) {
		seen, path := p.Seen(), p.Question()
		if seen == nil || path == nil || !noPort(seen) || seen.Proxy != "" || !p.External() || path.Device.Kind() != "loadbalancer" || brokenAnywhere(p) || nodeGetsPorts(p) {
			return
		}
		rule := path.Device
		for _, s := range path.Steps {
			if s.Hop == model.HopSNAT && s.At.Kind() == "loadbalancer" {
				rule = s.At
			}
		}
		if len(rule.Parts()) < 2 {
			return // the load balancer was not read: it may give any number of ports, or none
		}
		f := diagnose.Finding{
			Subject:   rule,
			Title:     fmt.Sprintf("Node %s has no source port left towards %s", p.Node(), seen.Address),
			Summary:   "Each connection to the same address and port takes one of the ports that the load balancer gives the node; without one left the next is dropped silently.",
			Sometimes: luck(p),
		}
		only := thisNodeOnly(p, &f)
		failed := metricEvidence(p, rule, &f)
		all := outOnAll(p, rule, &f)
		switch far, apart := p.Fate(model.VantageOtherNode), nodeApart(p, &f); {
		case !only && !failed && !towards(p).crowded(), !only && far != diagnose.Unseen && !apart && !(failed && all), !only && far == diagnose.Unseen && p.Fate(model.VantageNode) == diagnose.Works:
			return // ports that ran out a while ago explain no failure that other nodes share
		case failed && (only || apart):
			f.Confidence = diagnose.Proven
		case failed && all && luck(p):
			f.Confidence = diagnose.Likely
		case allPass(p) && (only && p.Same(model.VantageNode) || apart && towards(p).crowded()):
			f.Confidence = diagnose.Likely
		default:
			f.Confidence = diagnose.Possible
			f.Gaps = append(f.Gaps, p.Gaps([]string{"probe:node"})...)
		}
		holders(p, &f)
		f.Evidence = append(f.Evidence, ruleNumbers(p, rule)...)
		f.Fix = slices.Concat(f.Fix, portsFix(p, rule, min(len(f.Fix), 1)))
		p.Report(f)
	},
}

// noPort is what the lack of a source port makes a probe see: nothing comes back
// to the first packet.
func noPort(o *model.Observation) bool {
	return (o.Failed == "tcp" || o.Failed == "udp") && o.Result == model.TimedOut
}

// nodeGetsPorts says that the node's own connections to the destination, which take
// their ports from the same ones as those of its pods, fail clearly less often.
func nodeGetsPorts(p *diagnose.Pass) bool {
	rates := watch.Failures(p.Case.Tries)
	pod, node := rates[model.VantagePod], rates[model.VantageNode]
	return p.Origin() == model.VantagePod && node.Of >= 8 && node.High < pod.Low
}

// luck says that the question's own probe, or a try of it, worked now and then.
func luck(p *diagnose.Pass) bool {
	own := watch.Failures(p.Case.Tries)[p.Origin()]
	return own.Count < own.Of || slices.ContainsFunc(p.Asked(p.Origin()), func(o *model.Observation) bool { return !diagnose.Fails(o) })
}

// nodeApart says that tries from this node fail clearly more often than those from another.
func nodeApart(p *diagnose.Pass, f *diagnose.Finding) bool {
	rates := watch.Failures(p.Case.Tries)
	own, far := rates[p.Origin()], rates[model.VantageOtherNode]
	for _, v := range []model.Vantage{model.VantagePod, model.VantagePeer, model.VantageNode} {
		if v != p.Origin() { // they share the node's ports
			own = watch.Together(own, rates[v])
		}
	}
	if own.Of == 0 || far.Of == 0 || own.Low <= far.High {
		return false
	}
	f.Evidence = append(f.Evidence, probe(fmt.Sprintf("%d of %d tries failed from this node and its pods, %d of %d from another one, which goes out by the same load balancer", own.Count, own.Of, far.Count, far.Of)))
	return true
}

// outOnAll says that this node and every other one that was read holds as many
// connections to the destination as the rule gives it ports: it fails from all of
// them, each for want of its own.
func outOnAll(p *diagnose.Pass, rule model.Ref, f *diagnose.Finding) bool {
	own, others := false, []string{}
	for _, u := range resource.Kind(p.Case, "snat-lb") {
		node, whole := strings.CutPrefix(u.Name, "source ports of ")
		if !whole || u.Of != rule || !strings.HasPrefix(u.Toward, p.Seen().Address.String()+"/") {
			continue
		}
		if u.State != resource.Out {
			return false
		}
		if own = own || node == p.Node(); node != p.Node() {
			others = append(others, node)
		}
	}
	if !own || len(others) == 0 {
		return false
	}
	f.Evidence = append(f.Evidence, diagnose.Evidence{Text: fmt.Sprintf("%s has none left towards it either: its own pods hold them", list(others)), Source: "node"})
	return true
}

// holders names who takes the ports: the node's connection table has every
// connection to the destination that its pods opened, also those that are over and
// whose port the load balancer has not given free yet.
func holders(p *diagnose.Pass, f *diagnose.Finding) {
	at, udp := p.Seen().Address, p.Seen().Failed == "udp"
	facts := p.Case.World.Nodes[p.Node()]
	if facts == nil || facts.Held == nil {
		f.Gaps = append(f.Gaps, p.Gaps([]string{"nodefacts"})...)
		return
	}
	held := slices.DeleteFunc(p.Case.World.Holders(p.Node()), func(h model.Holder) bool { return h.To != at || h.UDP != udp })
	slices.SortStableFunc(held, func(a, b model.Holder) int { return cmp.Compare(b.Count, a.Count) })
	total, over := 0, 0
	for _, h := range held {
		total, over = total+h.Count, over+h.Over
	}
	what := "connections"
	if udp {
		what = "UDP flows, each of which keeps its port until it has been silent for a while,"
	}
	for i, h := range held {
		if i == 3 || h.Count < max(10, total/20) {
			break
		}
		text := fmt.Sprintf("%s holds %d of the %d %s of node %s to %s", h.Ref, h.Count, total, what, p.Node(), at)
		if h.Over > 0 {
			text += fmt.Sprintf(", of which %d are over and keep their port for a while", h.Over)
		}
		if h.Asking > 0 {
			text += fmt.Sprintf("; %d have no answer yet", h.Asking)
		}
		f.Evidence = append(f.Evidence, diagnose.Evidence{Text: text, Refs: []model.Ref{h.Ref, p.Endpoint()}, Source: "node"})
		if i == 0 && h.Ref.Kind() == "pod" {
			f.Fix = append(f.Fix, holderFix(&h, at, over, total))
		}
	}
}

// holderFix is what helps at once: the one who holds most uses its connections again, or lets go of them.
func holderFix(h *model.Holder, at netip.AddrPort, over, total int) diagnose.Command {
	text := fmt.Sprintf("Let %s keep a few connections to %s and use them again instead of %d", h.Ref, at, h.Count)
	if over > total/2 {
		text = fmt.Sprintf("Let %s use its connections to %s again (keep-alive, a pool): most of them are over, and each new one takes another port", h.Ref, at)
	}
	return diagnose.Command{Text: text + "; at once: start it anew", Line: diagnose.KubectlFor(h.Ref, "delete")}
}

// thisNodeOnly says that what fails is this node's way to this destination:
// another destination answers it, and this one answers another node.
func thisNodeOnly(p *diagnose.Pass, f *diagnose.Finding) bool {
	others := p.Control(p.Origin(), "control:other-host")
	other, far := firstGood(others), p.At(model.VantageOtherNode)
	reaches := p.Fate(model.VantageOtherNode) == diagnose.Works || p.Farther(model.VantageOtherNode)
	if other == nil && (len(others) > 0 || !luck(p)) || far == nil || !reaches || p.Fate(model.VantagePeer) == diagnose.Works || p.Fate(model.VantageNode) == diagnose.Works {
		return false
	}
	if other != nil {
		f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from %s: %s answers, so the node's way out works", diagnose.PlaceOf(other), other.Target), other.From))
	}
	f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from %s the same destination is reached, through the same load balancer", diagnose.PlaceOf(far)), far.From))
	return true
}

// metricEvidence reads Azure Monitor for this node's address: connections that
// failed for want of a port, or ports that are all in use.
func metricEvidence(p *diagnose.Pass, rule model.Ref, f *diagnose.Finding) bool {
	out := false
	for _, u := range portsOf(p, rule) {
		if u.Source != "metric" || u.State != resource.Out || udpName(u) != (p.Seen().Failed == "udp") {
			continue
		}
		out = true
		for _, s := range u.Says {
			if strings.HasPrefix(s, "SnatConnectionCount") {
				f.Evidence = append(f.Evidence, metric(s, f.Subject))
			}
		}
		if u.Used >= u.Limit {
			f.Evidence = append(f.Evidence, metric(fmt.Sprintf("%.0f of the node's %.0f ports are in use (UsedSnatPorts, AllocatedSnatPorts)", u.Used, u.Limit), f.Subject))
		}
	}
	return out
}

func udpName(u resource.Use) bool { return strings.Contains(u.Name, "(UDP)") }

// portsOf are the ports of the rule that the question's node has.
func portsOf(p *diagnose.Pass, rule model.Ref) []resource.Use {
	return slices.DeleteFunc(resource.Kind(p.Case, "snat-lb"), func(u resource.Use) bool {
		return u.Of != rule || !strings.HasSuffix(u.Name, " of "+p.Node())
	})
}

// ruleNumbers says what the rule gives each machine, and where that has become less than it was.
func ruleNumbers(p *diagnose.Pass, ref model.Ref) []diagnose.Evidence {
	lb, rule := outboundRuleOf(p, ref)
	if rule == nil {
		return nil
	}
	var out []diagnose.Evidence
	machines := trace.Machines(&p.Case.World.Azure, lb, rule)
	switch before := trace.DefaultPorts(machines); {
	case rule.AllocatedPorts > 0:
		out = append(out, arm(fmt.Sprintf("outbound rule %s gives each machine %d ports (allocatedOutboundPorts)", rule.Name, rule.AllocatedPorts), ref))
	case before < trace.DefaultPorts(1):
		out = append(out, arm(fmt.Sprintf("outbound rule %s has allocatedOutboundPorts 0: the number follows the pool's size. Its %d machines get %d ports each; up to %s", rule.Name, machines, before, bracketsBelow(machines)), ref))
	default:
		out = append(out, arm(fmt.Sprintf("outbound rule %s has allocatedOutboundPorts 0: %d ports for each machine in a pool of up to 50 (it has %d)", rule.Name, before, machines), ref))
	}
	if c := p.Case.World.Azure.Cluster; c != nil && c.LBProfile != nil && c.LBProfile.AllocatedPorts != rule.AllocatedPorts {
		out = append(out, arm(fmt.Sprintf("the cluster's own profile says %d (networkProfile.loadBalancerProfile.allocatedOutboundPorts), the load balancer %d: one of them was changed without the other. What is set on the load balancer itself is lost when AKS reconciles it", c.LBProfile.AllocatedPorts, rule.AllocatedPorts), model.NewRef("cluster", c.Name), ref))
	}
	return out
}

// bracketsBelow are the sizes of a pool below its own, and what each machine got then.
func bracketsBelow(machines int) string {
	var words []string
	for _, b := range trace.PortBrackets {
		if b.Machines < machines {
			words = append(words, fmt.Sprintf("%d machines each got %s", b.Machines, thousands(b.Ports)))
		}
	}
	return strings.Join(words, ", up to ")
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

func outboundRuleOf(p *diagnose.Pass, ref model.Ref) (*model.LoadBalancer, *model.OutboundRule) {
	for _, id := range sortedKeys(p.Case.World.Azure.LoadBalancers) {
		lb := p.Case.World.Azure.LoadBalancers[id]
		for i := range lb.Outbound {
			if strings.EqualFold(lb.Name, ref.Part(0)) && strings.EqualFold(lb.Outbound[i].Name, ref.Part(1)) {
				return lb, &lb.Outbound[i]
			}
		}
	}
	return nil, nil
}

func metric(text string, refs ...model.Ref) diagnose.Evidence {
	return diagnose.Evidence{Text: text, Refs: refs, Source: "metric"}
}

// portsFix is what helps, with the numbers of this cluster. What the cluster's
// profile says already is set again first: AKS then writes it to the load balancer.
func portsFix(p *diagnose.Pass, ref model.Ref, known int) []diagnose.Command {
	var fix []diagnose.Command
	c := p.Case.World.Azure.Cluster
	if _, rule := outboundRuleOf(p, ref); rule != nil && c != nil && c.LBProfile != nil && c.LBProfile.AllocatedPorts > rule.AllocatedPorts && rule.AllocatedPorts > 0 {
		fix = append(fix, diagnose.Command{
			Text: fmt.Sprintf("Set the %d ports of the cluster's profile again, by AKS and not on the load balancer", c.LBProfile.AllocatedPorts),
			Line: diagnose.Az("aks update", c.ID, "--name", c.Name, "--load-balancer-outbound-ports", fmt.Sprint(c.LBProfile.AllocatedPorts)), Verify: again(p),
		})
	}
	more := resource.MorePorts(p.Case, ref)
	if len(more) > 1 {
		more[1].Verify = again(p)
	}
	return append(fix, more[min(known, len(more)):]...) // the first advice is of whoever holds them, who may be named already
}
