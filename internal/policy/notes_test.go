package policy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

// Points on which tools and dataplanes are known to differ, beside those that
// the other tables hold.

func tcpTo(dst string, port uint16) model.Flow {
	return model.Flow{Protocol: "tcp", Dst: netip.MustParseAddr(dst), DstPort: port}
}

func TestIPv6(t *testing.T) {
	w := world(func(w *model.World, p *model.NetworkPolicy) {
		p.EgressRules = rule(block("::/0"))
		server := w.Kube.Pods["pod/a/server"]
		server.IPs = append(server.IPs, netip.MustParseAddr("fd00::2"))
	})
	x, client := BuildAs(w, Upstream), w.Kube.Pods["pod/a/client"]
	for dst, want := range map[string]model.Verdict{"8.8.8.8": model.Drop, "2001:db8::1": model.Pass, "fd00::2": model.Pass, "10.0.0.2": model.Drop} {
		if d := x.Egress(client, tcpTo(dst, 80)); d.Verdict != want {
			t.Errorf("%s: %s, %s", dst, d.Verdict, d.Reason)
		}
	}
	// A selector knows a pod by its second address too.
	w.Kube.Policies["networkpolicy/a/p"].EgressRules = rule(model.PolicyPeer{PodSelector: sel("app", "server")})
	if d := BuildAs(w, Upstream).Egress(client, tcpTo("fd00::2", 80)); d.Verdict != model.Pass {
		t.Errorf("%+v", d)
	}
}

// TestLocalDNS: the node-local resolvers' addresses are no pods: a selector of
// the name service's pods does not let through to them.
func TestLocalDNS(t *testing.T) {
	w := world(func(_ *model.World, p *model.NetworkPolicy) {
		p.EgressRules = rule(model.PolicyPeer{NamespaceSelector: sel()})
	})
	client := w.Kube.Pods["pod/a/client"]
	for _, dst := range []string{"169.254.10.10", "169.254.10.11"} {
		if d := BuildAs(w, Upstream).Egress(client, tcpTo(dst, 53)); d.Verdict != model.Drop {
			t.Errorf("%+v", d)
		}
	}
	w.Kube.Policies["networkpolicy/a/p"].EgressRules = rule(block("169.254.10.10/31"))
	if d := BuildAs(w, Cilium).Egress(client, tcpTo("169.254.10.11", 53)); d.Verdict != model.Pass {
		t.Errorf("%+v", d)
	}
}

func TestNoProtocolIsTCP(t *testing.T) {
	w := world(func(_ *model.World, p *model.NetworkPolicy) {
		p.EgressRules = []model.PolicyRule{{Ports: []model.PolicyPort{{Port: "53"}}}}
	})
	f := tcpTo("8.8.8.8", 53)
	x, client := BuildAs(w, Upstream), w.Kube.Pods["pod/a/client"]
	if d := x.Egress(client, f); d.Verdict != model.Pass {
		t.Errorf("%+v", d)
	}
	f.Protocol = "udp"
	if d := x.Egress(client, f); d.Verdict != model.Drop {
		t.Errorf("%+v", d)
	}
}

// TestNPMServiceTraffic: under Azure NPM what a Service sends on from another
// node is not subject to ingress policies; the node's own connections are.
func TestNPMServiceTraffic(t *testing.T) {
	w := world(func(_ *model.World, p *model.NetworkPolicy) { p.Ingress, p.Egress = true, false })
	client := w.Kube.Pods["pod/a/client"]
	f := model.Flow{Protocol: "tcp", Src: netip.MustParseAddr("192.168.0.2"), Dst: client.IPs[0], DstPort: 80}
	if d := BuildAs(w, NPM).Ingress(client, f); d.Verdict != model.Unknown {
		t.Errorf("%+v", d)
	}
	if d := BuildAs(w, Cilium).Ingress(client, f); d.Verdict != model.Drop {
		t.Errorf("%+v", d)
	}
	f.From = "node/n2"
	if d := BuildAs(w, NPM).Ingress(client, f); d.Verdict != model.Drop {
		t.Errorf("%+v", d)
	}
}

func TestNPMOnWindows(t *testing.T) {
	expr := model.SelectorExpression{Key: "x", Operator: "NotIn", Values: []string{"y"}}
	for name, c := range map[string]struct {
		rules []model.PolicyRule
		linux model.Verdict
	}{
		"except":        {rule(block("10.0.0.0/8", "10.1.0.0/16")), model.Pass},
		"named port":    {rule(model.PolicyPeer{NamespaceSelector: sel()}, model.PolicyPort{Protocol: "TCP", Port: "web"}), model.Pass},
		"negative":      {rule(model.PolicyPeer{NamespaceSelector: &model.Selector{Expressions: []model.SelectorExpression{expr}}}), model.Pass},
		"nothing of it": {rule(block("10.0.0.0/8")), model.Pass},
	} {
		w := world(func(w *model.World, p *model.NetworkPolicy) {
			p.EgressRules = c.rules
			w.Kube.Pods["pod/b/other"].Containers = []model.Container{{Ports: []model.ContainerPort{{Name: "web", Port: 80}}}}
		})
		client := w.Kube.Pods["pod/a/client"]
		if d := BuildAs(w, NPM).Egress(client, tcpTo("10.0.0.3", 80)); d.Verdict != c.linux {
			t.Errorf("%s: %+v", name, d)
		}
		w.Kube.Nodes["n1"].Labels = model.Labels{"kubernetes.io/os": "windows"}
		want := model.Unknown
		if name == "nothing of it" {
			want = model.Pass
		}
		if d := BuildAs(w, NPM).Egress(client, tcpTo("10.0.0.3", 80)); d.Verdict != want {
			t.Errorf("%s on Windows: %+v", name, d)
		}
	}
}

// TestCiliumVersion: agents before 1.17 take the first port of a range alone.
func TestCiliumVersion(t *testing.T) {
	for image, want := range map[string]model.Verdict{
		"quay.io/cilium/cilium:v1.16.5@sha256:ab": model.Drop, "mcr.microsoft.com/containernetworking/cilium/cilium:v1.17.0-250101": model.Pass, "cilium:v1.18": model.Pass,
		"cilium:latest": model.Unknown, "example/other:v1.9": model.Unknown,
	} {
		w := world(func(w *model.World, p *model.NetworkPolicy) {
			p.EgressRules = rule(block("0.0.0.0/0"), model.PolicyPort{Protocol: "TCP", Port: "80", EndPort: 90})
			agent := &model.Pod{Namespace: "kube-system", Name: "cilium-x", Owner: "daemonset/kube-system/cilium", Phase: "Running", HostNetwork: true, Containers: []model.Container{{Image: image}}}
			w.Kube.Pods[agent.Ref()] = agent
		})
		x := Build(w)
		if x.Dialect() != Cilium {
			t.Fatal(x.Dialect())
		}
		if d := x.Egress(w.Kube.Pods["pod/a/client"], tcpTo("8.8.8.8", 85)); d.Verdict != want {
			t.Errorf("%s: %s, %s", image, d.Verdict, d.Reason)
		}
	}
}

// TestUnreadKinds: policies of a kind that may be there and could not be read may refuse what the others let pass.
func TestUnreadKinds(t *testing.T) {
	for _, c := range []struct {
		name    string
		gap     model.Gap
		dialect Dialect
		allowed bool
		want    model.Verdict
	}{
		{"admin policies", model.Gap{What: "adminnetworkpolicies.policy.networking.k8s.io", Permission: "list adminnetworkpolicies.policy.networking.k8s.io (cluster scope)"}, Upstream, true, model.Unknown},
		{"they could also let pass", model.Gap{What: "adminnetworkpolicies.policy.networking.k8s.io"}, Upstream, false, model.Unknown},
		{"a baseline could not", model.Gap{What: "baselineadminnetworkpolicies.policy.networking.k8s.io"}, Upstream, false, model.Drop},
		{"nobody carries them out", model.Gap{What: "adminnetworkpolicies.policy.networking.k8s.io"}, NPM, true, model.Pass},
		{"Calico's, with Cilium", model.Gap{What: "globalnetworkpolicies.crd.projectcalico.org"}, Cilium, true, model.Pass},
		{"Calico's", model.Gap{What: "globalnetworkpolicies.projectcalico.org"}, Calico, true, model.Unknown},
		{"Calico's NetworkPolicy is another", model.Gap{What: "networkpolicies.crd.projectcalico.org in namespace a"}, Upstream, true, model.Pass},
		{"of the namespace", model.Gap{What: "ciliumnetworkpolicies.cilium.io in namespace a"}, Cilium, true, model.Unknown},
		{"of another namespace", model.Gap{What: "ciliumnetworkpolicies.cilium.io in namespace b"}, Cilium, true, model.Pass},
		{"which kinds there are", model.Gap{What: "which kinds of policies the API server serves", Ref: Discovery}, Upstream, true, model.Unknown},
		{"which kinds there are, with a dataplane that knows one", model.Gap{Ref: Discovery}, NPM, true, model.Pass},
	} {
		w := world(func(w *model.World, p *model.NetworkPolicy) {
			if c.allowed {
				p.EgressRules = rule(block("0.0.0.0/0"))
			}
			w.Gaps = []model.Gap{c.gap}
		})
		d := BuildAs(w, c.dialect).Egress(w.Kube.Pods["pod/a/client"], tcpTo("8.8.8.8", 80))
		if d.Verdict != c.want || d.Verdict == model.Unknown && (len(d.Gaps) != 1 || !strings.Contains(d.Reason, "could not be read")) {
			t.Errorf("%s: %s: %s", c.name, d.Verdict, d.Reason)
		}
	}
}

// TestKindsTellTheDialect: where nothing else tells, policies of a dataplane's own kinds do.
func TestKindsTellTheDialect(t *testing.T) {
	calico := map[model.Ref]*model.CalicoPolicy{"globalnetworkpolicy/x": {Ref: "globalnetworkpolicy/x", Name: "x", Egress: true, Tier: "default"}}
	cilium := map[model.Ref]*model.CiliumPolicy{"ciliumnetworkpolicy/a/x": {Ref: "ciliumnetworkpolicy/a/x", Namespace: "a"}}
	w := world(func(*model.World, *model.NetworkPolicy) {})
	w.Kube.CalicoPolicies = calico
	if x := Build(w); x.Dialect() != Calico || x.Rules().Engine == "" {
		t.Error(x.Dialect())
	}
	w.Kube.CiliumPolicies = cilium
	if d := Build(w).Egress(w.Kube.Pods["pod/a/client"], tcpTo("8.8.8.8", 80)); d.Verdict != model.Unknown {
		t.Errorf("both: %+v", d)
	}
	w.Kube.CalicoPolicies = nil
	if x := Build(w); x.Dialect() != Cilium {
		t.Error(x.Dialect())
	}
	// In a running cluster they may be left over from another dataplane.
	w.Kube.CalicoPolicies, w.Kube.CiliumPolicies, w.Kube.Server = calico, nil, "https://api"
	clear(w.Kube.Policies)
	if d := Build(w).Egress(w.Kube.Pods["pod/a/client"], tcpTo("8.8.8.8", 80)); d.Verdict != model.Unknown || len(d.Gaps) != 1 {
		t.Errorf("left over: %+v", d)
	}
	w.Kube.CalicoPolicies = nil
	w.Kube.AdminPolicies = map[model.Ref]*model.AdminPolicy{"adminnetworkpolicy/x": {
		Ref: "adminnetworkpolicy/x", Tier: "admin", Egress: []model.AdminRule{{Action: "Deny", Peers: []model.AdminPeer{{Networks: []netip.Prefix{netip.MustParsePrefix("8.0.0.0/8")}}}}},
	}}
	if d := Build(w).Egress(w.Kube.Pods["pod/a/client"], tcpTo("8.8.8.8", 80)); d.Verdict != model.Unknown || len(d.Gaps) != 1 {
		t.Errorf("nobody known to carry it out: %+v", d)
	}
	w.Kube.Workloads = map[model.Ref]*model.Workload{"daemonset/kube-system/kube-network-policies": {}}
	if d := Build(w).Egress(w.Kube.Pods["pod/a/client"], tcpTo("8.8.8.8", 80)); d.Verdict != model.Drop {
		t.Errorf("somebody known to carry it out: %+v", d)
	}
	w.Kube.AdminPolicies, w.Kube.Workloads = nil, nil
	w.Kube.CalicoPolicies, w.Kube.CiliumPolicies = calico, cilium
	if x := BuildAs(w, Calico); len(x.Rules().Ignored) != 1 || x.Rules().Ignored[0].Ref != "ciliumnetworkpolicy/a/x" {
		t.Errorf("%+v", x.Rules().Ignored)
	}
}

// TestTrail: the way through the tiers is told, in order.
func TestTrail(t *testing.T) {
	w := kindsWorld()
	load(t, w, `
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: first}
spec: {priority: 1, subject: {namespaces: {}}, egress: [{name: leave, action: Pass, to: [{namespaces: {}}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: np, namespace: a}
spec: {podSelector: {}, policyTypes: [Egress]}
`)
	x := BuildAs(w, Upstream)
	d := x.Egress(w.Kube.Pods["pod/a/client"], tcpTo("10.0.0.3", 80))
	want := []string{`adminnetworkpolicy/first: egress rule 1 "leave" passes it on to the next tier`, "networkpolicy/a/np: no egress rule of 0 allows it"}
	if d.Tier != "networkpolicy" || strings.Join(d.Trail, "\n") != strings.Join(want, "\n") || !d.Refuses {
		t.Errorf("%s %q", d.Tier, d.Trail)
	}
}

// TestCiliumConfig: Cilium can be told to carry out no policy, and to have
// policies for what comes from the own node.
func TestCiliumConfig(t *testing.T) {
	w := world(func(w *model.World, p *model.NetworkPolicy) {
		p.Ingress = true
		w.Kube.Workloads = map[model.Ref]*model.Workload{"daemonset/kube-system/cilium": {}}
		w.Kube.ConfigMaps = map[model.Ref]map[string]string{ciliumConfig: {}}
	})
	client := w.Kube.Pods["pod/a/client"]
	home := model.Flow{Protocol: "tcp", Src: netip.MustParseAddr("192.168.0.1"), Dst: client.IPs[0], DstPort: 80}
	for _, c := range []struct {
		key, value string
		out, in    model.Verdict
	}{{"x", "y", model.Drop, model.Pass}, {"enable-policy", "never", model.Pass, model.Pass}, {"allow-localhost", "policy", model.Drop, model.Drop}} {
		w.Kube.ConfigMaps[ciliumConfig] = map[string]string{c.key: c.value}
		x := Build(w)
		if d := x.Egress(client, tcpTo("8.8.8.8", 80)); d.Verdict != c.out || !d.Refuses {
			t.Errorf("%s %s: out %+v", c.key, c.value, d)
		}
		if d := x.Ingress(client, home); d.Verdict != c.in {
			t.Errorf("%s %s: from the own node %+v", c.key, c.value, d)
		}
	}
}
