package trace

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/netfilter"
)

// kubeProxy compares what the sender's node has of the Service with what the API
// wants: kube-proxy writes its rules from EndpointSlices, and one that is stuck
// leaves old ones.
func (t *tracer) kubeProxy(svc *backends, to *backend) {
	if svc == nil || to == nil {
		return
	}
	ref := t.nodeRef()
	f, facts := t.x.filters[ref.Name()], t.facts()
	s := model.Step{Hop: model.HopKubeProxy, At: ref, Title: "kube-proxy on " + string(ref)}
	switch {
	case facts == nil:
		return
	case t.x.cilium:
		t.ciliumServices(s)
		return
	case hasIPVS(facts):
		t.ipvs(s, facts, svc)
		return
	case f == nil:
		return
	}
	r := t.outWalk()
	if r == nil {
		return
	}
	if len(f.gaps) > 0 {
		s.Gaps = f.gaps
		s.Reason = "not all of the node's packet filter could be read"
		t.add(s)
		return
	}
	t.addProxyStep(ref, f, *r, svc, t.orig)
}

// addProxyStep compares the rules of the node that translates with the API; sent
// is the packet as it came to them.
func (t *tracer) addProxyStep(at model.Ref, f *nodeFilter, r netfilter.Result, svc *backends, sent model.Flow) {
	s := model.Step{Hop: model.HopKubeProxy, At: at, Title: "kube-proxy on " + string(at), Proxy: compareProxy(f, r, svc, sent)}
	coming := t.comingOrGoing(s.Proxy, svc)
	t.judgeProxy(&s, svc, sent)
	if len(coming) > 0 && s.Verdict == model.Pass {
		s.Verdict = model.Unknown
		s.Reason = fmt.Sprintf("its rules lead to %s as well, of %s and no ready endpoint when the API was read: a pod that comes or goes, which kube-proxy learns a moment sooner or later", strings.Join(coming, ", "), svc.ref())
	}
	if !s.Proxy.Absent && !s.Proxy.Refused && len(s.Proxy.Missing) == 0 && len(s.Proxy.Stale) == 0 && untranslated(r) {
		s.Reason = "another rule of the node ends the packet before it is translated"
	}
	if r.Order {
		s.Trail = append(s.Trail, "two tables translate at the same priority: the one that was registered last comes first, and no tool tells which that is")
	}
	t.add(s)
}

// comingOrGoing takes out of the stale targets those that are pods of the Service
// itself: the API and the node are not read in the same moment, and during a
// rollout the endpoints change in between.
func (t *tracer) comingOrGoing(state *model.ProxyState, svc *backends) []string {
	var out []string
	state.Stale = slices.DeleteFunc(state.Stale, func(to string) bool {
		at, err := netip.ParseAddrPort(to)
		if err != nil {
			return false
		}
		p := t.x.podByIP[at.Addr()]
		own := p != nil && p.Namespace == svc.svc.Namespace && len(svc.svc.Selector) > 0 && (p.Deleting || !p.Ready) && selects(svc.svc.Selector, p.Labels)
		own = own || slices.Contains(svc.svc.Joined, at.Addr())
		if own {
			out = append(out, to)
		}
		return own
	})
	if len(state.Stale) == 0 && len(out) > 0 {
		state.Share = 0
	}
	return out
}

// selects says that labels hold all that a Service's selector asks for.
func selects(selector, labels model.Labels) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// untranslated says that no outcome of a walk came as far as a new destination.
func untranslated(r netfilter.Result) bool {
	return !slices.ContainsFunc(r.Outcomes, func(o netfilter.Outcome) bool { return o.Packet.DNAT })
}

func addrPort(p netfilter.Packet) netip.AddrPort { return netip.AddrPortFrom(p.Dst, p.DstPort) }

func (t *tracer) judgeProxy(s *model.Step, svc *backends, sent model.Flow) {
	state, at := s.Proxy, s.At
	vip := netip.AddrPortFrom(sent.Dst, sent.DstPort)
	s.Verdict, s.Decided = model.Drop, at
	switch {
	case state.Refused:
		s.Verdict = model.Reject
		s.Reason = fmt.Sprintf("%s refuses %s as if %s had no endpoint, and the API has %s: %s", at, vip, svc.ref(), plural(len(svc.list), "endpoint"), state.Rule)
	case state.Absent && t.x.nodeByIP[sent.Dst] != nil:
		s.Verdict = model.Reject
		s.Reason = fmt.Sprintf("no rule on %s translates port %d of %s: the node takes the packet for its own and refuses it", at, sent.DstPort, svc.ref())
	case state.Absent:
		s.Reason = fmt.Sprintf("no rule on %s translates %s of %s: packets to it leave the node as they are", at, vip, svc.ref())
	case len(state.Stale) > 0:
		s.Reason = fmt.Sprintf("%.0f %% of the connections from %s to %s go to %s, no endpoint of the Service: %s", state.Share*100, at, svc.ref(), strings.Join(state.Stale, ", "), state.Rule)
	default:
		s.Verdict, s.Decided = model.Pass, ""
		s.Reason = fmt.Sprintf("its rules (%s) lead to the endpoints that the API has", state.Mode)
		if len(state.Missing) > 0 {
			s.Reason = fmt.Sprintf("its rules lead to endpoints of the Service, but not to %s", strings.Join(state.Missing, ", "))
		}
	}
}

// compareProxy reads from a walk where connections to the Service go.
func compareProxy(f *nodeFilter, r netfilter.Result, svc *backends, orig model.Flow) *model.ProxyState {
	state := &model.ProxyState{Mode: proxyMode(f.rules)}
	want := map[string]bool{}
	for _, b := range svc.list {
		want[b.addr.String()] = true
	}
	got := map[string]bool{}
	untouched := 0
	for _, o := range r.Outcomes {
		to := netip.AddrPortFrom(o.Packet.Dst, o.Packet.DstPort).String()
		switch {
		case !o.Packet.DNAT && ofProxy(o.Decided) && (o.Verdict == netfilter.Reject || o.Verdict == netfilter.Drop):
			if strings.Contains(o.Decided.Rule.Text, orig.Dst.String()) || o.Verdict == netfilter.Reject && !generic(o.Decided) {
				state.Refused, state.Rule = true, o.Decided.String()
			}
			untouched++
		case !o.Packet.DNAT:
			untouched++
		case !o.Packet.Dst.IsValid() || got[to]:
		case want[to]:
			got[to] = true
		default:
			got[to] = true
			state.Stale = append(state.Stale, to)
			state.Rule = translation(o)
		}
		if o.Packet.DNAT && o.Packet.Dst.IsValid() && !want[to] {
			state.Share += o.Chance
		}
	}
	state.Absent = untouched == len(r.Outcomes) && !state.Refused && !blockedBefore(r)
	for _, b := range svc.list {
		if !got[b.addr.String()] && len(got) > 0 {
			state.Missing = append(state.Missing, b.addr.String())
		}
	}
	slices.Sort(state.Stale)
	if r.Order && state.Share > 0 { // it holds for all connections or for none: the walk shares them out between both orders
		state.Order, state.Share = true, min(1, 2*state.Share)
	}
	return state
}

// blockedBefore says that something else ended the packet before translation came to it.
func blockedBefore(r netfilter.Result) bool {
	return slices.ContainsFunc(r.Outcomes, func(o netfilter.Outcome) bool {
		return o.Verdict != netfilter.Accept && (o.Hook == netfilter.HookPrerouting || o.Hook == netfilter.HookOutput || o.Hook == netfilter.HookIngress || o.Verdict == netfilter.Unknown)
	})
}

// ofProxy says that kube-proxy wrote what decided.
func ofProxy(d netfilter.Decision) bool {
	return d.Rule != nil && (d.Table.Name == "kube-proxy" || strings.HasPrefix(d.Chain, "KUBE-"))
}

// generic are kube-proxy's rules that end what no Service has.
func generic(d netfilter.Decision) bool { return d.Chain == "cluster-ips-check" }

// translation is the rule that changed the destination.
func translation(o netfilter.Outcome) string {
	for i, line := range o.Trail {
		if strings.HasPrefix(line, "destination becomes") && i+1 < len(o.Trail) {
			return o.Trail[i+1]
		}
	}
	return ""
}

// proxyMode is how kube-proxy writes its rules, by its tables.
func proxyMode(rs *netfilter.RuleSet) string {
	mode := ""
	for _, t := range rs.Tables {
		switch {
		case t.Name == "kube-proxy" && t.Backend == netfilter.BackendNative:
			return "nftables"
		case t.Name == "nat" && t.Chains["KUBE-SERVICES"] != nil:
			mode = "iptables"
		}
	}
	return mode
}

// ProxyMode is how kube-proxy works on a node: by its rules where they were
// read, else as its ConfigMap or the cluster's document says, else by AKS's and kube-proxy's own
// default.
func (x *Index) ProxyMode(node string) string {
	if facts := x.w.Nodes[node]; facts != nil && hasIPVS(facts) {
		return "ipvs"
	}
	if f := x.filters[node]; f != nil && len(f.gaps) == 0 {
		if mode := proxyMode(f.rules); mode != "" {
			return mode
		}
	}
	if m := proxyConfigMode.FindStringSubmatch(x.w.Kube.ConfigMaps["configmap/kube-system/kube-proxy"]["config.conf"]); m != nil {
		return m[1]
	}
	if c := x.az.Cluster; c != nil && c.ProxyMode != "" {
		return strings.ToLower(c.ProxyMode)
	}
	return "iptables"
}

// proxyConfigMode is the mode in KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1).
var proxyConfigMode = regexp.MustCompile(`(?m)^mode:[ \t]*"?(iptables|ipvs|nftables)"?[ \t]*$`)
