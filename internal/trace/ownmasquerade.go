package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/netfilter"
)

// ownMasquerade decides which source address leaves the node on a network that a
// plugin of the cluster's own makes: by the node's own rules, where they were
// read, else by what the plugin is told.
func (t *tracer) ownMasquerade() {
	net := &t.x.net
	s := model.Step{Hop: model.HopMasquerade, At: t.nodeRef(), Title: fmt.Sprintf("source address on %s", t.nodeRef()), Verdict: model.Pass}
	s.Trail = []string{"pod network: " + net.Name()}
	src, rule := t.walkedSource()
	_, inRange := holder(net.Ranges, t.flow.Dst)
	switch {
	case src.IsValid() && src != t.flow.Src:
		s.Out = t.flow
		s.Out.Src = src
		s.Reason = fmt.Sprintf("it leaves as %s: %s", src, rule)
	case src.IsValid():
		t.stays(&s, "no rule of the node translates it")
	case t.x.podByIP[t.flow.Dst] != nil || inRange:
		t.stays(&s, "Kubernetes wants pods to see each other's own addresses")
	case net.Masquerades == nil:
		s.Verdict, s.Gaps = model.Unknown, net.Gaps
		t.nodeAddress(&s)
		s.Reason = fmt.Sprintf("whether %s translates it to the node's address is not known", net.Name())
	case *net.Masquerades:
		t.nodeAddress(&s)
		s.Reason = fmt.Sprintf("it leaves as %s, the node's address: %s is told to masquerade what leaves the pods' range", addrText(s.Out.Src), net.Name())
	default:
		t.stays(&s, net.Name()+" is not told to masquerade")
	}
	t.add(s)
}

// stays says that the packet keeps the pod's own address, which nobody outside
// the pods' network can answer.
func (t *tracer) stays(s *model.Step, why string) {
	s.Reason = fmt.Sprintf("it keeps %s, the pod's own address: %s", t.flow.Src, why)
	if t.x.podByIP[t.flow.Dst] == nil && t.x.nodeByIP[t.flow.Dst] == nil {
		t.bare = &bareSource{t.nodeRef(), why}
	}
}

// podTranslated corrects the source of a packet between pods where a rule of the
// sender's node translates it: against Kubernetes' promise, but so it is.
func (t *tracer) podTranslated(s *model.Step) {
	if t.x.podByIP[t.flow.Dst] == nil {
		return
	}
	src, rule := t.walkedSource()
	if !src.IsValid() || src == t.flow.Src {
		return
	}
	s.Out = t.flow
	s.Out.Src = src
	s.Decided, s.Reason = t.nodeRef(), fmt.Sprintf("it leaves as %s, although the other end is a pod: %s", src, rule)
}

// walkedSource is the source address with which the packet leaves by the rules of
// the sender's node, and the rule that made it so. It is not valid where the rules
// were not read, or do not tell.
func (t *tracer) walkedSource() (netip.Addr, string) {
	r := t.outWalk()
	f := t.x.filters[t.nodeRef().Name()]
	if r == nil || !r.Certain() || len(f.gaps) > 0 {
		return netip.Addr{}, ""
	}
	var src netip.Addr
	rule := "a rule of the node translates it"
	for _, o := range t.towards(*r).Outcomes {
		if o.Verdict != netfilter.Accept || src.IsValid() && src != o.Packet.Src {
			return netip.Addr{}, ""
		}
		src = o.Packet.Src
		for _, line := range o.Trail {
			if l := strings.ToLower(line); strings.Contains(l, "masquerade") || strings.Contains(l, "snat") {
				rule = line
			}
		}
	}
	return src, rule
}

// translatedByNode is the source address by the rules of the sender's node, where
// they say something else than what the agent is told: a rule of somebody's own
// translates otherwise, or nothing translates at all.
func (t *tracer) translatedByNode(s *model.Step, keep bool) bool {
	x, dst, f := t.x, t.flow.Dst, t.x.filters[t.nodeRef().Name()]
	src, rule := t.walkedSource()
	own := src == t.flow.Src
	if _, missing := x.masqUnread(); missing || !src.IsValid() || x.podByIP[dst] != nil || own && keep || !own && !keep && t.ownAddress(f, src) {
		return false // it is so, or not known
	}
	if own && !f.rules.Translates() || !own && t.org.node == nil {
		return false // no table of translations was read, or not what the node is
	}
	s.Verdict, s.Decided, s.Filter = model.Pass, t.nodeRef(), t.lastRule()
	s.Out = t.flow
	s.Out.Src = src
	switch {
	case own:
		why := "no rule of the node translates it, although the agent is told to"
		if line := t.untracked(); line != "" {
			why = "a rule keeps it from being tracked, and so from being translated: " + line
		}
		s.Reason = fmt.Sprintf("it leaves as %s, the pod's own address: %s", src, why)
		if x.nodeByIP[dst] == nil {
			t.bare = &bareSource{t.nodeRef(), why}
		}
	case t.ownAddress(f, src):
		s.Reason = fmt.Sprintf("it leaves as %s, an address of the node: %s", src, rule)
	default:
		s.Verdict, s.Reason = model.Drop, fmt.Sprintf("it leaves as %s, which the node does not have, so no answer comes to it: %s", src, rule)
	}
	return true
}

// ownAddress says whether the sender's node has an address.
func (t *tracer) ownAddress(f *nodeFilter, a netip.Addr) bool {
	return f.holds(a) || t.org.node != nil && slices.Contains(t.org.node.InternalIPs, a)
}

// outcome is the one thing that becomes of the packet in the rules of the sender's node.
func (t *tracer) outcome() *netfilter.Outcome {
	r := t.outWalk()
	if r == nil {
		return nil
	}
	for _, o := range t.towards(*r).Outcomes {
		if o.Verdict == netfilter.Accept {
			return &o
		}
	}
	return nil
}

// lastRule is the rule that decided last, or nil.
func (t *tracer) lastRule() *model.FilterRule {
	if o := t.outcome(); o != nil && o.Decided.Rule != nil {
		return filterRule(*o)
	}
	return nil
}

// untracked is the rule that keeps the packet's connection from being tracked, or "".
func (t *tracer) untracked() string {
	if o := t.outcome(); o != nil && o.Packet.State == "untracked" {
		for _, line := range o.Trail {
			if l := strings.ToLower(line); strings.Contains(l, "notrack") {
				return line
			}
		}
	}
	return ""
}
