package examine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/podpath/podpath/internal/collect/azure"
	"github.com/podpath/podpath/internal/model"
)

// cluster is what the fake API server serves: documents by the path they are listed or got at.
var cluster = map[string]string{
	"/version": `{"gitVersion":"v1.36.3"}`,
	"/api/v1/nodes": `{"kind":"NodeList","apiVersion":"v1","items":[{"metadata":{"name":"n1"},"spec":{"podCIDR":"10.244.0.0/24","podCIDRs":["10.244.0.0/24"]},
		"status":{"addresses":[{"type":"InternalIP","address":"10.224.0.4"}],"conditions":[{"type":"Ready","status":"True"}]}}]}`,
	"/api/v1/namespaces":                 `{"kind":"NamespaceList","apiVersion":"v1","items":[{"metadata":{"name":"shop","labels":{"kubernetes.io/metadata.name":"shop"}}}]}`,
	"/api/v1/pods":                       `{"kind":"PodList","apiVersion":"v1","items":[` + web + `]}`,
	"/api/v1/namespaces/shop/pods":       `{"kind":"PodList","apiVersion":"v1","items":[` + web + `]}`,
	"/api/v1/namespaces/shop/pods/web-0": strings.Replace(web, `{"metadata"`, `{"kind":"Pod","apiVersion":"v1","metadata"`, 1),
}

const (
	web = `{"metadata":{"namespace":"shop","name":"web-0","labels":{"app":"web"}},"spec":{"nodeName":"n1","dnsPolicy":"ClusterFirst","containers":[{"name":"web","image":"web"}]},
		"status":{"phase":"Running","podIP":"10.244.0.9","podIPs":[{"ip":"10.244.0.9"}],"hostIP":"10.224.0.4","containerStatuses":[{"name":"web","ready":true,"state":{"running":{}}}]}}`
	denyAll = `{"kind":"NetworkPolicyList","apiVersion":"networking.k8s.io/v1","items":[{"metadata":{"namespace":"shop","name":"deny-all"},"spec":{"podSelector":{},"policyTypes":["Egress"]}}]}`

	policies = "/apis/networking.k8s.io/v1/networkpolicies"
)

// serve answers from the documents; what is not there is an empty list, or a missing object.
func serve(t *testing.T, change map[string]http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if answer := change[r.URL.Path]; answer != nil {
			answer(w, r)
			return
		}
		if r.Method != http.MethodGet {
			t.Errorf("%s %s: podpath was told to create nothing", r.Method, r.URL.Path)
		}
		doc, ok := cluster[r.URL.Path]
		switch {
		case ok:
			fmt.Fprint(w, doc)
		case strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/") && strings.Count(r.URL.Path, "/") == 6:
			status(http.StatusNotFound, "NotFound")(w, r)
		default:
			fmt.Fprint(w, `{"kind":"List","apiVersion":"v1","metadata":{},"items":[]}`)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func text(doc string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, doc) }
}

func status(code int, reason string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"no"}`, reason, code)
	}
}

var asked = time.Date(2026, 3, 5, 10, 0, 0, 0, time.UTC)

// ask asks by configuration alone.
func ask(t *testing.T, s *httptest.Server, name string, timeout time.Duration) (*Answer, error) {
	t.Helper()
	config := &rest.Config{Host: s.URL, QPS: -1}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	q := model.Question{From: model.Endpoint{Raw: name, Kind: "pod", Name: name}, To: endpoint(t, "203.0.113.9:443"), Protocol: "tcp"}
	return Why(t.Context(), q, Options{Config: config, Kube: client, Namespace: "shop", SkipAzure: true, SkipProbe: true, Timeout: timeout, Now: asked})
}

func rulesOf(a *Answer) []string {
	var out []string
	for _, f := range a.Result.Causes {
		out = append(out, f.Rule+" "+string(f.Subject))
	}
	return out
}

func TestWhy(t *testing.T) {
	a, err := ask(t, serve(t, nil), "web-0", 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c := a.Case
	if c.Question.From.Namespace != "shop" || !c.Asked.Equal(asked) || c.World.Kube.Pods["pod/shop/web-0"] == nil || len(c.Observations) > 0 {
		t.Errorf("case %+v", c.Question)
	}
	if len(c.Paths) != 1 || c.Paths[0].Flow.Src != ip("10.244.0.9") || c.Paths[0].Flow.Dst != ip("203.0.113.9") || len(c.Paths[0].Steps) == 0 {
		t.Errorf("paths %+v", c.Paths)
	}
	if len(a.Result.Causes) > 0 || a.Result.Works == "true" {
		t.Errorf("works %s, causes %v: nothing was probed and nothing is wrong", a.Result.Works, rulesOf(a))
	}
	if !slices.ContainsFunc(c.World.Gaps, func(g model.Gap) bool { return g.What == "Azure" && strings.Contains(g.Reason, "--no-azure") }) {
		t.Errorf("gaps %+v", c.World.Gaps)
	}
	if a.Timing.Total < a.Timing.Own || a.Timing.Own <= 0 {
		t.Errorf("timing %+v", a.Timing)
	}
}

// TestAgain: a case that was kept is diagnosed as it was when it was asked.
func TestAgain(t *testing.T) {
	a, err := ask(t, serve(t, map[string]http.HandlerFunc{policies: text(denyAll), "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies": text(denyAll)}), "web-0", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := rulesOf(a); len(got) == 0 || got[0] != "policy-denies networkpolicy/shop/deny-all" {
		t.Fatalf("causes %v", got)
	}
	data, err := json.Marshal(a.Case)
	if err != nil {
		t.Fatal(err)
	}
	var kept model.Case
	if err := json.Unmarshal(data, &kept); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(Diagnose(&kept))
	if err != nil {
		t.Fatal(err)
	}
	first, err := json.Marshal(a.Result)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(first, again) {
		t.Errorf("first %s\nagain %s", first, again)
	}
}

// TestForbidden: half the permissions give half the answer, and name the other half.
func TestForbidden(t *testing.T) {
	no := status(http.StatusForbidden, "Forbidden")
	a, err := ask(t, serve(t, map[string]http.HandlerFunc{
		"/api/v1/nodes": no, "/api/v1/nodes/n1": no, policies: no,
		"/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies": no, "/apis/networking.k8s.io/v1/namespaces/kube-system/networkpolicies": no,
	}), "web-0", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"node", "networkpolicies"} {
		if !slices.ContainsFunc(a.Case.World.Gaps, func(g model.Gap) bool {
			return strings.HasPrefix(g.What, what) && strings.Contains(g.Reason, "403") && g.Permission != ""
		}) {
			t.Errorf("no gap names the permission for %s: %+v", what, a.Case.World.Gaps)
		}
	}
	for _, s := range a.Case.Paths[0].Steps {
		if s.Hop == model.HopPolicy && s.Verdict != model.Unknown {
			t.Errorf("policies were not read, and yet: %s %s", s.Verdict, s.Reason)
		}
	}
	if a.Case.Paths[0].Verdict == model.Pass {
		t.Error("what was not read is said to pass")
	}
}

func TestNothingToSay(t *testing.T) {
	unauthorized := map[string]http.HandlerFunc{}
	for path := range cluster {
		unauthorized[path] = status(http.StatusUnauthorized, "Unauthorized")
	}
	for _, test := range []struct {
		name, pod string
		server    *httptest.Server
		says      string
	}{
		{"401", "web-0", serve(t, unauthorized), "does not accept these credentials"},
		{"no such pod", "web-1", serve(t, nil), "pod web-1 in namespace shop does not exist; did you mean shop/pod/web-0?"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if a, err := ask(t, test.server, test.pod, 0); err == nil || a != nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("answer %v, error %v", a, err)
			}
		})
	}
}

// TestTimeout: an API server that hangs holds nobody longer than --timeout.
func TestTimeout(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for _, path := range []string{"/api/v1/namespaces/shop/pods/web-0", "/api/v1/pods"} {
		start := time.Now()
		_, err := ask(t, serve(t, map[string]http.HandlerFunc{path: hang}), "web-0", 300*time.Millisecond)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 20*time.Second {
			t.Errorf("%s hangs: %v after %s", path, err, time.Since(start))
		}
	}
}

// TestTimeoutOfAzure: what was read before the limit is an answer.
func TestTimeoutOfAzure(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := serve(t, nil)
	config := &rest.Config{Host: s.URL, QPS: -1}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	q := model.Question{From: model.Endpoint{Raw: "web-0", Kind: "pod", Name: "web-0"}, To: endpoint(t, "203.0.113.9:443"), Protocol: "tcp"}
	start := time.Now()
	a, err := Why(t.Context(), q, Options{
		Config: config, Kube: client, Namespace: "shop", SkipProbe: true, Timeout: 2 * time.Second, Now: asked,
		Azure: azure.Options{Subscription: "s", Endpoint: "https://" + silent.Addr().String()},
	})
	if err != nil || len(a.Case.Paths) == 0 || time.Since(start) > 20*time.Second {
		t.Fatalf("%+v, %v after %s", a, err, time.Since(start))
	}
	if !slices.ContainsFunc(a.Case.World.Gaps, func(g model.Gap) bool { return strings.Contains(g.Reason, "the time limit of 2s was over") }) {
		t.Errorf("gaps: %v", a.Case.World.Gaps)
	}
}

// TestLoginHangs: a credential plugin that waits for somebody holds nobody longer than --timeout.
func TestLoginHangs(t *testing.T) {
	s := serve(t, nil)
	config := &rest.Config{Host: s.URL, ExecProvider: &clientcmdapi.ExecConfig{
		Command: "sleep", Args: []string{"5"}, APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
	}}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = Why(t.Context(), model.Question{}, Options{Config: config, Kube: client, Timeout: 300 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), `credential plugin "sleep" gave no answer`) || time.Since(start) > 4*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}
