package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var firewallResetsSNI = diagnose.Rule{
	ID: "firewall-resets-sni",
	Doc: `An appliance on the way resets TLS for this name

The TCP connection stands and is reset after the client's first TLS message, although the rules that podpath can read allow the name.
From outside, past the appliance, the same handshake works; another name at the same address passes through it. The appliance inspects
by something that is in none of those rules: intrusion prevention, threat intelligence, a filter of TLS versions or extensions.

Look-alikes: a name that no application rule allows shows in the configuration. A host that resets does so from outside as well. A
far side that accepts only known addresses resets every name: until another name at the same address gets through, or the appliance's
log names this one, podpath offers both. A handshake that hangs is not reset: the far side does not answer the appliance.

Mend it in the appliance's inspection (its log names the signature), by exempting this name.
`,
	Hop:    model.HopAppliance,
	Covers: []string{"nva-rst-on-sni"},
	Needs:  []string{"probe", "probe:here", "firewall", "routetable"},
	Under:  []string{"path-mtu"},
	Sees:   diagnose.CutOff,
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || !diagnose.CutOff(seen) || seen.Result == model.TimedOut || brokenAnywhere(p) || !p.External() {
			return // a handshake that hangs is a far side that does not answer the firewall, or a path MTU
		}
		subject, name := applianceOnWay(p)
		if subject == "" || !worksElsewhere(p) {
			return
		}
		other := otherName(p)
		f := diagnose.Finding{
			Subject:    subject,
			Confidence: diagnose.Likely,
			Title:      fmt.Sprintf("%s resets TLS for %s", name, p.Host()),
			Summary:    "The handshake works from outside, and is reset on the way through the appliance, although the rules that were read allow the name. The reset may be the appliance's own, or one by which the far side turns the appliance's address away.",
			Fix: []diagnose.Command{
				{Text: fmt.Sprintf("Look into the appliance's log for %s (intrusion prevention, threat intelligence), and exempt the name", p.Host())},
			},
		}
		if fw, policy := p.Firewall(); policy != nil {
			f.Fix = append(f.Fix, diagnose.Command{
				Text: "See what the policy inspects", Line: diagnose.Az("network firewall policy show", policy.ID, "--name", policy.Name, "--query", "{threatIntel:threatIntelMode,idps:intrusionDetection}"),
			})
		} else if fw != nil {
			f.Fix = append(f.Fix, diagnose.Command{Text: "See what the firewall inspects", Line: diagnose.Az("network firewall show", fw.ID, "--name", fw.Name)})
		}
		if other != nil {
			f.Confidence = diagnose.Proven
			f.Summary = "The handshake works from outside, and is reset on the way through the appliance, although the rules that were read allow the name."
			f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from %s: TLS to the same address with another name (%s) passes", diagnose.PlaceOf(other), other.Target), other.From))
		} else {
			f.Evidence = append(f.Evidence, notDistinguished(p))
		}
		p.ReportByExclusion(f)
	},
}

// notDistinguished says that a reset behind an appliance has two possible authors.
func notDistinguished(p *diagnose.Pass) diagnose.Evidence {
	return probe(fmt.Sprintf("no other name was tried with success at %s, so an appliance that resets this name and a far side that resets the appliance's address are not told apart", p.Target()))
}

// worksElsewhere says that the question gets further from outside.
func worksElsewhere(p *diagnose.Pass) bool { return p.Farther(model.VantageHere) }

// otherName is a probe of the same address whose TLS got further with another
// name, or without one.
func otherName(p *diagnose.Pass) *model.Observation {
	for _, purpose := range []string{"control:other-sni", "control:no-sni"} {
		for _, o := range p.Control(p.Origin(), purpose) {
			if !diagnose.CutOff(o) && o.Failed != "tcp" && o.Failed != "dns" {
				return o
			}
		}
	}
	return nil
}

// applianceOnWay is what the default route leads through, and how to name it.
func applianceOnWay(p *diagnose.Pass) (model.Ref, string) {
	hop := p.NextHop()
	if !hop.IsValid() {
		return "", ""
	}
	owner := p.OwnerOf(hop)
	switch {
	case owner.Firewall != nil:
		return owner.Ref, "Firewall " + owner.Firewall.Name
	case owner.Ref != "" && owner.Ref.Kind() != "node":
		return owner.Ref, string(owner.Ref)
	}
	return "", ""
}
