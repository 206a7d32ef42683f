package policy

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy/decode"
)

// The tables of the API's own conformance tests, for every kind and tier, both
// directions and all protocols: rules that allow, deny and pass, in each order,
// alone and at ports.

// flavour is one kind of policy with its way of writing things.
type flavour struct {
	kind, tier, allow string
	pass              bool // has the action Pass
}

var flavours = []flavour{
	{"AdminNetworkPolicy", "", "Allow", true},
	{"BaselineAdminNetworkPolicy", "", "Allow", false},
	{"ClusterNetworkPolicy", "Admin", "Accept", true},
	{"ClusterNetworkPolicy", "Baseline", "Accept", true},
}

type dict = map[string]any

// ports writes a port as the kind does.
func (f flavour) ports(protocol string, first, last int) (string, []any) {
	if f.kind == "ClusterNetworkPolicy" {
		port := dict{"number": int64(first)}
		if last != first {
			port = dict{"range": dict{"start": int64(first), "end": int64(last)}}
		}
		return "protocols", []any{dict{protocol: dict{"destinationPort": port}}}
	}
	upper := map[string]string{"tcp": "TCP", "udp": "UDP", "sctp": "SCTP"}[protocol]
	if last != first {
		return "ports", []any{dict{"portRange": dict{"protocol": upper, "start": int64(first), "end": int64(last)}}}
	}
	return "ports", []any{dict{"portNumber": dict{"protocol": upper, "port": int64(first)}}}
}

// object writes a policy for the pods of namespace a with rules of one direction.
func (f flavour) object(ingress bool, rules []any) dict {
	spec := dict{"subject": dict{"namespaces": dict{"matchLabels": dict{"team": "a"}}}, "egress": rules}
	if ingress {
		spec["ingress"] = rules
		delete(spec, "egress")
	}
	if f.kind != "BaselineAdminNetworkPolicy" {
		spec["priority"] = int64(15)
	}
	if f.tier != "" {
		spec["tier"] = f.tier
	}
	version := "v1alpha1"
	if f.tier != "" {
		version = "v1alpha2"
	}
	return dict{"apiVersion": "policy.networking.k8s.io/" + version, "kind": f.kind, "metadata": dict{"name": "default"}, "spec": spec}
}

func (f flavour) rule(ingress bool, action, team string, at ...any) dict {
	r := dict{"action": action, "to": []any{dict{"namespaces": dict{"matchLabels": dict{"team": team}}}}}
	if ingress {
		r["from"] = r["to"]
		delete(r, "to")
	}
	if len(at) == 3 {
		key, ports := f.ports(at[0].(string), at[1].(int), at[2].(int))
		r[key] = ports
	}
	return r
}

func TestConformance(t *testing.T) {
	for _, f := range flavours {
		for _, ingress := range []bool{false, true} {
			for _, p := range []struct {
				name     string
				one, two int
			}{{"tcp", 80, 8080}, {"udp", 53, 5353}, {"sctp", 9003, 9005}} {
				for _, order := range []string{"allow first", "deny first", "pass first"} {
					if order == "pass first" && !f.pass {
						continue
					}
					t.Run(fmt.Sprintf("%s%s/%s/%s/%s", f.kind, f.tier, direction(ingress), p.name, order), func(t *testing.T) {
						conformance(t, f, ingress, p.name, p.one, p.two, order)
					})
				}
			}
		}
	}
}

func conformance(t *testing.T, f flavour, ingress bool, protocol string, one, two int, order string) {
	allow, deny := f.rule(ingress, f.allow, "c"), f.rule(ingress, "Deny", "c")
	denyAt := f.rule(ingress, "Deny", "d", protocol, one, one)
	pass, passAt := f.rule(ingress, "Pass", "c"), f.rule(ingress, "Pass", "d", protocol, one, one)
	rules := []any{allow, deny, denyAt}
	want := map[string]bool{"third one": true, "fourth one": false, "fourth two": true, "other two": true, "other one": false}
	switch order {
	case "deny first":
		rules, want["third one"] = []any{deny, allow, denyAt}, false
	case "pass first":
		rules, want["fourth one"] = []any{pass, deny, allow, passAt, denyAt}, true
	}
	rules = append(rules, f.rule(ingress, f.allow, "b", protocol, two, two+1), f.rule(ingress, "Deny", "b"))
	want["other three"] = true // the range's end
	want["other four"] = false
	w := fourWorld()
	if _, err := decode.Add(w, f.object(ingress, rules)); err != nil {
		t.Fatal(err)
	}
	x := BuildAs(w, Upstream)
	me := w.Kube.Pods["pod/a/client"]
	for question, allowed := range want {
		var who, where string
		fmt.Sscan(question, &who, &where)
		port := map[string]int{"one": one, "two": two, "three": two + 1, "four": two + 2}[where]
		peer := podNamed(w, who)
		flow := model.Flow{Protocol: protocol, From: me.Ref(), To: peer.Ref(), Src: me.IPs[0], Dst: peer.IPs[0], DstPort: uint16(port)}
		if ingress {
			flow.From, flow.To, flow.Src, flow.Dst = flow.To, flow.From, flow.Dst, flow.Src
		}
		d := both(x, flow)
		if (d.Verdict == model.Pass) != allowed || d.Verdict == model.Unknown {
			t.Errorf("%s at port %d: %s, %s", who, port, d.Verdict, d.Reason)
		}
		// The other direction of the same pods has no rules.
		flow.From, flow.To, flow.Src, flow.Dst = flow.To, flow.From, flow.Dst, flow.Src
		if d := both(x, flow); d.Verdict != model.Pass {
			t.Errorf("%s, the other way: %s", who, d.Reason)
		}
	}
}

// fourWorld adds two namespaces with a pod each.
func fourWorld() *model.World {
	w := kindsWorld()
	for i, p := range []struct{ ns, name string }{{"c", "third"}, {"d", "fourth"}} {
		w.Kube.Namespaces[p.ns] = &model.Namespace{Name: p.ns, Labels: model.Labels{"team": p.ns}}
		pod := &model.Pod{Namespace: p.ns, Name: p.name, Phase: "Running", Node: "n2", IPs: podIP(4 + i)}
		w.Kube.Pods[pod.Ref()] = pod
	}
	return w
}

func podNamed(w *model.World, name string) *model.Pod {
	for _, p := range w.Kube.Pods {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// TestIntegration: an admin rule that denies, then passes; below it a
// NetworkPolicy that allows; without that, the baseline denies.
func TestIntegration(t *testing.T) {
	admin, base := flavours[2], flavours[3]
	for _, c := range []struct {
		name, action string
		policy       bool
		want         model.Verdict
		decided      model.Ref
	}{
		{"the admin tier denies", "Deny", true, model.Drop, "clusternetworkpolicy/default"},
		{"it passes: NetworkPolicy allows", "Pass", true, model.Pass, "networkpolicy/a/allow"},
		{"no NetworkPolicy: the baseline denies", "Pass", false, model.Drop, "clusternetworkpolicy/base"},
	} {
		for _, ingress := range []bool{false, true} {
			w := fourWorld()
			low := base.object(ingress, []any{base.rule(ingress, "Deny", "b")})
			low["metadata"] = dict{"name": "base"}
			for _, o := range []dict{admin.object(ingress, []any{admin.rule(ingress, c.action, "b")}), low} {
				if _, err := decode.Add(w, o); err != nil {
					t.Fatal(err)
				}
			}
			if c.policy {
				peer := rule(model.PolicyPeer{NamespaceSelector: sel("team", "b")})
				np := &model.NetworkPolicy{Namespace: "a", Name: "allow", Ingress: true, Egress: true, IngressRules: peer, EgressRules: peer}
				w.Kube.Policies[np.Ref()] = np
			}
			me, other := w.Kube.Pods["pod/a/client"], w.Kube.Pods["pod/b/other"]
			f := model.Flow{Protocol: "tcp", From: me.Ref(), To: other.Ref(), Src: me.IPs[0], Dst: other.IPs[0], DstPort: 80}
			if ingress {
				f.From, f.To, f.Src, f.Dst = f.To, f.From, f.Dst, f.Src
			}
			if d := both(BuildAs(w, Upstream), f); d.Verdict != c.want || d.Decided != c.decided {
				t.Errorf("%s, %s: %s by %s", c.name, direction(ingress), d.Verdict, d.Decided)
			}
		}
	}
}

// TestOmittedNamespaceSelector: a pods peer without one means pods of all namespaces.
func TestOmittedNamespaceSelector(t *testing.T) {
	w := fourWorld()
	f := flavours[2]
	rule := dict{"action": "Deny", "from": []any{dict{"pods": dict{"podSelector": dict{"matchExpressions": []any{dict{"key": "app", "operator": "Exists"}}}}}}}
	if _, err := decode.Add(w, f.object(true, []any{rule})); err != nil {
		t.Fatal(err)
	}
	x, server := BuildAs(w, Upstream), w.Kube.Pods["pod/a/server"]
	for who, want := range map[string]model.Verdict{"other": model.Drop, "client": model.Drop, "third": model.Pass} {
		p := podNamed(w, who)
		if d := x.Ingress(server, model.Flow{Protocol: "tcp", Src: p.IPs[0], Dst: server.IPs[0], DstPort: 80}); d.Verdict != want {
			t.Errorf("%s: %s, %s", who, d.Verdict, d.Reason)
		}
	}
}

func podIP(last int) []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(last)})}
}
