package node

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// dumps are the tools that list the rules. iptables' two backends are asked both:
// rules of the other one are there, and work, even if nobody sees them.
var dumps = []struct {
	tool, family, program string
	args                  []string
}{
	{"nft", "", "nft", []string{"-j", "list", "ruleset"}},
	{"iptables-nft", "ip", "xtables-nft-multi", []string{"iptables-save", "-c"}},
	{"iptables-nft", "ip6", "xtables-nft-multi", []string{"ip6tables-save", "-c"}},
	{"iptables-legacy", "ip", "xtables-legacy-multi", []string{"iptables-save", "-c"}},
	{"iptables-legacy", "ip6", "xtables-legacy-multi", []string{"ip6tables-save", "-c"}},
}

// filters reads the packet filter's rules with the node's own tools: they know
// its kernel's version of it, and its extensions.
func (r *reader) filters(ctx context.Context, host string) {
	h := hostFS{host}
	r.facts.Filters = []model.FilterDump{}
	missing := map[string]bool{}
	for _, d := range dumps {
		text, err := h.tool(ctx, d.program, d.args...)
		switch {
		case errors.Is(err, errNoTool):
			missing[d.program] = true
			continue
		case err != nil:
			r.gap("packet filter of the node ("+d.tool+" "+d.family+")", err, filterPermission(err))
			continue
		}
		if strings.TrimSpace(text) != "" {
			r.facts.Filters = append(r.facts.Filters, model.FilterDump{Tool: d.tool, Family: d.family, Text: text})
		}
	}
	// iptables within nftables can be read by nft as well, if not every match of it; legacy tables can be read by nothing else.
	if missing["nft"] {
		r.gap("packet filter of the node (nft)", errors.New("the node has no nft"), "the package nftables on the node")
	}
	if missing["xtables-legacy-multi"] && r.legacyLoaded() {
		r.gap("packet filter of the node (iptables-legacy)", errors.New("legacy tables are loaded and the node has no iptables-legacy"), "the package iptables on the node")
	}
	if slices.ContainsFunc(r.facts.Filters, func(d model.FilterDump) bool { return strings.Contains(d.Text, "--match-set") }) {
		r.ipsets(ctx, h)
	}
	if len(r.facts.Filters) == 0 && len(r.facts.Gaps) > 0 {
		r.facts.Filters = nil // nothing could be read: that is not the same as no rules
	}
}

// ipsets reads what is in the IP sets that rules of iptables name.
func (r *reader) ipsets(ctx context.Context, h hostFS) {
	text, err := h.tool(ctx, "ipset", "save")
	switch {
	case errors.Is(err, errNoTool):
		r.gap("packet filter of the node (contents of IP sets)", errors.New("the node has no ipset"), "the package ipset on the node")
	case err != nil:
		r.gap("packet filter of the node (contents of IP sets)", err, filterPermission(err))
	default:
		r.facts.Filters = append(r.facts.Filters, model.FilterDump{Tool: "ipset", Text: text})
	}
}

// legacyLoaded says whether the kernel has tables of iptables' old kind.
func (r *reader) legacyLoaded() bool {
	text, err := r.file("proc/net/ip_tables_names")
	return err == nil && strings.TrimSpace(text) != ""
}

func filterPermission(err error) string {
	text := err.Error()
	if strings.Contains(text, "ermission") || strings.Contains(text, "not permitted") {
		return "NET_ADMIN capability (--node-reader=full)"
	}
	return ""
}
