package reach_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
	"github.com/podpath/podpath/internal/reach"
	"github.com/podpath/podpath/internal/reach/reachtest"
)

// small is two namespaces with three pods and the policies given.
func small(policies ...*model.NetworkPolicy) *model.World {
	w := &model.World{Read: map[string]bool{"pod": true, "namespace": true, "networkpolicy": true, "node": true, "service": true}}
	w.Kube.Namespaces = map[string]*model.Namespace{"a": {Name: "a", Labels: model.Labels{"team": "a"}}, "b": {Name: "b", Labels: model.Labels{"team": "b"}}}
	w.Kube.Pods, w.Kube.Policies = map[model.Ref]*model.Pod{}, map[model.Ref]*model.NetworkPolicy{}
	for i, name := range []string{"a/web", "a/db", "b/tool"} {
		ns, pod, _ := strings.Cut(name, "/")
		p := &model.Pod{
			Namespace: ns, Name: pod, Labels: model.Labels{"app": pod}, Phase: "Running", IPs: []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", i+1))},
			Containers: []model.Container{{Ports: []model.ContainerPort{{Name: "http", Port: 80, Protocol: "TCP"}}}},
		}
		w.Kube.Pods[p.Ref()] = p
	}
	for _, p := range policies {
		p.Namespace, p.Ingress = "a", true
		w.Kube.Policies[p.Ref()] = p
	}
	return w
}

func app(name string) *model.Selector { return &model.Selector{MatchLabels: model.Labels{"app": name}} }

func from(sel *model.Selector, ports ...string) model.PolicyRule {
	r := model.PolicyRule{Peers: []model.PolicyPeer{{PodSelector: sel}}}
	for _, p := range ports {
		r.Ports = append(r.Ports, model.PolicyPort{Protocol: "TCP", Port: p})
	}
	return r
}

// TestHygiene: each kind of what changes nothing, and beside it what does change something.
func TestHygiene(t *testing.T) {
	rules := func(r ...model.PolicyRule) []model.PolicyRule { return r }
	cases := []struct {
		name     string
		policies []*model.NetworkPolicy
		want     []string
	}{
		{"needed", []*model.NetworkPolicy{{Name: "p", PodSelector: *app("db"), IngressRules: rules(from(app("web"), "80"))}}, nil},
		{"selects nothing", []*model.NetworkPolicy{{Name: "p", PodSelector: *app("none")}}, []string{"selects-nothing networkpolicy/a/p"}},
		{
			"a peer that is nobody",
			[]*model.NetworkPolicy{{Name: "p", PodSelector: *app("db"), IngressRules: []model.PolicyRule{{Peers: []model.PolicyPeer{{PodSelector: app("none")}, {PodSelector: app("web")}}}}}},
			[]string{"peer-selects-nothing networkpolicy/a/p ingress rule 1"},
		},
		{
			"a rule for nobody",
			[]*model.NetworkPolicy{{Name: "p", PodSelector: *app("db"), IngressRules: rules(from(app("none")))}},
			[]string{"peer-selects-nothing networkpolicy/a/p ingress rule 1", "dead-rule networkpolicy/a/p ingress rule 1"},
		},
		{
			"a port name of nobody",
			[]*model.NetworkPolicy{{Name: "p", PodSelector: *app("db"), IngressRules: rules(from(app("web"), "grpc"))}},
			[]string{"dead-rule networkpolicy/a/p ingress rule 1"},
		},
		{
			"a narrower rule",
			[]*model.NetworkPolicy{{Name: "p", PodSelector: *app("db"), IngressRules: rules(from(app("web")), from(app("web"), "80"))}},
			[]string{"shadowed-rule networkpolicy/a/p ingress rule 2"},
		},
		{
			"a rule that two others make up",
			[]*model.NetworkPolicy{{Name: "p", PodSelector: *app("db"), IngressRules: rules(from(app("web"), "80"), from(app("web"), "81"), from(app("web"), "80", "81"))}},
			[]string{"shadowed-rule networkpolicy/a/p ingress rule 1", "shadowed-rule networkpolicy/a/p ingress rule 2"},
		},
		{
			"one of two that say the same",
			[]*model.NetworkPolicy{
				{Name: "p", PodSelector: *app("db"), IngressRules: rules(from(app("web"), "80"))},
				{Name: "q", PodSelector: *app("db"), IngressRules: rules(from(app("web"), "http"))},
			},
			[]string{"shadowed-rule networkpolicy/a/p ingress rule 1", "changes-nothing networkpolicy/a/p", "changes-nothing networkpolicy/a/q"},
		},
		{
			"a default deny where all is denied already",
			[]*model.NetworkPolicy{{Name: "p"}, {Name: "q", PodSelector: *app("db"), IngressRules: rules(from(app("web")))}, {Name: "r", PodSelector: *app("db")}},
			[]string{"changes-nothing networkpolicy/a/r"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, f := range reach.New(policy.BuildAs(small(c.policies...), policy.Upstream), nil).Hygiene() {
				got = append(got, strings.TrimSpace(f.Kind+" "+string(f.Policy)+" "+f.Rule))
				if f.Reason == "" {
					t.Errorf("%s has no reason", f.Kind)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestPairs: the numbers of pairs are those of asking one by one.
func TestPairs(t *testing.T) {
	w := small(&model.NetworkPolicy{Name: "p", PodSelector: *app("db"), IngressRules: []model.PolicyRule{from(app("web"), "80")}})
	got := reach.New(policy.BuildAs(w, policy.Upstream), nil).Pairs()
	// web, tool → db: one of two, on one port; everything else is open: 4 pairs.
	if want := (reach.Pairs{All: 6, Open: 5, Wide: 4}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestPairsRandom: so they are on random Worlds.
func TestPairsRandom(t *testing.T) {
	for seed := uint64(1); seed <= 40; seed++ {
		w := reachtest.Random(seed)
		e := reach.New(policy.BuildAs(w, policy.Dialect(seed%4)), nil)
		var parties []reach.Party
		for _, p := range w.Kube.Pods {
			if party, ok := e.PodParty(p, 0); ok && !p.HostNetwork {
				parties = append(parties, party)
			}
		}
		var want reach.Pairs
		for _, a := range parties {
			for _, b := range parties {
				if a.Pod == b.Pod {
					continue
				}
				want.All++
				seen := map[model.Verdict]bool{}
				for protocol := range reach.Protocols {
					for port := 1; port < 65536; port++ {
						if port > 200 && port < 8000 || port > 8100 && port < 65535 {
							continue // no rule names them
						}
						seen[e.Verdict(a, b, protocol, uint16(port))] = true
					}
				}
				switch {
				case len(seen) == 1 && seen[model.Pass]:
					want.Wide++
					want.Open++
				case seen[model.Pass]:
					want.Open++
				case seen[model.Unknown]:
					want.Unknown++
				}
			}
		}
		if got := e.Pairs(); got != want {
			t.Fatalf("seed %d: %+v, asked one by one %+v", seed, got, want)
		}
	}
}

// TestNothingReadIsNotNothing: where a kind could not be read, nothing found says nothing.
func TestNothingReadIsNotNothing(t *testing.T) {
	for kind, says := range map[string]string{"": "", "service": "not known: not every service could be read", "networkpolicy": "not known: not every networkpolicy could be read"} {
		w := small()
		delete(w.Read, kind)
		var out strings.Builder
		if err := reach.Write(&out, "", reach.New(policy.Build(w), nil).Summary(false), false); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		if !strings.Contains(text, says) || (kind == "") == strings.Contains(text, "not known: not every") {
			t.Errorf("without %q:\n%s", kind, text)
		}
		if kind == "service" && strings.Contains(text, "no Service of type") {
			t.Errorf("Services were not read:\n%s", text)
		}
	}
}

// TestHygieneUnknown: of two rules that are not understood, neither is said to be covered by the other.
func TestHygieneUnknown(t *testing.T) {
	odd := model.PolicyRule{Peers: []model.PolicyPeer{{Unknown: "a kind of peer of a later version"}}}
	p := &model.NetworkPolicy{Name: "p", PodSelector: *app("db"), IngressRules: []model.PolicyRule{odd, odd}}
	if got := reach.New(policy.BuildAs(small(p), policy.Upstream), nil).Hygiene(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}
