package examine

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

func besideCase(t *testing.T, words ...string) *model.Case {
	t.Helper()
	c := &model.Case{Question: model.Question{Protocol: "tcp", From: model.Endpoint{Kind: "pod", Namespace: "shop", Name: "a"}, To: model.Endpoint{Raw: "https://x.example", Kind: "url", Scheme: "https", Host: "x.example", Port: 443}}}
	c.Question.Address, c.Question.Host = netip.MustParseAddr("192.0.2.1"), "pinned.example" // of the question alone
	c.World.Kube.Services = map[model.Ref]*model.Service{"service/shop/cart": {Namespace: "shop", Name: "cart", ClusterIPs: []netip.Addr{netip.MustParseAddr("10.0.0.9")}, Ports: []model.ServicePort{{Port: 80, Protocol: "TCP"}}}}
	c.World.Kube.Pods = map[model.Ref]*model.Pod{
		"pod/shop/db-1": {Namespace: "shop", Name: "db-1", Phase: "Running", IPs: []netip.Addr{netip.MustParseAddr("10.1.0.5")}, Containers: []model.Container{{Ports: []model.ContainerPort{{Port: 5432, Protocol: "TCP"}}}}},
		"pod/shop/new":  {Namespace: "shop", Name: "new", Phase: "Pending", Containers: []model.Container{{Ports: []model.ContainerPort{{Port: 80, Protocol: "TCP"}}}}},
	}
	for _, word := range words {
		e, err := model.ParseEndpoint(word, false)
		if err != nil {
			t.Fatal(err)
		}
		if e.Name != "" {
			e.Namespace = "shop"
		}
		c.Question.Beside = append(c.Question.Beside, e)
	}
	return c
}

func TestBesideTargets(t *testing.T) {
	c := besideCase(t, "https://y.example/?token=hunter2", "svc/cart", "db.example:5432", "pod/db-1", "pod/new", "udp://10.9.9.9:53")
	if err := besidePorts(c); err != nil {
		t.Fatal(err)
	}
	pod := &model.Pod{Namespace: "shop", Name: "a"}
	var got []string
	for _, b := range beside(c, pod) {
		if b.Purpose != probe.PurposeBeside || b.ServerName == "pinned.example" || b.Address == c.Question.Address {
			t.Errorf("%+v", b)
		}
		if strings.Contains(b.Label, "hunter2") {
			t.Errorf("a value of the query is kept: %s", b.Label)
		}
		got = append(got, strings.Join([]string{b.Protocol, b.Scheme, b.Host, b.Address.String(), netip.AddrPortFrom(netip.IPv4Unspecified(), b.Port).String()}, " "))
	}
	want := []string{
		"tcp https y.example invalid IP 0.0.0.0:443", "tcp  cart.shop.svc.cluster.local. invalid IP 0.0.0.0:80", "tcp  db.example invalid IP 0.0.0.0:5432",
		"tcp   10.1.0.5 0.0.0.0:5432", "udp  10.9.9.9 invalid IP 0.0.0.0:53",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("targets:\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// A node asks its own resolver, which does not know the cluster's names.
	if b := beside(c, nil)[1]; b.Address.String() != "10.0.0.9" {
		t.Errorf("from a node: %+v", b)
	}
	c.World.Kube.Services["service/shop/cart"].Ports = nil
	c.Question.Beside[1].Port = 0
	if err := besidePorts(c); err == nil || !strings.Contains(err.Error(), "--beside: TO svc/cart: it declares no TCP port") {
		t.Errorf("%v", err)
	}
}

// What was not tried is no good destination, and what was takes ports of its own.
func TestBesideIsTold(t *testing.T) {
	c := besideCase(t, "https://y.example", "https://z.example")
	for range 12 {
		c.Beside = append(c.Beside, model.Try{Target: "https://y.example", Purpose: probe.PurposeBeside, Result: model.OK})
	}
	untried(c)
	if len(c.World.Gaps) != 1 || !strings.Contains(c.World.Gaps[0].What, "https://z.example") {
		t.Errorf("%+v", c.World.Gaps)
	}
	own(c)
	if got := strings.Join(c.Notes, "\n"); !strings.Contains(got, "12 to https://y.example") || strings.Contains(got, "z.example") {
		t.Errorf("%q", got)
	}
}
