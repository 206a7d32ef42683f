package examine

import (
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
	"github.com/podpath/podpath/internal/trace/tracetest"
)

// batchOf follows connections through the small cluster of the tracer's tests.
func batchOf(list ...model.Question) *Batch {
	b := &Batch{World: tracetest.Cluster("azure-overlay", "loadBalancer"), Answers: make([]Predicted, len(list))}
	b.run(list, "a")
	return b
}

func connection(t *testing.T, from, to string) model.Question {
	t.Helper()
	f, err := model.ParseEndpoint(from, true)
	if err != nil {
		t.Fatal(err)
	}
	return model.Question{From: f, To: endpoint(t, to), Protocol: "tcp"}
}

func TestPredict(t *testing.T) {
	for _, test := range []struct{ from, to, want string }{
		{"client", "10.50.2.5:80", "pass"},
		{"a/client", "b/other:80", "pass"},
		{"10.50.1.5", "b/other:80", "pass"},
		{"node/n1", "b/other:80", "pass"},
		{"10.1.0.4", "b/other:80", "pass"},
		{"a/client", "kube-system/svc/kube-dns:53", "pass"},
		{"a/client", "kube-system/svc/kube-dns:54", "drop"},
		{"a/client", "10.50.9.9:80", "drop"},
		{"a/client", "node/n2:10250", "pass"},

		{"a/gone", "10.50.2.5:80", "FROM: a pod of a/gone does not exist"},
		{"node/gone", "10.50.2.5:80", "FROM: node gone does not exist"},
		{"a/svc/x", "10.50.2.5:80", "a Service opens no connections"},
		{"10.9.9.9", "10.50.2.5:80", "a running pod or node with the address 10.9.9.9 does not exist"},
		{"a/client", "b/gone:80", "TO: b/gone:80 does not exist"},
		{"a/client", "b/svc/gone:80", "TO: b/svc/gone:80 does not exist"},
		{"a/client", "node/gone:80", "TO: node/gone:80 does not exist"},
	} {
		a := batchOf(connection(t, test.from, test.to)).Answers[0]
		got := ""
		if a.Err != nil {
			got = a.Err.Error()
		} else if len(a.Paths) > 0 {
			got = a.Paths[0].Verdict.String()
		}
		if !strings.Contains(got, test.want) {
			t.Errorf("%s → %s: %q, not %q", test.from, test.to, got, test.want)
		}
	}
}

// TestPredictEveryEndpoint: each endpoint of a Service is a way of its own.
func TestPredictEveryEndpoint(t *testing.T) {
	q := connection(t, "a/client", "kube-system/svc/kube-dns:53")
	b := batchOf(q)
	slice := b.World.Kube.EndpointSlices["endpointslice/kube-system/kube-dns-1"]
	slice.Endpoints = append(slice.Endpoints, model.SliceEndpoint{Addresses: []string{"10.50.2.5"}, Ready: true, Serving: true, Node: "n2", Target: "pod/b/other"})
	b.run([]model.Question{q}, "a")
	if n := len(b.Answers[0].Paths); n != 2 {
		t.Fatalf("%d ways", n)
	}
	worst := trace.Build(b.World).Run(b.Answers[0].Paths[0].Flow)
	if worst.Verdict != model.Pass {
		t.Errorf("verdict %s", worst.Verdict)
	}
}

// TestBatchNodes: the nodes of both ends are those to enter.
func TestBatchNodes(t *testing.T) {
	if got := strings.Join(batchOf(connection(t, "a/client", "b/other:80")).nodes(), " "); got != "n1 n2" {
		t.Errorf("nodes %q", got)
	}
	if got := strings.Join(batchOf(connection(t, "a/client", "a/server:80")).nodes(), " "); got != "n1" {
		t.Errorf("nodes %q", got)
	}
}
