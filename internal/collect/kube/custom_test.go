package kube

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

// serveGroups makes the server one with custom resources: group/version → resources.
func (s *apiServer) serveGroups(all map[string][]string) {
	groups := map[string][]string{}
	for gv, resources := range all {
		group, _, _ := strings.Cut(gv, "/")
		groups[group] = append(groups[group], gv)
		var list []string
		for _, r := range resources {
			list = append(list, fmt.Sprintf(`{"name":%q}`, r))
		}
		s.say("/apis/"+gv, `{"kind":"APIResourceList","groupVersion":"`+gv+`","resources":[`+strings.Join(list, ",")+`]}`)
	}
	var list []string
	for group, versions := range groups {
		var vs []string
		for _, gv := range versions {
			vs = append(vs, fmt.Sprintf(`{"groupVersion":%q}`, gv))
		}
		list = append(list, fmt.Sprintf(`{"name":%q,"versions":[%s]}`, group, strings.Join(vs, ",")))
	}
	s.say("/apis", `{"kind":"APIGroupList","groups":[`+strings.Join(list, ",")+`]}`)
}

func (s *apiServer) say(path, text string) {
	s.answers[path] = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

func list(kind string, items ...string) string {
	return `{"kind":"` + kind + `List","apiVersion":"x/v1","metadata":{},"items":[` + strings.Join(items, ",") + `]}`
}

func TestCustomPolicies(t *testing.T) {
	s := newAPIServer(t)
	s.serveGroups(map[string][]string{
		"policy.networking.k8s.io/v1alpha1": {"adminnetworkpolicies"},
		"policy.networking.k8s.io/v1alpha2": {"clusternetworkpolicies"},
		"crd.projectcalico.org/v1":          {"networkpolicies", "globalnetworkpolicies", "tiers"},
		"projectcalico.org/v3":              {"networkpolicies", "networksets"},
		"metrics.example/v1":                {"networkpolicies"},
	})
	s.say("/apis/policy.networking.k8s.io/v1alpha1/adminnetworkpolicies", list("AdminNetworkPolicy",
		`{"apiVersion":"policy.networking.k8s.io/v1alpha1","kind":"AdminNetworkPolicy","metadata":{"name":"a"},"spec":{"priority":12,"subject":{"namespaces":{}},"egress":[{"name":"n","action":"Deny","to":[{"networks":["8.8.8.8/32"]}]}]}}`))
	s.say("/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies", list("ClusterNetworkPolicy"))
	page := 0
	s.answers["/apis/crd.projectcalico.org/v1/globalnetworkpolicies"] = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("limit") == "" {
			t.Error("a list without a limit")
		}
		next := `"metadata":{}`
		if r.URL.Query().Get("continue") == "" {
			next = `"metadata":{"continue":"more"}`
		}
		page++
		fmt.Fprintf(w, `{"kind":"GlobalNetworkPolicyList","apiVersion":"crd.projectcalico.org/v1",%s,"items":[{"apiVersion":"crd.projectcalico.org/v1","kind":"GlobalNetworkPolicy",
			"metadata":{"name":"g%d"},"spec":{"order":%d,"serviceAccountSelector":"has(x)","egress":[{"action":"Allow"}]}}]}`, next, page, page)
	}
	s.say("/apis/crd.projectcalico.org/v1/tiers", list("Tier", `{"apiVersion":"crd.projectcalico.org/v1","kind":"Tier","metadata":{"name":"default"},"spec":{"order":1000000}}`))
	s.say("/apis/crd.projectcalico.org/v1/networkpolicies", list("NetworkPolicy", `{"apiVersion":"crd.projectcalico.org/v1","kind":"NetworkPolicy","metadata":{"name":"n","namespace":"shop"},"spec":{}}`))
	s.answers["/apis/projectcalico.org/v3/networksets"] = func(w http.ResponseWriter, _ *http.Request) { status(w, 403, "Forbidden") }
	for _, ns := range []string{"shop", "kube-system"} {
		s.answers["/apis/projectcalico.org/v3/namespaces/"+ns+"/networksets"] = s.answers["/apis/projectcalico.org/v3/networksets"]
	}
	s.say("/api/v1/serviceaccounts", `{"kind":"ServiceAccountList","apiVersion":"v1","items":[{"metadata":{"name":"default","namespace":"shop","labels":{"x":"y"}}}]}`)
	w, _, err := s.collect(t, Options{})
	if err != nil {
		t.Fatal(err)
	}
	k := w.Kube
	if len(k.AdminPolicies) != 1 || k.AdminPolicies["adminnetworkpolicy/a"].Priority != 12 || len(k.CalicoPolicies) != 3 || len(k.CalicoTiers) != 1 {
		t.Errorf("%d admin, %d calico, %d tiers; gaps %+v", len(k.AdminPolicies), len(k.CalicoPolicies), len(k.CalicoTiers), w.Gaps)
	}
	if k.ServiceAccounts["serviceaccount/shop/default"]["x"] != "y" {
		t.Errorf("service accounts %v", k.ServiceAccounts)
	}
	for kind, want := range map[string]bool{"adminnetworkpolicy": true, "baselineadminnetworkpolicy": true, "clusternetworkpolicy": true, "globalnetworkpolicy": true, "networkset": false, "ciliumnetworkpolicy": true} {
		if w.Read[kind] != want {
			t.Errorf("%s: read %v", kind, w.Read[kind])
		}
	}
	want := model.Gap{What: "networksets.projectcalico.org in namespace shop", Reason: "403 Forbidden", Permission: "list networksets.projectcalico.org in namespace shop"}
	found := false
	for _, g := range w.Gaps {
		found = found || g == want
		if strings.Contains(g.What, "baseline") || strings.Contains(g.What, "cilium") {
			t.Errorf("a kind that is not served is no gap: %+v", g)
		}
	}
	if !found {
		t.Errorf("gaps %+v", w.Gaps)
	}
}

// TestDiscoveryFails: what kinds there are is then not known, and that is said.
func TestDiscoveryFails(t *testing.T) {
	s := newAPIServer(t)
	s.answers["/apis"] = func(w http.ResponseWriter, _ *http.Request) { status(w, 403, "Forbidden") }
	w, _, err := s.collect(t, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range w.Gaps {
		if g.Ref == policy.Discovery && strings.Contains(g.Permission, "nonResourceURLs") {
			return
		}
	}
	t.Errorf("gaps %+v", w.Gaps)
}

// TestUnreadableObject: one that cannot be read is a gap of its kind.
func TestUnreadableObject(t *testing.T) {
	s := newAPIServer(t)
	s.serveGroups(map[string][]string{"cilium.io/v2": {"ciliumclusterwidenetworkpolicies"}})
	bad, _ := json.Marshal(map[string]any{"apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy", "metadata": map[string]any{"name": "a/b"}})
	s.say("/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies", list("CiliumClusterwideNetworkPolicy", string(bad)))
	w, _, err := s.collect(t, Options{})
	if err != nil || len(w.Gaps) != 1 || w.Gaps[0].What != "one of ciliumclusterwidenetworkpolicies.cilium.io" {
		t.Errorf("%v, gaps %+v", err, w.Gaps)
	}
}

// TestUnreadableBlock: what is no range of addresses is neither everybody nor nobody.
func TestUnreadableBlock(t *testing.T) {
	for _, block := range []networkingv1.IPBlock{{CIDR: "10.0.0.0/99"}, {CIDR: "10.0.0.0/8", Except: []string{"x"}}} {
		rule := policyRule([]networkingv1.NetworkPolicyPeer{{IPBlock: &block}}, nil)
		if !strings.Contains(rule.Peers[0].Unknown, "no range of addresses") {
			t.Errorf("%+v", rule.Peers[0])
		}
	}
}
