package internet

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/podpath/podpath/lab/netns"
)

// nft applies a script in a namespace.
func nft(name, script string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := netns.Command(ctx, name, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("nft in %s: %w: %s\n%s", name, err, strings.TrimSpace(out.String()), script)
	}
	return nil
}

// filterScript makes the packet filter of a spec. It is a table of its own, so
// that what a scenario does by nft in the same namespace stays untouched.
// port, when not 0, is the only one that it is about.
func filterScript(s Spec, port int) string {
	const table = "table inet serve"
	script := table + "\ndelete " + table + "\n"
	rules := filterRules(s)
	if len(rules) == 0 {
		return script
	}
	only := ""
	if port != 0 {
		only = fmt.Sprintf("  meta l4proto != tcp accept\n  tcp dport != %d accept\n", port)
	}
	return script + table + " {\n chain input {\n  type filter hook input priority -5; policy accept;\n" +
		"  iifname \"lo\" accept\n  icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n" + only + "  " +
		strings.Join(rules, "\n  ") + "\n }\n}\n"
}

const newTCP = "tcp flags & (syn | ack) == syn"

func filterRules(s Spec) []string {
	var rules []string
	if s.Silent {
		if s.Share == nil {
			return []string{"drop"}
		}
		// By source port, so that a SYN and its retransmissions meet the same fate.
		rules = append(rules, fmt.Sprintf("%s tcp sport & 254 < %d drop", newTCP, shareOf256(*s.Share)),
			fmt.Sprintf("udp sport & 254 < %d drop", shareOf256(*s.Share)))
	}
	if s.Refuse {
		some := ""
		if s.Share != nil {
			some = fmt.Sprintf(" tcp sport & 254 < %d", shareOf256(*s.Share))
		}
		rules = append(rules, newTCP+some+" reject with tcp reset")
		if s.Share == nil {
			rules = append(rules, "meta l4proto udp reject with icmpx type port-unreachable")
		}
	}
	return append(rules, denyRules(s)...)
}

// shareOf256 is the bound that the share of even numbers below 256 lie under.
func shareOf256(share float64) int { return int(share*256 + 0.5) }

// denyRules keep out whom an allow-list does not name.
func denyRules(s Spec) []string {
	if s.Allow == nil || s.denyStatus() != 0 || s.Deny == "reset" {
		return nil // done by the listener
	}
	verdict := "drop"
	if s.Deny == "refuse" {
		verdict = "reject with tcp reset"
	}
	var rules []string
	list, _ := s.prefixes()
	for family, word := range map[bool]string{true: "ip", false: "ip6"} {
		var set []string
		for _, p := range list {
			if p.Addr().Is4() == family {
				set = append(set, p.String())
			}
		}
		proto := map[bool]string{true: "ipv4", false: "ipv6"}[family]
		match := "meta nfproto " + proto
		if set != nil {
			match = fmt.Sprintf("%s saddr != { %s }", word, strings.Join(aggregated(set), ", "))
		}
		rules = append(rules, fmt.Sprintf("%s %s %s", match, newTCP, verdict))
	}
	return rules
}

// aggregated drops prefixes inside others: nft refuses overlapping sets.
func aggregated(list []string) []string {
	var out []string
	for i, t := range list {
		p := netip.MustParsePrefix(t)
		inside := false
		for j, u := range list {
			q := netip.MustParsePrefix(u)
			if i != j && q.Bits() <= p.Bits() && q.Contains(p.Addr()) && (q != p || j < i) {
				inside = true
			}
		}
		if !inside {
			out = append(out, t)
		}
	}
	return out
}
