package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/corefile"
	"github.com/podpath/podpath/internal/model"
)

// kubernetes is what CoreDNS's plugin of that name answers: Services by
// NAME.NAMESPACE.svc.ZONE (https://github.com/kubernetes/dns/blob/master/docs/specification.md).
func (n *naming) kubernetes(name string) {
	s := model.Step{Title: "Services of the cluster", Verdict: model.Pass}
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	i := slices.Index(labels, "svc")
	if i < 0 || i > 4 {
		s.Reason = name + " is no name of a Service"
		n.step(s)
		if i < 0 && !slices.Contains(labels, "pod") && !strings.HasSuffix(name, ".arpa.") {
			n.end(model.NXDomain)
		}
		return
	}
	if i < 2 {
		s.Reason = name + " names no Service: NAME.NAMESPACE.svc is wanted"
		n.step(s)
		n.end(model.NXDomain)
		return
	}
	ns, svcName := labels[i-1], labels[i-2]
	ref := model.NewRef("service", ns, svcName)
	svc := n.x.w.Kube.Services[ref]
	switch {
	case svc == nil && (n.x.w.Read["service"] || n.x.w.Read["service/"+ns]):
		s.Decided, s.Reason = model.NewRef("namespace", ns), fmt.Sprintf("namespace %s has no Service %s", ns, svcName)
		n.step(s)
		n.end(model.NXDomain)
		return
	case svc == nil:
		s.Verdict, s.Reason = model.Unknown, "the Services of namespace "+ns+" were not read"
		s.Gaps = []model.Gap{n.x.gap("service", "Services of namespace "+ns, "service", "list services in namespace "+ns)}
		n.step(s)
		return
	}
	s.At, s.Decided, s.Title = ref, ref, "Service "+ns+"/"+svcName
	switch {
	case svc.ExternalName != "":
		s.Reason = "of type ExternalName: " + svc.ExternalName
		n.step(s)
		n.corefileAgain(svc.ExternalName)
		return
	case svc.Headless || len(svc.ClusterIPs) == 0:
		s.Reason = "it has no address of its own; its endpoints' are answered"
		n.step(s)
		n.headless(ref)
		return
	}
	s.Reason = "its address is " + texts(svc.ClusterIPs)
	n.step(s)
	n.end(model.OK, strings.Split(texts(svc.ClusterIPs), ", ")...)
}

func (n *naming) corefileAgain(name string) {
	if n.depth++; n.depth > maxChain {
		n.end(model.ServFail)
		return
	}
	n.corefile(corefile.Absolute(name))
}

func (n *naming) headless(ref model.Ref) {
	var out []string
	for _, slice := range n.x.slices[ref] {
		for _, e := range slice.Endpoints {
			if e.Ready {
				out = append(out, e.Addresses...)
			}
		}
	}
	switch {
	case len(out) > 0:
		n.end(model.OK, out...)
	case n.x.w.Read["endpointslice"]:
		n.end(model.NXDomain)
	}
}

// azure is Azure's resolver: the linked private zone with the longest name that
// holds the name decides, and what it does not have does not exist, unless its
// link falls back to the internet; then public DNS
// (https://learn.microsoft.com/azure/dns/private-dns-overview).
func (n *naming) azure(name string) {
	at := model.NewRef("host", wireServer.String())
	vnet := n.x.nodesVNet()
	if vnet == nil || !n.x.w.Read["privatezone"] && len(n.x.az.PrivateZones) == 0 {
		n.step(model.Step{
			At: at, Title: "Azure's resolver " + wireServer.String(), Verdict: model.Unknown, Reason: "which private zones the VNet sees was not read",
			Gaps: []model.Gap{n.x.gap("privatezone", "private DNS zones", "privatezone", "Microsoft.Network/privateDnsZones/read")},
		})
		return
	}
	var trail []string
	var zone *model.PrivateZone
	for _, z := range ZonesFor(n.x.w, name) {
		if !z.LinkedTo(vnet.ID) {
			trail = append(trail, fmt.Sprintf("private zone %s is not linked to VNet %s: Azure's resolver does not look into it", z.Name, vnet.Name))
			continue
		}
		if zone == nil {
			zone = z
		}
	}
	if zone == nil {
		n.step(model.Step{
			At: at, Title: "Azure's resolver " + wireServer.String(), Verdict: model.Unknown, Trail: trail,
			Reason: "no private zone that the VNet sees holds the name, so public DNS does: only asking tells",
		})
		return
	}
	n.zone(name, zone, trail)
}

// zone is what a linked private zone answers.
func (n *naming) zone(name string, z *model.PrivateZone, trail []string) {
	ref := model.NewRef("privatezone", z.Name)
	s := model.Step{At: ref, Decided: ref, Title: "private zone " + z.Name, Verdict: model.Pass, Trail: trail}
	if z.Records == nil {
		s.Verdict, s.Reason = model.Unknown, "its records were not read"
		s.Gaps = []model.Gap{n.x.gap("privatezone", "records of private zone "+z.Name, ref, "Microsoft.Network/privateDnsZones/ALL/read")}
		n.step(s)
		return
	}
	record, values, exists := ZoneRecord(z, name, "A")
	if record == "" {
		if record, values, exists = ZoneRecord(z, name, "CNAME"); record != "" {
			s.Decided, s.Reason = model.NewRef("privatezone", z.Name, record), fmt.Sprintf("record %s CNAME %s", record, strings.Join(values, " "))
			n.step(s)
			if n.depth++; len(values) == 1 && n.depth <= maxChain {
				n.azure(corefile.Absolute(values[0]))
			}
			return
		}
	}
	switch {
	case record != "":
		s.Decided, s.Reason = model.NewRef("privatezone", z.Name, record), fmt.Sprintf("record %s A %s", record, strings.Join(values, " "))
		n.step(s)
		n.end(model.OK, values...)
	case exists:
		s.Reason = "it has the name, without an address"
		n.step(s)
		n.end(model.NoData)
	default:
		s.Reason = "it has no record of the name, and hides what public DNS has"
		n.step(s)
		n.end(model.NXDomain)
	}
}

// ZonesFor are the private zones that were read and hold a name, the narrowest first.
func ZonesFor(w *model.World, name string) []*model.PrivateZone {
	name = corefile.Absolute(name)
	var out []*model.PrivateZone
	for _, id := range sorted(w.Azure.PrivateZones) {
		if z := w.Azure.PrivateZones[id]; z != nil && z.Name != "" && corefile.In(name, corefile.Absolute(z.Name)) {
			out = append(out, z)
		}
	}
	slices.SortStableFunc(out, func(a, b *model.PrivateZone) int { return len(b.Name) - len(a.Name) })
	return out
}

// ZoneRecord finds a name's record set of a type in a zone, a wildcard's too.
// exists says that the name exists with any type.
func ZoneRecord(z *model.PrivateZone, name, kind string) (record string, values []string, exists bool) {
	label := strings.TrimSuffix(strings.TrimSuffix(corefile.Absolute(name), corefile.Absolute(z.Name)), ".")
	if label == "" {
		label = "@"
	}
	has := func(record string) bool {
		found := false
		for key := range z.Records {
			found = found || strings.HasPrefix(strings.ToLower(key), record+" ")
		}
		return found
	}
	if has(label) {
		for key, v := range z.Records {
			if strings.EqualFold(key, label+" "+kind) {
				return label, v, true
			}
		}
		return "", nil, true
	}
	if label == "@" {
		return "", nil, true
	}
	for rest := label; ; {
		_, after, ok := strings.Cut(rest, ".")
		wild := "*." + after
		if !ok {
			wild = "*"
		}
		for key, v := range z.Records {
			if strings.EqualFold(key, wild+" "+kind) {
				return wild, v, true
			}
		}
		if !ok {
			return "", nil, false
		}
		rest = after
	}
}
