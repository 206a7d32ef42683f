// Package fabric is the lab's Azure network, in real packets: one namespace is
// the VNet's router, others are the internet, the nodes, the firewall, the
// platform's DNS. What the router does is compiled from ARM documents and from
// nothing else.
package fabric

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/lab/nft"
	"github.com/podpath/podpath/lab/plan"
)

// program is everything that documents amount to: rules and routes.
type program struct {
	world    *world
	router   *nft.Table
	internet *nft.Table
	routes   []string // of the router, for `ip -batch`, without their verb
	ways     []egress
	balances []balancing
}

// compile is pure: the same documents give the same program.
func compile(p *plan.Plan, docs []map[string]any) (*program, error) {
	w, err := newWorld(p, docs)
	if err != nil {
		return nil, err
	}
	routes, err := w.compileRoutes()
	if err != nil {
		return nil, err
	}
	ways := sortedEgress(w.outbound())
	t := nft.NewTable("ip", "fabric")
	w.compileForward(t)
	w.compileNICs(t)
	if err := w.compileKubelets(t); err != nil {
		return nil, err
	}
	if err := w.compileNSGs(t); err != nil {
		return nil, err
	}
	w.compileOutbound(t, ways)
	balances := w.compileBalances(t)
	return &program{world: w, router: t, internet: compileInternet(ways), routes: routes, ways: ways, balances: balances}, nil
}

// compileForward is the way of one packet through the VNet: known connections
// pass, then the sender's NSGs, then what the route said, then the receiver's
// NSGs, then translation. Nothing that is dropped is answered.
func (w *world) compileForward(t *nft.Table) {
	t.Chain("forward", "type filter hook forward priority 0; policy accept;")
	t.Chain("nowhere", "")
	var reasons []string
	for _, c := range []string{counterNoneRoute, counterNoHost, counterNoAppliance, counterGateway, counterPeering} {
		chain := "nowhere_" + nft.Ident(strings.TrimPrefix(c, "drop/"))
		t.Rules(chain, []string{""}, c, "drop")
		reasons = append(reasons, fmt.Sprintf("%s : goto %s", nullHops[c], chain))
	}
	t.Rule("nowhere", "rt ip nexthop vmap { "+strings.Join(reasons, ", ")+" }")
	t.Rules("nowhere", []string{""}, counterInbound, "drop")

	null := `oifname "` + nullLink + `" `
	t.Rule("forward", null+"ct state established,related goto nowhere")
	t.Rule("forward", "ct state established,related accept")
	platform := fmt.Sprintf("{ %s, %s }", plan.AzureDNS, plan.APIServer.Addr())
	t.Rule("forward", `iifname "`+apiLink+`" tcp dport `+kubeletPort+` oifname vmap { `+w.jumps("kubelet_", "")+" }")
	t.Rule("forward", "ip daddr "+platform+" iifname vmap { "+w.jumps("out_", "_platform")+" }")
	t.Rule("forward", "ip saddr "+platform+" oifname vmap { "+w.jumps("in_", "_platform")+" }")
	t.Rule("forward", "ip saddr "+platform+" accept")
	t.Rule("forward", "ip daddr "+platform+" accept")
	t.Rule("forward", "iifname vmap { "+w.jumps("out_", "")+" }")
	t.Rule("forward", null+"goto nowhere")
	t.Rules("forward", []string{`iifname "` + internetLink + `" `}, counterInbound, "drop")
	t.Rule("forward", "oifname vmap { "+w.jumps("in_", "")+" }")
	t.Rule("forward", `oifname "`+internetLink+`" jump outbound`)

	t.Chain("input", "type filter hook input priority 0; policy drop;") // a VNet's gateway answers nobody
	t.Chain("output", "type filter hook output priority 0; policy accept;")
	t.Rule("output", silentICMP)
}

func (w *world) jumps(prefix, suffix string) string {
	var out []string
	for _, n := range w.nics {
		if n.link != "" {
			out = append(out, fmt.Sprintf("%q : jump %s%s%s", n.link, prefix, n.link, suffix))
		}
	}
	return strings.Join(out, ", ")
}
