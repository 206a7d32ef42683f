package trace

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// gateway follows a route to a VPN or ExpressRoute gateway: what lies behind it
// is in no document, also not whether it sends internet traffic on.
func (t *tracer) gateway(a attachment, e *EffectiveRoute, s model.Step) {
	v := t.x.vnetOf(a.subnet)
	list := t.x.gatewaysOf(v)
	if len(list) == 0 && v != nil && (t.x.read("vnetgateway") || !hasGatewaySubnet(v) && len(v.SubnetIDs) > 0) {
		s.Verdict = model.Drop
		s.Reason = fmt.Sprintf("%s, but VNet %s has no gateway: the network drops it silently", e.text(), v.Name)
		t.add(s)
		t.end()
		return
	}
	t.add(s)
	g := model.Step{Hop: model.HopGateway, At: e.Ref, Decided: e.Ref, Title: "virtual network gateway"}
	if len(list) > 0 {
		g.Title = "virtual network gateway " + list[0].Name
	} else {
		g.Gaps = []model.Gap{t.x.gap("vnetgateway", "virtual network gateways", "", "Microsoft.Network/virtualNetworkGateways/read")}
	}
	g.Reason = "the connection leaves through the gateway (forced tunnelling): what the other side does with it is not known"
	if t.flow.Dst.IsValid() && privateAddr(t.flow.Dst) {
		g.Reason = "the connection leaves through the gateway: what lies on the other side is not known"
	}
	t.add(g)
	t.endpoint()
}

// peer follows a route into a peered VNet.
func (t *tracer) peer(e *EffectiveRoute) {
	x := t.x
	p := x.peeringOf(e.Ref)
	s := model.Step{Hop: model.HopRoute, At: e.Ref, Title: "peering " + e.Ref.Name(), Verdict: model.Pass, Reason: "the peering is connected"}
	if p != nil && !p.AllowAccess {
		s.Verdict, s.Decided = model.Drop, e.Ref
		s.Reason = fmt.Sprintf("peering %s does not allow access to the remote VNet (allowVirtualNetworkAccess is false)", p.Name)
	}
	t.add(s)
	if _, ok := x.addrAttachment(t.flow.Dst); ok || x.fwByIP[t.flow.Dst] != nil {
		t.toMember()
		return
	}
	remote := "the remote VNet"
	if p != nil {
		remote = "VNet " + lastOf(p.RemoteVNetID)
	}
	t.add(model.Step{
		Hop: model.HopEndpoint, At: model.NewRef("host", t.flow.Dst.String()), Title: t.flow.Dst.String(),
		Reason: remote + " was not read, so the NSGs and routes there are not known",
		Gaps:   []model.Gap{x.gap("subnet", "subnets of "+remote, "", "Microsoft.Network/virtualNetworks/subnets/read")},
	})
	t.end()
}

// peeringOf finds a peering by its Ref.
func (x *Index) peeringOf(ref model.Ref) *model.Peering {
	for _, id := range sorted(x.vnets) {
		v := x.vnets[id]
		if !strings.EqualFold(v.Name, ref.Part(0)) {
			continue
		}
		for i := range v.Peerings {
			if v.Peerings[i].Name == ref.Part(1) {
				return &v.Peerings[i]
			}
		}
	}
	return nil
}
