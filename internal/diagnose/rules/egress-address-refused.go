package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var egressAddressRefused = diagnose.Rule{
	ID: "egress-address-refused",
	Doc: `The far side does not accept the cluster's public address

The far side lets in only addresses that it knows, and the one by which the cluster goes out is not among them: the allow-list was made
for another address, or the cluster's has changed (another outbound type, a new NAT gateway or public address). From every
place of the cluster it fails in the same way (silence, a reset, or 403 from the host itself), other hosts answer, and from
elsewhere this host answers.

Look-alikes: a host that is down fails from elsewhere too. An NSG or firewall of one's own that names this host shows in the
configuration. A 403 by a proxy or firewall carries that one's name.

Mend it by telling the far side's owner the address (podpath shows which), or by going out through the old one again; a fixed
public address or prefix keeps it from happening again.
`,
	Hop:    model.HopEndpoint,
	Covers: []string{"endpoint-ip-allowlist", "snat-egress-ip-changed"},
	Needs:  []string{"probe", "probe:here", "probe:node", "probe:other-node"},
	Under:  []string{"appliance-down", "firewall-ports", "natgw-ports", "snat-ports", "forced-tunnel", "path-mtu", "proxy-not-used"},
	Sees: func(o *model.Observation) bool {
		return diagnose.Silence(o) && o.Failed == "tcp" || o.Failed == "tcp" && o.Result == model.Refused || diagnose.CutOff(o) || diagnose.Status(o) == 403
	},
	Run: func(p *diagnose.Pass) {
		seen, path := p.Seen(), p.Question()
		if seen == nil || path == nil || !p.External() || seen.Proxy != "" || !p.Farther(model.VantageHere) || brokenAnywhere(p) || someoneInside(p) || !passedTCP(seen) && gotThrough(p) {
			return
		}
		if seen.HTTP != nil && (seen.HTTP.Answered == "proxy" || seen.HTTP.Answered == "firewall") {
			return
		}
		if luck(p) {
			return // an address that is not accepted never is
		}
		if seen.Failed == "dns" || !everyoneInside(p) || diagnose.CutOff(seen) && otherName(p) != nil {
			return // the far side takes another name from this address
		}
		if s := diagnose.Status(seen); s != 0 && s != 403 {
			return // an answer about the request, not about who asks
		}
		f := diagnose.Finding{
			Subject:    p.Endpoint(),
			Confidence: diagnose.Likely,
			Title:      fmt.Sprintf("%s does not accept the cluster's address", p.Host()),
			Summary:    "It fails in the same way from every place of the cluster, it works from this machine, and nothing that was read stops it on the way. What differs is the public address that the far side sees.",
		}
		if len(path.Egress) > 0 {
			f.Title = fmt.Sprintf("%s does not accept the cluster's address %s", p.Host(), list(addrs(path.Egress)))
			f.Evidence = append(f.Evidence, diagnose.Evidence{Text: fmt.Sprintf("the far side sees %s, given by %s", list(addrs(path.Egress)), path.Device), Refs: []model.Ref{path.Device}, Source: "trace"})
			f.Fix = append(f.Fix, diagnose.Command{Text: fmt.Sprintf("Tell the owner of %s to accept %s; or go out through the address that is on the list", p.Host(), list(addrs(path.Egress)))})
		}
		if o := firstGood(p.Control(p.Origin(), "control:other-host")); o != nil {
			f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from %s: %s answers, so the way out works", diagnose.PlaceOf(o), o.Target), o.From))
		}
		if c := p.Case.World.Azure.Cluster; c != nil {
			f.Fix = append(f.Fix, diagnose.Command{Text: "See by which addresses the cluster goes out", Line: diagnose.Az("aks show", c.ID, "--name", c.Name, "--query", "networkProfile.{type:outboundType,lb:loadBalancerProfile.effectiveOutboundIPs,nat:natGatewayProfile.effectiveOutboundIPs}")})
		}
		if len(f.Fix) == 0 {
			f.Fix = []diagnose.Command{{Text: fmt.Sprintf("Ask the owner of %s which addresses it accepts", p.Host())}}
		}
		if diagnose.Status(seen) == 403 {
			f.Evidence = append(f.Evidence, answerEvidence(seen)...)
		}
		if subject, _ := applianceOnWay(p); subject != "" && diagnose.CutOff(seen) && seen.Result != model.TimedOut {
			f.Evidence = append(f.Evidence, notDistinguished(p))
		}
		if !p.Same(model.VantageNode) && p.Origin() == model.VantagePod && !passedTCP(seen) {
			f.Confidence = diagnose.Possible // it may be what happens to pods' packets
			f.Gaps = append(f.Gaps, p.Gaps([]string{"probe:node"})...)
		}
		if n := towards(p).answered; n > 0 && noPort(seen) {
			f.Confidence = diagnose.Possible
			f.Evidence = append(f.Evidence, node(fmt.Sprintf("against it: %d connections to %s in the connection tables that were read did get an answer", n, seen.Address), p.Endpoint()))
		}
		if !passedTCP(seen) && !p.Same(model.VantageOtherNode) && !onlyNode(p) {
			f.Confidence = diagnose.Possible // it may be this node or its subnet
			f.Gaps = append(f.Gaps, p.Gaps([]string{"probe:other-node"})...)
		}
		p.ReportByExclusion(f)
	},
}

// everyoneInside says that the question fails in the same way from each place of
// the cluster that was asked, the node among them.
func everyoneInside(p *diagnose.Pass) bool {
	asked := 0
	seen := p.Seen()
	for _, v := range []model.Vantage{model.VantagePeer, model.VantageNode, model.VantageOtherNode} {
		if v == p.Origin() || p.Fate(v) == diagnose.Unseen {
			continue
		}
		if p.At(v).Failed == "dns" && seen.Failed != "dns" {
			continue // it did not get as far as to know the host
		}
		if !p.Same(v) && !(diagnose.CutOff(seen) && diagnose.CutOff(p.At(v))) {
			return false
		}
		asked++
	}
	return asked > 0
}

// passedTCP says that a connection stood.
func passedTCP(o *model.Observation) bool { return o.Failed != "tcp" && o.Failed != "udp" }

// onlyNode says that the cluster has no other node to ask from.
func onlyNode(p *diagnose.Pass) bool {
	return p.Case.World.Read["node"] && len(p.Case.World.Kube.Nodes) == 1
}
