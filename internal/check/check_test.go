package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/diagnose/rules"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace/tracetest"
)

var now = time.Date(2026, time.November, 21, 8, 0, 0, 0, time.UTC)

// healthy is a cluster with everything read, on which no check says anything but
// what is ahead.
func healthy(cni, outbound string) *model.World {
	w := tracetest.Cluster(cni, outbound)
	for _, kind := range []string{"ingress", "deployment", "statefulset", "daemonset", "webhook", "apiservice", "deprecatedapi"} {
		w.Read[kind] = true
	}
	dns := w.Kube.Pods["pod/kube-system/dns"]
	dns.Containers = []model.Container{{Name: "coredns", State: "running", Ports: []model.ContainerPort{{Port: 53, Protocol: "UDP"}, {Port: 53, Protocol: "TCP"}}}}
	second := *dns
	second.Name, second.Node, second.IPs = "dns2", "n1", addrs("10.50.1.222")
	if len(w.Azure.Cluster.PodCIDRs) == 0 {
		second.IPs = w.Kube.Pods["pod/a/server"].IPs // of the node's own subnet
		delete(w.Kube.Pods, "pod/a/server")
	}
	w.Kube.Pods[second.Ref()] = &second
	slice := w.Kube.EndpointSlices["endpointslice/kube-system/kube-dns-1"]
	slice.Endpoints = append(slice.Endpoints, model.SliceEndpoint{Addresses: []string{second.IPs[0].String()}, Ready: true, Serving: true, Node: "n1", Target: second.Ref()})
	return w
}

func TestHealthyIsSilent(t *testing.T) {
	for _, cni := range tracetest.CNIs {
		for _, outbound := range tracetest.Outbounds {
			r := Run(healthy(cni, outbound), Options{Now: now})
			for _, f := range slices.Concat(r.Causes, r.AlsoNoticed) {
				if f.Severity > Notice {
					t.Errorf("%s, %s: %s %s %s: %s", cni, outbound, f.Confidence, f.Rule, f.Subject, f.Title)
				}
			}
			if r.Works != "true" || r.ExitCode != ExitFine {
				t.Errorf("%s, %s: works %s, exit code %d, not checked %v", cni, outbound, r.Works, r.ExitCode, r.NotChecked)
			}
		}
	}
}

// example is a change to a healthy cluster with what must be found after it, as
// "rule subject confidence", of one rule; nothing where it is a near miss.
type example struct {
	name   string
	change func(*model.World)
	want   []string
}

// try holds one rule to its examples.
func try(t *testing.T, rule string, examples ...example) {
	t.Helper()
	tryOn(t, "azure-overlay", "loadBalancer", rule, examples...)
}

func tryOn(t *testing.T, cni, outbound, rule string, examples ...example) {
	t.Helper()
	for _, e := range examples {
		w := healthy(cni, outbound)
		e.change(w)
		r := Run(w, Options{Now: now})
		got := []string{}
		for _, f := range slices.Concat(r.Causes, r.AlsoNoticed) {
			if f.Rule == rule {
				got = append(got, fmt.Sprintf("%s %s", f.Subject, f.Confidence))
			}
		}
		if !slices.Equal(got, orNothing(e.want)) {
			t.Errorf("%s: %s:\n got %q\nwant %q", rule, e.name, got, e.want)
		}
	}
}

func orNothing(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, addr(s))
	}
	return out
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestCatalogue(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rules.All() {
		seen[r.ID] = true
	}
	for _, c := range All() {
		if seen[c.ID] {
			t.Errorf("%s: the id is taken", c.ID)
		}
		seen[c.ID] = true
		if c.Title() == "" || strings.Count(c.Doc, "\n\n") < 2 || strings.HasSuffix(c.Title(), ".") {
			t.Errorf("%s: its page needs a title without a full stop, what it is, and how to mend it", c.ID)
		}
		if c.Run == nil || c.Hop == "" || !strings.HasPrefix(c.Source, "https://") || !slices.Contains(groups, c.Group) {
			t.Errorf("%s lacks a group, a hop, a source or what to run", c.ID)
		}
	}
}

// TestNothingRead: of a World in which nothing was read nothing is said, and it is not called healthy.
func TestNothingRead(t *testing.T) {
	r := Run(&model.World{Gaps: []model.Gap{{What: "Azure", Reason: "no token"}}}, Options{Now: now})
	if len(r.Causes)+len(r.AlsoNoticed) > 0 || r.Works != "unknown" || r.ExitCode != ExitUnknown || len(r.Skipped) == 0 {
		t.Errorf("%+v", r)
	}
}

// TestNotAzure: a cluster elsewhere lacks nothing of Azure's.
func TestNotAzure(t *testing.T) {
	w := healthy("azure-overlay", "loadBalancer")
	w.Azure = model.Azure{}
	for _, kind := range azureKinds {
		delete(w.Read, kind)
	}
	if r := Run(w, Options{Now: now}); r.Works != "true" || len(r.NotChecked) > 0 {
		t.Errorf("works %s, not checked %v, causes %v", r.Works, r.NotChecked, r.Causes)
	}
}

func TestLeftOutByChoice(t *testing.T) {
	w := healthy("azure-overlay", "loadBalancer")
	w.Azure = model.Azure{}
	for _, kind := range azureKinds {
		delete(w.Read, kind)
	}
	w.Gaps = []model.Gap{{What: "Azure", Reason: "not read: --no-azure", Skipped: true}}
	if r := Run(w, Options{Now: now}); r.Works != "true" || r.ExitCode != 0 || len(r.NotChecked) != 1 {
		t.Errorf("works %s, not checked %v", r.Works, r.NotChecked)
	}
}
