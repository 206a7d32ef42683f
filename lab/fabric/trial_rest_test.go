package fabric

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/podpath/podpath/lab/arm"
	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/plan"
)

// nic edits the first ipConfiguration of a node's NIC, which is one of its instance's document.
func (t *trial) nic(node int, top, config arm.Doc) {
	t.Helper()
	id := ""
	for _, n := range t.f.program.world.nics {
		if n.addr == t.plan.Nodes[node].Addr {
			id = n.id
		}
	}
	doc := mustGet(t, id)
	configs := arm.Items(doc, "properties", "ipConfigurations")
	props := configs[0]["properties"].(arm.Doc)
	for k, v := range config {
		props[k] = v
	}
	patch := arm.Doc{"ipConfigurations": []any{configs[0]}}
	for k, v := range top {
		patch[k] = v
	}
	t.merge(id, arm.Doc{"properties": patch})
}

func deny(priority int, more arm.Doc) arm.Doc {
	d := arm.Doc{
		"protocol": "*", "access": "Deny", "direction": "Outbound", "priority": priority,
		"sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "*",
	}
	for k, v := range more {
		d[k] = v
	}
	return d
}

func TestTrialApplicationSecurityGroups(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{})
	web, data := network("applicationSecurityGroups", "asg-web"), network("applicationSecurityGroups", "asg-data")
	t.put(web, arm.Doc{})
	t.put(data, arm.Doc{})
	t.nic(0, nil, arm.Doc{"applicationSecurityGroups": []any{arm.Doc{"id": web}}})
	t.nic(1, nil, arm.Doc{"applicationSecurityGroups": []any{arm.Doc{"id": data}}})
	rule := network("networkSecurityGroups", plan.NodesNSG, "securityRules", "WebOut")
	t.put(rule, deny(200, arm.Doc{
		"sourceAddressPrefix": nil, "sourceApplicationSecurityGroups": []any{arm.Doc{"id": web}}, "destinationAddressPrefix": "Internet",
	}))
	t.expect("a member of the source's group", t.node(0), api443, "timeout")
	t.expect("who is not in it", t.node(1), api443, "192.0.2.10")
	t.put(network("networkSecurityGroups", plan.NodesNSG, "securityRules", "DataIn"), deny(210, arm.Doc{
		"direction": "Inbound", "destinationAddressPrefix": nil, "destinationApplicationSecurityGroups": []any{arm.Doc{"id": data}},
	}))
	t.expect("a member of the destination's group", t.node(0), "10.224.0.5:10250", "timeout")
	t.expect("who is not in it", t.node(1), "10.224.0.4:10250", "10.224.0.5")
	t.nic(1, nil, arm.Doc{"applicationSecurityGroups": []any{}})
	t.expect("membership ends with the NIC's document", t.node(0), "10.224.0.5:10250", "10.224.0.4")
}

// Outbound the NIC's NSG is asked first, inbound the subnet's.
func TestTrialNICSecurityGroup(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{})
	own := network("networkSecurityGroups", "nsg-nic")
	t.put(own, arm.Doc{"securityRules": []any{}})
	t.nic(0, arm.Doc{"networkSecurityGroup": arm.Doc{"id": own}}, nil)
	t.expect("a NIC's group without rules", t.node(0), api443, "192.0.2.10")
	t.put(own+"/securityRules/NoWeb", deny(100, arm.Doc{"destinationPortRange": "443"}))
	t.rule("AllowAll", "Outbound", "Allow", 100, "*", "*", "*")
	t.expect("the NIC's denial, whatever the subnet's allows", t.node(0), api443, "timeout")
	if t.count("nsg/nsg-nic/NoWeb/outbound") == 0 {
		t.Error("the NIC's rule was not counted")
	}
	before := t.count("nsg/nsg-nodes/AllowAll/outbound")
	t.expect("the NIC's denial again", t.node(0), api443, "timeout")
	if got := t.count("nsg/nsg-nodes/AllowAll/outbound"); got != before {
		t.Errorf("the subnet's group was asked about what the NIC's had denied: %d, %d before", got, before)
	}
	t.expect("the other node has none", t.node(1), api443, "192.0.2.10")

	t.put(own+"/securityRules/NoKubelet", deny(110, arm.Doc{"direction": "Inbound", "destinationPortRange": "10250"}))
	t.expect("inbound by the NIC's", t.node(1), "10.224.0.4:10250", "timeout")
	before = t.count("nsg/nsg-nic/NoKubelet/inbound")
	if before == 0 {
		t.Error("the NIC's inbound rule was not counted")
	}
	t.put(network("networkSecurityGroups", plan.NodesNSG, "securityRules", "NobodyIn"), deny(100, arm.Doc{"direction": "Inbound"}))
	t.expect("inbound by the subnet's first", t.node(1), "10.224.0.4:10250", "timeout")
	if got := t.count("nsg/nsg-nic/NoKubelet/inbound"); got != before {
		t.Errorf("the NIC's group was asked about what the subnet's had denied: %d, %d before", got, before)
	}
}

// NAT gateway, then the instance's own address, then the balancer's outbound rule, then Azure's default.
func TestTrialWaysOut(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{})
	subnet := network("virtualNetworks", plan.VNet, "subnets", plan.NodesSubnet)
	own, shared := network("publicIPAddresses", "pip-own"), network("publicIPAddresses", "pip-shared")
	t.put(own, arm.Doc{"ipAddress": "192.0.2.80", "publicIPAllocationMethod": "Static"})
	t.put(shared, arm.Doc{"ipAddress": "192.0.2.81", "publicIPAllocationMethod": "Static"})
	t.expect("the outbound rule", t.node(0), api443, "192.0.2.10")
	t.nic(0, nil, arm.Doc{"publicIPAddress": arm.Doc{"id": own}})
	t.expect("an address of its own before the rule", t.node(0), api443, "192.0.2.80")
	t.expect("which is nobody else's", t.node(1), api443, "192.0.2.10")
	nat := network("natGateways", "gw")
	t.put(nat, arm.Doc{"idleTimeoutInMinutes": 4, "publicIpAddresses": []any{arm.Doc{"id": shared}}})
	t.merge(subnet, arm.Doc{"properties": arm.Doc{"natGateway": arm.Doc{"id": nat}}})
	t.expect("a NAT gateway before both", t.node(0), api443, "192.0.2.81")
	t.merge(subnet, arm.Doc{"properties": arm.Doc{"natGateway": nil}})
	t.nic(0, nil, arm.Doc{"publicIPAddress": nil})
	t.merge(lbID, arm.Doc{"properties": arm.Doc{"outboundRules": []any{}}})
	t.expect("a private subnet without any", t.node(0), api443, "timeout")
	t.merge(subnet, arm.Doc{"properties": arm.Doc{"defaultOutboundAccess": true}})
	t.expect("a member of a Standard balancer's pool has no default outbound access", t.node(0), api443, "timeout")
	t.nic(0, nil, arm.Doc{"loadBalancerBackendAddressPools": []any{}})
	t.expect("default outbound access", t.node(0), api443, defaultOutbound.String())
}

func TestTrialIdleTimeout(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{Outbound: plan.OutUser})
	gw := network("natGateways", plan.NATGateway)
	t.merge(gw, arm.Doc{"tags": arm.Doc{"labIdleSeconds": "3"}})
	_, busy := t.hello(t.node(0), api443)
	_, idle := t.hello(t.node(0), api443)
	if busy == nil || idle == nil {
		t.Fatal("no connections")
	}
	defer busy.Close()
	defer idle.Close()
	say := func(c net.Conn) error {
		c.SetDeadline(time.Now().Add(1500 * time.Millisecond))
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err := c.Read(make([]byte, 1))
		return err
	}
	// The gateway's table says when the idle one is forgotten; the other is kept busy meanwhile.
	_, port, _ := net.SplitHostPort(idle.LocalAddr().String())
	known := func() bool {
		return strings.Contains(t.run(RoleRouter, "conntrack", "-L", "-p", "tcp"), "sport="+port+" ")
	}
	for end := time.Now().Add(20 * time.Second); known(); {
		if time.Now().After(end) {
			t.Fatal("an idle connection is still known after 20 s, with a time-out of 3 s")
		}
		if err := say(busy); err != nil {
			t.Fatalf("a busy connection: %v", err)
		}
	}
	if err := say(idle); err == nil || outcome(err) != "reset" {
		t.Errorf("what comes after the idle time-out is reset: %v", err)
	}
	if err := say(busy); err != nil {
		t.Errorf("a busy connection lives on: %v", err)
	}
}

// Peered networks are routed to by the platform; the lab has nobody there.
func TestTrialPeering(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{})
	hub := network("virtualNetworks", "vnet-hub")
	t.put(hub, arm.Doc{"addressSpace": arm.Doc{"addressPrefixes": []any{"203.0.113.0/28"}}, "subnets": []any{}})
	to := func(id string) arm.Doc {
		return arm.Doc{"allowVirtualNetworkAccess": true, "allowForwardedTraffic": true, "remoteVirtualNetwork": arm.Doc{"id": id}}
	}
	t.put(network("virtualNetworks", plan.VNet, "virtualNetworkPeerings", "to-hub"), to(hub))
	t.expect("a peering with one end carries nothing", t.node(0), api443, "192.0.2.10")
	back := hub + "/virtualNetworkPeerings/to-lab"
	t.put(back, to(network("virtualNetworks", plan.VNet)))
	before := t.count(counterPeering)
	t.expect("an address of the peered network is not the internet's", t.node(0), api443, "timeout")
	if t.count(counterPeering) == before {
		t.Error("nothing went into the peering")
	}
	t.expect("others still are", t.node(0), "203.0.113.30:443", "192.0.2.10")
	if err := t.store.Delete(back); err != nil {
		t.Fatal(err)
	}
	t.expect("nor does one whose other end was taken away", t.node(0), api443, "192.0.2.10")
}

func TestTrialFirewallNames(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{Outbound: plan.OutUDR})
	t.answering(RoleAzureDNS, "168.63.129.16:53", map[string]string{"api.payments.example.": "203.0.113.10"})
	policy := network("firewallPolicies", plan.FWPolicy)
	t.put(policy+"/ruleCollectionGroups/rcg-names", arm.Doc{"priority": 100, "ruleCollections": []any{arm.Doc{
		"ruleCollectionType": "FirewallPolicyFilterRuleCollection", "name": "names", "priority": 100, "action": arm.Doc{"type": "Allow"},
		"rules": []any{arm.Doc{
			"ruleType": "NetworkRule", "name": "db", "ipProtocols": []any{"TCP"}, "sourceAddresses": []any{"*"},
			"destinationFqdns": []any{"api.payments.example"}, "destinationPorts": []any{"5432"},
		}},
	}}})
	ask := func() string { return t.lookup(t.node(0), "10.226.0.4:53", "api.payments.example") }
	t.expect("a name in a network rule without the DNS proxy names nobody", t.node(0), "203.0.113.10:5432", "timeout")
	if got := ask(); got == "203.0.113.10" {
		t.Errorf("the firewall answered DNS without its proxy: %q", got)
	}
	t.merge(policy, arm.Doc{"properties": arm.Doc{"dnsSettings": arm.Doc{"enableProxy": true}}})
	if got := ask(); got != "203.0.113.10" {
		t.Errorf("the DNS proxy: %q", got)
	}
	end := time.Now().Add(15 * time.Second) // names are resolved again every few seconds
	for got := ""; got == "" && time.Now().Before(end); {
		seen, c := t.hello(t.node(0), "203.0.113.10:5432")
		if c != nil {
			c.Close()
		}
		if strings.HasPrefix(seen, "192.0.2.30") {
			got = seen
		}
	}
	t.expect("a name in a network rule with it", t.node(0), "203.0.113.10:5432", "192.0.2.30")
	t.expect("and only its port", t.node(0), "203.0.113.10:80", "timeout")
}

// answering serves A records.
func (t *trial) answering(role, addr string, names map[string]string) {
	t.Helper()
	c, err := netns.ListenPacket(t.f.ns(role), "udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: c, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		if a := names[q.Question[0].Name]; a != "" && q.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR(q.Question[0].Name + " 5 IN A " + a)
			m.Answer = append(m.Answer, rr)
		}
		w.WriteMsg(m)
	})}
	go s.ActivateAndServe()
	t.Cleanup(func() { s.Shutdown() })
}

// lookup asks a DNS server for a name's address.
func (t *trial) lookup(from, server, name string) string {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return netns.Dial(ctx, from, network, server)
	}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	addrs, _ := r.LookupHost(ctx, name+".")
	return strings.Join(addrs, " ")
}

func TestTrialBalancer(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{CNI: plan.NodeSubnet})
	t.serve(NodeRole(t.plan.Nodes[1].Name), "10.224.0.5:8088", echo)
	id := plan.ID(plan.NodeGroup, "Microsoft.Network/loadBalancers", "internal")
	balance := func(port int) {
		t.put(id, arm.Doc{
			"frontendIPConfigurations": []any{arm.Doc{"name": "front", "properties": arm.Doc{"privateIPAddress": "10.224.1.200"}}},
			"backendAddressPools":      []any{arm.Doc{"name": "pool", "properties": arm.Doc{"loadBalancerBackendAddresses": []any{arm.Doc{"name": "a", "properties": arm.Doc{"ipAddress": "10.224.0.5"}}}}}},
			"probes":                   []any{arm.Doc{"name": "probe", "properties": arm.Doc{"protocol": "Tcp", "port": float64(port), "intervalInSeconds": 1.0}}},
			"loadBalancingRules": []any{arm.Doc{"name": "rule", "properties": arm.Doc{
				"protocol": "Tcp", "frontendPort": 80.0, "backendPort": 8088.0,
				"frontendIPConfiguration": arm.Doc{"id": id + "/frontendIPConfigurations/front"},
				"backendAddressPool":      arm.Doc{"id": id + "/backendAddressPools/pool"}, "probe": arm.Doc{"id": id + "/probes/probe"},
			}}},
		})
		t.apply()
	}
	const front = "10.224.1.200:80"
	balance(8088)
	t.eventually("a backend that answers its probe", t.node(0), front, "10.224.0.4")
	t.measured(id, "DipAvailability", "Maximum", map[string]string{"BackendIPAddress": "10.224.0.5", "FrontendPort": "80"}, 100, 100)
	t.expect("no rule serves another port", t.node(0), "10.224.1.200:81", "timeout")
	balance(8089)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if got, c := t.hello(t.node(0), front); c == nil && got == "timeout" {
			break
		} else if c != nil {
			c.Close()
		}
	}
	t.expect("a backend whose probe fails", t.node(0), front, "timeout")
	t.measured(id, "DipAvailability", "Minimum", map[string]string{"BackendIPAddress": "10.224.0.5"}, 0, 0)
}
