package policy

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// netSet is one of Calico's network sets as selectors see it.
type netSet struct {
	*model.NetworkSet
	labels model.Labels // with those that Calico adds
}

func (c *compiler) networkSets() {
	for _, ref := range slices.Sorted(maps.Keys(c.w.Kube.NetworkSets)) {
		n := c.w.Kube.NetworkSets[ref]
		if n == nil {
			continue
		}
		labels := model.Labels{}
		maps.Copy(labels, n.Labels)
		labels[calicoNameLabel] = n.Ref.Name()
		if n.Namespace != "" {
			labels[calicoNamespace] = n.Namespace
		}
		c.sets = append(c.sets, netSet{n, labels})
	}
}

// matchingSets are the network sets that a side of a rule selects, as peers.
func (c *compiler) matchingSets(selector, namespaces, own string) []Peer {
	if len(c.sets) == 0 {
		return nil
	}
	e, err := parseExpr(selector)
	if err != nil {
		return nil // its pods say so already
	}
	var out []Peer
	for i := range c.sets {
		s := &c.sets[i]
		if !e.matches(s.labels) {
			continue
		}
		in, why := c.setInScope(s, namespaces, own)
		switch {
		case in == No:
		case in == Maybe || s.Unknown != "":
			out = append(out, Peer{Kind: Mystery, Why: first(why, string(s.Ref)+": "+s.Unknown)})
		default:
			if len(s.Nets) > 0 {
				out = append(out, Peer{Kind: Range, CIDRs: masked(s.Nets)})
			}
			if len(s.Domains) > 0 {
				out = append(out, Peer{Kind: Names, Names: slices.Clone(s.Domains)})
			}
		}
	}
	return out
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// setInScope says whether a set lies where a rule looks: sets of a namespace as
// its pods do; global ones where no namespace is asked for, or global() is.
func (c *compiler) setInScope(s *netSet, namespaces, own string) (Tri, string) {
	isGlobal := strings.ReplaceAll(namespaces, " ", "") == "global()"
	switch {
	case s.Namespace == "":
		return triOf(isGlobal || namespaces == "" && own == ""), ""
	case namespaces == "":
		return triOf(own == "" || own == s.Namespace), ""
	case isGlobal:
		return No, ""
	}
	sel, err := parseSelector(namespaces)
	ns := c.w.Kube.Namespaces[s.Namespace]
	if err != nil || ns == nil && !sel.Everything() {
		return Maybe, "whether " + string(s.Ref) + " is in a namespace that it asks for is not known"
	}
	if ns == nil {
		return Yes, ""
	}
	return triOf(sel.Matches(named(ns.Labels, s.Namespace))), ""
}

// serviceAddresses are the endpoints of a Service, as addresses.
func (c *compiler) serviceAddresses(ref model.Ref) []Peer {
	p := Peer{Kind: Range}
	for _, s := range c.endpoints(ref) {
		for _, e := range s.Endpoints {
			for _, a := range e.Addresses {
				if ip, err := netip.ParseAddr(a); err == nil {
					p.CIDRs = append(p.CIDRs, netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()))
				}
			}
		}
	}
	if len(p.CIDRs) > 0 {
		return []Peer{p}
	}
	if c.w.Read["endpointslice"] {
		return []Peer{{Kind: Nobody}}
	}
	return []Peer{{Kind: Mystery, Why: "it allows the endpoints of " + string(ref) + ", which were not read"}}
}

// servicePorts are the ports of a Service's endpoints.
func (c *compiler) servicePorts(ref model.Ref) []Port {
	var out []Port
	for _, s := range c.endpoints(ref) {
		for _, p := range s.Ports {
			out = append(out, Port{Protocol: protocol(p.Protocol), First: p.Port, Last: p.Port})
		}
	}
	return out
}

func (c *compiler) endpoints(ref model.Ref) []*model.EndpointSlice {
	var out []*model.EndpointSlice
	for _, key := range slices.Sorted(maps.Keys(c.w.Kube.EndpointSlices)) {
		s := c.w.Kube.EndpointSlices[key]
		if s != nil && model.NewRef("service", s.Namespace, s.Service) == ref {
			out = append(out, s)
		}
	}
	return out
}
