package kube

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/podpath/podpath/internal/model"
)

const cadvisorText = `# HELP container_cpu_cfs_periods_total Number of elapsed enforcement period intervals.
# TYPE container_cpu_cfs_periods_total counter
container_cpu_cfs_periods_total{container="",id="/kubepods/burstable/pod1",image="",name="",namespace="shop",pod="a"} 49 1795266922010
container_cpu_cfs_periods_total{container="app",id="/kubepods/burstable/pod1/c0",image="i",name="c0",namespace="shop",pod="a"} 73 1795266926360
container_cpu_cfs_throttled_periods_total{container="app",id="/kubepods/burstable/pod1/c0",image="i",name="c0",namespace="shop",pod="a"} 69 1795266926360
container_cpu_cfs_throttled_periods_total{container="",id="/kubepods/burstable/pod1/c1",image="pause",name="c1",namespace="shop",pod="a"} 5 1795266926360
container_cpu_cfs_throttled_seconds_total{container="",id="/",image="",name="",namespace="",pod=""} 5 1795266926360
container_cpu_cfs_throttled_periods_total{container="broken
container_memory_cache{container="app",id="x",image="i",name="c0",namespace="shop",pod="a"} 1 1
`

func TestReadCadvisor(t *testing.T) {
	var got []sample
	if err := readCadvisor(strings.NewReader(cadvisorText), func(s sample) { got = append(got, s) }); err != nil {
		t.Fatal(err)
	}
	at := time.UnixMilli(1795266926360).UTC()
	want := []sample{
		{"container_cpu_cfs_periods_total", "shop", "a", "", false, 49, time.UnixMilli(1795266922010).UTC(), ""},
		{"container_cpu_cfs_periods_total", "shop", "a", "app", false, 73, at, ""},
		{"container_cpu_cfs_throttled_periods_total", "shop", "a", "app", false, 69, at, ""},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
}

func FuzzReadCadvisor(f *testing.F) {
	f.Add(cadvisorText)
	f.Fuzz(func(t *testing.T, text string) {
		_ = readCadvisor(strings.NewReader(text), func(s sample) {
			if s.pod == "" || s.value < 0 {
				t.Errorf("%+v", s)
			}
		})
	})
}

func TestWritten(t *testing.T) {
	r := &useReader{out: Use{Nodes: map[string]model.NodeUsage{"n0": {CPU: 1}}}, by: map[containerKey]*model.Usage{}}
	const text = `container_fs_writes_bytes_total{container="",device="/dev/sda",id="/kubepods/pod1",image="",name="",namespace="logs",pod="a"} 700 1
container_fs_writes_bytes_total{container="app",device="/dev/sda",id="/kubepods/pod1/c0",image="i",name="c0",namespace="logs",pod="a"} 500 1
container_fs_writes_bytes_total{container="app",device="/dev/sdb",id="/kubepods/pod1/c0",image="i",name="c0",namespace="logs",pod="a"} 200 1
`
	if err := readCadvisor(strings.NewReader(text), func(s sample) { r.add("n0", s) }); err != nil {
		t.Fatal(err)
	}
	n := r.out.Nodes["n0"]
	if n.CPU != 1 || len(n.Written) != 1 || n.Written["pod/logs/a"].Before != 700 || len(r.by) != 0 {
		t.Errorf("%+v, %+v", n, r.by)
	}
}

// TestSent: what a pod sent is counted where its sandbox is, interface by
// interface; the machine's own interfaces are of no pod.
func TestSent(t *testing.T) {
	r := &useReader{out: Use{Nodes: map[string]model.NodeUsage{}}, by: map[containerKey]*model.Usage{}}
	const text = `container_network_transmit_bytes_total{container="",id="/",image="",interface="eth0",name="",namespace="",pod=""} 9000 1
container_network_transmit_bytes_total{container="",id="/kubepods/pod1/s",image="pause",interface="eth0",name="s",namespace="shop",pod="a"} 700 1
container_network_transmit_bytes_total{container="POD",id="/kubepods/pod1/s",image="pause",interface="eth1",name="k8s_POD_a",namespace="shop",pod="a"} 30 1
container_fs_writes_bytes_total{container="",device="/dev/sda",id="/kubepods/pod1/s",image="pause",name="s",namespace="shop",pod="a"} 5 1
container_network_receive_bytes_total{container="",id="/kubepods/pod1/s",image="pause",interface="eth0",name="s",namespace="shop",pod="a"} 1 1
`
	if err := readCadvisor(strings.NewReader(text), func(s sample) { r.add("n0", s) }); err != nil {
		t.Fatal(err)
	}
	if n := r.out.Nodes["n0"]; len(n.Sent) != 1 || n.Sent["pod/shop/a"].Before != 730 || len(n.Written) != 0 || len(r.by) != 0 {
		t.Errorf("%+v, %+v", n, r.by)
	}
}

// TestSpent: the CPU time of a pod is that of its own group, with the moment at
// which the kubelet looked.
func TestSpent(t *testing.T) {
	r := &useReader{out: Use{Nodes: map[string]model.NodeUsage{}}, by: map[containerKey]*model.Usage{}}
	const text = `container_cpu_usage_seconds_total{container="",cpu="total",id="/",image="",name="",namespace="",pod=""} 9000.5 1000
container_cpu_usage_seconds_total{container="",cpu="total",id="/kubepods/pod1",image="",name="",namespace="shop",pod="a"} 12.5 2000
container_cpu_usage_seconds_total{container="",cpu="cpu01",id="/kubepods/pod1",image="",name="",namespace="shop",pod="a"} 5 2000
container_cpu_usage_seconds_total{container="",cpu="total",id="/kubepods/pod1/s",image="pause",name="s",namespace="shop",pod="a"} 0.1 2000
container_cpu_usage_seconds_total{container="app",cpu="total",id="/kubepods/pod1/c",image="app",name="c",namespace="shop",pod="a"} 12 2000
`
	if err := readCadvisor(strings.NewReader(text), func(s sample) { r.add("n0", s) }); err != nil {
		t.Fatal(err)
	}
	if n := r.out.Nodes["n0"]; len(n.Spent) != 1 || n.Spent["pod/shop/a"] != (model.Spent{Before: 12.5, At: time.UnixMilli(2000).UTC()}) || len(r.by) != 0 {
		t.Errorf("%+v, %+v", n, r.by)
	}
}

// TestReadMemory: what the metrics API says of a pod, at the moment it looked; a pod
// of which it has nothing, or says no moment, is left out.
func TestReadMemory(t *testing.T) {
	answers := map[string]string{
		"/apis/metrics.k8s.io/v1beta1/namespaces/x/pods/a": `{"timestamp":"2026-01-15T10:00:00Z","containers":[{"name":"app","usage":{"memory":"120Mi"}},{"name":"idle","usage":{"memory":"0"}}]}`,
		"/apis/metrics.k8s.io/v1beta1/namespaces/x/pods/b": `{"containers":[{"name":"app","usage":{"memory":"120Mi"}}]}`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if text, ok := answers[r.URL.Path]; ok {
			fmt.Fprint(w, text)
			return
		}
		http.NotFound(w, r)
	}))
	defer server.Close()
	cs, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	var pods []*model.Pod
	for _, name := range []string{"a", "b", "c"} {
		pods = append(pods, &model.Pod{Namespace: "x", Name: name, Node: "n1"})
	}
	got := ReadMemory(t.Context(), cs, pods)
	if len(got) != 1 || got[0].From != "pod/x/a" || got[0].Node != "n1" || got[0].At.Hour() != 10 || len(got[0].Levels) != 1 || got[0].Levels[0].Value != 120<<20 || got[0].Levels[0].Container != "app" {
		t.Errorf("%+v", got)
	}
}
