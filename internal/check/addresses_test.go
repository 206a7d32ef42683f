package check

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace/tracetest"
)

func vnetOf(w *model.World) *model.VNet {
	for _, v := range w.Azure.VNets {
		return v
	}
	return nil
}

func TestRangesOverlap(t *testing.T) {
	pods := func(list ...string) func(*model.World) {
		return func(w *model.World) { w.Azure.Cluster.PodCIDRs = prefixes(list...) }
	}
	peer := func(state, prefix string) func(*model.World) {
		return func(w *model.World) {
			v := vnetOf(w)
			v.Peerings = append(v.Peerings, model.Peering{Name: "hub", State: state, RemotePrefixes: prefixes(prefix)})
		}
	}
	learned := func(prefix string) func(*model.World) {
		return func(w *model.World) {
			w.Azure.Gateways = map[string]*model.VNetGateway{"g": {ID: "g", Name: "vpn", VNetID: vnetOf(w).ID, Learned: prefixes(prefix)}}
		}
	}
	const found, maybe = "cluster/c1 likely", "cluster/c1 possible"
	try(t, "ranges-overlap",
		example{"apart", func(*model.World) {}, nil},
		example{"the virtual network", pods("10.1.128.0/17"), []string{found}},
		example{"the Services' range", pods("10.2.0.0/17"), []string{found}},
		example{"next to it", pods("10.3.0.0/16"), nil},
		example{"what AKS keeps", pods("172.30.0.0/17"), []string{found}},
		example{"a peer", peer("Connected", "10.50.0.0/24"), []string{found}},
		example{"a peer that is not connected", peer("Disconnected", "10.50.0.0/24"), nil},
		example{"another peer", peer("Connected", "10.60.0.0/16"), nil},
		example{"behind a gateway", learned("10.0.0.0/8"), []string{maybe, maybe}},
		example{"a default route behind it", learned("0.0.0.0/0"), nil},
		example{"virtual networks were not read", func(w *model.World) {
			pods("10.1.128.0/17")(w)
			delete(w.Read, "vnet")
		}, nil},
	)
}

func TestSubnetRoom(t *testing.T) {
	shrink := func(prefix string, pool model.AgentPool) func(*model.World) {
		return func(w *model.World) {
			s := subnetNamed(w, "nodes")
			s.Prefixes = prefixes(prefix)
			pool.Name, pool.SubnetID = "pool1", w.Azure.Cluster.AgentPools[0].SubnetID
			w.Azure.Cluster.AgentPools = []model.AgentPool{pool}
		}
	}
	const found, maybe = "subnet/vnet1/nodes likely", "subnet/vnet1/nodes possible"
	tryOn(t, "azure-node-subnet", "loadBalancer", "subnet-room",
		example{"room", shrink("10.1.0.0/24", model.AgentPool{Count: 2, MaxPods: 30}), nil},
		example{"a /26 for three nodes of 31", shrink("10.1.0.0/26", model.AgentPool{Count: 2, MaxPods: 30}), []string{found}},
		example{"fewer pods a node", shrink("10.1.0.0/26", model.AgentPool{Count: 2, MaxPods: 10}), nil},
		example{"the default of 30 pods", shrink("10.1.0.0/26", model.AgentPool{Count: 2}), []string{found}},
		example{"a surge of half the pool", shrink("10.1.0.0/24", model.AgentPool{Count: 6, MaxPods: 30, MaxSurge: "50%"}), []string{found}},
		example{"the autoscaler may", shrink("10.1.0.0/24", model.AgentPool{Count: 2, MaxCount: 9, MaxPods: 30}), []string{maybe}},
	)
	try(t, "subnet-room",
		example{"an overlay's pods take none", shrink("10.1.0.0/28", model.AgentPool{Count: 9, MaxPods: 250}), nil},
		example{"its nodes do", shrink("10.1.0.0/28", model.AgentPool{Count: 11, MaxPods: 250}), []string{found}},
	)
	tryOn(t, "azure-pod-subnet", "loadBalancer", "subnet-room", example{"batches of 16 for pods", func(w *model.World) {
		subnetNamed(w, "pods").Prefixes = prefixes("10.1.16.0/27")
	}, []string{"subnet/vnet1/pods likely"}})
}

func TestOverlayRoom(t *testing.T) {
	pool := func(cidr string, count, most int) func(*model.World) {
		return func(w *model.World) {
			w.Azure.Cluster.PodCIDRs = prefixes(cidr)
			w.Azure.Cluster.AgentPools = []model.AgentPool{{Name: "p", Count: count, MaxCount: most}}
		}
	}
	const found, maybe = "cluster/c1 likely", "cluster/c1 possible"
	try(t, "overlay-room",
		example{"room", pool("10.50.0.0/22", 3, 0), nil},
		example{"no block for an upgrade", pool("10.50.0.0/22", 4, 0), []string{found}},
		example{"the autoscaler may", pool("10.50.0.0/22", 2, 9), []string{maybe}},
	)
	tryOn(t, "kubenet", "loadBalancer", "overlay-room", example{"a route a node", pool("10.48.0.0/12", 400, 0), []string{found}})
	tryOn(t, "azure-node-subnet", "loadBalancer", "overlay-room", example{"no blocks", pool("10.50.0.0/22", 9, 0), nil})
}

func TestServiceRoom(t *testing.T) {
	fill := func(n int) func(*model.World) {
		return func(w *model.World) {
			w.Azure.Cluster.ServiceCIDRs = prefixes("10.2.0.0/28")
			for i := range n - 1 { // and the DNS Service
				s := &model.Service{Namespace: "a", Name: fmt.Sprintf("s%d", i), Type: "ClusterIP", ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 2, 0, byte(11 + i)})}}
				if i > 3 {
					s.ClusterIPs[0] = netip.AddrFrom4([4]byte{10, 2, 0, byte(i - 3)})
				}
				w.Kube.Services[serviceRef(s)] = s
			}
		}
	}
	try(t, "service-room",
		example{"half", fill(7), nil}, example{"12 of 14", fill(12), nil}, example{"13 of 14", fill(13), []string{"cluster/c1 possible"}}, example{"all", fill(14), []string{"cluster/c1 likely"}},
	)
}

func TestNodeRoom(t *testing.T) {
	pods := func(n, maxPods int) func(*model.World) {
		return func(w *model.World) {
			w.Kube.Nodes["n2"].PodCIDRs, w.Kube.Nodes["n2"].Labels = prefixes("10.99.0.0/28"), model.Labels{"agentpool": "small"}
			w.Azure.Cluster.AgentPools = append(w.Azure.Cluster.AgentPools, model.AgentPool{Name: "small", MaxPods: maxPods})
			for i := range n {
				pod := &model.Pod{Namespace: "a", Name: fmt.Sprintf("many-%d", i), Node: "n2", Phase: "Running", Ready: true, IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 99, 0, byte(2 + i)})}}
				w.Kube.Pods[pod.Ref()] = pod
			}
		}
	}
	try(t, "node-room",
		example{"half", pods(6, 30), nil}, example{"11 of 13", pods(11, 30), nil}, example{"12 of 13", pods(12, 30), []string{"node/n2 possible"}},
		example{"all", pods(13, 30), []string{"node/n2 likely"}}, example{"all, and the kubelet takes no more", pods(13, 13), nil},
	)
}

func TestSNATPorts(t *testing.T) {
	ports := func(each, count, most int) func(*model.World) {
		return func(w *model.World) {
			w.Azure.LoadBalancers[tracetest.ID("loadBalancers", "kubernetes")].Outbound[0].AllocatedPorts = each
			w.Azure.Cluster.AgentPools = []model.AgentPool{{Name: "p", Count: count, MaxCount: most}}
		}
	}
	const found, maybe = "loadbalancer/kubernetes/out1 likely", "loadbalancer/kubernetes/out1 possible"
	try(t, "snat-headroom",
		example{"by the number of machines", ports(0, 2, 0), nil},
		example{"an upgrade crosses a step of the table", ports(0, 50, 0), []string{maybe}},
		example{"room", ports(8000, 7, 0), nil},
		example{"no ports for an upgrade", ports(8000, 8, 0), []string{found}},
		example{"the autoscaler may", ports(8000, 2, 9), []string{maybe}},
		example{"more addresses", func(w *model.World) {
			ports(8000, 8, 0)(w)
			lb := w.Azure.LoadBalancers[tracetest.ID("loadBalancers", "kubernetes")]
			lb.Frontends = append(lb.Frontends, model.Frontend{ID: "f2", Name: "f2", PublicIPID: "x"})
			lb.Outbound[0].FrontendIDs = append(lb.Outbound[0].FrontendIDs, "f2")
		}, nil},
		example{"a prefix", func(w *model.World) {
			ports(8000, 8, 0)(w)
			lb := w.Azure.LoadBalancers[tracetest.ID("loadBalancers", "kubernetes")]
			lb.Frontends[0].PublicIPID, lb.Frontends[0].PrefixID = "", "P"
			w.Azure.PublicIPPrefixes = map[string]*model.PublicIPPrefix{"p": {ID: "p", Prefix: prefixes("20.0.1.0/30")[0]}}
		}, nil},
		example{"a prefix that was not read", func(w *model.World) {
			ports(8000, 8, 0)(w)
			w.Azure.LoadBalancers[tracetest.ID("loadBalancers", "kubernetes")].Frontends[0].PublicIPID = ""
		}, nil},
	)
}

func TestNATGatewayWithoutAddress(t *testing.T) {
	// A gateway behind a firewall's route sees nothing, so no traced connection tells.
	bare := func(w *model.World) {
		id := tracetest.ID("natGateways", "spare")
		w.Azure.NATGateways[id] = &model.NATGateway{ID: id, Name: "spare"}
		subnetNamed(w, "nodes").NATGatewayID = id
	}
	tryOn(t, "azure-overlay", "userDefinedRouting", "natgw-without-address", example{"behind a firewall", bare, []string{"natgateway/spare possible"}})
	tryOn(t, "azure-overlay", "none", "natgw-without-address", example{"of a cluster without a way out", bare, []string{"natgateway/spare likely"}})
	try(t, "natgw-without-address", example{"it was traced already", bare, nil})
}
