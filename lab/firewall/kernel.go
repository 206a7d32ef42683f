package firewall

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/lab/nft"
)

// The firewall is two namespaces: the box, whose kernel forwards, and behind it
// the engine, to which the box routes what application rules decide about. So
// whatever is done to the box (forwarding switched off, a rule in its forward
// hook, its link taken down) bites on every packet.
var (
	EngineAddr    = netip.MustParseAddr("169.254.77.2")
	EngineGateway = netip.MustParseAddr("169.254.77.1")
)

const (
	// BoxLeg and EngineLeg are the interfaces of the box: to the VNet, to the engine.
	BoxLeg    = "eth0"
	EngineLeg = "l7"
	// EnginePort is where the engine accepts what is not addressed to it.
	EnginePort = 15001

	markEngine, markAllow = 1, 2
	engineTable           = 77
)

// Counters of the box.
const (
	CounterDenied  = "fw/no-rule"
	CounterNoState = "fw/no-state"
	CounterStopped = "fw/stopped"
)

// Table compiles what the box's kernel does. Network rules come first; then TCP on
// the application rules' ports goes to the engine; the rest is dropped in silence.
func (p *Policy) Table() *nft.Table {
	t := nft.NewTable("ip", "fabric")
	t.Chain("prerouting", "type filter hook prerouting priority mangle; policy accept;")
	t.Rule("prerouting", `iifname != "`+BoxLeg+`" return`)
	t.Rule("prerouting", "ip daddr "+p.Addr.String()+" return")
	if p.Idle > 0 {
		t.Objects = append(t.Objects, fmt.Sprintf("ct timeout idle-%d { protocol tcp; l3proto ip; policy = { established: %[1]d }; }", p.Idle))
		t.Rule("prerouting", fmt.Sprintf(`meta l4proto tcp ct timeout set "idle-%d"`, p.Idle))
	}
	t.Rule("prerouting", "ct direction reply return")
	t.Rule("prerouting", "jump rules")
	t.Chain("rules", "")
	for _, r := range p.network {
		p.compileNetworkRule(t, r)
	}
	if p.plain {
		t.Rule("rules", fmt.Sprintf("meta mark set %d return", markAllow))
	}
	t.Rule("rules", "meta l4proto tcp th dport "+p.applicationPorts().PortText()+fmt.Sprintf(" meta mark set %d return", markEngine))

	t.Chain("forward", "type filter hook forward priority 0; policy drop;")
	if !p.Up {
		t.Rules("forward", []string{""}, CounterStopped, "drop")
	}
	if p.Idle > 0 && !p.Silent { // Azure Firewall resets what it has forgotten
		t.Rules("forward", []string{"ct state invalid meta l4proto tcp tcp flags & rst == 0 "}, CounterNoState, "reject with tcp reset")
	}
	t.Rules("forward", []string{"ct state invalid "}, CounterNoState, "drop")
	t.Rule("forward", "ct direction reply ct state established,related accept")
	t.Rule("forward", "ct state related accept")
	t.Rule("forward", `iifname "`+EngineLeg+`" accept`)
	t.Rule("forward", "ct status dnat accept") // to the explicit and the DNS proxy
	t.Rule("forward", fmt.Sprintf("meta mark { %d, %d } accept", markEngine, markAllow))
	t.Rules("forward", []string{""}, CounterDenied, "drop")

	t.Chain("divert", "type nat hook prerouting priority dstnat; policy accept;")
	for _, port := range p.proxyPorts {
		t.Rule("divert", fmt.Sprintf("ip daddr %s tcp dport %d dnat to %s", p.Addr, port, EngineAddr))
	}
	if p.dnsProxy {
		t.Rule("divert", fmt.Sprintf("ip daddr %s meta l4proto { tcp, udp } th dport 53 dnat to %s", p.Addr, p.dnsServer))
	}
	// After srcnat, so that a translation put there by hand comes first.
	t.Chain("translate", "type nat hook postrouting priority srcnat + 5; policy accept;")
	leave := `oifname "` + BoxLeg + `" `
	t.Rule("translate", leave+fmt.Sprintf("ip saddr %s snat to %s", EngineAddr, p.Addr))
	t.Rule("translate", leave+fmt.Sprintf("ct status dnat snat to %s", p.Addr))
	if !p.private.Everything() {
		t.Rule("translate", leave+fmt.Sprintf("ip saddr != %s ip daddr != %s snat to %s", p.Addr, p.private.Text(), p.Addr))
	}
	return t
}

func (p *Policy) compileNetworkRule(t *nft.Table, r networkRule) {
	match := ""
	if r.from != nil {
		match += "ip saddr " + r.from.Text() + " "
	}
	var targets []string
	switch {
	case r.to == nil && len(r.fqdns) == 0:
		targets = []string{match}
	case len(r.to) > 0:
		targets = []string{match + "ip daddr " + r.to.Text() + " "}
	}
	if p.dnsProxy {
		for _, name := range r.fqdns {
			set := NameSet(name)
			t.Objects = append(t.Objects, "set "+set+" { type ipv4_addr; }")
			targets = append(targets, match+"ip daddr @"+set+" ")
		}
	}
	counter := counterOf(r)
	for _, m := range targets {
		for _, proto := range r.protocols {
			full, ok := m+protocolMatch(proto, r.ports), true
			if proto == "any" && r.ports != nil {
				full, ok = m+"meta l4proto { tcp, udp } th dport "+r.ports.PortText()+" ", true
			}
			if !ok {
				continue
			}
			if !r.allow {
				t.Rules("rules", []string{full}, counter, "drop")
				continue
			}
			// Counted by connection; every packet is judged, so that a new denial cuts what lives.
			mark := fmt.Sprintf("meta mark set %d return", markAllow)
			t.Rules("rules", []string{full + "ct state new "}, counter, mark)
			t.Rule("rules", full+mark)
		}
	}
}

func protocolMatch(proto string, ports nft.Set) string {
	switch proto {
	case "tcp", "udp":
		out := "meta l4proto " + proto + " "
		if ports != nil {
			out += "th dport " + ports.PortText() + " "
		}
		return out
	case "icmp":
		return "meta l4proto icmp "
	}
	return ""
}

// NameSet is the set that holds the addresses of an FQDN of a network rule.
func NameSet(fqdn string) string {
	h := fnv.New64a()
	h.Write([]byte(strings.ToLower(fqdn)))
	return fmt.Sprintf("fqdn_%x", h.Sum64())
}

// BoxRoutes are the lines for `ip -batch` that lead to the engine.
func BoxRoutes() []string {
	return []string{
		fmt.Sprintf("rule add pref 100 fwmark %d lookup %d", markEngine, engineTable),
		fmt.Sprintf("route add default via %s dev %s table %d", EngineAddr, EngineLeg, engineTable),
	}
}

// EngineRoutes and EngineTable make the engine's namespace accept what is addressed
// to anybody.
func EngineRoutes() []string {
	return []string{"rule add pref 100 fwmark 1 lookup 100", "route add local 0.0.0.0/0 dev lo table 100"}
}

// EngineTable is the engine's ruleset.
func EngineTable() *nft.Table {
	t := nft.NewTable("ip", "fabric")
	t.Chain("prerouting", "type filter hook prerouting priority mangle; policy accept;")
	t.Rule("prerouting", fmt.Sprintf(`iifname "eth0" ip daddr != %s meta l4proto tcp tproxy to :%d meta mark set 1 accept`, EngineAddr, EnginePort))
	return t
}

// NetworkHit is one value of the metric NetworkRuleHit.
type NetworkHit struct {
	Status, Reason string
	Count          int64
}

// NetworkHits reads the metric out of the box's counters.
func (p *Policy) NetworkHits(counters map[string]int64) []NetworkHit {
	seen := map[string]bool{}
	var allow, deny int64
	for _, r := range p.network {
		name := counterOf(r)
		if seen[name] {
			continue
		}
		seen[name] = true
		if r.allow {
			allow += counters[name]
		} else {
			deny += counters[name]
		}
	}
	return []NetworkHit{{"Allow", "Rule Match", allow}, {"Deny", "Rule Match", deny}, {"Deny", "Default Action", counters[CounterDenied]}}
}

func counterOf(r networkRule) string {
	return "fw/" + nft.Ident(strings.ReplaceAll(r.name, "/", "_"))
}
