package check

import (
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace/tracetest"
)

func denyRule(inbound bool, source, destination, port string) func(*model.World) {
	return func(w *model.World) {
		nsg := w.Azure.NSGs[tracetest.ID("networkSecurityGroups", "nsg1")]
		nsg.Rules = append(nsg.Rules, model.NSGRule{
			Name: "Deny", Priority: 200, Inbound: inbound, Protocol: "*", Sources: []string{source}, Destinations: []string{destination}, DestPorts: []string{port}, SourcePorts: []string{"*"},
		})
	}
}

func subnetNamed(w *model.World, name string) *model.Subnet {
	for _, s := range w.Azure.Subnets {
		if s.Name == name {
			return s
		}
	}
	return nil
}

func TestNSG(t *testing.T) {
	try(t, "nsg-denies",
		example{"everything outside", denyRule(false, "*", "Internet", "*"), []string{"nsg/nsg1/Deny likely"}},
		example{"443", denyRule(false, "*", "Internet", "443"), []string{"nsg/nsg1/Deny likely"}},
		example{"a port that nobody needs", denyRule(false, "*", "Internet", "25"), nil},
		example{"one destination", denyRule(false, "*", "203.0.113.128/25", "*"), nil},
		example{"only what is optional", denyRule(false, "*", "Internet", "123"), []string{"nsg/nsg1/Deny possible"}},
		example{"kubelets", denyRule(true, "*", "*", "10250"), []string{"nsg/nsg1/Deny likely"}},
		example{"pods of other nodes", denyRule(true, "10.50.0.0/16", "*", "*"), []string{"nsg/nsg1/Deny likely"}},
		example{"SSH from outside", denyRule(true, "Internet", "*", "22"), nil},
		example{"nodes are not there to be asked", func(w *model.World) {
			denyRule(false, "*", "Internet", "*")(w)
			delete(w.Read, "node")
		}, nil},
	)
	// A cluster without a way out by design is asked for none.
	tryOn(t, "azure-overlay", "none", "nsg-denies", example{"everything outside", denyRule(false, "*", "Internet", "*"), nil})
}

func TestRoutes(t *testing.T) {
	none := func(w *model.World) {
		id := tracetest.ID("routeTables", "rt9")
		w.Azure.RouteTables[id] = &model.RouteTable{ID: id, Name: "rt9", Routes: []model.Route{{Name: "drop", Prefix: "0.0.0.0/0", NextHopType: "None"}}}
		subnetNamed(w, "nodes").RouteTableID = id
	}
	try(t, "route-blackhole",
		example{"default to None", none, []string{"routetable/rt9/drop likely"}},
		example{"attached to nothing", func(w *model.World) {
			none(w)
			subnetNamed(w, "nodes").RouteTableID = ""
		}, nil},
	)
	gone := func(w *model.World) {
		rt := w.Azure.RouteTables[tracetest.ID("routeTables", "rt1")]
		rt.Routes = slices.DeleteFunc(rt.Routes, func(r model.Route) bool { return r.Name == "n2" })
	}
	tryOn(t, "kubenet", "loadBalancer", "route-node-missing", example{"that of the node whence it is tried, for the way back", func(w *model.World) {
		rt := w.Azure.RouteTables[tracetest.ID("routeTables", "rt1")]
		rt.Routes = slices.DeleteFunc(rt.Routes, func(r model.Route) bool { return r.Name == "n1" })
	}, []string{"routetable/rt1 likely"}}, example{"all there", func(*model.World) {}, nil}, example{"one node's is gone", gone, []string{"routetable/rt1 likely"}})
}

func TestWayOut(t *testing.T) {
	bare := func(w *model.World) { w.Azure.NATGateways[tracetest.ID("natGateways", "nat1")].PublicIPs = nil }
	tryOn(t, "azure-overlay", "userAssignedNATGateway", "natgw-no-address", example{"no address", bare, []string{"natgateway/nat1 likely"}}, example{"a prefix", func(w *model.World) {
		bare(w)
		w.Azure.NATGateways[tracetest.ID("natGateways", "nat1")].Prefixes = []string{"p"}
		w.Azure.PublicIPPrefixes = map[string]*model.PublicIPPrefix{"p": {ID: "p", Name: "p", Prefix: prefixes("20.0.1.0/30")[0]}}
	}, nil})
	untagged := func(w *model.World) {
		rules := w.Azure.FirewallPolicies[tracetest.ID("firewallPolicies", "pol1")].Groups[0].Collections[1].Rules
		rules[0].FQDNTags, rules[0].FQDNs = nil, []string{"packages.aks.azure.com"}
	}
	tryOn(t, "azure-overlay", "userDefinedRouting", "firewall-aks-fqdn", example{"the tag is there", func(*model.World) {}, nil}, example{"the tag is gone", untagged, []string{"firewallpolicy/pol1 likely"}})
}

// TestOnce: one line that stops many connections is one finding that counts them.
func TestOnce(t *testing.T) {
	w := healthy("azure-overlay", "loadBalancer")
	denyRule(false, "*", "Internet", "*")(w)
	r := Run(w, Options{Now: now})
	if len(r.Causes) != 1 || r.Causes[0].Group != Egress || r.Causes[0].Severity != Outage || r.Causes[0].Concerns < 5 || !strings.Contains(r.Causes[0].Title, "endpoints that AKS needs") || r.ExitCode != ExitFound {
		t.Errorf("%+v", r.Causes)
	}
	if len(r.Causes[0].Fix) == 0 || !strings.Contains(r.Causes[0].Fix[0].Line, "az network nsg rule") {
		t.Errorf("fix: %+v", r.Causes[0].Fix)
	}
}

// noDNS makes all pods of the cluster's DNS not ready.
func noDNS(w *model.World) {
	w.Kube.Pods["pod/kube-system/dns"].Ready, w.Kube.Pods["pod/kube-system/dns2"].Ready = false, false
	w.Kube.EndpointSlices["endpointslice/kube-system/kube-dns-1"].Endpoints = nil
}

func TestNames(t *testing.T) {
	try(t, "coredns-down",
		example{"no pod is ready", func(w *model.World) {
			noDNS(w)
		}, []string{"deployment/kube-system/coredns likely"}},
		example{"scaled to zero", func(w *model.World) {
			noDNS(w)
			delete(w.Kube.Pods, "pod/kube-system/dns")
			delete(w.Kube.Pods, "pod/kube-system/dns2")
			w.Kube.Workloads = map[model.Ref]*model.Workload{"deployment/kube-system/coredns": {Ref: "deployment/kube-system/coredns", Selector: &model.Selector{MatchLabels: model.Labels{"app": "dns"}}}}
		}, []string{"deployment/kube-system/coredns likely"}},
	)
}

// TestPolicyIsNotTheNetwork: what a policy separates is meant; what the network
// stops behind it is told all the same.
func TestPolicyIsNotTheNetwork(t *testing.T) {
	isolate := func(w *model.World) {
		w.Kube.Policies = map[model.Ref]*model.NetworkPolicy{}
		for _, ns := range []string{"a", "b"} {
			p := &model.NetworkPolicy{Namespace: ns, Name: "deny", Egress: true}
			w.Kube.Policies[p.Ref()] = p
		}
	}
	try(t, "policy-denies", example{"pods are isolated", isolate, nil})
	try(t, "nsg-denies", example{"and the network is broken", func(w *model.World) {
		isolate(w)
		denyRule(true, "10.50.0.0/16", "*", "80")(w) // the port of the pod that is tried
	}, []string{"nsg/nsg1/Deny likely"}})
}

func TestPodsWayOut(t *testing.T) {
	closed := func(w *model.World) {
		nsg := w.Azure.NSGs[tracetest.ID("networkSecurityGroups", "nsg2")]
		nsg.Rules = append(nsg.Rules, model.NSGRule{Name: "Closed", Priority: 200, Protocol: "*", Sources: []string{"*"}, Destinations: []string{"Internet"}, DestPorts: []string{"*"}, SourcePorts: []string{"*"}})
	}
	public := func(w *model.World) {
		s := &model.Service{Namespace: "default", Name: "kubernetes", Type: "ClusterIP", ClusterIPs: addrs("10.2.0.1"), Ports: []model.ServicePort{{Name: "https", Port: 443, TargetPort: "443", Protocol: "TCP"}}}
		w.Kube.Services[serviceRef(s)] = s
		w.Kube.EndpointSlices["endpointslice/default/kubernetes"] = &model.EndpointSlice{
			Namespace: "default", Name: "kubernetes", Service: "kubernetes", AddressType: "IPv4", Ports: []model.EndpointPort{{Name: "https", Port: 443, Protocol: "TCP"}},
			Endpoints: []model.SliceEndpoint{{Addresses: []string{"20.9.9.9"}, Ready: true, Serving: true}},
		}
	}
	const found, maybe = "nsg/nsg2/Closed likely", "nsg/nsg2/Closed possible"
	tryOn(t, "azure-pod-subnet", "loadBalancer", "nsg-denies",
		example{"open", public, nil},
		example{"no internet for pods", closed, []string{maybe}},
		example{"and the API server is there", func(w *model.World) { public(w); closed(w) }, []string{found}},
	)
	// Pods that leave with their nodes' addresses are judged with their nodes.
	try(t, "nsg-denies", example{"nobody is in the pods' subnet", closed, nil})
	tryOn(t, "azure-pod-subnet", "userAssignedNATGateway", "natgw-not-associated", example{"the pods' subnet has no gateway", func(w *model.World) {
		subnetNamed(w, "pods").NATGatewayID = ""
	}, []string{"subnet/vnet1/pods possible"}})
}
