package check

import (
	"fmt"
	"net/netip"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var serviceStaleEndpoints = Check{
	ID: "service-stale-endpoints",
	Doc: `A Service without selector leads to addresses that no pod has any more

Nobody but its author maintains the EndpointSlices of a Service without a selector. These name addresses of the pod network, and no pod
has them: the pods were replaced, and their successors have other addresses.

Look-alikes: addresses outside the pod network are hosts that podpath does not know, and nothing is said of them.

Give the Service a selector, or mend its EndpointSlice.
`,
	Group: Services, Hop: model.HopEndpoint, Needs: []string{"service", "pod", "endpointslice", "node"},
	Source: "https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors",
	Covers: []string{"svc-selectorless-stale-endpoints"},
	Run: func(p *Pass) {
		for _, s := range values(p.World.Kube.Services) {
			if len(s.Selector) > 0 || s.Type == "ExternalName" {
				continue
			}
			for _, slice := range p.slices[serviceRef(s)] {
				if dead := p.deadAddresses(slice); len(dead) > 0 {
					ref := model.NewRef("endpointslice", slice.Namespace, slice.Name)
					p.Report(Finding{
						Severity: Broken, Subject: ref, Concerns: len(dead),
						Title:    fmt.Sprintf("Service %s/%s leads to %s, which no pod has", s.Namespace, s.Name, some(dead)),
						Summary:  "The addresses lie in the pod network and nobody has them: connections to the Service are lost.",
						Evidence: []diagnose.Evidence{kube(fmt.Sprintf("endpointslice %s names %s", slice.Name, some(dead)), ref, serviceRef(s))},
						Fix:      []diagnose.Command{do("Mend the addresses, or give the Service a selector", diagnose.KubectlFor(ref, "edit"))},
					})
				}
			}
		}
	},
}

// deadAddresses are those of a slice that lie in the pod network and that no pod has.
func (p *Pass) deadAddresses(slice *model.EndpointSlice) []string {
	var dead []string
	x := p.index().Policies()
	for i := range slice.Endpoints {
		for _, text := range slice.Endpoints[i].Addresses {
			a, err := netip.ParseAddr(text)
			if err != nil || x.PodAt(a) != nil || !p.inPodNet(a) {
				continue
			}
			if _, node := x.NodeAt(a); !node {
				dead = append(dead, text)
			}
		}
	}
	return dead
}

// inPodNet says that an address can only be a pod's: it lies in a range that is
// for pods alone. Where pods have addresses of the VNet, other machines may too.
func (p *Pass) inPodNet(a netip.Addr) bool {
	for _, prefix := range p.podRanges() {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// podRanges are the ranges that only pods have addresses from.
func (p *Pass) podRanges() []netip.Prefix {
	if c := p.World.Azure.Cluster; c != nil && len(c.PodCIDRs) > 0 {
		return c.PodCIDRs
	}
	var out []netip.Prefix
	for _, n := range values(p.World.Kube.Nodes) {
		out = append(out, n.PodCIDRs...)
	}
	return out
}
