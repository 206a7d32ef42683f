package parity

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/lab/plan"
	"github.com/podpath/podpath/lab/scenario"
)

// staged is a stage without a lab: its pods have addresses from first on, each
// node's in the node's range.
func staged(t *testing.T, cni string, first int) *stage {
	t.Helper()
	p, err := plan.New("t", plan.Topology{CNI: cni, Nodes: 3})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{lab: &scenario.Lab{Plan: p}, pods: cast(p.Nodes)}
	for i, q := range s.pods {
		if q.addr = q.node.Addr; !q.host {
			b := q.node.PodCIDR.Addr().As4()
			b[3] = byte(first + i)
			q.addr = netip.AddrFrom4(b)
		}
	}
	return s
}

// text is a world and its flows, with the pods' names in place of their addresses.
func (s *stage) text(t *testing.T, seed uint64, round int) string {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, uint64(round)))
	w := s.invent(r, round)
	var b bytes.Buffer
	if err := w.show(&b, nil); err != nil {
		t.Fatal(err)
	}
	for i, svc := range w.services {
		svc.Spec.ClusterIP = fmt.Sprintf("10.0.99.%d", i+1)
	}
	for _, f := range s.pickFlows(r, w, 50) {
		fmt.Fprintln(&b, &f)
	}
	var pairs []string
	for _, p := range s.pods {
		if !p.host {
			pairs = append(pairs, p.addr.String()+"/", p.id()+"/", p.addr.String()+":", p.id()+":", p.addr.String()+"\n", p.id()+"\n", p.addr.String()+" ", p.id()+" ")
		}
	}
	return strings.NewReplacer(pairs...).Replace(b.String())
}

// TestSeed: a seed makes the same worlds again, whatever addresses the pods have
// got this time; another one makes others.
func TestSeed(t *testing.T) {
	for _, cni := range []string{plan.Overlay, plan.Kubenet, plan.NodeSubnet} {
		for round := 1; round <= 20; round++ {
			one := staged(t, cni, 4).text(t, 7, round)
			if again := staged(t, cni, 19).text(t, 7, round); again != one {
				t.Fatalf("%s, round %d: not the same world:\n%s\n----\n%s", cni, round, one, again)
			}
			if other := staged(t, cni, 4).text(t, 8, round); other == one {
				t.Errorf("%s, round %d: another seed makes the same world", cni, round)
			}
		}
	}
}

// TestWorlds: what the API server and Azure would refuse is not made up, and
// everything that there is to try is.
func TestWorlds(t *testing.T) {
	s := staged(t, plan.Overlay, 4)
	var all strings.Builder
	for round := 1; round <= 200; round++ {
		w := s.invent(rand.New(rand.NewPCG(1, uint64(round))), round)
		checkBlocks(t, w)
		checkNetwork(t, w)
		if err := w.show(&all, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{
		"except:", "endPort:", "port: http", "port: dns", "protocol: SCTP", "operator: NotIn", "operator: DoesNotExist", "podSelector: {}",
		"namespaceSelector:", "- Ingress\n  - Egress", "internalTrafficPolicy: Local", "targetPort: alt", "targetPort: 9090", "sessionAffinity: ClientIP",
		"direction: Inbound", "access: Allow", "AzureLoadBalancer", "VirtualNetwork", "destinationPortRanges", "sourceAddressPrefixes",
		"nextHopType: None", "nextHopType: Internet", "nextHopType: VnetLocal", plan.FWAddr.String(), "0.0.0.0/0", "group is on node 2",
	} {
		if !strings.Contains(strings.ReplaceAll(all.String(), "- Ingress\n- Egress", "- Ingress\n  - Egress"), want) {
			t.Errorf("no world has %q", want)
		}
	}
}

func checkBlocks(t *testing.T, w *world) {
	t.Helper()
	for _, np := range w.policies {
		for _, in := range np.Spec.Ingress {
			for _, p := range in.From {
				if p.IPBlock != nil {
					checkBlock(t, p.IPBlock.CIDR, p.IPBlock.Except)
				}
			}
		}
		for _, out := range np.Spec.Egress {
			for _, p := range out.To {
				if p.IPBlock != nil {
					checkBlock(t, p.IPBlock.CIDR, p.IPBlock.Except)
				}
			}
			for _, p := range out.Ports {
				if p.EndPort != nil && *p.EndPort < p.Port.IntVal {
					t.Errorf("endPort %d before port %d", *p.EndPort, p.Port.IntVal)
				}
			}
		}
	}
}

func checkBlock(t *testing.T, cidr string, except []string) {
	t.Helper()
	block := netip.MustParsePrefix(cidr)
	if block != block.Masked() {
		t.Errorf("ipBlock %s has bits beyond its length", cidr)
	}
	for _, e := range except {
		if p := netip.MustParsePrefix(e); p != p.Masked() || !block.Contains(p.Addr()) || p.Bits() <= block.Bits() {
			t.Errorf("except %s is not inside %s", e, cidr)
		}
	}
}

func checkNetwork(t *testing.T, w *world) {
	t.Helper()
	for role, rules := range w.nsgs {
		var used []int
		for _, r := range rules {
			n := r["properties"].(map[string]any)["priority"].(int)
			if slices.Contains(used, n) || n < 100 || n > 4096 {
				t.Errorf("security group of %s: priority %d", role, n)
			}
			used = append(used, n)
		}
	}
	for subnet, routes := range w.routes {
		var used []string
		for _, r := range routes {
			if p := prefixOf(r); slices.Contains(used, p) {
				t.Errorf("routes of %s: two for %s", subnet, p)
			} else {
				used = append(used, p)
			}
		}
	}
}
