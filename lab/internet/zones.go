package internet

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/miekg/dns"

	"github.com/podpath/podpath/lab/arm"
	"github.com/podpath/podpath/lab/plan"
)

// zones are the private zones that are linked to the lab's VNet, kept up with the store.
type zones struct {
	list atomic.Pointer[[]zone]
}

type zone struct {
	name     string
	redirect bool                // what is not here is asked of the internet
	sets     map[string][]dns.RR // by name, absolute and lower case, without the last dot
	denial   uint32              // seconds for which a "no such name" may be kept: the SOA record's minimum
}

func newZones(s *arm.Store) *zones {
	z := &zones{}
	s.OnChange(func(all []arm.Doc) error {
		list := readZones(all)
		z.list.Store(&list)
		return nil
	})
	list := readZones(s.All())
	z.list.Store(&list)
	return z
}

// find is the zone with the longest suffix of a name.
func (z *zones) find(name string) (zone, bool) {
	var best zone
	for _, c := range *z.list.Load() {
		if (name == c.name || strings.HasSuffix(name, "."+c.name)) && len(c.name) > len(best.name) {
			best = c
		}
	}
	return best, best.name != ""
}

// records are those of a name, or of the wildcard that covers it.
func (z zone) records(name string) (list []dns.RR, exists bool) {
	if list, ok := z.sets[name]; ok {
		return list, true
	}
	if name == z.name {
		return nil, true
	}
	for n := range z.sets {
		if strings.HasSuffix(n, "."+name) {
			return nil, true
		}
	}
	for rest := name; rest != z.name; {
		_, after, ok := strings.Cut(rest, ".")
		if !ok {
			break
		}
		rest = after
		if list, ok := z.sets["*."+rest]; ok {
			return list, true
		}
	}
	return nil, false
}

func (z zone) soa() dns.RR {
	h := header(dns.Fqdn(z.name), dns.TypeSOA)
	h.Ttl = max(z.denial, ttl)
	return &dns.SOA{Hdr: h, Ns: "azureprivatedns.net.", Mbox: "azureprivatedns-host.microsoft.com.", Serial: 1, Refresh: 3600, Retry: 300, Expire: 2419200, Minttl: h.Ttl}
}

const zoneKind = "Microsoft.Network/privateDnsZones"

// readZones finds the zones linked to the lab's VNet, with their records.
func readZones(all []arm.Doc) []zone {
	byID := map[string]*zone{}
	vnet := strings.ToLower(plan.ID(plan.ResourceGroup, "Microsoft.Network/virtualNetworks", plan.VNet))
	for _, d := range all {
		if !strings.EqualFold(arm.Str(d, "type"), zoneKind+"/virtualNetworkLinks") ||
			strings.ToLower(arm.Str(d, "properties", "virtualNetwork", "id")) != vnet {
			continue
		}
		id, _, _ := strings.Cut(strings.ToLower(arm.Str(d, "id")), "/virtualnetworklinks/")
		name := id[strings.LastIndexByte(id, '/')+1:]
		byID[id] = &zone{
			name: name, sets: map[string][]dns.RR{},
			redirect: strings.EqualFold(arm.Str(d, "properties", "resolutionPolicy"), "NxDomainRedirect"),
		}
	}
	for _, d := range all {
		kind := arm.Str(d, "type")
		if len(kind) <= len(zoneKind) || !strings.EqualFold(kind[:len(zoneKind)+1], zoneKind+"/") {
			continue
		}
		id := strings.ToLower(arm.Str(d, "id"))
		z, ok := byID[parentOf(parentOf(id))]
		if !ok {
			continue
		}
		name := strings.ToLower(arm.Str(d, "name")) + "." + z.name
		if arm.Str(d, "name") == "@" {
			name = z.name
		}
		if n, ok := arm.Int(d, "properties", "soaRecord", "minimumTtl"); ok && n > 0 && n <= 3600 {
			z.denial = uint32(n)
		}
		z.sets[name] = append(z.sets[name], records(dns.Fqdn(name), d)...)
	}
	var out []zone
	for _, z := range byID {
		out = append(out, *z)
	}
	return out
}

func parentOf(id string) string {
	i := strings.LastIndexByte(id, '/')
	if i < 0 {
		return ""
	}
	return id[:i]
}

// records reads a record set; what is malformed is left out, as a name server that cannot load it would.
func records(name string, d arm.Doc) []dns.RR {
	var out []dns.RR
	add := func(format string, args ...any) {
		rr, err := dns.NewRR(fmt.Sprintf("%s %d IN ", name, ttl) + fmt.Sprintf(format, args...))
		if err == nil && rr != nil {
			out = append(out, rr)
		}
	}
	p := arm.At(d, "properties")
	for _, r := range arm.Items(p, "aRecords") {
		add("A %s", arm.Str(r, "ipv4Address"))
	}
	for _, r := range arm.Items(p, "aaaaRecords") {
		add("AAAA %s", arm.Str(r, "ipv6Address"))
	}
	if c := arm.Str(p, "cnameRecord", "cname"); c != "" {
		add("CNAME %s", dns.Fqdn(c))
	}
	for _, r := range arm.Items(p, "mxRecords") {
		n, _ := arm.Int(r, "preference")
		add("MX %d %s", n, dns.Fqdn(arm.Str(r, "exchange")))
	}
	for _, r := range arm.Items(p, "txtRecords") {
		var text []string
		parts, _ := arm.At(r, "value").([]any)
		for _, t := range parts {
			text = append(text, fmt.Sprintf("%q", t))
		}
		add("TXT %s", strings.Join(text, " "))
	}
	return out
}
