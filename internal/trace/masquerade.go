package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// masqConfig is what ip-masq-agent does: destinations in keep leave with the
// pod's own address, all others with the node's.
type masqConfig struct {
	keep   []keepRange
	found  bool // at least one configuration of the agent was read
	cloud  bool // the provider's own part is among them
	linked bool // masqLinkLocal
	errs   []string
}

type keepRange struct {
	prefix netip.Prefix
	ref    model.Ref // the ConfigMap that holds it
}

// masqMaps are the ConfigMaps that AKS projects into the agent: its own, and the customer's.
var masqMaps = []model.Ref{
	"configmap/kube-system/azure-ip-masq-agent-config-reconciled",
	"configmap/kube-system/azure-ip-masq-agent-config",
	"configmap/kube-system/ip-masq-agent",
}

// masqFrom merges the agent's configurations as it does: ranges are appended,
// switches or-ed; files whose name does not start with ip-masq are not read.
func masqFrom(w *model.World) masqConfig {
	var c masqConfig
	for _, ref := range masqMaps {
		data, ok := w.Kube.ConfigMaps[ref]
		if !ok {
			continue
		}
		for _, key := range sorted(data) {
			if !strings.HasPrefix(key, "ip-masq") && key != "config" {
				continue
			}
			c.found = true
			c.cloud = c.cloud || ref == masqMaps[0]
			c.parse(ref, data[key])
		}
	}
	return c
}

var (
	cidrWord = regexp.MustCompile(`[0-9A-Fa-f.:]+/[0-9]+`)
	linkWord = regexp.MustCompile(`(?i)["']?masqLinkLocal["']?\s*:\s*["']?true`)
)

// parse reads the agent's YAML or JSON. The only list in it is
// nonMasqueradeCIDRs, so every CIDR after that key is one of its entries.
func (c *masqConfig) parse(ref model.Ref, text string) {
	c.linked = c.linked || linkWord.MatchString(text)
	var lines []string
	for line := range strings.Lines(text) {
		if i := strings.Index(line, "#"); i >= 0 {
			line = line[:i] + "\n"
		}
		lines = append(lines, line)
	}
	_, rest, ok := strings.Cut(strings.Join(lines, ""), "nonMasqueradeCIDRs")
	if !ok {
		return
	}
	for _, word := range cidrWord.FindAllString(rest, -1) {
		p, err := netip.ParsePrefix(word)
		if err != nil {
			c.errs = append(c.errs, fmt.Sprintf("%s: %q is no CIDR", ref, word))
			continue
		}
		c.keep = append(c.keep, keepRange{p.Masked(), ref})
	}
}

// agentDefaults is what the agent keeps when no configuration is there.
var agentDefaults = parsePrefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")

var linkLocal = netip.MustParsePrefix("169.254.0.0/16")

// keeps says whether packets to dst leave with the pod's own address, and by
// which configuration ("" is the network plugin itself).
func (x *Index) keeps(net podNet, dst netip.Addr) (bool, model.Ref, string) {
	if net == netPodSubnet {
		return true, "", "pods of a pod subnet keep their address"
	}
	for _, k := range x.masq.keep {
		if dst.IsValid() && k.prefix.Contains(dst) || !dst.IsValid() && k.prefix.Bits() == 0 {
			return true, k.ref, fmt.Sprintf("nonMasqueradeCIDRs of %s holds %s", k.ref, k.prefix)
		}
	}
	if !dst.IsValid() {
		return false, "", "no configuration exempts the internet"
	}
	if linkLocal.Contains(dst) {
		return !x.masq.linked, "", "link-local addresses are exempt unless masqLinkLocal is set"
	}
	if x.masq.cloud {
		return false, "", "it is in no nonMasqueradeCIDRs"
	}
	if net == netOverlay || net == netKubenet {
		if p, ok := holder(x.podCIDRs, dst); ok {
			return true, "", fmt.Sprintf("%s is the pod range %s", dst, p)
		}
		return false, "", "it is outside the pod range"
	}
	if !x.masq.found {
		if p, ok := holder(agentDefaults, dst); ok {
			return true, "", fmt.Sprintf("%s is exempt by default", p)
		}
	}
	for _, id := range sorted(x.vnets) {
		if p, ok := holder(x.vnets[id].Prefixes, dst); ok && net == netNodeSubnet {
			return true, "", fmt.Sprintf("%s is in VNet range %s", dst, p)
		}
	}
	return false, "", "it is in no nonMasqueradeCIDRs"
}

// masquerade decides which source address leaves the node.
func (t *tracer) masquerade(svc *backends, to *backend) {
	p := t.org.pod
	if p == nil || p.HostNetwork {
		return
	}
	if svc != nil && to != nil && svc.masq {
		s := model.Step{Hop: model.HopMasquerade, At: t.nodeRef(), Title: fmt.Sprintf("source address on %s", t.nodeRef()), Verdict: model.Pass}
		t.nodeAddress(&s)
		s.Reason = fmt.Sprintf("kube-proxy gives it %s, the node's address, because it was sent to %s, an address of the Service for outside", addrText(s.Out.Src), t.orig.Dst)
		t.add(s)
		return
	}
	if t.sameNode() || t.nodeLocal() {
		return
	}
	x, dst := t.x, t.flow.Dst
	net := x.podNetOf(t.org.node, t.org.addr)
	if net == netOwn {
		t.ownMasquerade()
		return
	}
	s := model.Step{Hop: model.HopMasquerade, At: t.nodeRef(), Title: fmt.Sprintf("source address on %s", t.nodeRef())}
	if net == netUnknown && x.podByIP[dst] != nil {
		s.Verdict, s.Reason = model.Pass, fmt.Sprintf("it keeps %s: Kubernetes wants pods to see each other's own addresses", t.flow.Src)
		t.add(s)
		return
	}
	if net == netUnknown {
		s.Reason = "the pod network's model is not known, so neither is the address that leaves the node"
		t.nodeAddress(&s)
		t.add(s)
		return
	}
	keep, ref, why := x.keeps(net, dst)
	if t.translatedByNode(&s, keep) {
		t.add(s)
		return
	}
	s.Verdict, s.Decided = model.Pass, ref
	s.Trail = append([]string{"pod network: " + string(net)}, x.masq.errs...)
	if gap, missing := x.masqUnread(); missing && net != netPodSubnet {
		s.Verdict, s.Gaps = model.Unknown, []model.Gap{gap}
		why += "; but not all of the agent's ConfigMaps were read"
	}
	if !keep {
		t.nodeAddress(&s)
		s.Reason = fmt.Sprintf("it leaves as %s, the node's address: %s", addrText(s.Out.Src), why)
		t.add(s)
		return
	}
	s.Reason = fmt.Sprintf("it leaves as %s, the pod's own address: %s", t.flow.Src, why)
	if !net.inVNet() && x.podByIP[dst] == nil && x.nodeByIP[dst] == nil {
		t.bare = &bareSource{cmp.Or(ref, t.nodeRef()), why}
	} else if net == netNodeSubnet && ref != "" {
		t.bare = &bareSource{ref, why}
	}
	t.podTranslated(&s)
	t.add(s)
}

// masqUnread says whether the agent may have configuration that was not read.
func (x *Index) masqUnread() (model.Gap, bool) {
	if x.read("configmap") {
		return model.Gap{}, false
	}
	recorded := false
	for _, g := range x.w.Gaps {
		if slices.Contains(masqMaps, g.Ref) {
			return g, true
		}
		recorded = recorded || g.Ref.Kind() == "configmap"
	}
	if recorded && x.masq.found {
		return model.Gap{}, false // others were refused, the agent's were not
	}
	return x.gap("configmap", "ConfigMaps of ip-masq-agent", masqMaps[1], "get configmaps in namespace kube-system"), true
}

// nodeAddress rewrites the source to the node's address.
func (t *tracer) nodeAddress(s *model.Step) {
	s.Out = t.flow
	if t.org.node != nil {
		s.Out.Src = sameFamily(t.org.node.InternalIPs, t.flow.Dst)
		return
	}
	s.Out.Src = netip.Addr{}
}

func addrText(a netip.Addr) string {
	if a.IsValid() {
		return a.String()
	}
	return "an address that is not known"
}
