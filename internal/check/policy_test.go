package check

import (
	"testing"

	"github.com/podpath/podpath/internal/model"
)

// with adds policies of namespace a.
func with(policies ...*model.NetworkPolicy) func(*model.World) {
	return func(w *model.World) {
		w.Kube.Policies = map[model.Ref]*model.NetworkPolicy{}
		for _, p := range policies {
			p.Namespace = "a"
			w.Kube.Policies[p.Ref()] = p
		}
	}
}

func choose(app string) model.Selector {
	return model.Selector{MatchLabels: model.Labels{"app": app}}
}

func toPods(labels model.Labels, port string) model.PolicyRule {
	r := model.PolicyRule{Peers: []model.PolicyPeer{{NamespaceSelector: &model.Selector{}, PodSelector: &model.Selector{MatchLabels: labels}}}}
	if port != "" {
		r.Ports = []model.PolicyPort{{Protocol: "UDP", Port: port}}
	}
	return r
}

// localDNS switches LocalDNS on in the pool of every node.
func localDNS(w *model.World) {
	for _, n := range w.Kube.Nodes {
		n.Labels = model.Labels{"agentpool": "pool1"}
	}
	w.Azure.Cluster.AgentPools = []model.AgentPool{{Name: "pool1", LocalDNS: true}}
}

func TestPolicyLocksOutDNS(t *testing.T) {
	all := func(rules ...model.PolicyRule) *model.NetworkPolicy {
		return &model.NetworkPolicy{Name: "deny", Egress: true, EgressRules: rules}
	}
	one := func(rules ...model.PolicyRule) *model.NetworkPolicy {
		return &model.NetworkPolicy{Name: "deny", Egress: true, PodSelector: choose("client"), EgressRules: rules}
	}
	addresses := model.PolicyRule{Peers: []model.PolicyPeer{{IPBlock: prefixes("192.168.0.0/16")[0]}}}
	const found, maybe = "networkpolicy/a/deny likely", "networkpolicy/a/deny possible"
	try(t, "policy-locks-out-dns",
		example{"no policy", func(*model.World) {}, nil},
		example{"a whole namespace", with(all()), []string{found}},
		example{"one workload, and nothing at all is allowed to it", with(one()), []string{maybe}},
		example{"one workload, and addresses are allowed to it", with(one(addresses)), []string{maybe}},
		example{"one workload, and pods are allowed to it", with(one(toPods(model.Labels{"app": "server"}, ""))), []string{found}},
		example{"DNS is allowed", with(all(toPods(model.Labels{"app": "dns"}, "53"))), nil},
		example{"another port of DNS is", with(all(toPods(model.Labels{"app": "dns"}, "9153"))), []string{found}},
		example{"one of its pods is", with(all(model.PolicyRule{Peers: []model.PolicyPeer{{IPBlock: prefixes("10.50.2.0/24")[0]}}})), nil},
		example{"the other of its pods is", with(all(model.PolicyRule{Peers: []model.PolicyPeer{{IPBlock: prefixes("10.50.1.0/24")[0]}}})), nil},
		example{"DNS is allowed, and the pool has LocalDNS", func(w *model.World) {
			with(all(toPods(model.Labels{"app": "dns"}, "53")))(w)
			localDNS(w)
		}, []string{found}},
		example{"LocalDNS is allowed", func(w *model.World) {
			with(all(model.PolicyRule{Peers: []model.PolicyPeer{{IPBlock: prefixes("169.254.10.11/32")[0]}}}))(w)
			localDNS(w)
		}, nil},
		example{"ingress only", with(&model.NetworkPolicy{Name: "deny", Ingress: true}), nil},
		example{"another policy allows it", with(all(), &model.NetworkPolicy{Name: "dns", Egress: true, EgressRules: []model.PolicyRule{toPods(model.Labels{"app": "dns"}, "53")}}), nil},
		example{"the pods ask others", func(w *model.World) {
			with(all())(w)
			for _, pod := range w.Kube.Pods {
				pod.DNSPolicy = "Default"
			}
		}, nil},
		example{"nothing enforces it", func(w *model.World) {
			with(all())(w)
			w.Azure.Cluster.NetworkPolicy = "none"
		}, nil},
		example{"refused at the server's side", func(w *model.World) {
			p := &model.NetworkPolicy{Namespace: "kube-system", Name: "closed", Ingress: true, PodSelector: choose("dns")}
			w.Kube.Policies = map[model.Ref]*model.NetworkPolicy{p.Ref(): p}
		}, []string{"networkpolicy/kube-system/closed likely"}},
		example{"policies were not read", func(w *model.World) {
			with(all())(w)
			delete(w.Read, "networkpolicy")
		}, nil},
	)
}

func TestPolicySelectsNothing(t *testing.T) {
	lost := func(app string, rules ...model.PolicyRule) *model.NetworkPolicy {
		return &model.NetworkPolicy{Name: "lost", Ingress: true, PodSelector: choose(app), IngressRules: rules}
	}
	const found = "networkpolicy/a/lost possible"
	try(t, "policy-selects-nothing",
		example{"a pod", with(lost("server")), nil},
		example{"nobody", with(lost("servers")), []string{found}},
		example{"nobody yet", func(w *model.World) {
			with(lost("batch"))(w)
			w.Kube.Workloads = map[model.Ref]*model.Workload{"deployment/a/batch": {Ref: "deployment/a/batch", Selector: &model.Selector{MatchLabels: model.Labels{"app": "batch"}}}}
		}, nil},
		example{"a namespace without pods", func(w *model.World) {
			p := &model.NetworkPolicy{Namespace: "empty", Name: "deny", Ingress: true}
			w.Kube.Policies = map[model.Ref]*model.NetworkPolicy{p.Ref(): p}
		}, nil},
		example{"a peer that is there", with(lost("server", toPods(model.Labels{"app": "client"}, ""))), nil},
		example{"a peer that is not", with(lost("server", toPods(model.Labels{"app": "clients"}, ""))), []string{found}},
	)
}

func TestPolicyNotEnforced(t *testing.T) {
	some := with(&model.NetworkPolicy{Name: "deny", Ingress: true})
	bare := func(w *model.World) {
		some(w)
		w.Azure.Cluster.NetworkPolicy = "none"
	}
	try(t, "policy-not-enforced",
		example{"an engine", some, nil},
		example{"none", bare, []string{"cluster/c1 likely"}},
		example{"none, and no policy", func(w *model.World) { w.Azure.Cluster.NetworkPolicy = "none" }, nil},
		example{"one that was installed by hand", func(w *model.World) {
			bare(w)
			w.Kube.Workloads = map[model.Ref]*model.Workload{"daemonset/calico-system/calico-node": {Ref: "daemonset/calico-system/calico-node", Replicas: 2, Ready: 2}}
		}, nil},
		example{"DaemonSets were not read", func(w *model.World) {
			bare(w)
			delete(w.Read, "daemonset")
		}, nil},
	)
}
