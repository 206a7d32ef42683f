package rules

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/diagnose/rules/ruletest"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/snapshot"
	"github.com/podpath/podpath/internal/trace"
)

// A mutilation takes out of a case what the lack of one permission would have
// kept out, in the way in which the collectors leave it. It says whether there
// was anything to take.
type mutilation struct {
	name  string
	apply func(*model.Case) bool
}

// unread notes a kind that could not be listed.
func unread(c *model.Case, kind, what, permission string) {
	c.World.Read[kind] = false
	for key := range c.World.Read {
		if strings.HasPrefix(key, kind+"/") {
			delete(c.World.Read, key)
		}
	}
	c.World.Gaps = append(c.World.Gaps, model.Gap{What: what, Reason: "403 Forbidden", Permission: permission})
}

// drop empties a map of Azure's documents, with a gap for each.
func drop[V any](kind, permission string, of func(*model.Azure) *map[string]V, further ...string) mutilation {
	return mutilation{kind + " unread", func(c *model.Case) bool {
		m := of(&c.World.Azure)
		had := len(*m) > 0
		for _, id := range slices.Sorted(maps.Keys(*m)) {
			parts := strings.Split(id, "/")
			name := parts[len(parts)-1]
			ref := model.NewRef(kind, name)
			if kind == "subnet" {
				ref = model.NewRef(kind, parts[len(parts)-3], name)
			}
			c.World.Gaps = append(c.World.Gaps, model.Gap{What: kind + " " + name, Ref: ref, Reason: "403 AuthorizationFailed", Permission: permission + " on " + id})
		}
		*m = nil
		for _, k := range append(further, kind) {
			c.World.Read[k] = false
		}
		return had
	}}
}

func noVantage(v model.Vantage, what, permission string) mutilation {
	return mutilation{"no probe from " + string(v), func(c *model.Case) bool {
		had := false
		kept := []model.Observation{}
		for _, o := range c.Observations {
			if o.Vantage == v {
				had = true
				continue
			}
			kept = append(kept, o)
		}
		c.Observations = kept
		c.Tries = slices.DeleteFunc(slices.Clone(c.Tries), func(t model.Try) bool { return t.Vantage == v })
		if had && permission != "" {
			c.World.Gaps = append(c.World.Gaps, model.Gap{What: "probe from " + what, Reason: "forbidden", Permission: permission})
		}
		return had
	}}
}

// keepPods leaves the pods of the asking side's namespace, without which a
// question about a workload cannot be asked.
func keepPods(c *model.Case) {
	ns := c.Question.From.Namespace
	for ref := range c.World.Kube.Pods {
		if ref.Part(0) != ns {
			delete(c.World.Kube.Pods, ref)
		}
	}
}

func mutilations() []mutilation {
	gap := func(c *model.Case, g model.Gap) { c.World.Gaps = append(c.World.Gaps, g) }
	azureKinds := []string{"nsg", "subnet", "vnet", "routetable", "nic", "natgateway", "loadbalancer", "publicip", "firewall", "firewallpolicy", "vnetgateway", "vmss", "cluster"}
	single := []mutilation{
		{"Azure unread", func(c *model.Case) bool {
			c.World.Azure = model.Azure{}
			for _, kind := range azureKinds {
				delete(c.World.Read, kind)
			}
			gap(c, model.Gap{What: "Azure", Reason: "no credential", Permission: "Reader on the cluster's resource group, its node resource group and its virtual network"})
			return true
		}},
		drop("nsg", "Microsoft.Network/networkSecurityGroups/read", func(a *model.Azure) *map[string]*model.NSG { return &a.NSGs }),
		drop("routetable", "Microsoft.Network/routeTables/read", func(a *model.Azure) *map[string]*model.RouteTable { return &a.RouteTables }, "firewall", "firewallpolicy"),
		drop("subnet", "Microsoft.Network/virtualNetworks/subnets/read", func(a *model.Azure) *map[string]*model.Subnet { return &a.Subnets }, "vnet", "nsg", "routetable", "natgateway", "firewall", "firewallpolicy", "vnetgateway", "publicip"),
		drop("vnet", "Microsoft.Network/virtualNetworks/read", func(a *model.Azure) *map[string]*model.VNet { return &a.VNets }, "firewall", "firewallpolicy", "vnetgateway"),
		drop("natgateway", "Microsoft.Network/natGateways/read", func(a *model.Azure) *map[string]*model.NATGateway { return &a.NATGateways }, "publicip"),
		drop("loadbalancer", "Microsoft.Network/loadBalancers/read", func(a *model.Azure) *map[string]*model.LoadBalancer { return &a.LoadBalancers }, "publicip"),
		drop("firewall", "Microsoft.Network/azureFirewalls/read", func(a *model.Azure) *map[string]*model.Firewall { return &a.Firewalls }, "firewallpolicy"),
		drop("firewallpolicy", "Microsoft.Network/firewallPolicies/read", func(a *model.Azure) *map[string]*model.FirewallPolicy { return &a.FirewallPolicies }),
		drop("publicip", "Microsoft.Network/publicIPAddresses/read", func(a *model.Azure) *map[string]*model.PublicIP { return &a.PublicIPs }),
		drop("nic", "Microsoft.Compute/virtualMachineScaleSets/networkInterfaces/read", func(a *model.Azure) *map[string]*model.NIC { return &a.NICs }, "nsg", "subnet", "vnet", "routetable", "natgateway", "firewall", "firewallpolicy", "vnetgateway", "publicip"),
		drop("vmss", "Microsoft.Compute/virtualMachineScaleSets/read", func(a *model.Azure) *map[string]*model.VMSS { return &a.VMSSs }),
		{"vnetgateway unread", func(c *model.Case) bool {
			had := len(c.World.Azure.Gateways) > 0
			c.World.Azure.VNets = maps.Clone(c.World.Azure.VNets)
			for id, v := range c.World.Azure.VNets {
				shown := *v // its subnet shows that there is one
				shown.SubnetIDs = append(slices.Clone(v.SubnetIDs), v.ID+"/subnets/GatewaySubnet")
				c.World.Azure.VNets[id] = &shown
			}
			c.World.Azure.Gateways = nil
			c.World.Read["vnetgateway"] = false
			gap(c, model.Gap{What: "virtual network gateways in resource group rg-prod", Reason: "403 AuthorizationFailed", Permission: "Microsoft.Network/virtualNetworkGateways/read on /subscriptions/s"})
			return had
		}},
		{"rule collection groups unread", func(c *model.Case) bool {
			all := map[string]*model.FirewallPolicy{}
			for id, p := range c.World.Azure.FirewallPolicies {
				bare := *p
				bare.Groups = nil
				all[id] = &bare
				gap(c, model.Gap{What: "rule collection group of " + p.Name, Reason: "403 AuthorizationFailed", Permission: "Microsoft.Network/firewallPolicies/ruleCollectionGroups/read on " + p.ID})
			}
			c.World.Azure.FirewallPolicies = all
			c.World.Read["firewallpolicy"] = false
			return len(all) > 0
		}},
		{"cluster unread", func(c *model.Case) bool {
			had := c.World.Azure.Cluster
			c.World.Azure.Cluster = nil
			c.World.Read["cluster"] = false
			if had != nil {
				gap(c, model.Gap{What: "managed cluster " + had.Name, Ref: model.NewRef("cluster", had.Name), Reason: "403 AuthorizationFailed", Permission: "Microsoft.ContainerService/managedClusters/read on " + had.ID})
			}
			return had != nil
		}},
		{"policies unread", func(c *model.Case) bool {
			c.World.Kube.Policies = nil
			unread(c, "networkpolicy", "network policies", "list networkpolicies.networking.k8s.io (cluster scope)")
			return true
		}},
		{"ConfigMaps unread", func(c *model.Case) bool {
			c.World.Kube.ConfigMaps = nil
			c.World.Read["configmap"] = false
			for _, name := range []string{"azure-ip-masq-agent-config", "azure-ip-masq-agent-config-reconciled", "coredns", "coredns-custom"} {
				gap(c, model.Gap{What: "configmap " + name + " in namespace kube-system", Ref: model.NewRef("configmap", "kube-system", name), Reason: "forbidden", Permission: "get configmaps/" + name + " in namespace kube-system"})
			}
			return true
		}},
		{"nodes unread", func(c *model.Case) bool {
			c.World.Kube.Nodes = nil
			unread(c, "node", "nodes", "list nodes (cluster scope)")
			return true
		}},
		{"Services unread", func(c *model.Case) bool {
			c.World.Kube.Services = nil
			unread(c, "service", "services in namespace kube-system", "list services in namespace kube-system")
			return true
		}},
		{"endpoints unread", func(c *model.Case) bool {
			c.World.Kube.EndpointSlices = nil
			unread(c, "endpointslice", "endpoint slices", "list endpointslices.discovery.k8s.io (cluster scope)")
			return true
		}},
		{"pods unlisted", func(c *model.Case) bool {
			keepPods(c)
			unread(c, "pod", "pods in namespace kube-system", "list pods in namespace kube-system")
			c.World.Read["pod/"+c.Question.From.Namespace] = true
			return true
		}},
		{"namespaces unread", func(c *model.Case) bool {
			c.World.Kube.Namespaces = nil
			unread(c, "namespace", "namespaces", "list namespaces (cluster scope)")
			return true
		}},
		{"events unread", func(c *model.Case) bool {
			had := len(c.World.Kube.Events) > 0
			c.World.Kube.Events = nil
			unread(c, "event", "events", "list events in namespace shop")
			return had
		}},
		{"nodes not entered", func(c *model.Case) bool {
			had := len(c.World.Nodes) > 0
			for _, name := range slices.Sorted(maps.Keys(c.World.Nodes)) {
				gap(c, model.Gap{What: "probe from node " + name, Ref: model.NewRef("node", name), Reason: "forbidden", Permission: "create pods in namespace kube-system with hostNetwork"})
			}
			c.World.Nodes = nil
			return had
		}},
		noVantage(model.VantagePod, "pod/shop/checkout-0 by ephemeral", "patch pods/ephemeralcontainers in namespace shop"),
		noVantage(model.VantagePeer, "another pod of node aks-np-0", "create pods in namespace kube-system"),
		noVantage(model.VantageNode, "node aks-np-0", "create pods in namespace kube-system with hostNetwork"),
		noVantage(model.VantageOtherNode, "a pod of node aks-np-1", "create pods in namespace kube-system"),
		noVantage(model.VantageHere, "", ""), // switched off: nobody needs a permission for it
		{"no probe at all", func(c *model.Case) bool {
			had := len(c.Observations) > 0
			c.Observations, c.World.Nodes, c.Tries = nil, nil, nil
			gap(c, model.Gap{What: "probe from pod/shop/checkout-0 by ephemeral", Reason: "forbidden", Permission: "patch pods/ephemeralcontainers in namespace shop"})
			return had
		}},
	}
	both := func(names ...string) mutilation {
		var parts []mutilation
		for _, m := range single {
			if slices.Contains(names, m.name) {
				parts = append(parts, m)
			}
		}
		return mutilation{strings.Join(names, ", "), func(c *model.Case) bool {
			any := false
			for _, m := range parts {
				any = m.apply(c) || any
			}
			return any && len(parts) == len(names)
		}}
	}
	return append(single,
		both("Azure unread", "no probe from here"),
		both("Azure unread", "nodes not entered"),
		both("Azure unread", "policies unread", "nodes unread", "ConfigMaps unread"),
		both("nodes not entered", "no probe from node", "no probe from other-node", "no probe from peer"),
		both("Azure unread", "nodes not entered", "no probe from node", "no probe from other-node", "no probe from peer"),
		both("Azure unread", "nodes not entered", "no probe from node", "no probe from other-node", "no probe from peer", "no probe from here"),
		both("nodes not entered", "nodes unread"),
		both("Services unread", "endpoints unread", "pods unlisted"),
		both("subnet unread", "vnet unread", "nsg unread", "routetable unread", "natgateway unread", "firewall unread", "firewallpolicy unread"),
	)
}

// copied is a case that can be cut up without harm to the first. Documents are
// shared: a mutation replaces what it changes.
func copied(c *model.Case) *model.Case {
	out := *c
	out.World.Read = maps.Clone(c.World.Read)
	if out.World.Read == nil {
		out.World.Read = map[string]bool{}
	}
	out.World.Gaps = slices.Clone(c.World.Gaps)
	out.World.Kube.Pods = maps.Clone(c.World.Kube.Pods)
	return &out
}

// retrace predicts again. A name whose address no probe found out leads to
// somewhere on the internet.
func retrace(c *model.Case) {
	flow := c.Paths[0].Flow
	q := c.Question
	if len(c.Observations) == 0 && q.To.Host != "" && !q.To.Addr.IsValid() && !q.Address.IsValid() {
		flow.Dst = netip.Addr{}
	}
	flow.Src = netip.Addr{}
	c.Paths = []model.Path{trace.Build(&c.World).Run(flow)}
}

// same says that two subjects are one thing to a user: a workload and its pods;
// a firewall and its policy; a firewall without a name, which is whatever stands
// on a way that was not read.
func same(w *model.World, a, b model.Ref) bool {
	one := func(r model.Ref) model.Ref {
		if pod := w.Kube.Pods[r]; pod != nil && pod.Owner != "" {
			return pod.Owner
		}
		for _, fw := range w.Azure.Firewalls {
			if r.Kind() == "firewallpolicy" && diagnose.ParseArmID(fw.PolicyID).Name == r.Part(0) {
				return model.NewRef("firewall", fw.Name)
			}
		}
		return r
	}
	a, b = one(a), one(b)
	return a == b || a.Kind() == "firewall" && b == unknownFirewall
}

// predicted says that the whole case's prediction breaks at the subject: that is
// so, whatever else is wrong.
func predicted(c *model.Case, subject model.Ref) bool {
	for _, p := range c.Paths {
		steps := p.After
		if b := p.Broken(); b != nil {
			steps = append([]model.Step{*b}, steps...)
		}
		for _, s := range steps {
			if s.Decided == subject || s.At == subject {
				return true
			}
		}
	}
	return false
}

func rule(id string) *diagnose.Rule {
	all := All()
	return &all[slices.IndexFunc(all, func(r diagnose.Rule) bool { return r.ID == id })]
}

func findings(r *diagnose.Result) []diagnose.Finding { return slices.Concat(r.Causes, r.Also) }

// TestHalfThePermissions takes from every case, in turn, what one permission
// gives. What is left may know less; it may not say anything else.
func TestHalfThePermissions(t *testing.T) {
	all := cases(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		full, err := all[name].Case()
		if err != nil {
			t.Fatal(err)
		}
		// Of a near miss the rule that is missing is not the point.
		mutilate(t, name, full, strings.Contains(name, "near/") || strings.Contains(name, "gap.yaml"))
	}
}

// TestHalfThePermissionsOfSnapshots does the same with snapshots of real runs:
// those of docs/examples, or of the folder that PODPATH_CASES names.
func TestHalfThePermissionsOfSnapshots(t *testing.T) {
	folder := os.Getenv("PODPATH_CASES")
	if folder == "" {
		folder = filepath.Join("..", "..", "..", "docs", "examples")
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.podpath"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d snapshots, %v", folder, len(files), err)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		c, err := snapshot.Load(f, snapshot.Limits{})
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		mutilate(t, filepath.Base(file), c, false)
	}
}

func mutilate(t *testing.T, name string, full *model.Case, near bool) {
	t.Helper()
	if len(full.Paths) == 0 {
		return
	}
	whole := run(full)
	for _, m := range mutilations() {
		half := copied(full)
		if !m.apply(half) {
			continue
		}
		retrace(half)
		res := run(half)
		for _, complaint := range dishonest(full, &whole, half, &res, near) {
			t.Errorf("%s, %s: %s\n%s", name, m.name, complaint, dump(half, &res))
		}
	}
}

func dishonest(full *model.Case, whole *diagnose.Result, half *model.Case, res *diagnose.Result, near bool) []string {
	var out []string
	var truth *diagnose.Finding
	if len(whole.Causes) > 0 {
		truth = &whole.Causes[0]
	}
	if whole.Works == "true" && !slices.ContainsFunc(half.Observations, func(o model.Observation) bool { return o.Vantage == model.VantagePod }) {
		return nil // only the probe said that it works, against the configuration
	}
	known := func(f *diagnose.Finding) bool {
		switch {
		case predicted(full, f.Subject):
			return true
		case truth == nil:
		case same(&full.World, truth.Subject, f.Subject):
			return true
		case f.Rule == truth.Rule && f.Confidence < diagnose.Proven && len(f.Gaps) > 0:
			return true // what happens is right, and it says that it cannot tell where
		case slices.Contains(rule(f.Rule).Under, truth.Rule) && rule(f.Rule).EvenIfItWorks:
			return true // a state that was read, and but a consequence
		}
		return slices.ContainsFunc(findings(whole), func(g diagnose.Finding) bool {
			return same(&full.World, g.Subject, f.Subject) && g.Confidence >= f.Confidence
		})
	}
	for _, f := range findings(res) {
		if f.Confidence >= diagnose.Likely && !known(&f) {
			want := "nothing"
			if truth != nil {
				want = fmt.Sprintf("%s %s (%s)", truth.Rule, truth.Subject, truth.Confidence)
			}
			out = append(out, fmt.Sprintf("says %s %s (%s); with everything read it is %s", f.Rule, f.Subject, f.Confidence, want))
		}
	}
	if res.Works == "true" && whole.Works != "true" && !(truth != nil && ofOldSockets(truth) && skipped(res, truth.Rule)) {
		out = append(out, fmt.Sprintf("says that it works; with everything read it is %q", whole.Works))
	}
	if res.Works == "false" && whole.Works == "true" {
		out = append(out, "says that it fails, and it works")
	}
	if truth == nil || near || slices.ContainsFunc(findings(res), func(f diagnose.Finding) bool {
		return same(&full.World, f.Subject, truth.Subject) || f.Rule == truth.Rule && len(f.Gaps) > 0
	}) {
		return out
	}
	if !skipped(res, truth.Rule) {
		out = append(out, fmt.Sprintf("%s (%s) is neither found nor listed as skipped", truth.Rule, truth.Subject))
	}
	return out
}

// ofOldSockets says that a finding is about sockets that the workload has had for
// a while: a new one, which is what was seen, works whatever becomes of them. That
// they were not looked at has to be said.
func ofOldSockets(f *diagnose.Finding) bool { return f.Rule == "conntrack-stale" }

func skipped(res *diagnose.Result, id string) bool {
	return slices.ContainsFunc(res.Skipped, func(s diagnose.Skip) bool { return s.Rule == id && s.Why != "" })
}

// TestOnlyAlikeIsAlike: places that fail in different phases share no cause, and
// one that got further tells the far side from the way to it.
func TestOnlyAlikeIsAlike(t *testing.T) {
	far := func(failed, result string) string {
		s := &ruletest.Spec{Observe: []map[string]any{
			{"vantage": "pod", "failed": "tcp", "result": "timeout"},
			{"vantage": "node", "failed": "tcp", "result": "timeout"},
			{"vantage": "other-node", "failed": "tcp", "result": "timeout"},
			{"vantage": "here", "failed": failed, "result": result},
		}}
		res := run(build(t, s))
		return strings.Join(res.Narrowed, "\n")
	}
	if got := far("tcp", "timeout"); !strings.Contains(got, "nothing that they share but the far side") {
		t.Errorf("three places that fail alike: %q", got)
	}
	if got := far("tls", "cert-unknown-ca"); !strings.Contains(got, "gets further from this machine") || strings.Contains(got, "alike") {
		t.Errorf("this machine got as far as TLS: %q", got)
	}
	if got := far("tcp", "refused"); strings.Contains(got, "alike") {
		t.Errorf("silence and a refusal are not alike: %q", got)
	}
	if got := far("dns", "servfail"); strings.Contains(got, "alike") {
		t.Errorf("this machine did not get as far as the pod: %q", got)
	}
}

// TestUnreadWayIsNotBlamedOnTheHost: nobody read the network, so silence is
// nobody's proven fault, and the gap that would settle it stands in the finding.
func TestUnreadWayIsNotBlamedOnTheHost(t *testing.T) {
	for name, here := range map[string]map[string]any{
		"endpoint-down":          {"vantage": "here", "failed": "tcp", "result": "timeout"},
		"egress-address-refused": {"vantage": "here"},
	} {
		c := build(t, &ruletest.Spec{Observe: []map[string]any{
			{"vantage": "pod", "failed": "tcp", "result": "timeout"},
			{"vantage": "node", "failed": "tcp", "result": "timeout"},
			{"vantage": "other-node", "failed": "tcp", "result": "timeout"},
			here,
		}})
		if res := run(c); len(res.Causes) == 0 || res.Causes[0].Rule != name || res.Causes[0].Confidence < diagnose.Likely {
			t.Errorf("%s: everything was read and passes\n%s", name, dump(c, &res))
		}
		c = copied(c)
		mutilations()[0].apply(c)
		retrace(c)
		res := run(c)
		if len(res.Causes) == 0 || res.Causes[0].Rule != name || res.Causes[0].Confidence != diagnose.Possible || len(res.Causes[0].Gaps) == 0 {
			t.Errorf("%s: Azure was not read\n%s", name, dump(c, &res))
		}
		if !slices.ContainsFunc(res.Skipped, func(s diagnose.Skip) bool { return s.Rule == "nsg-denies" && s.Permission != "" }) {
			t.Errorf("%s: nsg-denies is not listed as skipped with its permission: %v", name, res.Skipped)
		}
	}
}

// TestLateForTwoSeconds: tries that stand beside a single question and were sent late
// say nothing of the node; the same in a series that was asked for do.
func TestLateForTwoSeconds(t *testing.T) {
	c, err := cases(t)["node-cpu.txtar fires.yaml"].Case()
	if err != nil {
		t.Fatal(err)
	}
	if res := run(c); len(res.Causes) != 1 || res.Works != "slow" {
		t.Errorf("watched\n%s", dump(c, &res))
	}
	c.More = true
	if res := run(c); len(res.Causes) != 0 || res.Works != "true" {
		t.Errorf("asked once\n%s", dump(c, &res))
	}
}
