package fabric

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/lab/arm"
	"github.com/podpath/podpath/lab/plan"
)

var update = flag.Bool("update", false, "rewrite the expected programs")

// seeded is a store with a fresh lab's documents.
func seeded(t *testing.T, topology plan.Topology) (*plan.Plan, *arm.Store) {
	t.Helper()
	p, err := plan.New("t", topology)
	if err != nil {
		t.Fatal(err)
	}
	s := arm.NewStore()
	if err := arm.Seed(s, p); err != nil {
		t.Fatal(err)
	}
	return p, s
}

func compiled(t *testing.T, p *plan.Plan, s *arm.Store) *program {
	t.Helper()
	prog, err := compile(p, s.All())
	if err != nil {
		t.Fatal(err)
	}
	return prog
}

// TestPrograms compares everything that fresh labs are programmed with.
func TestPrograms(t *testing.T) {
	for _, topology := range []plan.Topology{
		{CNI: plan.Overlay, Outbound: plan.OutLB},
		{CNI: plan.Kubenet, Outbound: plan.OutUDR},
		{CNI: plan.NodeSubnet, Outbound: plan.OutNone, Nodes: 1},
		{CNI: plan.PodSubnet, Outbound: plan.OutUser},
	} {
		name := topology.CNI + "-" + topology.Outbound
		t.Run(name, func(t *testing.T) {
			p, s := seeded(t, topology)
			prog := compiled(t, p, s)
			policy, err := compilePolicy(prog.world, s.All())
			if err != nil {
				t.Fatal(err)
			}
			got := "# router\n" + prog.router.Text(nil) + "# routes\n" + strings.Join(prog.routes, "\n") + "\n# internet\n" + prog.internet.Text(nil) +
				"# firewall\n" + policy.Table().Text(nil)
			file := "testdata/" + name + ".golden"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("program differs from %s; run with -update and read the difference", file)
			}
		})
	}
}

func TestCompileIsStable(t *testing.T) {
	p, s := seeded(t, plan.Topology{Nodes: 5})
	first := compiled(t, p, s)
	for range 20 {
		again := compiled(t, p, s)
		if again.router.Text(nil) != first.router.Text(nil) || strings.Join(again.routes, "\n") != strings.Join(first.routes, "\n") {
			t.Fatal("the same documents gave another program")
		}
	}
}

func nodesSubnet(w *world) *resource[subnet] {
	for i := range w.subnets {
		if w.subnets[i].Name == plan.NodesSubnet {
			return &w.subnets[i]
		}
	}
	return nil
}

func TestEffectiveRoutes(t *testing.T) {
	p, s := seeded(t, plan.Topology{Outbound: plan.OutUDR})
	put := func(id string, d arm.Doc) {
		t.Helper()
		d["id"] = id
		if _, err := s.Put(id, d); err != nil {
			t.Fatal(err)
		}
	}
	route := func(name, prefix, kind, addr string) {
		d := arm.Doc{"addressPrefix": prefix, "nextHopType": kind}
		if addr != "" {
			d["nextHopIpAddress"] = addr
		}
		put(network("routeTables", plan.RouteTable, "routes", name), arm.Doc{"properties": d})
	}
	route("longer", "203.0.113.0/25", "None", "")
	route("tag", "AzureCloud", "Internet", "")
	route("inside", "10.226.0.0/24", "VirtualAppliance", "10.226.0.4")
	put(network("virtualNetworkGateways", "vpn"), arm.Doc{"location": "westeurope", "tags": arm.Doc{"learnedRoutes": "10.224.7.0/24,10.99.0.0/16,0.0.0.0/0"}, "properties": arm.Doc{}})
	w := compiled(t, p, s).world
	hops, err := w.effective(nodesSubnet(w))
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"8.8.8.8":       "virtualappliance", // a user route before a learned one
		"203.0.113.10":  "none",             // the longer prefix
		"203.0.113.200": "virtualappliance",
		"10.224.0.9":    "vnetlocal",
		"10.224.7.9":    "vnetlocal", // Azure's own before BGP, though BGP is longer
		"10.226.0.9":    "virtualappliance",
		"10.99.0.1":     "virtualnetworkgateway",
		"172.16.0.1":    "none",
	} {
		if got := lookup(hops, netip.MustParseAddr(addr)).kind; got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

func TestOutboundOrder(t *testing.T) {
	p, s := seeded(t, plan.Topology{Nodes: 2})
	ways := func() string {
		var out []string
		for _, e := range compiled(t, p, s).ways {
			if e.kind == "firewall" {
				continue // the firewall's own way, which no node takes here
			}
			out = append(out, fmt.Sprintf("%s %s %v:%d-%d", e.kind, e.sources.Text(), e.public[0], e.lo, e.hi))
		}
		return strings.Join(out, "; ")
	}
	if got, want := ways(), "lb { 10.224.0.4 } 192.0.2.10:1024-2047; lb { 10.224.0.5 } 192.0.2.10:2048-3071"; got != want {
		t.Errorf("balancer: %s", got)
	}
	subnet := network("virtualNetworks", plan.VNet, "subnets", plan.NodesSubnet)
	if _, err := s.Merge(lbID, arm.Doc{"properties": arm.Doc{"outboundRules": []any{}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Merge(subnet, arm.Doc{"properties": arm.Doc{"defaultOutboundAccess": true}}); err != nil {
		t.Fatal(err)
	}
	if got := ways(); got != "" {
		t.Errorf("a member of a Standard load balancer's pool has no default outbound access: %s", got)
	}
}

func TestDefaultPorts(t *testing.T) {
	for n, want := range map[int]int{1: 1024, 50: 1024, 51: 512, 100: 512, 101: 256, 400: 128, 800: 64, 801: 32} {
		if got := lbDefaultPorts(n); got != want {
			t.Errorf("%d instances: %d ports, want %d", n, got, want)
		}
	}
}

func TestTags(t *testing.T) {
	p, s := seeded(t, plan.Topology{CNI: plan.Kubenet, Outbound: plan.OutUDR})
	w := compiled(t, p, s).world
	vnet, _ := w.tag("virtualnetwork")
	internet, _ := w.tag("Internet")
	for addr, want := range map[string]string{"10.224.0.4": "vnet", "10.244.1.9": "vnet", "10.244.9.9": "", "168.63.129.16": "vnet", "203.0.113.10": "internet", "192.168.1.1": ""} {
		a := netip.MustParseAddr(addr)
		if vnet.Has(a) != (want == "vnet") || internet.Has(a) != (want == "internet") {
			t.Errorf("%s: VirtualNetwork %v, Internet %v, want %q", addr, vnet.Has(a), internet.Has(a), want)
		}
	}
	if set, ok := w.tag("Storage.WestEurope"); !ok || len(set) != 0 {
		t.Error("a service's tag is known and empty")
	}
}

// TestRefusals: what cannot be compiled is refused with its place, and nothing changes.
func TestRefusals(t *testing.T) {
	p, s := seeded(t, plan.Topology{})
	nsg := network("networkSecurityGroups", "bad")
	rule := func(properties arm.Doc) arm.Doc {
		return arm.Doc{"id": nsg, "name": "bad", "properties": arm.Doc{"securityRules": []any{arm.Doc{"name": "R", "properties": properties}}}}
	}
	for _, doc := range []arm.Doc{
		rule(arm.Doc{"protocol": "Gre", "direction": "Inbound", "access": "Deny"}),
		rule(arm.Doc{"protocol": "Tcp", "direction": "Inbound", "access": "Deny", "destinationPortRange": "99999"}),
		{"id": network("routeTables", plan.RouteTable), "name": "bad R", "properties": arm.Doc{"routes": []any{arm.Doc{"name": "R", "properties": arm.Doc{
			"addressPrefix": "0.0.0.0/0", "nextHopType": "VirtualAppliance", "nextHopIpAddress": "nowhere",
		}}}}},
	} {
		docs := append(s.All(), doc)
		if kind(docID(doc)) == "microsoft.network/routetables" {
			docs = append(docs, arm.Doc{"id": network("virtualNetworks", plan.VNet, "subnets", "more"), "properties": arm.Doc{
				"addressPrefix": "10.230.0.0/24", "routeTable": arm.Doc{"id": doc["id"]},
			}})
		}
		if _, err := compile(p, docs); err == nil || !strings.Contains(err.Error(), "bad") || !strings.Contains(err.Error(), "R") {
			t.Errorf("%v: %v", doc, err)
		}
	}
}

func TestASG(t *testing.T) {
	p, s := seeded(t, plan.Topology{})
	w := compiled(t, p, s).world
	nic := w.nics[0]
	asg := network("applicationSecurityGroups", "web")
	doc, _ := s.Get(nic.id)
	for _, c := range arm.Items(doc, "properties", "ipConfigurations") {
		c["properties"].(arm.Doc)["applicationSecurityGroups"] = []any{arm.Doc{"id": asg}}
	}
	docs := []map[string]any{doc}
	for _, d := range s.All() {
		if docID(d) != nic.id {
			docs = append(docs, d)
		}
	}
	docs = append(docs, arm.Doc{"id": network("networkSecurityGroups", "g"), "properties": arm.Doc{"securityRules": []any{arm.Doc{"name": "R", "properties": arm.Doc{
		"protocol": "*", "direction": "Inbound", "access": "Deny", "priority": 100, "destinationApplicationSecurityGroups": []any{arm.Doc{"id": asg}}, "sourceAddressPrefix": "*",
	}}}}})
	prog, err := compile(p, docs)
	if err != nil {
		t.Fatal(err)
	}
	if text := prog.router.Text(nil); !strings.Contains(text, `ip daddr { 10.224.0.4 } counter name "nsg/g/R/inbound" drop`) {
		t.Errorf("the group's members are not in its rule:\n%s", text)
	}
}

// TestOneRouteForAPrefix: a user's route that says "in the VNet" of one machine
// does not stand beside the route to that machine, so that taking it away leaves the other.
func TestOneRouteForAPrefix(t *testing.T) {
	p, s := seeded(t, plan.Topology{Outbound: plan.OutUDR})
	own := p.Nodes[0].Addr.String()
	id := network("routeTables", plan.RouteTable, "routes", "own")
	if _, err := s.Put(id, arm.Doc{"id": id, "properties": arm.Doc{"addressPrefix": own + "/32", "nextHopType": "VnetLocal"}}); err != nil {
		t.Fatal(err)
	}
	lines, err := compiled(t, p, s).world.compileRoutes()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, line := range lines {
		words := strings.Fields(line)
		if words[0] != "route" {
			continue
		}
		key := words[1]
		if i := slices.Index(words, "table"); i > 0 {
			key += " " + words[i+1]
		}
		if old := seen[key]; old != "" {
			t.Errorf("two routes for one prefix: %s and %s", old, line)
		}
		seen[key] = line
	}
}

// TestSmallDevices: a tag makes a device's ports few.
func TestSmallDevices(t *testing.T) {
	for tag, want := range map[string]uint32{"": natLastPort, "8": 1031, "none": natLastPort, "-3": natLastPort, "100000": natLastPort} {
		if got := lastPort(map[string]string{"labPorts": tag}, natLastPort); got != want {
			t.Errorf("labPorts %q: the last port is %d, want %d", tag, got, want)
		}
	}
}
