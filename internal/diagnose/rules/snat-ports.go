package rules

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var snatPorts = diagnose.Rule{
	ID: "snat-ports",
	Doc: `The node has no source port left towards this destination

A load balancer's outbound rule gives each node a fixed number of source ports (1,024 by default in clusters of up to 50 nodes). Each connection to the
same destination address and port takes one, and keeps it for a while after it closed. When all are taken, new connections to that
destination are dropped silently. Ports are counted for each destination: others go on working from the same node, and so does this
one from other nodes.

Look-alikes: a destination that is down fails from every node. A rule on this node's NIC shows in the configuration. A firewall that
limits an address would hit all nodes behind the same public address.

Mend it by keeping connections open and using them again, by more ports for each node (fewer nodes then share an address, so more
addresses), or by a NAT gateway, which shares its ports among all nodes. Private endpoints need no source port at all.

Sources: https://learn.microsoft.com/azure/load-balancer/troubleshoot-outbound-connection,
https://learn.microsoft.com/azure/aks/load-balancer-standard#configure-the-allocated-outbound-ports
`,
	Hop:    model.HopSNAT,
	Covers: []string{"snat-exhaustion-lb"},
	Needs:  []string{"probe", "probe:node", "probe:other-node", "loadbalancer", "subnet", "metric"},
	Sees:   func(o *model.Observation) bool { return o.Failed == "tcp" && o.Result == model.TimedOut },
	Run: func(p *diagnose.Pass) {
		seen, path := p.Seen(), p.Question()
		if seen == nil || path == nil || seen.Failed != "tcp" || seen.Result != model.TimedOut || seen.Proxy != "" || !p.External() || path.Device.Kind() != "loadbalancer" || brokenAnywhere(p) {
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
			Subject: rule,
			Title:   fmt.Sprintf("Node %s has no source port left towards %s", p.Node(), seen.Address),
			Summary: "Each connection to the same address and port takes one of the ports that the load balancer gives the node; without one left the next is dropped silently.",
		}
		only := thisNodeOnly(p, &f)
		failed := metricEvidence(p, &f)
		switch {
		case !only && (!failed || p.Fate(model.VantageOtherNode) != diagnose.Unseen || p.Fate(model.VantageNode) == diagnose.Works):
			return // ports that ran out a while ago explain no failure that other nodes share
		case failed && only:
			f.Confidence = diagnose.Proven
		case only && allPass(p) && p.Same(model.VantageNode):
			f.Confidence = diagnose.Likely
		default:
			f.Confidence = diagnose.Possible
			f.Gaps = append(f.Gaps, p.Gaps([]string{"probe:node"})...)
		}
		holders(p, &f)
		f.Fix = slices.Concat(f.Fix, portsFix(p, rule))
		p.Report(f)
	},
}

// holders names who takes the ports: the node's connection table has every
// connection to the destination that its pods opened, also those that are over and
// whose port the load balancer has not given free yet.
func holders(p *diagnose.Pass, f *diagnose.Finding) {
	at := p.Seen().Address
	held, ok := p.Case.World.HeldTo(at, p.Node())
	if !ok {
		f.Gaps = append(f.Gaps, p.Gaps([]string{"nodefacts"})...)
		return
	}
	total, over := 0, 0
	for _, h := range held {
		total, over = total+h.Count, over+h.Over
	}
	for i, h := range held {
		if i == 3 || h.Count < max(10, total/20) {
			break
		}
		text := fmt.Sprintf("%s holds %d of the %d connections of node %s to %s", h.Ref, h.Count, total, p.Node(), at)
		if h.Over > 0 {
			text += fmt.Sprintf(", of which %d are over and keep their port for a while", h.Over)
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
	other := firstGood(p.Control(p.Origin(), "control:other-host"))
	far := p.At(model.VantageOtherNode)
	reaches := p.Fate(model.VantageOtherNode) == diagnose.Works || p.Farther(model.VantageOtherNode)
	if other == nil || far == nil || !reaches || p.Fate(model.VantagePeer) == diagnose.Works || p.Fate(model.VantageNode) == diagnose.Works {
		return false
	}
	f.Evidence = append(f.Evidence,
		probe(fmt.Sprintf("from %s: %s answers, so the node's way out works", diagnose.PlaceOf(other), other.Target), other.From),
		probe(fmt.Sprintf("from %s the same destination is reached, through the same load balancer", diagnose.PlaceOf(far)), far.From))
	return true
}

// metricEvidence reads Azure Monitor for this node's address: connections that
// failed for want of a port, or ports that are all in use.
func metricEvidence(p *diagnose.Pass, f *diagnose.Finding) bool {
	node := p.Case.World.Kube.Nodes[p.Node()]
	if node == nil {
		return false
	}
	mine := func(s *model.Series) bool {
		for _, ip := range node.InternalIPs {
			if dimension(s, "BackendIPAddress") == ip.String() {
				return true
			}
		}
		return false
	}
	used, allocated, failed := math.NaN(), math.NaN(), 0.0
	for i := range p.Case.World.Azure.Metrics {
		s := &p.Case.World.Azure.Metrics[i]
		if !mine(s) || len(s.Points) == 0 {
			continue
		}
		last := s.Points[len(s.Points)-1].Value
		switch {
		case strings.EqualFold(s.Metric, "SnatConnectionCount") && strings.EqualFold(dimension(s, "ConnectionState"), "Failed"):
			for _, pt := range s.Points[max(0, len(s.Points)-recentMinutes):] {
				failed += pt.Value
			}
		case strings.EqualFold(dimension(s, "ProtocolType"), "UDP"):
		case strings.EqualFold(s.Metric, "UsedSnatPorts"):
			used = last
		case strings.EqualFold(s.Metric, "AllocatedSnatPorts"):
			allocated = last
		}
	}
	if failed > 0 {
		f.Evidence = append(f.Evidence, metric(fmt.Sprintf("SnatConnectionCount: %.0f connections of this node failed for want of a port within the last %d minutes of data", failed, recentMinutes), f.Subject))
	}
	full := used >= allocated && allocated > 0
	if full { // an average of the minute: less says nothing against a burst
		f.Evidence = append(f.Evidence, metric(fmt.Sprintf("%.0f of the node's %.0f ports are in use (UsedSnatPorts, AllocatedSnatPorts)", used, allocated), f.Subject))
	}
	return failed > 0 || full
}

// recentMinutes is how far back a failure says something about now: Azure
// Monitor gives a point a minute, two or three minutes late.
const recentMinutes = 6

// dimension is a series' dimension; Azure writes their names in any case.
func dimension(s *model.Series, name string) string {
	for key, val := range s.Dimension {
		if strings.EqualFold(key, name) {
			return val
		}
	}
	return ""
}

func metric(text string, refs ...model.Ref) diagnose.Evidence {
	return diagnose.Evidence{Text: text, Refs: refs, Source: "metric"}
}

// portsFix is what helps, with the numbers of this cluster: 64,000 ports of an
// address are shared by its nodes and one that comes with an upgrade.
// https://learn.microsoft.com/azure/aks/load-balancer-standard#configure-the-allocated-outbound-ports
func portsFix(p *diagnose.Pass, rule model.Ref) []diagnose.Command {
	fix := []diagnose.Command{{Text: "At once: let the application keep its connections and use them again (a pool, keep-alive); restart the pods that leak them"}}
	cluster := p.Case.World.Azure.Cluster
	if cluster == nil || strings.EqualFold(p.Outbound(), "userDefinedRouting") {
		return fix
	}
	addresses := max(1, len(p.Question().Egress))
	nodes := 0
	for _, pool := range cluster.AgentPools {
		nodes += pool.Count
	}
	nodes = max(nodes, len(p.Case.World.Kube.Nodes), 1) + 1
	const perAddress, step = 64000, 8
	if ports := perAddress * addresses / nodes / step * step; ports > 0 {
		fix = append(fix, diagnose.Command{
			Text:   fmt.Sprintf("More ports for each node: %d public address(es) for %d nodes (one of them for upgrades) allow up to %d", addresses, nodes, ports),
			Line:   diagnose.Az("aks update", cluster.ID, "--name", cluster.Name, "--load-balancer-managed-outbound-ip-count", fmt.Sprint(addresses), "--load-balancer-outbound-ports", fmt.Sprint(ports)),
			Verify: again(p),
		})
	}
	return append(fix, diagnose.Command{
		Text: "Or go out by a NAT gateway, which shares its ports among all nodes",
		Line: diagnose.Az("aks update", cluster.ID, "--name", cluster.Name, "--outbound-type", "managedNATGateway"),
	})
}
