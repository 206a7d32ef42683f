package trace_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
	"github.com/podpath/podpath/internal/trace/tracetest"
)

// FuzzRun mangles a healthy World (documents taken away, fields emptied, rules
// and routes made up) and traces random flows: no panic, the same answer twice,
// and never Pass over a document that was taken away.
func FuzzRun(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		w := tracetest.Cluster(tracetest.CNIs[r.IntN(len(tracetest.CNIs))], tracetest.Outbounds[r.IntN(len(tracetest.Outbounds))])
		mangle(r, w)
		a, b := trace.Build(w), trace.Build(w)
		for range 20 {
			flow := randomFlow(r)
			p, q := a.Run(flow), b.Run(flow)
			if !reflect.DeepEqual(p, q) {
				t.Fatalf("two answers for %+v:\n%s\n%s", flow, render(p), render(q))
			}
			check(t, w, flow, p)
		}
		a.CheckRequired()
	})
}

// check holds for every path, whatever the World.
func check(t *testing.T, w *model.World, flow model.Flow, p model.Path) {
	t.Helper()
	blocked := 0
	for i, s := range p.Steps {
		if s.Verdict == model.Drop || s.Verdict == model.Reject {
			blocked++
			if i != len(p.Steps)-1 {
				t.Fatalf("%+v: steps after a drop\n%s", flow, render(p))
			}
			if s.Decided == "" {
				t.Fatalf("%+v: a drop that nothing decided\n%s", flow, render(p))
			}
		}
		if s.Reason == "" || s.Title == "" || s.Hop == "" || s.At == "" {
			t.Fatalf("%+v: a step without words: %+v", flow, s)
		}
	}
	if blocked > 1 || p.Verdict == model.Pass && p.Broken() != nil || len(p.Steps) == 0 {
		t.Fatalf("%+v: inconsistent\n%s", flow, render(p))
	}
	left := slices.ContainsFunc(p.Steps, func(s model.Step) bool { return s.Hop == model.HopRoute || s.Hop == model.HopEndpoint })
	if p.Verdict == model.Pass && left && (len(w.Azure.NSGs) == 0 || len(w.Azure.Subnets) == 0) {
		t.Fatalf("%+v: it leaves the node and passes without having read\n%s", flow, render(p))
	}
}

func randomFlow(r *rand.Rand) model.Flow {
	f := model.Flow{
		Protocol: []string{"tcp", "udp", ""}[r.IntN(3)],
		From:     []model.Ref{"pod/a/client", "node/n1", "node/n2", "pod/kube-system/dns", "pod/kube-system/host", "pod/x/y", "", "deployment/a/client"}[r.IntN(8)],
		DstPort:  []uint16{80, 443, 53, 5432, 0, 123}[r.IntN(6)],
		Host:     []string{"", "api.shop.test", "x.cdn.test", "mcr.microsoft.com"}[r.IntN(4)],
		Scheme:   []string{"", "http", "https"}[r.IntN(3)],
	}
	if r.IntN(3) > 0 {
		f.Dst = randomAddr(r)
	} else {
		f.To = []model.Ref{"pod/a/server", "pod/b/other", "node/n1", "service/kube-system/kube-dns", "host/x"}[r.IntN(5)]
	}
	return f
}

func randomAddr(r *rand.Rand) netip.Addr {
	known := []string{
		"52.0.0.1", "10.1.0.4", "10.1.0.5", "10.50.2.5", "10.50.2.6", "10.1.0.61", "10.1.16.21", "10.2.0.10", "10.2.7.7", "10.1.32.4", "168.63.129.16",
		"169.254.169.254", "192.168.4.4", "10.60.0.9", "2600::1", "::ffff:10.1.0.5", "10.1.40.1", "0.0.0.0", "255.255.255.255",
	}
	return addr(known[r.IntN(len(known))])
}

// mangle makes a few random changes.
func mangle(r *rand.Rand, w *model.World) {
	az := &w.Azure
	for range r.IntN(6) {
		switch r.IntN(22) {
		case 0:
			az.NSGs = nil
		case 1:
			az.Subnets = nil
		case 2:
			az.VNets = nil
		case 3:
			az.NICs = nil
		case 4:
			az.RouteTables = nil
		case 5:
			az.LoadBalancers, az.PublicIPs = nil, nil
		case 6:
			az.NATGateways = nil
		case 7:
			az.FirewallPolicies = nil
		case 8:
			az.Firewalls = nil
		case 9:
			az.Cluster = nil
		case 10:
			az.Found = false
		case 11:
			w.Nodes = nil
		case 12:
			w.Kube.Nodes = nil
		case 13:
			w.Read = nil
		case 14:
			w.Kube.EndpointSlices, w.Kube.ConfigMaps = nil, nil
		case 15:
			for _, n := range az.NSGs {
				n.Rules = append(n.Rules, randomNSGRule(r))
			}
		case 16:
			for _, rt := range az.RouteTables {
				rt.Routes = append(rt.Routes, randomRoute(r))
			}
		case 17:
			for _, n := range az.NICs {
				n.IPConfigs = nil
			}
		case 18:
			for _, p := range w.Kube.Pods {
				if r.IntN(2) == 0 {
					p.IPs, p.Node = nil, ""
				}
			}
		case 19:
			az.Gateways = map[string]*model.VNetGateway{"g": {Name: "g", VNetID: tracetest.ID("virtualNetworks", "vnet1")}}
		case 20:
			for _, v := range az.VNets {
				v.Peerings = append(v.Peerings, model.Peering{Name: "p", State: []string{"Connected", "Disconnected"}[r.IntN(2)], RemoteVNetID: "/x/virtualNetworks/hub", RemotePrefixes: []netip.Prefix{netip.MustParsePrefix("10.60.0.0/16")}, AllowAccess: r.IntN(2) == 0, UseRemoteGateways: r.IntN(2) == 0})
			}
		case 21:
			for _, f := range w.Nodes {
				f.Sysctls["net.ipv4.ip_forward"] = fmt.Sprint(r.IntN(2))
				f.Routes = append(f.Routes, model.KernelRoute{Dst: netip.PrefixFrom(randomAddr(r).Unmap(), 8).Masked(), Dev: "x", Type: []string{"", "blackhole"}[r.IntN(2)]})
			}
		}
	}
}

func randomNSGRule(r *rand.Rand) model.NSGRule {
	side := func() []string {
		return [][]string{{"*"}, {"Internet"}, {"VirtualNetwork"}, {"Storage"}, {"10.0.0.0/8", "52.0.0.0/9"}, {""}, nil, {"AzurePlatformDNS"}, {"1.2.3.4-5.6.7.8"}, {"AzureCloud.northeurope"}}[r.IntN(10)]
	}
	return model.NSGRule{
		Name: fmt.Sprintf("r%d", r.IntN(100)), Priority: 100 + r.IntN(4000), Inbound: r.IntN(2) == 0, Allow: r.IntN(2) == 0,
		Protocol: []string{"*", "Tcp", "Udp", ""}[r.IntN(4)], Sources: side(), Destinations: side(),
		SourcePorts: []string{"*"}, DestPorts: [][]string{{"*"}, {"443"}, {"0-65535"}, {"x"}, {"80", "400-500"}, nil}[r.IntN(6)],
	}
}

func randomRoute(r *rand.Rand) model.Route {
	return model.Route{
		Name: fmt.Sprintf("u%d", r.IntN(100)), Prefix: []string{"0.0.0.0/0", "52.0.0.0/8", "10.50.0.0/16", "10.1.0.0/16", "Storage", "", "10.50.2.0/24", "::/0"}[r.IntN(8)],
		NextHopType: []string{"VirtualAppliance", "None", "Internet", "VnetLocal", "VirtualNetworkGateway", "VirtualApplianceEcmp", ""}[r.IntN(7)],
		NextHop:     []netip.Addr{{}, addr("10.1.32.4"), addr("10.1.0.5"), addr("10.1.0.4"), addr("10.1.99.9")}[r.IntN(5)],
	}
}
