package rules

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// dnsFailed says that the name's lookup failed without an answer that settles it.
func dnsFailed(o *model.Observation) bool {
	return o.Failed == "dns" && o.Result != model.NXDomain && o.Result != model.NoData
}

// customDNS is the ConfigMap in which AKS lets people change CoreDNS.
const customDNS = model.Ref("configmap/kube-system/coredns-custom")

// forwarder is a server that a ConfigMap of CoreDNS forwards to.
type forwarder struct {
	key, line string
	addrs     []netip.Addr
}

// forwards finds the forward lines that concern a name in coredns-custom. A
// *.server file holds server blocks for zones; an *.override file adds to the
// main block.
func forwards(p *diagnose.Pass, name string) []forwarder {
	var out []forwarder
	data := p.Case.World.Kube.ConfigMaps[customDNS]
	for _, key := range sortedKeys(data) {
		zone := ""
		for _, line := range strings.Split(data[key], "\n") {
			words := strings.Fields(strings.SplitN(line, "#", 2)[0])
			if len(words) > 1 && words[len(words)-1] == "{" && words[0] != "forward" {
				zone = strings.TrimSuffix(strings.SplitN(words[0], ":", 2)[0], ".")
			}
			if len(words) < 3 || words[0] != "forward" {
				continue
			}
			if zone == "" {
				zone = strings.TrimSuffix(words[1], ".")
			}
			if !inZone(name, zone) {
				continue
			}
			f := forwarder{key: key, line: strings.Join(words, " ")}
			for _, w := range words[2:] {
				if a, ok := serverAddr(w); ok {
					f.addrs = append(f.addrs, a)
				}
			}
			out = append(out, f)
		}
	}
	return out
}

func inZone(name, zone string) bool {
	name, zone = strings.TrimSuffix(lower(name), "."), lower(zone)
	return zone == "" || zone == "." || name == zone || strings.HasSuffix(name, "."+zone)
}

// serverAddr reads one target of a forward line: ADDR, ADDR:PORT, dns://ADDR.
func serverAddr(word string) (netip.Addr, bool) {
	if _, rest, ok := strings.Cut(word, "://"); ok {
		word = rest
	}
	if ap, err := netip.ParseAddrPort(word); err == nil {
		return ap.Addr(), true
	}
	a, err := netip.ParseAddr(word)
	return a, err == nil
}

// asked finds probes from inside the cluster that queried a server themselves:
// one that got no answer from it, and one that did.
func asked(p *diagnose.Pass, addr netip.Addr) (silent, answered *model.Observation) {
	for i := range p.Case.Observations {
		o := &p.Case.Observations[i]
		if o.Vantage == model.VantageHere {
			continue
		}
		for _, q := range o.Queries {
			switch {
			case q.Server.Addr() != addr:
			case q.Result == model.OK || q.Result == model.NXDomain || q.Result == model.NoData:
				answered = o
			case silent == nil:
				silent = o
			}
		}
	}
	return silent, answered
}

func dnsWords(addr netip.Addr, o *model.Observation) string {
	result := model.TimedOut
	for _, q := range o.Queries {
		if q.Server.Addr() == addr {
			result = q.Result
		}
	}
	return fmt.Sprintf("%s, asked from %s: %s", addr, diagnose.PlaceOf(o), result)
}
