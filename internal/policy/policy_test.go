package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

// object is as much of a Kubernetes object as the standard cases use.
type object struct {
	Kind     string
	Metadata struct {
		Name, Namespace string
		Labels          model.Labels
	}
	Spec struct {
		NodeName   string
		Containers []struct {
			Ports []struct {
				Name          string
				ContainerPort uint16
			}
		}
		PodSelector     selector
		PolicyTypes     []string
		Ingress, Egress []struct {
			From, To []struct {
				PodSelector, NamespaceSelector *selector
				IPBlock                        *struct {
					CIDR   netip.Prefix
					Except []netip.Prefix
				}
			}
			Ports []struct {
				Protocol string
				Port     any
				EndPort  uint16
			}
		}
	}
	Status struct {
		Phase string
		PodIP netip.Addr
	}
}

type selector struct {
	MatchLabels      model.Labels
	MatchExpressions []model.SelectorExpression
}

func (s *selector) model() *model.Selector {
	if s == nil {
		return nil
	}
	return &model.Selector{MatchLabels: s.MatchLabels, Expressions: s.MatchExpressions}
}

func addTo(w *model.World, o object) {
	switch o.Kind {
	case "Namespace":
		w.Kube.Namespaces[o.Metadata.Name] = &model.Namespace{Name: o.Metadata.Name, Labels: o.Metadata.Labels}
	case "Pod":
		p := &model.Pod{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name, Labels: o.Metadata.Labels, Node: o.Spec.NodeName, Phase: o.Status.Phase, IPs: []netip.Addr{o.Status.PodIP}}
		for _, c := range o.Spec.Containers {
			var ports []model.ContainerPort
			for _, port := range c.Ports {
				ports = append(ports, model.ContainerPort{Name: port.Name, Port: port.ContainerPort, Protocol: "TCP"})
			}
			p.Containers = append(p.Containers, model.Container{Ports: ports})
		}
		w.Kube.Pods[p.Ref()] = p
	case "NetworkPolicy":
		p := &model.NetworkPolicy{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name, PodSelector: *o.Spec.PodSelector.model()}
		p.Ingress, p.Egress = slices.Contains(o.Spec.PolicyTypes, "Ingress"), slices.Contains(o.Spec.PolicyTypes, "Egress")
		for dir, rules := range map[*[]model.PolicyRule]int{&p.IngressRules: 0, &p.EgressRules: 1} {
			list := o.Spec.Ingress
			if rules == 1 {
				list = o.Spec.Egress
			}
			for _, r := range list {
				var rule model.PolicyRule
				for _, peer := range slices.Concat(r.From, r.To) {
					m := model.PolicyPeer{PodSelector: peer.PodSelector.model(), NamespaceSelector: peer.NamespaceSelector.model()}
					if peer.IPBlock != nil {
						m.IPBlock, m.Except = peer.IPBlock.CIDR, peer.IPBlock.Except
					}
					rule.Peers = append(rule.Peers, m)
				}
				for _, port := range r.Ports {
					m := model.PolicyPort{Protocol: port.Protocol, EndPort: port.EndPort}
					if port.Port != nil {
						m.Port = fmt.Sprint(port.Port)
					}
					rule.Ports = append(rule.Ports, m)
				}
				*dir = append(*dir, rule)
			}
		}
		w.Kube.Policies[p.Ref()] = p
	}
}

func emptyWorld() *model.World {
	w := &model.World{Read: map[string]bool{"networkpolicy": true, "pod": true, "namespace": true, "node": true}}
	w.Kube.Namespaces, w.Kube.Pods = map[string]*model.Namespace{}, map[model.Ref]*model.Pod{}
	w.Kube.Policies, w.Kube.Nodes = map[model.Ref]*model.NetworkPolicy{}, map[string]*model.Node{}
	return w
}

// allowed judges a flow at both ends, as packets are.
func allowed(x *Index, f model.Flow) model.Verdict {
	if p := x.podByIP[f.Src]; p != nil {
		if d := x.Egress(p, f); d.Verdict != model.Pass {
			return d.Verdict
		}
	}
	if p := x.podByIP[f.Dst]; p != nil {
		return x.Ingress(p, f).Verdict
	}
	return model.Pass
}

// TestStandard is the set of 22 cases on which other tools were measured.
func TestStandard(t *testing.T) {
	data, err := os.ReadFile("testdata/standard.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cluster []object
		Cases   []struct {
			Name     string
			Src, Dst netip.Addr
			Port     uint16
			Allowed  bool
			Policies []object
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) != 22 {
		t.Fatalf("%d cases", len(file.Cases))
	}
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			w := emptyWorld()
			for _, o := range slices.Concat(file.Cluster, c.Policies) {
				addTo(w, o)
			}
			f := model.Flow{Protocol: "tcp", Src: c.Src, Dst: c.Dst, DstPort: c.Port}
			want := model.Drop
			if c.Allowed {
				want = model.Pass
			}
			if got := allowed(Build(w), f); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

// world is one client and what it talks to; change edits it.
func world(change func(w *model.World, p *model.NetworkPolicy)) *model.World {
	w := emptyWorld()
	for _, ns := range []string{"a", "b"} {
		w.Kube.Namespaces[ns] = &model.Namespace{Name: ns, Labels: model.Labels{"team": ns}}
	}
	add := func(ns, name, ip, node string, labels model.Labels) *model.Pod {
		p := &model.Pod{Namespace: ns, Name: name, Labels: labels, Phase: "Running", Node: node, IPs: []netip.Addr{netip.MustParseAddr(ip)}}
		w.Kube.Pods[p.Ref()] = p
		return p
	}
	add("a", "client", "10.0.0.1", "n1", model.Labels{"app": "client", "empty": ""})
	add("a", "server", "10.0.0.2", "n1", model.Labels{"app": "server"})
	add("b", "other", "10.0.0.3", "n2", model.Labels{"app": "other"})
	add("a", "host", "192.168.0.1", "n1", model.Labels{"app": "host"}).HostNetwork = true
	w.Kube.Nodes["n1"] = &model.Node{Name: "n1", InternalIPs: []netip.Addr{netip.MustParseAddr("192.168.0.1")}}
	w.Kube.Nodes["n2"] = &model.Node{Name: "n2", InternalIPs: []netip.Addr{netip.MustParseAddr("192.168.0.2")}}
	p := &model.NetworkPolicy{Namespace: "a", Name: "p", Egress: true}
	change(w, p)
	w.Kube.Policies[p.Ref()] = p
	return w
}

func sel(labels ...string) *model.Selector {
	s := &model.Selector{MatchLabels: model.Labels{}}
	for i := 0; i < len(labels); i += 2 {
		s.MatchLabels[labels[i]] = labels[i+1]
	}
	return s
}

func rule(peer model.PolicyPeer, ports ...model.PolicyPort) []model.PolicyRule {
	return []model.PolicyRule{{Peers: []model.PolicyPeer{peer}, Ports: ports}}
}

func block(cidr string, except ...string) model.PolicyPeer {
	p := model.PolicyPeer{IPBlock: netip.MustParsePrefix(cidr)}
	for _, e := range except {
		p.Except = append(p.Except, netip.MustParsePrefix(e))
	}
	return p
}

func TestSemantics(t *testing.T) {
	tcp := func(port string, end uint16) model.PolicyPort {
		return model.PolicyPort{Protocol: "TCP", Port: port, EndPort: end}
	}
	named := func(kind string) func(*model.World, *model.NetworkPolicy) {
		return func(w *model.World, p *model.NetworkPolicy) {
			w.Kube.Pods["pod/a/server"].Containers = []model.Container{{Kind: kind, Ports: []model.ContainerPort{{Name: "web", Port: 80, Protocol: "TCP"}}}}
			p.EgressRules = rule(model.PolicyPeer{PodSelector: sel()}, tcp("web", 0))
		}
	}
	egress := func(rules []model.PolicyRule) func(*model.World, *model.NetworkPolicy) {
		return func(_ *model.World, p *model.NetworkPolicy) { p.EgressRules = rules }
	}
	expr := func(key, op string, values ...string) *model.Selector {
		return &model.Selector{Expressions: []model.SelectorExpression{{Key: key, Operator: op, Values: values}}}
	}
	cases := []struct {
		name    string
		change  func(*model.World, *model.NetworkPolicy)
		src     string
		dst     string
		port    uint16
		proto   string
		dialect Dialect
		want    model.Verdict
	}{
		{"NotIn matches a missing key", egress(rule(model.PolicyPeer{PodSelector: expr("tier", "NotIn", "db")})), "10.0.0.1", "10.0.0.2", 80, "tcp", Upstream, model.Pass},
		{"In does not match a missing key", egress(rule(model.PolicyPeer{PodSelector: expr("tier", "In", "db")})), "10.0.0.1", "10.0.0.2", 80, "tcp", Upstream, model.Drop},
		{"an empty label must be there", egress(rule(model.PolicyPeer{PodSelector: sel("empty", "")})), "10.0.0.1", "10.0.0.2", 80, "tcp", Upstream, model.Drop},
		{"Exists", egress(rule(model.PolicyPeer{PodSelector: expr("app", "Exists")})), "10.0.0.1", "10.0.0.2", 80, "tcp", Upstream, model.Pass},
		{"DoesNotExist", egress(rule(model.PolicyPeer{PodSelector: expr("app", "DoesNotExist")})), "10.0.0.1", "10.0.0.2", 80, "tcp", Upstream, model.Drop},
		{"a pod selector alone stays in the namespace", egress(rule(model.PolicyPeer{PodSelector: sel()})), "10.0.0.1", "10.0.0.3", 80, "tcp", Upstream, model.Drop},
		{"an empty namespace selector is all namespaces", egress(rule(model.PolicyPeer{NamespaceSelector: sel()})), "10.0.0.1", "10.0.0.3", 80, "tcp", Upstream, model.Pass},
		{"but not hosts", egress(rule(model.PolicyPeer{NamespaceSelector: sel()})), "10.0.0.1", "8.8.8.8", 80, "tcp", Upstream, model.Drop},
		{"nor nodes", egress(rule(model.PolicyPeer{NamespaceSelector: sel()})), "10.0.0.1", "192.168.0.2", 80, "tcp", Upstream, model.Drop},
		{"two peers are alternatives", egress([]model.PolicyRule{{Peers: []model.PolicyPeer{{PodSelector: sel("app", "none")}, {NamespaceSelector: sel("team", "b")}}}}), "10.0.0.1", "10.0.0.3", 80, "tcp", Upstream, model.Pass},
		{"one peer with both is a conjunction", egress(rule(model.PolicyPeer{PodSelector: sel("app", "none"), NamespaceSelector: sel("team", "b")})), "10.0.0.1", "10.0.0.3", 80, "tcp", Upstream, model.Drop},
		{"ipBlock holds pods", egress(rule(block("10.0.0.0/8"))), "10.0.0.1", "10.0.0.3", 80, "tcp", Upstream, model.Pass},
		{"not with Cilium", egress(rule(block("0.0.0.0/0"))), "10.0.0.1", "10.0.0.3", 80, "tcp", Cilium, model.Drop},
		{"nor nodes with Cilium", egress(rule(block("0.0.0.0/0"))), "10.0.0.1", "192.168.0.2", 80, "tcp", Cilium, model.Drop},
		{"but hosts outside", egress(rule(block("0.0.0.0/0"))), "10.0.0.1", "8.8.8.8", 80, "tcp", Cilium, model.Pass},
		{"NPM matches pods by ipBlock", egress(rule(block("10.0.0.0/8"))), "10.0.0.1", "10.0.0.3", 80, "tcp", NPM, model.Pass},
		{"Calico matches nodes by ipBlock", egress(rule(block("192.168.0.0/16"))), "10.0.0.1", "192.168.0.2", 80, "tcp", Calico, model.Pass},
		{"except", egress(rule(block("0.0.0.0/0", "8.8.0.0/16"))), "10.0.0.1", "8.8.8.8", 80, "tcp", Upstream, model.Drop},
		{"NPM lets pods reach their own node", egress(nil), "10.0.0.1", "192.168.0.1", 80, "tcp", NPM, model.Pass},
		{"the API does not", egress(nil), "10.0.0.1", "192.168.0.1", 80, "tcp", Upstream, model.Drop},
		{"endPort in range", egress(rule(block("0.0.0.0/0"), tcp("80", 90))), "10.0.0.1", "8.8.8.8", 85, "tcp", Upstream, model.Pass},
		{"endPort out of range", egress(rule(block("0.0.0.0/0"), tcp("80", 90))), "10.0.0.1", "8.8.8.8", 91, "tcp", Upstream, model.Drop},
		{"a protocol without a port is that protocol only", egress(rule(block("0.0.0.0/0"), tcp("", 0))), "10.0.0.1", "8.8.8.8", 80, "udp", Upstream, model.Drop},
		{"SCTP", egress(rule(block("0.0.0.0/0"), model.PolicyPort{Protocol: "SCTP", Port: "80"})), "10.0.0.1", "8.8.8.8", 80, "sctp", Upstream, model.Pass},
		{"SCTP is not TCP", egress(rule(block("0.0.0.0/0"), model.PolicyPort{Protocol: "SCTP", Port: "80"})), "10.0.0.1", "8.8.8.8", 80, "tcp", Upstream, model.Drop},
		{"a named port", named(""), "10.0.0.1", "10.0.0.2", 80, "tcp", Upstream, model.Pass},
		{"a named port of a sidecar", named("sidecar"), "10.0.0.1", "10.0.0.2", 80, "tcp", Upstream, model.Pass},
		{"not of an init container", named("init"), "10.0.0.1", "10.0.0.2", 80, "tcp", Upstream, model.Drop},
		{"a named port, other number", named(""), "10.0.0.1", "10.0.0.2", 81, "tcp", Upstream, model.Drop},
		{"a host has no named ports", egress(rule(block("0.0.0.0/0"), tcp("web", 0))), "10.0.0.1", "8.8.8.8", 80, "tcp", Upstream, model.Drop},
		{"other namespaces' policies do not count", func(_ *model.World, p *model.NetworkPolicy) { p.Namespace = "b" }, "10.0.0.1", "8.8.8.8", 80, "tcp", Upstream, model.Pass},
		{"ingress only leaves egress alone", func(_ *model.World, p *model.NetworkPolicy) { p.Ingress, p.Egress = true, false }, "10.0.0.1", "8.8.8.8", 80, "tcp", Upstream, model.Pass},
		{"the own node may always come in", func(_ *model.World, p *model.NetworkPolicy) { p.Ingress, p.Egress = true, false }, "192.168.0.1", "10.0.0.1", 80, "tcp", Upstream, model.Pass},
		{"another node may not", func(_ *model.World, p *model.NetworkPolicy) { p.Ingress, p.Egress = true, false }, "192.168.0.2", "10.0.0.1", 80, "tcp", Upstream, model.Drop},
		{"a pod to itself: nobody knows", egress(nil), "10.0.0.1", "10.0.0.1", 80, "tcp", Upstream, model.Unknown},
		{"an ended pod's address is nobody's", func(w *model.World, p *model.NetworkPolicy) {
			w.Kube.Pods["pod/b/other"].Phase = "Succeeded"
			p.EgressRules = rule(model.PolicyPeer{NamespaceSelector: sel()})
		}, "10.0.0.1", "10.0.0.3", 80, "tcp", Upstream, model.Drop},
		{"namespace not read", func(w *model.World, p *model.NetworkPolicy) {
			delete(w.Kube.Namespaces, "b")
			p.EgressRules = rule(model.PolicyPeer{NamespaceSelector: sel("team", "b")})
		}, "10.0.0.1", "10.0.0.3", 80, "tcp", Upstream, model.Unknown},
		{"namespace not read, but named", func(w *model.World, p *model.NetworkPolicy) {
			delete(w.Kube.Namespaces, "b")
			p.EgressRules = rule(model.PolicyPeer{NamespaceSelector: sel("kubernetes.io/metadata.name", "b")})
		}, "10.0.0.1", "10.0.0.3", 80, "tcp", Upstream, model.Pass},
		{"namespace not read, and another named", func(w *model.World, p *model.NetworkPolicy) {
			delete(w.Kube.Namespaces, "b")
			p.EgressRules = rule(model.PolicyPeer{NamespaceSelector: sel("kubernetes.io/metadata.name", "c")})
		}, "10.0.0.1", "10.0.0.3", 80, "tcp", Upstream, model.Drop},
		{"an unknown rule beside one that allows", func(w *model.World, p *model.NetworkPolicy) {
			delete(w.Kube.Namespaces, "b")
			p.EgressRules = append(rule(model.PolicyPeer{NamespaceSelector: sel("team", "b")}), rule(block("10.0.0.0/8"))...)
		}, "10.0.0.1", "10.0.0.3", 80, "tcp", Upstream, model.Pass},
		{"pods not read: a private address may be one", func(w *model.World, p *model.NetworkPolicy) {
			w.Read["pod"] = false
			p.EgressRules = rule(model.PolicyPeer{NamespaceSelector: sel()})
		}, "10.0.0.1", "10.0.0.77", 80, "tcp", Upstream, model.Unknown},
		{"pods not read: a public address is none", func(w *model.World, p *model.NetworkPolicy) {
			w.Read["pod"] = false
			p.EgressRules = rule(model.PolicyPeer{NamespaceSelector: sel()})
		}, "10.0.0.1", "8.8.8.8", 80, "tcp", Upstream, model.Drop},
		{"policies not read", func(w *model.World, p *model.NetworkPolicy) {
			w.Read["networkpolicy"] = false
			p.EgressRules = rule(block("0.0.0.0/0"))
		}, "10.0.0.1", "8.8.8.8", 80, "tcp", Upstream, model.Unknown},
		{"policies of another namespace not read", func(w *model.World, p *model.NetworkPolicy) {
			w.Gaps = []model.Gap{{Ref: "networkpolicy/b"}}
			p.EgressRules = rule(block("0.0.0.0/0"))
		}, "10.0.0.1", "8.8.8.8", 80, "tcp", Upstream, model.Pass},
		{"a list of this namespace that failed", func(w *model.World, p *model.NetworkPolicy) {
			w.Gaps = []model.Gap{{What: "networkpolicies in namespace a", Permission: "list networkpolicies.networking.k8s.io in namespace a"}}
			p.EgressRules = rule(block("0.0.0.0/0"))
		}, "10.0.0.1", "8.8.8.8", 80, "tcp", Upstream, model.Unknown},
		{"a list of another namespace that failed, this one read", func(w *model.World, p *model.NetworkPolicy) {
			w.Read = map[string]bool{"networkpolicy/a": true}
			w.Gaps = []model.Gap{{What: "networkpolicies in namespace kube-system", Permission: "list networkpolicies.networking.k8s.io in namespace kube-system"}}
			p.EgressRules = rule(block("0.0.0.0/0"))
		}, "10.0.0.1", "8.8.8.8", 80, "tcp", Upstream, model.Pass},
		{"a pod that policies do not select", func(_ *model.World, p *model.NetworkPolicy) { p.PodSelector = *sel("app", "server") }, "10.0.0.1", "8.8.8.8", 80, "tcp", Upstream, model.Pass},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			x := BuildAs(world(c.change), c.dialect)
			f := model.Flow{Protocol: c.proto, Src: netip.MustParseAddr(c.src), Dst: netip.MustParseAddr(c.dst), DstPort: c.port}
			if got := allowed(x, f); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestHostNetworkIsNoSubject(t *testing.T) {
	w := world(func(_ *model.World, p *model.NetworkPolicy) { p.Ingress = true })
	x := Build(w)
	f := model.Flow{Protocol: "tcp", Src: netip.MustParseAddr("192.168.0.1"), Dst: netip.MustParseAddr("8.8.8.8"), DstPort: 80}
	if d := x.Egress(w.Kube.Pods["pod/a/host"], f); d.Verdict != model.Pass || !strings.Contains(d.Reason, "host network") {
		t.Errorf("%+v", d)
	}
}

// TestDecided compares the line that decided, and the trail that led there.
func TestDecided(t *testing.T) {
	w := world(func(w *model.World, p *model.NetworkPolicy) {
		p.EgressRules = []model.PolicyRule{rule(block("1.0.0.0/8"))[0], rule(block("8.0.0.0/8"))[0]}
		deny := &model.NetworkPolicy{Namespace: "a", Name: "z-deny", Egress: true}
		w.Kube.Policies[deny.Ref()] = deny
	})
	x, client := Build(w), w.Kube.Pods["pod/a/client"]
	flow := func(dst string) model.Flow {
		return model.Flow{Protocol: "tcp", Dst: netip.MustParseAddr(dst), DstPort: 443}
	}
	if d := x.Egress(client, flow("8.8.8.8")); d.Decided != "networkpolicy/a/p" || d.Rule != 1 || d.Verdict != model.Pass {
		t.Errorf("%+v", d)
	}
	d := x.Egress(client, flow("9.9.9.9"))
	if d.Verdict != model.Drop || d.Decided != "networkpolicy/a/z-deny" || d.Rule != -1 || !d.Refuses || len(d.Trail) != 2 {
		t.Errorf("%+v", d)
	}
	if got := x.Selecting(client, false); len(got) != 2 || got[0].Ref != "networkpolicy/a/p" {
		t.Errorf("selecting: %v", got)
	}
	if d := x.Egress(client, model.Flow{Protocol: "tcp", DstPort: 443}); d.Verdict != model.Unknown {
		t.Errorf("unknown address: %+v", d)
	}
}

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		name    string
		world   model.World
		want    Dialect
		enforce enforcement
	}{
		{"nothing known", model.World{}, Upstream, isEnforced},
		{"cilium DaemonSet", model.World{Kube: model.Kube{Workloads: map[model.Ref]*model.Workload{"daemonset/kube-system/cilium": {}}}}, Cilium, isEnforced},
		{"npm by a pod's owner", model.World{Kube: model.Kube{Pods: map[model.Ref]*model.Pod{"pod/kube-system/x": {Owner: "daemonset/kube-system/azure-npm"}}}}, NPM, isEnforced},
		{"calico in ARM", model.World{Azure: model.Azure{Cluster: &model.ManagedCluster{NetworkPolicy: "Calico"}}}, Calico, isEnforced},
		{"cilium dataplane", model.World{Azure: model.Azure{Cluster: &model.ManagedCluster{Dataplane: "cilium"}}}, Cilium, isEnforced},
		{"none", model.World{Azure: model.Azure{Cluster: &model.ManagedCluster{NetworkPolicy: "none"}}}, Upstream, notEnforced},
		{"not said", model.World{Azure: model.Azure{Cluster: &model.ManagedCluster{}}}, Upstream, notKnown},
		{"not said, DaemonSets read", model.World{Read: map[string]bool{"daemonset": true}, Azure: model.Azure{Cluster: &model.ManagedCluster{}}}, Upstream, notEnforced},
	} {
		d, engine := Detect(&c.world)
		if e, _ := enforcementOf(&c.world, engine); d != c.want || e != c.enforce {
			t.Errorf("%s: %s, enforcement %d", c.name, d, e)
		}
	}
}

func TestNotEnforced(t *testing.T) {
	w := world(func(w *model.World, _ *model.NetworkPolicy) {
		w.Azure.Cluster = &model.ManagedCluster{Name: "c", NetworkPolicy: "none"}
	})
	f := model.Flow{Protocol: "tcp", Dst: netip.MustParseAddr("8.8.8.8"), DstPort: 443}
	d := Build(w).Egress(w.Kube.Pods["pod/a/client"], f)
	if d.Verdict != model.Pass || !d.Refuses || d.Decided == "" {
		t.Errorf("%+v", d)
	}
	w.Azure.Cluster.NetworkPolicy = ""
	if d := Build(w).Egress(w.Kube.Pods["pod/a/client"], f); d.Verdict != model.Unknown || len(d.Gaps) == 0 {
		t.Errorf("%+v", d)
	}
}
