package rules

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var nsgListOutdated = diagnose.Rule{
	ID: "nsg-list-outdated",
	Doc: `An NSG's rule lists addresses of a service whose addresses have changed

A network security group knows addresses, ranges and service tags, no names. A rule that lists the addresses that a name had when it was written lets
those through; the name has others by now as well (it is spread over several, or moved), and those meet the next rule, which denies. It
works for the addresses that are listed and times out for the others, and it begins without any change on one's own side.

Look-alikes: a rule that denies every address of the name is that rule's own doing. An address that is allowed and does not answer is the far
side's.

Mend it by a service tag where the service has one, by a firewall that allows names, or by a private endpoint, whose address stays. Adding the
address that is missing helps until the next change.

Sources: https://learn.microsoft.com/azure/virtual-network/service-tags-overview, https://learn.microsoft.com/azure/aks/outbound-rules-control-egress
`,
	Hop:    model.HopNSG,
	Covers: []string{"nsg-service-tag-drift"},
	Needs:  []string{"nsg", "subnet", "nic"},
	Sees:   diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopNSG, func(w diagnose.Way, step *model.Step) {
			nsg, deny := p.NSG(step.Decided)
			if nsg == nil || deny == nil || deny.Inbound || w.Kind != "question" {
				return
			}
			if allow, listed := listedAlike(p, w, nsg); allow != nil {
				reportOutdated(p, w, step, outdated{nsg, allow, deny, listed})
			}
		})
	},
}

// outdated is a list of addresses that lets one of a name's through and not another.
type outdated struct {
	nsg         *model.NSG
	allow, deny *model.NSGRule
	listed      netip.Addr
}

// listedAlike is the group's own rule that lists another address of the same name,
// which gets through.
func listedAlike(p *diagnose.Pass, w diagnose.Way, nsg *model.NSG) (*model.NSGRule, netip.Addr) {
	for _, o := range p.Asked(p.Origin()) {
		other := o.Address.Addr()
		if diagnose.Fails(o) || p.Trace == nil || !other.IsValid() || other == w.Path.Flow.Dst || p.Case.Question.To.Host == "" {
			continue
		}
		flow := w.Path.Flow
		flow.Dst, flow.To = other, ""
		path := p.Trace(flow)
		for i := range path.Steps {
			in, rule := p.NSG(path.Steps[i].Decided)
			if in == nsg && rule != nil && rule.Allow && slices.ContainsFunc(rule.Destinations, func(d string) bool { return literal(d, other) }) {
				return rule, other
			}
		}
	}
	return nil, netip.Addr{}
}

// literal says that an entry of a rule is an address or a range of few that holds addr.
func literal(entry string, addr netip.Addr) bool {
	if a, err := netip.ParseAddr(entry); err == nil {
		return a == addr
	}
	r, err := netip.ParsePrefix(entry)
	return err == nil && r.Bits() > 0 && r.Contains(addr)
}

func reportOutdated(p *diagnose.Pass, w diagnose.Way, step *model.Step, o outdated) {
	missing, ref := step.In.Dst, model.NewRef("nsg", o.nsg.Name, o.allow.Name)
	args := []string{"--nsg-name", o.nsg.Name, "--name", o.allow.Name, "--destination-address-prefixes"}
	args = append(append(args, o.allow.Destinations...), missing.String())
	p.ReportAt(w, step, diagnose.Finding{
		Subject: ref, Sometimes: true,
		Title:   fmt.Sprintf("Rule %s of NSG %s lists %s for %s, and not %s", o.allow.Name, o.nsg.Name, o.listed, p.Host(), missing),
		Summary: fmt.Sprintf("%s has several addresses, and the rule that lets it through lists some of them. The others meet rule %s, which drops them silently. A group cannot name a host, so such a list grows old.", p.Host(), o.deny.Name),
		Evidence: []diagnose.Evidence{
			arm(ruleText(o.nsg, o.allow), ref),
			arm(ruleText(o.nsg, o.deny), model.NewRef("nsg", o.nsg.Name, o.deny.Name)),
			probe(fmt.Sprintf("%s answers and %s does not; both are addresses of %s", o.listed, missing, p.Host()), p.Endpoint()),
		},
		Fix: []diagnose.Command{
			{Text: "At once: add the address that is missing", Line: diagnose.Az("network nsg rule update", o.nsg.ID, args...), Verify: watchAgain(p)},
			{Text: "For good: a service tag instead of addresses, a firewall that allows names, or a private endpoint, whose address stays"},
		},
	})
}
