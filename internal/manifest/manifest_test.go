package manifest_test

import (
	"reflect"
	"testing"

	"github.com/podpath/podpath/internal/manifest"
	"github.com/podpath/podpath/internal/reach/reachtest"
)

// TestRoundTrip: what was written as manifests reads as what it was.
func TestRoundTrip(t *testing.T) {
	w := reachtest.Cluster(1, reachtest.Size{Pods: 500, Replicas: 1, Policies: 100})
	dir := t.TempDir()
	if err := reachtest.Write(w, dir, false); err != nil {
		t.Fatal(err)
	}
	got, err := manifest.Read(dir, manifest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range w.Kube.Pods {
		p.Owner = ""
	}
	for name, pair := range map[string][2]any{
		"pods": {w.Kube.Pods, got.World.Kube.Pods}, "policies": {w.Kube.Policies, got.World.Kube.Policies},
		"services": {w.Kube.Services, got.World.Kube.Services}, "namespaces": {w.Kube.Namespaces, got.World.Kube.Namespaces},
		"nodes": {w.Kube.Nodes, got.World.Kube.Nodes},
	} {
		a, b := reflect.ValueOf(pair[0]), reflect.ValueOf(pair[1])
		if a.Len() != b.Len() {
			t.Errorf("%s: %d, not %d", name, b.Len(), a.Len())
		}
		for _, k := range a.MapKeys() {
			if x, y := a.MapIndex(k), b.MapIndex(k); !y.IsValid() || !reflect.DeepEqual(x.Interface(), y.Interface()) {
				t.Fatalf("%s %v:\nwrote %+v\nread  %+v", name, k, x.Elem(), y)
			}
		}
	}
}

func BenchmarkRead(b *testing.B) {
	w := reachtest.Cluster(1, reachtest.Size{Pods: 10000, Replicas: 1, Policies: 2000})
	dir := b.TempDir()
	if err := reachtest.Write(w, dir, false); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := manifest.Read(dir, manifest.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
