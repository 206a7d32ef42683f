package check

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
	"github.com/podpath/podpath/internal/trace"
)

var policyLocksOutDNS = Check{
	ID: "policy-locks-out-dns",
	Doc: `A policy keeps pods from asking the cluster's DNS

Egress policies that select the pods allow neither UDP to CoreDNS's pods on their port (or a policy of kube-system refuses it there). On nodes of a pool with AKS LocalDNS, pods ask 169.254.10.11
instead, which is no pod: a selector of CoreDNS's pods does not let through to it.
Every lookup of these pods waits until its time-out, so every connection that they open by a name fails.

Look-alikes: a workload that is meant to open no connection at all needs no names; where everything is denied to some workloads of a
namespace only, this is listed as worth a look. The same for pods that may reach nothing but addresses.

Mend it by allowing UDP and TCP 53 to the pods of kube-system with k8s-app=kube-dns, and with LocalDNS to 169.254.10.11/32.
`,
	Group: Policies, Hop: model.HopPolicy, Needs: []string{"pod", "namespace", "networkpolicy", "service"},
	Source: "https://kubernetes.io/docs/concepts/services-networking/network-policies/#default-deny-all-egress-traffic",
	Covers: []string{"np-egress-blocks-dns", "np-default-deny-egress"},
	Run: func(p *Pass) {
		if summary(p.World).Policies == 0 {
			return
		}
		servers := p.nameServers()
		if len(servers) == 0 {
			return
		}
		found := map[model.Ref]*lockout{}
		classes := map[string]*model.Pod{}
		verdict := map[string]policy.Decision{}
		for _, pod := range values(p.World.Kube.Pods) {
			if !asksNames(pod) {
				continue
			}
			class := pod.Namespace + "\x00" + pod.ServiceAccount + "\x00" + pod.Node + "\x00" + labelText(pod.Labels)
			if classes[class] == nil {
				classes[class] = pod
				verdict[class] = p.asks(pod, servers)
			}
			if d := verdict[class]; d.Verdict == model.Drop || d.Verdict == model.Reject {
				if found[d.Decided] == nil {
					found[d.Decided] = &lockout{decision: d}
				}
				found[d.Decided].pods = append(found[d.Decided].pods, pod)
			}
		}
		for _, ref := range slices.Sorted(maps.Keys(found)) {
			p.Report(p.lockedOut(ref, found[ref]))
		}
	},
}

// lockout are the pods that one policy keeps from the cluster's DNS.
type lockout struct {
	decision policy.Decision
	pods     []*model.Pod
}

// asksNames says that a pod sends its lookups to the cluster's DNS and that policies apply to it.
func asksNames(pod *model.Pod) bool {
	return pod.Phase == "Running" && !pod.HostNetwork && !pod.Deleting && len(pod.IPs) > 0 && cmp.Or(pod.DNSPolicy, "ClusterFirst") == "ClusterFirst"
}

// server is a pod of the cluster's DNS with the address and port that it answers at.
type server struct {
	pod  *model.Pod
	addr netip.AddrPort
}

// nameServers are the endpoints of the cluster's DNS Service.
func (p *Pass) nameServers() []server {
	var out []server
	for _, s := range values(p.World.Kube.Services) {
		if !p.clusterDNS(s) {
			continue
		}
		for _, at := range trace.Endpoints(p.World, s, model.Flow{Protocol: "udp", DstPort: 53}) {
			if pod := p.index().Policies().PodAt(at.Addr()); pod != nil {
				out = append(out, server{pod, at})
			}
		}
	}
	return out
}

// asks is what policies do to a pod's queries: to those to the address on its node,
// where its pool has LocalDNS (a selector of the DNS pods does not let through to
// it); else what they do to those to the
// server that they let it reach best.
func (p *Pass) asks(pod *model.Pod, servers []server) policy.Decision {
	x := p.index().Policies()
	if a := p.World.NodeDNS(pod.Node); a.IsValid() {
		return x.Egress(pod, model.Flow{Protocol: "udp", From: pod.Ref(), Src: pod.IPs[0], Dst: a, DstPort: 53})
	}
	var worst policy.Decision
	for _, s := range servers {
		f := model.Flow{Protocol: "udp", From: pod.Ref(), Src: pod.IPs[0], To: s.pod.Ref(), Dst: s.addr.Addr(), DstPort: s.addr.Port()}
		d := x.Egress(pod, f)
		if d.Verdict == model.Pass {
			d = x.Ingress(s.pod, f)
		}
		if d.Verdict != model.Drop && d.Verdict != model.Reject {
			return d
		}
		worst = d
	}
	return worst
}

func (p *Pass) lockedOut(ref model.Ref, l *lockout) Finding {
	var owners []string
	for _, pod := range l.pods {
		if o := string(ownerOf(pod)); !slices.Contains(owners, o) {
			owners = append(owners, o)
		}
	}
	f := Finding{
		Severity: Broken, Subject: ref, Concerns: len(l.pods),
		Title:    fmt.Sprintf("%s %s keeps %s from the cluster's DNS: %s", kindName(ref), strings.Join(ref.Parts(), "/"), count(len(l.pods), "pod"), some(owners)),
		Summary:  "Every lookup of these pods waits until its time-out, so whatever they open by a name fails.",
		Evidence: []diagnose.Evidence{kube(l.decision.Reason, ref), kube("it concerns "+all(owners), l.pods[0].Ref())},
		Fix: []diagnose.Command{{
			Text:   "Allow egress to UDP and TCP 53 of the pods with k8s-app=kube-dns in kube-system",
			Line:   diagnose.KubectlFor(ref, "edit"),
			Verify: "podpath why " + diagnose.Quote(l.pods[0].Namespace+"/"+l.pods[0].Name) + " kube-system/svc/kube-dns --protocol udp",
		}},
		Gaps: l.decision.Gaps,
	}
	if a := p.World.NodeDNS(l.pods[0].Node); a.IsValid() {
		f.Evidence = append(f.Evidence, kube(fmt.Sprintf("their node's pool has LocalDNS, so they ask %s, which no selector of pods holds", a), l.pods[0].Ref()))
		f.Fix[0].Text = fmt.Sprintf("Allow egress to UDP and TCP 53 of %s/32 (an ipBlock), and of the pods with k8s-app=kube-dns", a)
	}
	if !p.wantsNames(l) {
		f.Confidence = diagnose.Possible
		f.Evidence = append(f.Evidence, kube("they may reach nothing else by name either, so this may be meant"))
	}
	return f
}

// wantsNames says that pods that cannot ask for names are meant to use them:
// something that has a name is allowed to them, or all workloads of their
// namespace are cut off at once, which nobody's workloads are made for.
func (p *Pass) wantsNames(l *lockout) bool {
	if l.decision.Decided.Kind() == "networkpolicy" && l.decision.Decided.Part(0) != l.pods[0].Namespace {
		return true // refused at the DNS server's side: the pods themselves may
	}
	cut := map[string]map[model.Ref]bool{}
	for _, pod := range l.pods {
		for _, pol := range p.index().Policies().Selecting(pod, false) {
			if allowsNamed(pol.Egress) {
				return true
			}
		}
		if cut[pod.Namespace] == nil {
			cut[pod.Namespace] = map[model.Ref]bool{}
		}
		cut[pod.Namespace][ownerOf(pod)] = true
	}
	for ns, owners := range cut {
		if len(owners) >= 2 && p.allCut(ns, owners) {
			return true
		}
	}
	return false
}

// allCut says that every workload of a namespace that would ask for names is among those.
func (p *Pass) allCut(ns string, owners map[model.Ref]bool) bool {
	for _, pod := range p.pods[ns] {
		if asksNames(pod) && !owners[ownerOf(pod)] {
			return false
		}
	}
	return true
}

// allowsNamed says that a policy allows connections to something that has a
// name: anything but bare addresses.
func allowsNamed(side *policy.Side) bool {
	if side == nil {
		return false
	}
	for i := range side.Rules {
		r := &side.Rules[i]
		if r.Action != policy.Allow {
			continue
		}
		if len(r.Peers) == 0 || slices.ContainsFunc(r.Peers, func(x policy.Peer) bool { return x.Kind != policy.Range && x.Kind != policy.Nobody }) {
			return true
		}
	}
	return false
}
