package trace

import (
	"fmt"
	"net/netip"
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
