package check

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
)

func TestNodeCondition(t *testing.T) {
	says := func(c model.Condition) func(*model.World) {
		return func(w *model.World) { w.Kube.Nodes["n2"].Conditions = []model.Condition{c} }
	}
	long := now.Add(-time.Hour)
	const found, maybe = "node/n2 likely", "node/n2 possible"
	try(t, "node-condition",
		example{"ready", says(model.Condition{Type: "Ready", Status: "True", Since: long}), nil},
		example{"not ready", says(model.Condition{Type: "Ready", Status: "False", Since: long, Message: "cni plugin not initialized"}), []string{found}},
		example{"nobody knows", says(model.Condition{Type: "Ready", Status: "Unknown", Since: long}), []string{found}},
		example{"just joined", says(model.Condition{Type: "Ready", Status: "False", Since: now.Add(-time.Minute)}), []string{maybe}},
		example{"pressure", says(model.Condition{Type: "DiskPressure", Status: "True", Since: long}), []string{found}},
		example{"no pressure", says(model.Condition{Type: "DiskPressure", Status: "False", Since: long}), nil},
		example{"a restart now and then", says(model.Condition{Type: "FrequentKubeletRestart", Status: "True", Since: long}), []string{maybe}},
		example{"a condition that nobody knows", says(model.Condition{Type: "VMEventScheduled", Status: "True", Since: long}), nil},
	)
}

func TestAgents(t *testing.T) {
	agent := func(name string, ready bool, age time.Duration) func(*model.World) {
		return func(w *model.World) {
			ref := model.NewRef("daemonset", "kube-system", name)
			pod := &model.Pod{Namespace: "kube-system", Name: name + "-x", Node: "n2", Phase: "Running", HostNetwork: true, Owner: ref, Ready: ready, Created: now.Add(-age)}
			w.Kube.Pods[pod.Ref()] = pod
			wl := &model.Workload{Ref: ref, Replicas: 2, Ready: 2, Selector: &model.Selector{MatchLabels: model.Labels{"component": name}}}
			if !ready {
				wl.Ready = 1
			}
			w.Kube.Workloads = map[model.Ref]*model.Workload{ref: wl}
		}
	}
	const found, maybe = "daemonset/kube-system/kube-proxy likely", "daemonset/kube-system/kube-proxy possible"
	try(t, "network-agent",
		example{"ready", agent("kube-proxy", true, time.Hour), nil},
		example{"not ready", agent("kube-proxy", false, time.Hour), []string{found}},
		example{"of a rollout", agent("kube-proxy", false, time.Minute), []string{maybe}},
		example{"its node is not ready", func(w *model.World) {
			agent("kube-proxy", false, time.Hour)(w)
			w.Kube.Nodes["n2"].Ready = false
		}, nil},
		example{"nothing of the network", agent("log-shipper", false, time.Hour), nil},
		example{"one tunnel pod of two", func(w *model.World) {
			ref := model.Ref("deployment/kube-system/konnectivity-agent")
			w.Kube.Workloads = map[model.Ref]*model.Workload{ref: {Ref: ref, Replicas: 2, Ready: 1}}
		}, []string{"deployment/kube-system/konnectivity-agent possible"}},
		example{"no tunnel pod", func(w *model.World) {
			ref := model.Ref("deployment/kube-system/konnectivity-agent")
			w.Kube.Workloads = map[model.Ref]*model.Workload{ref: {Ref: ref, Replicas: 2}}
		}, []string{"deployment/kube-system/konnectivity-agent likely"}},
	)
}

func TestCoreDNSShape(t *testing.T) {
	one := func(w *model.World) {
		delete(w.Kube.Pods, "pod/kube-system/dns2")
		slice := w.Kube.EndpointSlices["endpointslice/kube-system/kube-dns-1"]
		slice.Endpoints = slice.Endpoints[:1]
	}
	try(t, "coredns-weak",
		example{"two on two nodes", func(*model.World) {}, nil},
		example{"one", one, []string{"pod/kube-system/dns possible"}},
		example{"one, on one node", func(w *model.World) {
			one(w)
			delete(w.Kube.Nodes, "n1")
		}, nil},
		example{"both on one of three nodes", func(w *model.World) {
			w.Kube.Nodes["n3"] = &model.Node{Name: "n3", Ready: true}
			w.Kube.Pods["pod/kube-system/dns2"].Node = "n2"
		}, []string{"pod/kube-system/dns2 possible"}},
	)
	corefile := func(custom string) func(*model.World) {
		return func(w *model.World) {
			w.Kube.ConfigMaps["configmap/kube-system/coredns"] = map[string]string{"Corefile": ".:53 {\n    errors\n    kubernetes cluster.local\n    forward . /etc/resolv.conf\n    import custom/*.override\n}\nimport custom/*.server\n"}
			w.Kube.ConfigMaps["configmap/kube-system/coredns-custom"] = map[string]string{"x.server": custom}
		}
	}
	try(t, "corefile-lines",
		example{"fine", corefile("corp.example:53 {\n    forward . 10.9.0.4\n}\n"), nil},
		example{"a brace too few", corefile("corp.example:53 {\n    forward . 10.9.0.4\n"), []string{"configmap/kube-system/coredns-custom possible"}},
		example{"not read", func(w *model.World) {
			corefile("corp.example:53 {\n")(w)
			delete(w.Read, "configmap")
		}, nil},
	)
}

func TestInsideNodes(t *testing.T) {
	off := func(w *model.World) { w.Nodes["n1"].Sysctls["net.ipv4.ip_forward"] = "0" }
	try(t, "ip-forward-off",
		example{"forwards", func(*model.World) {}, nil}, example{"does not", off, []string{"node/n1 likely"}},
		example{"nobody looked", func(w *model.World) {
			off(w)
			w.Nodes = nil
		}, nil},
	)
}

// twoWays gives a node a second link with a gateway of its own.
func twoWays(w *model.World) {
	w.Nodes["n1"].Routes = append(w.Nodes["n1"].Routes, model.KernelRoute{Table: 254, Dst: prefixes("192.0.2.0/24")[0], Gw: addr("10.1.0.1"), Dev: "eth1"})
}

func TestLostEntries(t *testing.T) {
	entries := func(leads string, alive int) func(*model.World) {
		return func(w *model.World) {
			w.Kube.Services["service/a/statsd"] = &model.Service{Namespace: "a", Name: "statsd", Type: "ClusterIP", ClusterIPs: addrs("10.0.0.10")}
			w.Nodes["n1"].Translated = []model.TranslatedFlows{{To: netip.MustParseAddrPort("10.0.0.10:53"), Leads: netip.MustParseAddrPort(leads), Count: 3, Alive: alive}}
		}
	}
	try(t, "node-state",
		example{"leads nowhere", entries("10.244.7.9:53", 2), []string{"node/n1 likely"}},
		example{"nobody sends any more", entries("10.244.7.9:53", 0), nil},
		example{"the endpoints were not read", func(w *model.World) {
			entries("10.244.7.9:53", 2)(w)
			delete(w.Read, "endpointslice")
		}, nil},
	)
}

func TestNodeState(t *testing.T) {
	set := func(key, value string) func(*model.World) {
		return func(w *model.World) { w.Nodes["n1"].Sysctls[key] = value }
	}
	both := func(a, b func(*model.World)) func(*model.World) { return func(w *model.World) { a(w); b(w) } }
	count := func(n string) func(*model.World) {
		return both(set("net.netfilter.nf_conntrack_count", n), set("net.netfilter.nf_conntrack_max", "1000"))
	}
	const found, maybe = "node/n1 likely", "node/n1 possible"
	try(t, "runs-out",
		example{"room", count("100"), nil}, example{"nearly full", count("850"), []string{maybe}}, example{"full", count("1000"), []string{found}},
		example{"no limit known", set("net.netfilter.nf_conntrack_count", "1000"), nil},
	)
	try(t, "node-state",
		example{"a table that was full", func(w *model.World) {
			w.Nodes["n1"].Kernel = []string{"[3.0] neighbour: arp_cache: neighbor table overflow!"}
		}, []string{maybe}},
		example{"another message", func(w *model.World) { w.Nodes["n1"].Kernel = []string{"eth0: link is up"} }, nil},
		example{"a clock", func(w *model.World) { w.Nodes["n1"].Clock = -5 * time.Minute }, []string{found}},
		example{"a second", func(w *model.World) { w.Nodes["n1"].Clock = time.Second }, nil},
		example{"lost at the next boot", func(w *model.World) {
			w.Nodes["n1"].Persisted = map[string]model.SysctlFile{"net.ipv4.ip_forward": {Value: "0", File: "/etc/sysctl.d/99-hard.conf"}}
		}, []string{maybe}},
		example{"strict, with one way out", set("net.ipv4.conf.all.rp_filter", "1"), nil},
		example{"strict, with two", both(set("net.ipv4.conf.all.rp_filter", "1"), twoWays), []string{maybe}},
		example{"loose, with two", both(set("net.ipv4.conf.all.rp_filter", "2"), twoWays), nil},
		example{"no plugin", func(w *model.World) { w.Nodes["n1"].CNIRead = true }, []string{found}},
		example{"a plugin", func(w *model.World) {
			w.Nodes["n1"].CNIRead, w.Nodes["n1"].CNI = true, []model.CNIConfig{{File: "10-azure.conflist"}}
		}, nil},
		example{"kept", func(w *model.World) {
			w.Nodes["n1"].Persisted = map[string]model.SysctlFile{"net.ipv4.ip_forward": {Value: "1", File: "/etc/sysctl.d/99-k8s.conf"}}
		}, nil},
	)
}

func TestTitleOfWhatRunsOut(t *testing.T) {
	for want, u := range map[string]resource.Use{
		"ports of node/n1: 850 of 1,000 (85 %) is nearly used up":                  {State: resource.Near, Used: 850, Limit: 1000},
		"ports of node/n1: 1,000 of 1,000 (100 %) is used up":                      {State: resource.Out, Used: 1000, Limit: 1000},
		"ports of node/n1: 16 of 1,000 (2 %), and something failed for want of it": {State: resource.Out, Used: 16, Limit: 1000},
		"ports of node/n1: 900, and something failed for want of it":               {State: resource.Out, Used: 900},
	} {
		u.Name, u.Of = "ports", "node/n1"
		if got := strings.ReplaceAll(titleOf(&u), "  ", " "); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
