package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// inTag says whether an address is in a service tag, seen from a subnet. Which
// public addresses belong to a service (Storage, Sql, AzureCloud.region, …)
// changes weekly and is in no document that podpath reads: those are maybe.
func (x *Index) inTag(tag string, a netip.Addr, f model.Flow, at *model.Subnet, dst bool) (tri, string) {
	switch strings.ToLower(tag) {
	case "virtualnetwork":
		return x.inVirtualNetwork(a, at)
	case "internet":
		if !a.IsValid() {
			return yes, ""
		}
		in, why := x.inVNetSpace(a, at)
		if in == maybe {
			return maybe, why
		}
		if in == no && !privateAddr(a) && !platformAddr(a) {
			if r := x.routingOf(at); r != nil && r.userHolds(a) > 0 || x.routedElsewhere(at, a) {
				return maybe, "a user-defined route for it may take it out of tag Internet"
			}
			return yes, ""
		}
		return no, ""
	case "azureloadbalancer":
		return triOf(a == wireServer), ""
	case "azureplatformdns":
		return triOf(a == wireServer && f.DstPort == 53), ""
	case "azureplatformimds":
		return triOf(a == imds), ""
	case "azureplatformlkm":
		return triOf(f.DstPort == 1688).and(maybe), "the addresses of tag " + tag + " are not known"
	}
	if a.IsValid() && (privateAddr(a) || reserved(a)) {
		return no, ""
	}
	if dst && f.Host != "" && !microsoftName(f.Host) && !strings.HasPrefix(strings.ToLower(tag), "azurecloud") && !fronted(tag) {
		return no, "" // the addresses of a Microsoft service, and a name that is not Microsoft's
	}
	return maybe, fmt.Sprintf("which addresses belong to service tag %s is not known", tag)
}

// fronted services answer under their customers' own names.
func fronted(tag string) bool {
	name, _, _ := strings.Cut(strings.ToLower(tag), ".")
	return slices.Contains([]string{"appservice", "azurefrontdoor", "apimanagement", "storage", "azureactivedirectorydomainservices"}, name)
}

// inVirtualNetwork is the tag VirtualNetwork: the VNet, its peers, what a
// gateway knows, the platform's address, the pods, and prefixes used in
// user-defined routes, where the documentation warns of default routes.
func (x *Index) inVirtualNetwork(a netip.Addr, at *model.Subnet) (tri, string) {
	if !a.IsValid() {
		if r := x.routingOf(at); r != nil && len(r.user) > 0 {
			return maybe, "VirtualNetwork can include prefixes of user-defined routes"
		}
		return no, ""
	}
	if a == wireServer {
		return yes, ""
	}
	in, why := x.inVNetSpace(a, at)
	if in != no {
		return in, why
	}
	// The pods' own range counts, or the default rules would cut every overlay and kubenet cluster in two.
	if containsAddr(x.podCIDRs, a) {
		return yes, ""
	}
	if r := x.routingOf(at); r != nil {
		if !r.complete {
			return maybe, "VirtualNetwork includes prefixes of user-defined routes, and the route table was not read"
		}
		switch r.userHolds(a) {
		case -1:
		case 0:
			return maybe, "VirtualNetwork can include 0.0.0.0/0 where a user-defined route uses it"
		default:
			return yes, ""
		}
	}
	if x.routedElsewhere(at, a) {
		return maybe, "VirtualNetwork includes prefixes of user-defined routes, and whether those of other subnets count is not documented"
	}
	return no, ""
}

// routedElsewhere says whether a user-defined route of another subnet of the same
// virtual network holds an address: the tags count "prefixes used on user-defined
// routes", and Azure's documentation does not say on whose.
func (x *Index) routedElsewhere(at *model.Subnet, a netip.Addr) bool {
	v := x.vnetOf(at)
	if v == nil {
		return false
	}
	for _, r := range x.routing {
		if r.subnet != at && x.vnetOf(r.subnet) == v && r.userHolds(a) > 0 {
			return true
		}
	}
	return false
}

// inVNetSpace is the VNet of a subnet, its connected peers and what its gateway has learned.
func (x *Index) inVNetSpace(a netip.Addr, at *model.Subnet) (tri, string) {
	if at == nil {
		return maybe, "the subnet is not known"
	}
	v := x.vnetOf(at)
	if v == nil {
		if s, ok := x.subnets.Lookup(a); ok && strings.EqualFold(s.VNetID, at.VNetID) {
			return yes, ""
		}
		if privateAddr(a) {
			return maybe, "the address space of the VNet was not read"
		}
		return no, ""
	}
	if containsAddr(v.Prefixes, a) {
		return yes, ""
	}
	for i := range v.Peerings {
		if p := &v.Peerings[i]; connected(p) && p.AllowAccess && containsAddr(p.RemotePrefixes, a) {
			return yes, ""
		}
	}
	for _, g := range x.gatewaysOf(v) {
		if g.Learned == nil && privateAddr(a) {
			return maybe, "what gateway " + g.Name + " has learned was not read"
		}
		for _, p := range g.Learned {
			if p.Bits() > 0 && p.Contains(a) {
				return yes, ""
			}
		}
	}
	return no, ""
}

func (x *Index) vnetOf(s *model.Subnet) *model.VNet {
	if s == nil {
		return nil
	}
	id := strings.ToLower(s.VNetID)
	if id == "" {
		id, _, _ = strings.Cut(strings.ToLower(s.ID), "/subnets/")
	}
	return x.vnets[id]
}

func (x *Index) routingOf(s *model.Subnet) *routing {
	if s == nil {
		return nil
	}
	return x.routing[strings.ToLower(s.ID)]
}

func containsAddr(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

var carrierNAT = netip.MustParsePrefix("100.64.0.0/10")

// privateAddr says whether an address is never one of the internet's.
func privateAddr(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || carrierNAT.Contains(a)
}

func platformAddr(a netip.Addr) bool { return a == wireServer || a == imds }

// reservedNets are the blocks of the IANA special-purpose registry that belong
// to nobody on the internet (benchmarks, documentation, future use): no service
// has an address there, so no service tag holds one.
var reservedNets = []netip.Prefix{
	netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 0, 0}), 24),
	netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, 0}), 24),
	netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, 0, 0}), 15),
	netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, 0}), 24),
	netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, 0}), 24),
	netip.PrefixFrom(netip.AddrFrom4([4]byte{240, 0, 0, 0}), 4),
}

func reserved(a netip.Addr) bool { return containsAddr(reservedNets, a) }

// microsoftSuffixes are the ends of names under which Microsoft's own services answer.
var microsoftSuffixes = []string{
	"microsoft.com", "microsoftonline.com", "microsoftonline.us", "azure.com", "azure.net", "azure.us", "azure.cn", "windows.net", "windows.com",
	"windowsupdate.com", "azmk8s.io", "azk8s.cn", "azureedge.net", "msedge.net", "azurecr.io", "azurecr.us", "azurecr.cn", "visualstudio.com",
	"msftconnecttest.com", "usgovcloudapi.net", "chinacloudapi.cn", "opinsights.azure.com", "office.com", "live.com", "msauth.net",
	"azurewebsites.net", "trafficmanager.net", "azurefd.net", "aka.ms", "applicationinsights.io", "ubuntu.com",
}

// microsoftName says whether a name is one of Microsoft's services (or of a
// mirror that it runs).
func microsoftName(host string) bool {
	return slices.ContainsFunc(microsoftSuffixes, func(s string) bool { return host == s || strings.HasSuffix(host, "."+s) })
}
