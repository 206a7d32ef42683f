package fabric

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/lab/arm"
	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/plan"
)

// udp serves one echo socket, ask sends to it.
func (t *trial) udp(role, addr string) {
	t.Helper()
	c, err := netns.ListenPacket(t.f.ns(role), "udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			c.WriteTo(b[:n], from)
		}
	}()
}

func (t *trial) ask(what, from, to string, want bool) {
	t.Helper()
	c, err := netns.Dial(t.Context(), from, "udp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(700 * time.Millisecond))
	fmt.Fprint(c, "?")
	_, err = c.Read(make([]byte, 1))
	if (err == nil) != want {
		t.Errorf("%s: %s → %s: %v, want answered %v", what, from, to, err, want)
	}
}

func TestTrialPathMTU(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{})
	upload := func(what string, want bool) {
		t.Helper()
		_, c := t.hello(t.node(0), api443)
		if c == nil {
			t.Fatalf("%s: no connection", what)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(2 * time.Second))
		go c.Write(make([]byte, 100000))
		_, err := io.ReadFull(c, make([]byte, 100000))
		if (err == nil) != want {
			t.Errorf("%s: %v, want through %v", what, err, want)
		}
	}
	upload("whole", true)
	t.run(RoleRouter, "nft", "add table ip hole; add chain ip hole out { type filter hook output priority 0; }; add rule ip hole out icmp type destination-unreachable drop")
	t.run(RoleRouter, "ip", "link", "set", internetLink, "mtu", "1300")
	upload("black hole", false)
	t.run(RoleRouter, "nft", "delete table ip hole")
	t.run(RoleRouter, "ip", "link", "set", internetLink, "mtu", "1500")
	t.run(NodeRole(t.plan.Nodes[0].Name), "ip", "route", "flush", "cache")
	upload("healed", true)
}

func TestTrialPlatform(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{Outbound: plan.OutUDR})
	t.udp(RoleAzureDNS, "168.63.129.16:53")
	t.udp(RolePublicDNS, "203.0.113.253:53")
	t.serve(RoleAPIServer, plan.APIServer.String(), echo)
	t.put(network("routeTables", plan.RouteTable, "routes", "default"), arm.Doc{"addressPrefix": "0.0.0.0/0", "nextHopType": "None"})
	t.put(network("networkSecurityGroups", plan.NodesNSG, "securityRules", "DenyAll"), arm.Doc{
		"protocol": "*", "access": "Deny", "direction": "Outbound",
		"priority": 100, "sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "*",
	})
	t.ask("the platform's DNS is no subject of NSG and routes", t.node(0), "168.63.129.16:53", true)
	t.expect("nor is the API server", t.node(0), plan.APIServer.String(), "10.224.0.4")
	t.expect("but everything else is", t.node(0), "10.224.0.5:10250", "timeout")
	t.ask("azure-dns reaches public DNS", t.f.ns(RoleAzureDNS), "203.0.113.253:53", true)
	t.put(network("networkSecurityGroups", plan.NodesNSG, "securityRules", "DenyDNS"), arm.Doc{
		"protocol": "*", "access": "Deny", "direction": "Outbound",
		"priority": 101, "sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "AzurePlatformDNS", "destinationPortRange": "53",
	})
	t.ask("unless a rule names it by its tag", t.node(0), "168.63.129.16:53", false)
	t.expect("laptop to the internet", t.f.ns(RoleLaptop), api443, "198.51.100.7")
}

func TestTrialOverlay(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{})
	for i, a := range []string{"10.244.0.7", "10.244.1.7"} {
		t.run(NodeRole(t.plan.Nodes[i].Name), "ip", "addr", "add", a+"/32", "dev", "lo")
		t.serve(NodeRole(t.plan.Nodes[i].Name), a+":8080", echo)
	}
	from := func(src, to string) string {
		out, _ := netns.Command(t.Context(), t.node(0), "curl", "-s", "-m", "1", "--http0.9", "--interface", src, to).CombinedOutput()
		return strings.TrimSpace(string(out))
	}
	if got := from("10.244.0.7", "10.244.1.7:8080"); !strings.HasPrefix(got, "10.244.0.7") {
		t.Errorf("pod to pod: %q", got)
	}
	if got := from("10.244.0.7", "203.0.113.10:443"); got != "" {
		t.Errorf("a pod's address was translated without its node's masquerade: %q", got)
	}
	t.rule("DenyPods", "Inbound", "Deny", 300, "10.244.0.0/16", "*", "*")
	if got := from("10.244.0.7", "10.244.1.7:8080"); got != "" {
		t.Errorf("NSG on pod addresses: %q", got)
	}
	if t.count("nsg/nsg-nodes/DenyPods/inbound") == 0 {
		t.Error("DenyPods did not count")
	}
	t.expect("nodes are not meant", t.node(0), "10.224.0.5:10250", "10.224.0.4")
}

func TestTrialPodSubnet(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{CNI: plan.PodSubnet, Outbound: plan.OutUser})
	t.run(NodeRole(t.plan.Nodes[0].Name), "ip", "addr", "add", "10.225.0.7/32", "dev", "lo")
	via := func(src string) string {
		out, _ := netns.Command(t.Context(), t.node(0), "curl", "-s", "-m", "1", "--http0.9", "--interface", src, api443).CombinedOutput()
		line, _, _ := strings.Cut(string(out), "\n")
		host, _, _ := net.SplitHostPort(line)
		return host
	}
	if via("10.225.0.7") != "192.0.2.20" || via("10.224.0.4") != "192.0.2.20" {
		t.Errorf("pod and node leave by the NAT gateway: %q %q", via("10.225.0.7"), via("10.224.0.4"))
	}
	t.merge(network("virtualNetworks", plan.VNet, "subnets", plan.PodsSubnet), arm.Doc{"properties": arm.Doc{"natGateway": nil}})
	if via("10.225.0.7") != "" || via("10.224.0.4") != "192.0.2.20" {
		t.Errorf("only the pods' subnet lost its gateway: %q %q", via("10.225.0.7"), via("10.224.0.4"))
	}
	t.put(network("networkSecurityGroups", plan.PodsNSG, "securityRules", "Deny"), arm.Doc{
		"protocol": "*", "access": "Deny", "direction": "Outbound",
		"priority": 100, "sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "*",
	})
	via("10.225.0.7")
	if t.count("nsg/nsg-pods/Deny/outbound") == 0 {
		t.Error("the pods' subnet's NSG did not judge the pod")
	}
	if via("10.224.0.4") != "192.0.2.20" {
		t.Error("it judged the node")
	}
}

func TestTrialPrecedence(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{})
	pip := network("publicIPAddresses", "pip-more")
	t.put(pip, arm.Doc{"ipAddress": "192.0.2.70", "publicIPAllocationMethod": "Static"})
	nat := network("natGateways", "more")
	t.put(nat, arm.Doc{"idleTimeoutInMinutes": 4, "publicIpAddresses": []any{arm.Doc{"id": pip}}})
	t.expect("a gateway that no subnet uses", t.node(0), api443, "192.0.2.10")
	subnet := network("virtualNetworks", plan.VNet, "subnets", plan.NodesSubnet)
	_, old := t.hello(t.node(0), api443)
	t.merge(subnet, arm.Doc{"properties": arm.Doc{"natGateway": arm.Doc{"id": nat}}})
	t.expect("NAT gateway before load balancer", t.node(0), api443, "192.0.2.70")
	old.SetDeadline(time.Now().Add(time.Second))
	fmt.Fprintln(old, "x")
	if _, err := old.Read(make([]byte, 1)); err != nil {
		t.Errorf("attaching a NAT gateway broke an old flow: %v", err)
	}
	old.Close()
	second := network("publicIPAddresses", "pip-second")
	t.put(second, arm.Doc{"ipAddress": "192.0.2.71", "publicIPAllocationMethod": "Static"})
	t.measured(nat, "SNATConnectionCount", "Total", map[string]string{"ConnectionState": "Attempted"}, 1, 1)
	nic := t.f.program.world.nics[0].id
	t.merge(nic, arm.Doc{"properties": arm.Doc{"enableIPForwarding": false}})
	t.expect("IP forwarding off: the node itself is heard", t.node(0), api443, "192.0.2.70")
	t.merge(nat, arm.Doc{"properties": arm.Doc{"publicIpAddresses": []any{arm.Doc{"id": pip}, arm.Doc{"id": second}}}})
	seen := map[string]bool{}
	for _, to := range []string{api443, "203.0.113.10:80", "203.0.113.30:443"} {
		got, c := t.hello(t.node(0), to)
		if c != nil {
			c.Close()
		}
		seen[strings.TrimSuffix(strings.TrimRight(got, "0123456789"), ":")] = true
	}
	delete(seen, "192.0.2.70")
	delete(seen, "192.0.2.71")
	if len(seen) > 0 {
		t.Errorf("a gateway with two addresses: %v", seen)
	}
	gateway := network("virtualNetworkGateways", "vpn")
	if _, err := t.store.Put(gateway, arm.Doc{"id": gateway, "location": "westeurope", "tags": arm.Doc{"learnedRoutes": "0.0.0.0/0, 10.99.0.0/16"}, "properties": arm.Doc{}}); err != nil {
		t.Fatal(err)
	}
	t.expect("a default route learned from a gateway", t.node(0), api443, "timeout")
	if t.count(counterGateway) == 0 {
		t.Error("drop at the gateway was not counted")
	}
	t.put(network("routeTables", "mine"), arm.Doc{"disableBgpRoutePropagation": true, "routes": []any{}})
	t.merge(subnet, arm.Doc{"properties": arm.Doc{"routeTable": arm.Doc{"id": network("routeTables", "mine")}}})
	if got, _ := t.hello(t.node(0), api443); !strings.HasPrefix(got, "192.0.2.7") {
		t.Errorf("propagation switched off: %s", got)
	}
}

func TestTrialExplicitProxy(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{Outbound: plan.OutUDR})
	policy := network("firewallPolicies", plan.FWPolicy)
	t.merge(policy, arm.Doc{"properties": arm.Doc{"explicitProxy": arm.Doc{"enableExplicitProxy": true, "httpPort": 8080, "httpsPort": 8443}}})
	get := func(url string) string {
		out, _ := netns.Command(t.Context(), t.node(0), "curl", "-s", "-m", "4", "-o", "/dev/null", "-w", "%{http_code} %{http_connect}", "-x", "http://10.226.0.4:8080", url).CombinedOutput()
		return strings.TrimSpace(string(out))
	}
	if got := get("https://status.example"); got != "000 403" {
		t.Errorf("CONNECT denied: %q", got)
	}
	if got := get("http://203.0.113.10/"); got != "403 000" {
		t.Errorf("plain request denied: %q", got)
	}
	t.put(policy+"/ruleCollectionGroups/rcg-more", arm.Doc{"priority": 150, "ruleCollections": []any{arm.Doc{
		"ruleCollectionType": "FirewallPolicyFilterRuleCollection", "name": "more", "priority": 100, "action": arm.Doc{"type": "Allow"},
		"rules": []any{arm.Doc{
			"ruleType": "ApplicationRule", "name": "addr", "sourceAddresses": []any{"*"}, "targetFqdns": []any{"203.0.113.10"},
			"protocols": []any{arm.Doc{"protocolType": "Https", "port": 443}, arm.Doc{"protocolType": "Http", "port": 80}},
		}},
	}}})
	if got := get("https://203.0.113.10"); got != "000 200" {
		t.Errorf("CONNECT allowed: %q", got)
	}
	t.run(RoleFirewall, "iptables", "-I", "FORWARD", "-p", "tcp", "-m", "string", "--algo", "bm", "--string", "203.0.113.10", "-j", "REJECT", "--reject-with", "tcp-reset")
	if got := get("https://203.0.113.10"); got != "000 000" {
		t.Errorf("a rule in the box's forward hook: %q", got)
	}
}
