package decode

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

func parsed(t *testing.T, text string) map[string]any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var obj map[string]any
	if err := dec.Decode(&obj); err != nil {
		t.Fatal(err)
	}
	return obj
}

func TestAddAdmin(t *testing.T) {
	w := &model.World{}
	known, err := Add(w, parsed(t, `{"apiVersion":"policy.networking.k8s.io/v1alpha1","kind":"AdminNetworkPolicy","metadata":{"name":"x"},"spec":{
		"priority":30,"subject":{"pods":{"namespaceSelector":{"matchLabels":{"a":true}},"podSelector":{"matchExpressions":[{"key":"k","operator":"In","values":[1,"b"]}]}}},
		"ingress":[{"name":"r","action":"Deny","from":[{"namespaces":{}}],"ports":[{"portRange":{"start":1,"end":9}},{"namedPort":"web"},{"portNumber":{"protocol":"UDP","port":"53"}}]}]}}`))
	p := w.Kube.AdminPolicies["adminnetworkpolicy/x"]
	if !known || err != nil || p == nil {
		t.Fatal(known, err)
	}
	if p.Priority != 30 || p.Tier != "admin" || p.Subject.Namespaces.MatchLabels["a"] != "true" || !slices.Equal(p.Subject.Pods.Expressions[0].Values, []string{"1", "b"}) {
		t.Errorf("%+v", p)
	}
	want := []model.PolicyPort{{Protocol: "TCP", Port: "1", EndPort: 9}, {Port: "web"}, {Protocol: "UDP", Port: "53"}}
	if !slices.Equal(p.Ingress[0].Ports, want) || p.Ingress[0].Unknown != "" || p.Subject.Unknown != "" {
		t.Errorf("%+v", p.Ingress[0])
	}
}

// TestUnknown says for each oddity which part of a policy becomes unknown, and why.
func TestUnknown(t *testing.T) {
	admin := func(spec string) string {
		return `{"apiVersion":"policy.networking.k8s.io/v1alpha1","kind":"AdminNetworkPolicy","metadata":{"name":"x"},"spec":{` + spec + `}}`
	}
	rule := func(text string) string {
		return admin(`"subject":{"namespaces":{}},"egress":[{"action":"Allow","to":[{"namespaces":{}}]},` + text + `]`)
	}
	adminRule := func(w *model.World) string {
		p := w.Kube.AdminPolicies["adminnetworkpolicy/x"]
		if p.Egress[0].Unknown != "" || p.Subject.Unknown != "" {
			return "more than the rule: " + p.Egress[0].Unknown + p.Subject.Unknown
		}
		return p.Egress[1].Unknown
	}
	adminPeer := func(w *model.World) string {
		return w.Kube.AdminPolicies["adminnetworkpolicy/x"].Egress[1].Peers[0].Unknown
	}
	subject := func(w *model.World) string { return w.Kube.AdminPolicies["adminnetworkpolicy/x"].Subject.Unknown }
	calico := func(text string) string {
		return `{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy","metadata":{"name":"x"},"spec":{"ingress":[` + text + `]}}`
	}
	calicoRule := func(w *model.World) string {
		return w.Kube.CalicoPolicies["globalnetworkpolicy/x"].IngressRules[0].Unknown
	}
	cilium := func(text string) string {
		return `{"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy","metadata":{"name":"x","namespace":"n"},"spec":{"endpointSelector":{},"egress":[` + text + `]}}`
	}
	ciliumRule := func(w *model.World) string {
		return w.Kube.CiliumPolicies["ciliumnetworkpolicy/n/x"].Specs[0].Egress[0].Unknown
	}
	for _, c := range []struct {
		name, object string
		of           func(*model.World) string
		want         string
	}{
		{"a field of a rule", rule(`{"action":"Deny","to":[{"namespaces":{}}],"colour":"red"}`), adminRule, "colour"},
		{"a field of a peer", rule(`{"action":"Deny","to":[{"namespaces":{},"colour":"red"}]}`), adminPeer, "colour"},
		{"a peer of a new kind", rule(`{"action":"Deny","to":[{"planets":{}}]}`), adminPeer, "planets"},
		{"no peers", rule(`{"action":"Deny"}`), adminRule, "no peers"},
		{"a port out of range", rule(`{"action":"Deny","to":[{"namespaces":{}}],"ports":[{"portNumber":{"port":70000}}]}`), adminRule, "port number"},
		{"an address that is none", rule(`{"action":"Deny","to":[{"networks":["10.0.0.0/33"]}]}`), adminPeer, "no range"},
		{"a list that is none", rule(`{"action":"Deny","to":{"namespaces":{}}}`), adminRule, "no list"},
		{"a subject of a new kind", admin(`"subject":{"vms":{}}`), subject, "vms"},
		{"a field of the policy", admin(`"subject":{"namespaces":{}},"mood":"grim"`), subject, "mood"},
		{"calico: a field of a side", calico(`{"action":"Allow","source":{"asn":1}}`), calicoRule, "asn"},
		{"calico: a port range upside down", calico(`{"action":"Allow","destination":{"ports":["9:1"]}}`), calicoRule, "no range"},
		{"calico: an IP version", calico(`{"action":"Allow","ipVersion":5}`), calicoRule, "neither 4 nor 6"},
		{"cilium: groups", cilium(`{"toGroups":[{"aws":{}}]}`), ciliumRule, "toGroups"},
		{"cilium: authentication", cilium(`{"toEntities":["all"],"authentication":{"mode":"required"}}`), ciliumRule, "mutual authentication"},
		{"cilium: a service selector", cilium(`{"toServices":[{"k8sServiceSelector":{}}]}`), ciliumRule, "k8sServiceSelector"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &model.World{}
			if known, err := Add(w, parsed(t, c.object)); !known || err != nil {
				t.Fatal(known, err)
			}
			if got := c.of(w); !strings.Contains(got, c.want) {
				t.Errorf("%q", got)
			}
		})
	}
}

// TestBare: readers of YAML 1.1 take bare y, n, 80 and 895e3553 for other things than text.
func TestBare(t *testing.T) {
	w := &model.World{}
	obj := map[string]any{
		"apiVersion": "projectcalico.org/v3", "kind": "NetworkSet",
		"metadata": map[any]any{"name": 7, "namespace": "n", "labels": map[string]any{"a": true, "b": int64(80), "c": json.Number("895e3553"), "d": nil, "e": 1.5}},
		"spec":     map[string]any{"nets": []any{"10.1.2.3", "10.0.0.9/8"}},
	}
	if known, err := Add(w, obj); !known || err != nil {
		t.Fatal(known, err)
	}
	s := w.Kube.NetworkSets["networkset/n/7"]
	if s == nil || !maps.Equal(s.Labels, model.Labels{"a": "true", "b": "80", "c": "895e3553", "d": "", "e": "1.5"}) {
		t.Fatalf("%+v", w.Kube.NetworkSets)
	}
	if !slices.Equal(s.Nets, []netip.Prefix{netip.MustParsePrefix("10.1.2.3/32"), netip.MustParsePrefix("10.0.0.0/8")}) {
		t.Errorf("%v", s.Nets)
	}
}

func TestNotTaken(t *testing.T) {
	for text, known := range map[string]bool{
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x"}}`:                                       false,
		`{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"x"}}`:                       false,
		`{"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy","metadata":{}}`:                                   true,
		`{"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy","metadata":{"name":"a/../b"}}`:                    true,
		`{"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy","metadata":{"name":"a\u001b[31m"}}`:               true,
		`{"apiVersion":"projectcalico.org/v3","kind":"Tier","metadata":{"name":"` + strings.Repeat("x", 300) + `"}}`: true,
	} {
		w := &model.World{}
		got, err := Add(w, parsed(t, text))
		if got != known || (err != nil) != known {
			t.Errorf("%s: known %v, %v", text, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q", err)
		}
	}
}

// FuzzAdd: whatever an object holds, reading it ends, and a World holds it under its own name.
func FuzzAdd(f *testing.F) {
	f.Add(`{"apiVersion":"policy.networking.k8s.io/v1alpha2","kind":"ClusterNetworkPolicy","metadata":{"name":"x"},"spec":{"tier":"Admin","priority":1,"subject":{"namespaces":{}},"egress":[{"action":"Accept","to":[{"nodes":{}},{"domainNames":["*.a"]}],"protocols":[{"tcp":{"destinationPort":{"range":{"start":1,"end":2}}}},{"destinationNamedPort":"w"}]}]}}`)
	f.Add(`{"apiVersion":"crd.projectcalico.org/v1","kind":"NetworkPolicy","metadata":{"name":"x","namespace":"n"},"spec":{"tier":"t","order":1e400,"types":["Egress"],"egress":[{"action":"Allow","protocol":6,"destination":{"nets":["::/0"],"ports":[80,"1:2","w"],"services":{"name":"s"},"serviceAccounts":{"names":["a"],"selector":"all()"}},"http":{}}]}}`)
	f.Add(`{"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy","metadata":{"name":"x"},"specs":[{"endpointSelector":{"matchLabels":{"any:a":"b"}},"enableDefaultDeny":{"egress":false},"egress":[{"toCIDRSet":[{"cidr":"1.0.0.0/8","except":["1.1.0.0/16"]}],"toFQDNs":[{"matchPattern":"*"}],"toPorts":[{"ports":[{"port":"80","endPort":90}],"rules":{"http":[{}]}}]}]}]}`)
	f.Add(`{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkSet","metadata":{"name":"x","labels":{"a":1}},"spec":{"nets":["1.2.3.4"]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var obj map[string]any
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		if dec.Decode(&obj) != nil {
			return
		}
		w := &model.World{}
		known, err := Add(w, obj)
		k := &w.Kube
		n := len(k.AdminPolicies) + len(k.CalicoPolicies) + len(k.CalicoTiers) + len(k.NetworkSets) + len(k.CiliumPolicies) + len(k.ServiceAccounts)
		if n > 1 || n == 1 && (!known || err != nil) {
			t.Errorf("%d objects, known %v, %v", n, known, err)
		}
		if _, err := json.Marshal(w); err != nil {
			t.Errorf("it cannot be kept: %v", err)
		}
	})
}
