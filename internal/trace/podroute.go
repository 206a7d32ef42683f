package trace

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// localNetworks looks for a network on this side that shadows the destination:
// the pod range, the Service range, or a bridge of the node. The node then
// keeps the packet, and the host that was meant never sees it.
func (t *tracer) localNetworks(svc *backends, _ *backend) {
	if svc != nil || !t.flow.Dst.IsValid() {
		return
	}
	x, dst := t.x, t.flow.Dst
	if x.podByIP[dst] != nil || x.nodeByIP[dst] != nil {
		return
	}
	s := model.Step{Hop: model.HopCNI, At: t.nodeRef(), Title: "pod and Service networks"}
	switch {
	case t.inPodRange(&s, dst), t.inServiceRange(&s, dst), t.onBridge(&s, dst), t.rangesUnread(&s, dst):
	default:
		s.Verdict, s.Reason = model.Pass, fmt.Sprintf("%s is in no network of the cluster's own", dst)
	}
	t.add(s)
}

// outsideName says that the flow asks for a name that is none of the cluster's own.
func (t *tracer) outsideName() bool {
	host := t.flow.Host
	if host == "" || strings.HasSuffix(host, ".cluster.local") || strings.HasSuffix(host, ".svc") || !strings.Contains(host, ".") {
		return false
	}
	name, ns, _ := strings.Cut(host, ".")
	return name == "" || t.x.w.Kube.Namespaces[ns] == nil // SERVICE.NAMESPACE is the cluster's own
}

// rangesUnread says that the cluster's ranges are not known, and that a private
// address outside its VNets may be in one of them.
func (t *tracer) rangesUnread(s *model.Step, dst netip.Addr) bool {
	x := t.x
	if !x.az.Found && dst.IsPrivate() && (!x.read("service") || !x.read("pod")) {
		s.Reason = fmt.Sprintf("not all pods and Services were read, so whether %s is one of theirs is not known", dst)
		s.Gaps = []model.Gap{x.gap("service", "services of the cluster", "", "list services (cluster scope)")}
		t.unsure = fmt.Sprintf("%s may be in the cluster's own pod or Service range", dst)
		return true
	}
	if !x.az.Found || x.az.Cluster != nil || !dst.IsPrivate() {
		return false
	}
	for _, v := range x.vnets {
		if _, in := holder(v.Prefixes, dst); in {
			return false
		}
	}
	s.Reason = fmt.Sprintf("the cluster was not read, so whether %s is in its pod or Service range is not known", dst)
	s.Gaps = []model.Gap{x.gap("cluster", "managed cluster", "", "Microsoft.ContainerService/managedClusters/read")}
	t.unsure = fmt.Sprintf("%s may be in the cluster's own pod or Service range", dst)
	return true
}

func (t *tracer) nodeRef() model.Ref {
	if t.org.node != nil {
		return model.NewRef("node", t.org.node.Name)
	}
	if t.org.pod != nil && t.org.pod.Node != "" {
		return model.NewRef("node", t.org.pod.Node)
	}
	return "node"
}

// clusterRef is what to change about an address range: the cluster.
func (x *Index) clusterRef() model.Ref {
	if c := x.az.Cluster; c != nil {
		return model.NewRef("cluster", c.Name)
	}
	return "cluster"
}

func (t *tracer) inPodRange(s *model.Step, dst netip.Addr) bool {
	p, ok := holder(t.x.podCIDRs, dst)
	if !ok {
		return false
	}
	if !t.x.read("pod") && !t.outsideName() {
		s.Reason = fmt.Sprintf("%s is inside the pod range %s, and not all pods were read", dst, p)
		t.unsure = fmt.Sprintf("%s may be a pod that was not read", dst)
		s.Gaps = []model.Gap{t.x.gap("pod", "pods of the cluster", "", "list pods (cluster scope)")}
		return true
	}
	s.Verdict, s.Decided = model.Drop, t.x.clusterRef()
	s.Reason = fmt.Sprintf("%s is inside the pod range %s and no pod has it: the node keeps the packet in the pod network", dst, p)
	t.overlapTrail(s, dst, "pod range", p)
	return true
}

func (t *tracer) inServiceRange(s *model.Step, dst netip.Addr) bool {
	p, ok := holder(t.x.serviceCIDRs, dst)
	if !ok {
		return false
	}
	if !t.x.read("service") && !t.outsideName() {
		s.Reason = fmt.Sprintf("%s is inside the Service range %s, and not all Services were read", dst, p)
		t.unsure = fmt.Sprintf("%s may be a Service that was not read", dst)
		s.Gaps = []model.Gap{t.x.gap("service", "services of the cluster", "", "list services (cluster scope)")}
		return true
	}
	s.Verdict, s.Decided = model.Drop, t.x.clusterRef()
	s.Reason = fmt.Sprintf("%s is inside the Service range %s and no Service has it: it never reaches a host outside", dst, p)
	t.overlapTrail(s, dst, "Service range", p)
	return true
}

// overlapTrail says which other network holds the address as well.
func (t *tracer) overlapTrail(s *model.Step, dst netip.Addr, what string, p netip.Prefix) {
	if t.flow.Host != "" && !strings.HasSuffix(t.flow.Host, ".cluster.local") {
		s.Trail = append(s.Trail, fmt.Sprintf("%s resolves to %s: an outside host was meant", t.flow.Host, dst))
	}
	for _, id := range sorted(t.x.vnets) {
		v := t.x.vnets[id]
		if q, ok := holder(v.Prefixes, dst); ok {
			s.Trail = append(s.Trail, fmt.Sprintf("%s %s overlaps VNet %s %s", what, p, v.Name, q))
		}
		for _, peer := range v.Peerings {
			if q, ok := holder(peer.RemotePrefixes, dst); ok {
				s.Trail = append(s.Trail, fmt.Sprintf("%s %s overlaps peered network %s %s", what, p, lastOf(peer.RemoteVNetID), q))
			}
		}
	}
}

// onBridge finds a route of the node itself that leads to something other than
// its uplink.
func (t *tracer) onBridge(s *model.Step, dst netip.Addr) bool {
	facts := t.facts()
	if facts == nil {
		return false
	}
	r, ok := kernelRoute(facts, t.flow.Src, dst, "")
	if !ok || r.Gw.IsValid() || r.Dst.Bits() == 0 {
		return false
	}
	kind := ""
	for _, l := range facts.Links {
		if l.Name == r.Dev {
			kind = l.Kind
		}
	}
	if kind != "bridge" && !strings.HasPrefix(r.Dev, "docker") && !strings.HasPrefix(r.Dev, "cni") && !strings.HasPrefix(r.Dev, "cbr") {
		return false
	}
	s.Verdict, s.Decided = model.Drop, s.At
	s.Reason = fmt.Sprintf("%s routes %s to its own device %s: %s is never sent to the network", s.At, r.Dst, r.Dev, dst)
	return true
}

func holder(prefixes []netip.Prefix, a netip.Addr) (netip.Prefix, bool) {
	for _, p := range prefixes {
		if p.Contains(a) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
