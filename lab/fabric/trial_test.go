package fabric

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/podpath/podpath/lab/arm"
	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/plan"
)

// The trials build a fabric and send packets through it. They need root, and run
// only where PODPATH_LAB_ROOT says that this machine is meant for it.
func allowed() bool { return os.Getenv("PODPATH_LAB_ROOT") == "1" && os.Geteuid() == 0 }

type trial struct {
	*testing.T
	plan  *plan.Plan
	store *arm.Store
	f     *Fabric
}

func newTrial(t *testing.T, topology plan.Topology) *trial {
	t.Helper()
	p, err := plan.New("l2", topology)
	if err != nil {
		t.Fatal(err)
	}
	tr := &trial{T: t, plan: p, store: arm.NewStore(), f: New(p)}
	if err := arm.Seed(tr.store, p); err != nil {
		t.Fatal(err)
	}
	if err := tr.f.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.f.Down(); err != nil {
			t.Error(err)
		}
	})
	tr.store.OnChange(tr.f.Apply)
	tr.apply()
	tr.serve(HostRole("api.payments.example"), "203.0.113.10:443", echo)
	tr.serve(HostRole("api.payments.example"), "203.0.113.10:80", echo)
	tr.serve(HostRole("api.payments.example"), "203.0.113.10:5432", echo)
	tr.serve(HostRole("status.example"), "203.0.113.30:443", echo)
	for _, n := range p.Nodes {
		tr.serve(NodeRole(n.Name), n.Addr.String()+":10250", echo)
	}
	return tr
}

func (t *trial) apply() {
	t.Helper()
	if err := t.f.Apply(t.store.All()); err != nil {
		t.Fatal(err)
	}
}

func echo(c net.Conn) { io.Copy(c, c) }

func (t *trial) serve(role, addr string, f func(net.Conn)) {
	t.Helper()
	l, err := netns.Listen(t.f.ns(role), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); fmt.Fprintln(c, c.RemoteAddr()); f(c) }()
		}
	}()
}

func (t *trial) node(i int) string { return t.f.ns(NodeRole(t.plan.Nodes[i].Name)) }

// hello connects and reads the one line in which a server says whom it sees.
func (t *trial) hello(from, to string) (string, net.Conn) {
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	c, err := netns.Dial(ctx, from, "tcp", to)
	if err != nil {
		return outcome(err), nil
	}
	c.SetReadDeadline(time.Now().Add(1500 * time.Millisecond))
	var line []byte
	one := make([]byte, 1)
	for {
		if _, err := c.Read(one); err != nil {
			return outcome(err), c
		}
		if one[0] == '\n' {
			return string(line), c
		}
		line = append(line, one[0])
	}
}

func outcome(err error) string {
	var n net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.As(err, &n) && n.Timeout():
		return "timeout"
	}
	return err.Error()
}

func (t *trial) expect(what, from, to, want string) {
	t.Helper()
	got, c := t.hello(from, to)
	if c != nil {
		c.Close()
	}
	if host, _, err := net.SplitHostPort(got); err == nil {
		got = host
	}
	if got != want {
		t.Errorf("%s: %s → %s: got %q, want %q", what, from, to, got, want)
	}
}

// eventually is expect for what takes a moment.
func (t *trial) eventually(what, from, to, want string) {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		got, c := t.hello(from, to)
		if c != nil {
			c.Close()
		}
		if strings.HasPrefix(got, want) {
			return
		}
	}
	t.expect(what, from, to, want)
}

func (t *trial) put(id string, properties arm.Doc) {
	t.Helper()
	if _, err := t.store.Put(id, arm.Doc{"id": id, "properties": properties}); err != nil {
		t.Fatal(err)
	}
}

func (t *trial) merge(id string, patch arm.Doc) {
	t.Helper()
	if _, err := t.store.Merge(id, patch); err != nil {
		t.Fatal(err)
	}
}

func (t *trial) run(role string, argv ...string) string {
	t.Helper()
	out, err := netns.Command(t.Context(), t.f.ns(role), argv...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

func (t *trial) count(name string) int64 {
	t.Helper()
	c, err := t.f.Counters(RoleRouter)
	if err != nil {
		t.Fatal(err)
	}
	return c[name]
}

func network(kind, name string, rest ...string) string {
	return plan.ID(plan.ResourceGroup, "Microsoft.Network/"+kind, name, rest...)
}

var lbID = plan.ID(plan.NodeGroup, "Microsoft.Network/loadBalancers", plan.LoadBalancer)

func (t *trial) rule(name, direction, access string, priority int, from, to, port string) {
	t.Helper()
	t.put(network("networkSecurityGroups", plan.NodesNSG, "securityRules", name), arm.Doc{
		"protocol": "Tcp", "access": access, "direction": direction,
		"priority": priority, "sourceAddressPrefix": from, "sourcePortRange": "*", "destinationAddressPrefix": to, "destinationPortRange": port,
	})
}

const api443 = "203.0.113.10:443"

func TestTrialLoadBalancer(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{})
	t.expect("healthy", t.node(0), api443, "192.0.2.10")
	t.expect("node to node", t.node(0), "10.224.0.5:10250", "10.224.0.4")
	t.expect("nobody in the VNet", t.node(0), "10.224.9.9:443", "timeout")
	t.expect("private range outside", t.node(0), "172.16.1.1:443", "timeout")

	_, alive := t.hello(t.node(0), api443)
	t.rule("DenyWeb", "Outbound", "Deny", 200, "*", "Internet", "443")
	t.expect("NSG denies", t.node(0), api443, "timeout")
	t.expect("NSG denies 443 only", t.node(0), "203.0.113.10:5432", "192.0.2.10")
	if n := t.count("nsg/nsg-nodes/DenyWeb/outbound"); n == 0 {
		t.Error("the rule's counter did not move")
	}
	alive.SetDeadline(time.Now().Add(1500 * time.Millisecond))
	fmt.Fprintln(alive, "x")
	if _, err := alive.Read(make([]byte, 1)); err != nil {
		t.Errorf("a new rule cut an established connection: %v", err)
	}
	alive.Close()
	t.rule("AllowWeb", "Outbound", "Allow", 150, "10.224.0.4", "203.0.113.0/24", "443")
	t.expect("a lower priority number wins", t.node(0), api443, "192.0.2.10")
	t.expect("and only for its source", t.node(1), api443, "timeout")
	for _, r := range []string{"AllowWeb", "DenyWeb"} {
		if err := t.store.Delete(network("networkSecurityGroups", plan.NodesNSG, "securityRules", r)); err != nil {
			t.Fatal(err)
		}
	}
	t.expect("taken back", t.node(1), api443, "192.0.2.10")
	t.rule("DenyKubelet", "Inbound", "Deny", 200, "*", "10.224.0.5", "10250")
	t.expect("inbound, same subnet", t.node(0), "10.224.0.5:10250", "timeout")

	t.merge(lbID, arm.Doc{"properties": arm.Doc{"outboundRules": []any{}}})
	before := t.count(counterUnNATed)
	t.expect("no outbound rule, private subnet", t.node(0), api443, "timeout")
	if t.count(counterUnNATed) == before {
		t.Error("an untranslated packet was not counted")
	}
}

func TestTrialPorts(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{})
	rules := arm.Items(mustGet(t, lbID), "properties", "outboundRules")
	rules[0]["properties"].(arm.Doc)["allocatedOutboundPorts"] = 8
	t.merge(lbID, arm.Doc{"properties": arm.Doc{"outboundRules": []any{rules[0]}}})
	var mu sync.Mutex
	got := map[string]int{}
	var open []net.Conn
	var wait sync.WaitGroup
	for range 12 {
		wait.Go(func() {
			seen, c := t.hello(t.node(0), api443)
			mu.Lock()
			defer mu.Unlock()
			if host, port, err := net.SplitHostPort(seen); err == nil {
				seen = host
				if port < "1024" || port > "1031" {
					t.Errorf("port %s is outside the node's range", port)
				}
			}
			got[seen]++
			if c != nil {
				open = append(open, c)
			}
		})
	}
	wait.Wait()
	if got["192.0.2.10"] != 8 || got["timeout"] != 4 {
		t.Errorf("8 ports, 12 connections: %v", got)
	}
	t.expect("another destination, same ports", t.node(0), "203.0.113.30:443", "192.0.2.10")
	t.expect("the other node has its own", t.node(1), api443, "192.0.2.10")
	t.measured(lbID, "AllocatedSnatPorts", "Average", map[string]string{"BackendIPAddress": "10.224.0.4", "ProtocolType": "TCP"}, 8, 8)
	t.measured(lbID, "UsedSnatPorts", "Maximum", map[string]string{"BackendIPAddress": "10.224.0.4", "ProtocolType": "TCP"}, 8, 8)
	t.measured(lbID, "SnatConnectionCount", "Total", map[string]string{"BackendIPAddress": "10.224.0.4", "ConnectionState": "Failed"}, 4, 40)
	t.measured(lbID, "SnatConnectionCount", "Total", map[string]string{"BackendIPAddress": "10.224.0.4", "ConnectionState": "Successful"}, 9, 9)
	t.measured(lbID, "SnatConnectionCount", "Total", map[string]string{"BackendIPAddress": "10.224.0.5", "ConnectionState": "Failed"}, 0, 0)
	for _, c := range open {
		c.Close()
	}
}

// measured checks a metric's value over the last minutes.
func (t *trial) measured(id, metric, how string, dims map[string]string, low, high float64) {
	t.Helper()
	got, found := 0.0, false
	for _, s := range t.f.Metric(id, metric, how, time.Now().Add(-2*time.Minute), time.Now().Add(time.Minute)) {
		fits := true
		for k, v := range dims {
			fits = fits && s.Dimensions[k] == v
		}
		for _, p := range s.Points {
			if !fits || p.NoData {
				continue
			}
			found = true
			if how == "Total" {
				got += p.Value
			} else {
				got = p.Value
			}
		}
	}
	if !found || got < low || got > high {
		t.Errorf("%s %v: %v (found %v), want %v to %v", metric, dims, got, found, low, high)
	}
}

func mustGet(t *trial, id string) arm.Doc {
	t.Helper()
	d, ok := t.store.Get(id)
	if !ok {
		t.Fatalf("no document %s", id)
	}
	return d
}

func TestTrialRoutes(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{CNI: plan.Kubenet, Outbound: plan.OutUser})
	t.expect("NAT gateway", t.node(0), api443, "192.0.2.20")
	_, idle := t.hello(t.node(0), api443)
	t.run(RoleRouter, "conntrack", "-F") // as if the idle time-out had passed
	idle.SetDeadline(time.Now().Add(1500 * time.Millisecond))
	fmt.Fprintln(idle, "x")
	if _, err := idle.Read(make([]byte, 1)); err == nil || outcome(err) != "reset" {
		t.Errorf("a NAT gateway resets what comes after the idle time-out: %v", err)
	}
	t.run(RoleRouter, "ip", "link", "set", "node0", "down")
	t.run(RoleRouter, "ip", "link", "set", "node0", "up")
	t.eventually("a leg of the router that was down", t.node(0), api443, "192.0.2.20")
	t.run(NodeRole(t.plan.Nodes[0].Name), "ip", "link", "set", "eth0", "down")
	t.run(NodeRole(t.plan.Nodes[0].Name), "ip", "link", "set", "eth0", "up")
	t.eventually("a node's link that was down", t.node(0), api443, "192.0.2.20")
	rt := network("routeTables", plan.RouteTable)
	pod := t.f.ns(NodeRole(t.plan.Nodes[1].Name))
	if err := netns.Command(t.Context(), pod, "ip", "addr", "add", "10.244.1.7/32", "dev", "lo").Run(); err != nil {
		t.Fatal(err)
	}
	t.serve(NodeRole(t.plan.Nodes[1].Name), "10.244.1.7:8080", echo)
	t.expect("pod range by route", t.node(0), "10.244.1.7:8080", "10.224.0.4")
	if err := t.store.Delete(rt + "/routes/" + t.plan.Nodes[1].Name); err != nil {
		t.Fatal(err)
	}
	t.expect("no route for a node's pods", t.node(0), "10.244.1.7:8080", "timeout")
	hop := func(kind, addr string) {
		t.Helper()
		d := arm.Doc{"addressPrefix": "0.0.0.0/0", "nextHopType": kind}
		if addr != "" {
			d["nextHopIpAddress"] = addr
		}
		t.put(rt+"/routes/default", d)
	}
	hop("None", "")
	t.expect("next hop None", t.node(0), api443, "timeout")
	if t.count(counterNoneRoute) == 0 {
		t.Error("route-none was not counted")
	}
	hop("VirtualAppliance", "10.226.0.9")
	t.expect("appliance that is not there", t.node(0), api443, "timeout")
	hop("VirtualAppliance", "10.224.0.5")
	t.expect("a node as appliance", t.node(0), api443, "timeout") // forwards, untranslated
	hop("Internet", "")
	t.expect("next hop Internet", t.node(0), api443, "192.0.2.20")
	t.merge(network("natGateways", plan.NATGateway), arm.Doc{"properties": arm.Doc{"publicIpAddresses": []any{}}})
	t.expect("NAT gateway without address", t.node(0), api443, "timeout")
}

func TestTrialFirewall(tt *testing.T) {
	if !allowed() {
		return
	}
	t := newTrial(tt, plan.Topology{Outbound: plan.OutUDR})
	get := func(url string, more ...string) string {
		argv := append([]string{
			"curl", "-sS", "-m", "4", "-k", "-o", "/dev/null", "-w", "%{http_code}", "--resolve", "api.payments.example:443:203.0.113.10",
			"--resolve", "status.example:443:203.0.113.30", "--resolve", "status.example:80:203.0.113.10",
		}, more...)
		out, err := netns.Command(t.Context(), t.node(0), append(argv, url)...).CombinedOutput()
		return fmt.Sprint(strings.TrimSpace(string(out)), " ", err)
	}
	for url, want := range map[string]string{
		"https://status.example":       "exit status 35",
		"http://status.example":        "470 <nil>",
		"https://api.payments.example": "exit status 35", // let through, but what answers there speaks no TLS
	} {
		if got := get(url); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", url, got, want)
		} else {
			t.Logf("%s: %s", url, got)
		}
	}
	reject := []string{"FORWARD", "-p", "tcp", "--dport", "443", "-m", "string", "--algo", "bm", "--string", "api.payments.example", "-j", "REJECT", "--reject-with", "tcp-reset"}
	t.run(RoleFirewall, append([]string{"iptables", "-I"}, reject...)...)
	if got := get("https://api.payments.example"); !strings.Contains(got, "reset by peer") {
		t.Errorf("reset by name in the box's forward hook: %s", got)
	}
	t.run(RoleFirewall, append([]string{"iptables", "-D"}, reject...)...)
	t.expect("another port, no network rule", t.node(0), "203.0.113.10:5432", "timeout")
	policy := network("firewallPolicies", plan.FWPolicy)
	t.put(policy+"/ruleCollectionGroups/rcg-net", arm.Doc{"priority": 100, "ruleCollections": []any{arm.Doc{
		"ruleCollectionType": "FirewallPolicyFilterRuleCollection", "name": "net", "priority": 100, "action": arm.Doc{"type": "Allow"},
		"rules": []any{arm.Doc{
			"ruleType": "NetworkRule", "name": "db", "ipProtocols": []any{"TCP"}, "sourceAddresses": []any{"*"},
			"destinationAddresses": []any{"203.0.113.10"}, "destinationPorts": []any{"5432", "443"},
		}},
	}}})
	t.expect("network rule", t.node(0), "203.0.113.10:5432", "192.0.2.30")
	t.expect("network rule before application rules", t.node(0), api443, "192.0.2.30")
	t.run(RoleFirewall, "sysctl", "-qw", "net.ipv4.ip_forward=0")
	t.expect("ip_forward=0 on the appliance", t.node(0), api443, "timeout")
	t.run(RoleFirewall, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	t.expect("and back", t.node(0), api443, "192.0.2.30")
	t.run(RoleFirewall, "ip", "link", "set", "eth0", "down")
	t.expect("appliance's link down", t.node(0), api443, "timeout")
	t.run(RoleFirewall, "ip", "link", "set", "eth0", "up")
	t.eventually("and up", t.node(0), api443, "192.0.2.30")
	t.merge(policy, arm.Doc{"properties": arm.Doc{"snat": arm.Doc{"privateRanges": []any{"0.0.0.0/0"}}}})
	t.expect("appliance without source NAT", t.node(0), api443, "timeout")
	t.merge(network("azureFirewalls", plan.Firewall), arm.Doc{"properties": arm.Doc{"ipConfigurations": []any{}}})
	t.expect("firewall stopped", t.node(0), api443, "timeout")
}

func TestTrialSpeed(tt *testing.T) {
	if !allowed() {
		return
	}
	start := time.Now()
	t := newTrial(tt, plan.Topology{CNI: plan.NodeSubnet, Nodes: 5})
	t.Logf("up and seeded in %s", time.Since(start))
	start = time.Now()
	t.rule("DenyOne", "Outbound", "Deny", 200, "*", "203.0.113.99", "443")
	t.Logf("one rule in %s", time.Since(start))
	start = time.Now()
	t.apply()
	t.Logf("nothing new in %s", time.Since(start))
}
