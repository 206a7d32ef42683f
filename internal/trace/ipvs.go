package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

func hasIPVS(facts *model.NodeFacts) bool {
	return slices.ContainsFunc(facts.Links, func(l model.Link) bool { return l.Name == "kube-ipvs0" })
}

// ipvs compares what kube-proxy wrote for the kernel's IPVS with the endpoints
// that the API has. What comes after it (masquerading by IP sets, the packet
// filter's OUTPUT and POSTROUTING) is not followed, and said to be a gap.
func (t *tracer) ipvs(s model.Step, facts *model.NodeFacts, svc *backends) {
	if facts.IPVS == nil {
		s.Reason = "kube-proxy runs in ipvs mode on this node (device kube-ipvs0): its tables are not in the packet filter, and were not read"
		s.Gaps = []model.Gap{{What: "ipvs tables of " + string(s.At), Ref: s.At, Reason: s.Reason, Permission: "ipvsadm -Ln on the node"}}
		t.add(s)
		return
	}
	s.Proxy = compareIPVS(facts.IPVS, svc, t.orig)
	t.judgeProxy(&s, svc, t.orig)
	if s.Proxy.Absent {
		s.Reason = fmt.Sprintf("no virtual server of ipvs on %s is for %s of %s", s.At, netip.AddrPortFrom(t.orig.Dst, t.orig.DstPort), svc.ref())
		if (&nodeFilter{facts: facts}).holds(t.orig.Dst) {
			s.Verdict = model.Reject
			s.Reason += ": the node takes the packet for its own and refuses it"
		}
	}
	s.Gaps = []model.Gap{{What: "what " + string(s.At) + " does to packets behind ipvs", Ref: s.At, Reason: "podpath follows ipvs to the endpoint it chooses; masquerading by IP sets and the packet filter behind it are not followed", Skipped: true}}
	t.add(s)
}

// compareIPVS finds the flow's virtual server. One of its servers that has weight
// 0 only ends what it has (kube-proxy's graceful termination).
func compareIPVS(servers []model.VirtualServer, svc *backends, orig model.Flow) *model.ProxyState {
	state := &model.ProxyState{Mode: "ipvs"}
	vip := netip.AddrPortFrom(orig.Dst, orig.DstPort)
	i := slices.IndexFunc(servers, func(v model.VirtualServer) bool { return v.Addr == vip && strings.EqualFold(v.Protocol, orig.Protocol) })
	if i < 0 {
		state.Absent = true
		return state
	}
	got, all := map[netip.AddrPort]bool{}, 0
	for _, r := range servers[i].Servers {
		if r.Weight <= 0 {
			continue
		}
		got[r.Addr] = true
		all += r.Weight
		if !slices.ContainsFunc(svc.list, func(b backend) bool { return b.addr == r.Addr }) {
			state.Stale = append(state.Stale, r.Addr.String())
			state.Share += float64(r.Weight)
		}
	}
	for _, b := range svc.list {
		if !got[b.addr] {
			state.Missing = append(state.Missing, b.addr.String())
		}
	}
	if state.Refused, state.Rule = all == 0, "ipvs "+servers[i].String(); all > 0 {
		state.Share /= float64(all)
	}
	return state
}

// ciliumServices is the step where Cilium works: it translates Services in place
// of kube-proxy, unless its configuration says that it leaves that to kube-proxy.
func (t *tracer) ciliumServices(s model.Step) {
	const tables = "cilium-dbg service list in the node's Cilium pod (create pods/exec in namespace kube-system)"
	word := strings.ToLower(t.x.w.Kube.ConfigMaps[ciliumConfig]["kube-proxy-replacement"])
	if word == "false" || word == "disabled" {
		s.Reason = "kube-proxy translates Services beside Cilium (kube-proxy-replacement: " + word + "), and its rules are not followed there"
		s.Gaps = []model.Gap{{What: "kube-proxy's rules beside Cilium on " + string(s.At), Ref: s.At, Reason: "podpath does not follow packets between Cilium's programs and the packet filter"}}
		t.add(s)
		return
	}
	s.Title = "Cilium's Services on " + string(s.At)
	s.Verdict, s.Reason = model.Pass, "Cilium translates Services in place of kube-proxy; its own tables are not read, and are taken to be as the API wants them"
	s.Gaps = []model.Gap{{What: "Cilium's Service tables on " + string(s.At), Ref: s.At, Reason: "podpath does not read them", Permission: tables}}
	t.add(s)
}

const ciliumConfig model.Ref = "configmap/kube-system/cilium-config"
