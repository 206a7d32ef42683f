package resource

import (
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// crowd is a node of two cores and 4 GiB with pods that request of them, one of
// which uses far more than it requests; the question is about pod/shop/asks.
func crowd() *model.Case {
	pod := func(name, phase string, containers ...model.Container) *model.Pod {
		return &model.Pod{Namespace: "shop", Name: name, Node: "a", Phase: phase, Containers: containers}
	}
	c := &model.Case{World: model.World{Read: map[string]bool{"pod": true}, Kube: model.Kube{
		Nodes: map[string]*model.Node{"a": {Name: "a", CPUs: 1.9, Memory: 4 << 30}},
		Pods:  map[model.Ref]*model.Pod{},
	}}}
	for _, p := range []*model.Pod{
		pod("asks", "Running", model.Container{Name: "app", CPURequest: 0.2, MemoryRequest: 256 << 20, MemoryLimit: 512 << 20}, model.Container{Name: "warm", Kind: "init", CPURequest: 0.1}, model.Container{Name: "debug", Kind: "ephemeral", CPURequest: 9}),
		pod("grinds", "Running", model.Container{Name: "app", CPURequest: 0.1, MemoryLimit: 5 << 30}, model.Container{Name: "mesh", Kind: "sidecar", CPURequest: 0.05}),
		pod("starts", "Pending", model.Container{Name: "app", CPURequest: 0.5}, model.Container{Name: "big", Kind: "init", CPURequest: 1}),
		pod("done", "Succeeded", model.Container{Name: "app", CPURequest: 8, MemoryRequest: 8 << 30}),
	} {
		c.World.Kube.Pods[p.Ref()] = p
	}
	at := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	c.World.Usage = []model.Usage{{Pod: "pod/shop/asks", Container: "app", CPU: 0.15}, {Pod: "pod/shop/asks", Container: "debug"}}
	c.World.NodeUsage = map[string]model.NodeUsage{"a": {Spent: map[model.Ref]model.Spent{
		"pod/shop/grinds": {Before: 100, After: 115, At: at, AfterAt: at.Add(10 * time.Second)},
		"pod/shop/asks":   {Before: 10, After: 11.5, At: at, AfterAt: at.Add(10 * time.Second)},
		"pod/shop/starts": {Before: 0, After: 90, At: at, AfterAt: at}, // the kubelet has not looked again
		"pod/kube/gone":   {Before: 0, After: 15, At: at, AfterAt: at.Add(10 * time.Second)},
	}}}
	c.World.Nodes = map[string]*model.NodeFacts{"a": {
		Node:        "a",
		Levels:      map[string]float64{"cpus": 2, "cpu.user": 0, "cpu.idle": 0, "memory.total": 4 << 30, "memory.available": 1 << 30},
		LevelsAfter: map[string]float64{"cpus": 2, "cpu.user": 99, "cpu.idle": 1, "load": 9, "running": 8},
	}}
	return c
}

// TestRequestsOfABusyNode: what its pods request of it, who uses far more than it
// requests, and what the question's own pod is sure to get.
func TestRequestsOfABusyNode(t *testing.T) {
	c := crowd()
	u := Kind(c, NodeCPU)
	if len(u) != 1 || u[0].State != Out || len(u[0].Who) != 3 || u[0].Who[0].Count != 1.5 || u[0].Sharing(u[0].Who[1]) != "pod/shop/grinds: 1.50 cores" {
		t.Fatalf("%+v", u)
	}
	for _, want := range []string{
		"its 3 pods request 1.35 of the 1.9 cores that pods may have there (71 %)",
		"pod/shop/grinds uses 1.50 cores and requests 150m only",
		"pod/shop/asks requests 200m of CPU: so much it is sure to get",
	} {
		if !strings.Contains(told(u[0]), want) {
			t.Errorf("%q is missing in\n%s", want, told(u[0]))
		}
	}
	if text := told(u[0]); strings.Contains(text, "pod/shop/asks uses") || strings.Contains(text, "pod/shop/starts") || strings.Count(text, "pod/shop/asks requests") != 1 {
		t.Errorf("one that uses what it requests, one that was looked at once, or one told twice:\n%s", text)
	}
	memory := told(Kind(c, NodeMemory)[0])
	if want := "its 3 pods request 256 of the 4,096 MiB that pods may have there (6 %); their limits allow 5,632 MiB, more than there is; 2 are without a limit"; !strings.Contains(memory, want) {
		t.Errorf("%q is missing in\n%s", want, memory)
	}
}

// TestRequestsOfAnIdleNode: who uses what hurts nobody.
func TestRequestsOfAnIdleNode(t *testing.T) {
	c := crowd()
	c.World.Nodes["a"].LevelsAfter["cpu.idle"] = 300
	c.World.Read = nil
	u := Kind(c, NodeCPU)
	if text := told(u[0]); u[0].State != Room || strings.Contains(text, "sure to get") || strings.Contains(text, "nobody reckoned") || !strings.Contains(text, "of its pods the 3 that were read request at least 1.35") {
		t.Errorf("%+v", u)
	}
}

// TestRequestsUnread: a node that the API told nothing of has no sum.
func TestRequestsUnread(t *testing.T) {
	c := crowd()
	c.World.Kube.Nodes = nil
	for _, kind := range []string{NodeCPU, NodeMemory} {
		if text := told(Kind(c, kind)[0]); strings.Contains(text, "that pods may have") {
			t.Errorf("%s: %s", kind, text)
		}
	}
}

// TestRequestBesideLimit: of a container that is throttled, or near its memory limit.
func TestRequestBesideLimit(t *testing.T) {
	at := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name            string
		container       model.Container
		stopped, memory int64
		cpu, mem        string
	}{
		{"both", model.Container{CPUQuota: 0.5, CPURequest: 0.1, MemoryLimit: 100 << 20, MemoryRequest: 20 << 20}, 90, 95 << 20, "requests.cpu is 100m", "requests.memory is 20 MiB, less than it uses"},
		{"limits alone", model.Container{CPUQuota: 0.5, MemoryLimit: 100 << 20}, 90, 95 << 20, "it requests no CPU", "it requests no memory"},
		{"a request that holds", model.Container{CPUQuota: 0.5, CPURequest: 0.5, MemoryLimit: 100 << 20, MemoryRequest: 100 << 20}, 90, 95 << 20, "requests.cpu is 500m", "requests.memory is 100 MiB"},
		{"room in both", model.Container{CPUQuota: 0.5, CPURequest: 0.1, MemoryLimit: 100 << 20, MemoryRequest: 20 << 20}, 1, 30 << 20, "", ""},
	} {
		tc.container.Name = "app"
		c := &model.Case{World: model.World{
			Kube: model.Kube{Pods: map[model.Ref]*model.Pod{"pod/x/a": {Namespace: "x", Name: "a", Containers: []model.Container{tc.container}}}},
			Usage: []model.Usage{{
				Pod: "pod/x/a", Container: "app", Memory: tc.memory,
				Before: model.Throttled{At: at, Periods: 100}, After: model.Throttled{At: at.Add(10 * time.Second), Periods: 200, Stopped: tc.stopped},
			}},
		}}
		for kind, want := range map[string]string{CPU: tc.cpu, Memory: tc.mem} {
			u := Kind(c, kind)
			if text := told(u[0]); len(u) != 1 || !strings.Contains(text, want) || want == "" && (strings.Contains(text, "request no") || strings.Contains(text, "requests no ") || strings.Contains(text, "requests.memory is")) {
				t.Errorf("%s, %s: %q in\n%s", tc.name, kind, want, text)
			}
		}
	}
}
