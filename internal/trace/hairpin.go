package trace

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/model"
)

// callsItself says that a pod asked a Service and was sent back to itself.
func (t *tracer) callsItself(p *model.Pod) bool {
	return p == t.org.pod && t.orig.Dst != t.flow.Dst && !p.HostNetwork
}

// hairpin judges whether the node's bridge gives a pod back what it sent to
// itself. Where bridge-nf-call-iptables shows frames to the packet filter, the
// translated frame is bridged on and would have to leave by the port that it came
// in by, which a bridge does not do without hairpin mode. Where it does not, the
// packet is routed, and comes to the port from the bridge's own device. It says
// whether that could be told.
// Source: br_nf_pre_routing_finish and should_deliver in net/bridge of Linux.
func (t *tracer) hairpin(p *model.Pod) (told bool) {
	facts := t.facts()
	if !t.callsItself(p) || facts == nil || t.x.cilium {
		return false
	}
	bridge := podDevice(facts, t.org.addr)
	if kindOf(facts, bridge) != "bridge" || facts.Sysctls["net.bridge.bridge-nf-call-iptables"] == "0" {
		return kindOf(facts, bridge) == "bridge" // then it is routed
	}
	ref := t.nodeRef()
	port, on, known := portOf(facts, bridge, t.org.addr)
	s := model.Step{Hop: model.HopCNI, At: ref, Hairpin: true, Title: "bridge " + bridge + " of " + string(ref)}
	switch promisc := slices.ContainsFunc(facts.Links, func(l model.Link) bool { return l.Name == bridge && l.Promisc }); {
	case !known:
		return false
	case on:
		s.Verdict, s.Reason = model.Pass, fmt.Sprintf("hairpin mode is on at %s: the pod gets back what it sends to itself", port)
	case promisc: // the node takes the frame and routes it back, as kubenet's promiscuous-bridge means it
		s.Reason = fmt.Sprintf("hairpin mode is off at %s; %s is promiscuous, so the node itself may send it back", port, bridge)
	default:
		s.Verdict, s.Decided = model.Drop, ref
		s.Reason = fmt.Sprintf("hairpin_mode = 0 at %s of %s, and the pod is the endpoint of its own connection: the bridge never sends a frame back by the port that it came in by", port, bridge)
	}
	t.add(s)
	return true
}

// portOf is the port of a bridge that a pod is plugged into, by where the bridge
// met its hardware address, and whether hairpin mode is on there. Where that is
// not known, ports that are all alike tell it as well.
func portOf(facts *model.NodeFacts, bridge string, pod netip.Addr) (name string, hairpin, known bool) {
	var macs []string
	for _, n := range facts.Neighbours {
		if n.Addr == pod && n.Dev == bridge && n.MAC != "" {
			macs = append(macs, n.MAC)
		}
	}
	on, off := 0, 0
	for _, l := range facts.Links {
		if l.Master != bridge || l.Port == nil {
			continue
		}
		if slices.ContainsFunc(macs, func(mac string) bool { return slices.Contains(l.Port.Learned, mac) }) {
			return l.Name, l.Port.Hairpin, true
		}
		if l.Port.Hairpin {
			on++
		} else {
			off++
		}
	}
	return "every port", on > 0, (on == 0) != (off == 0)
}
