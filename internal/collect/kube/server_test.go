package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/podpath/podpath/internal/model"
)

func forbidden(res string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: res}, "", errors.New("no"))
}

// apiServer answers lists and gets of pods by itself and everything else empty,
// unless a path has an answer of its own.
type apiServer struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string]http.HandlerFunc // by path
	pods    int                         // in the whole cluster
}

func newAPIServer(t *testing.T) *apiServer {
	s := &apiServer{answers: map[string]http.HandlerFunc{}, pods: 1}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *apiServer) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	answer := s.answers[r.URL.Path]
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case answer != nil:
		answer(w, r)
	case r.URL.Path == "/api/v1/namespaces/shop/pods/p0":
		json.NewEncoder(w).Encode(onePod(0))
	case strings.HasSuffix(r.URL.Path, "/pods"):
		s.listPods(w, r)
	case r.URL.Path == "/version":
		fmt.Fprint(w, `{"gitVersion":"v1.36.3"}`)
	case strings.Contains(r.URL.Path, "/configmaps/"):
		status(w, 404, "NotFound")
	default:
		fmt.Fprint(w, `{"kind":"List","apiVersion":"v1","metadata":{},"items":[]}`)
	}
}

func onePod(i int) *corev1.Pod {
	p := pod(meta("shop", fmt.Sprintf("p%d", i)), "10.244.0.9", "n1")
	p.Kind, p.APIVersion = "Pod", "v1"
	return p
}

func (s *apiServer) listPods(w http.ResponseWriter, r *http.Request) {
	start, limit := 0, 0
	fmt.Sscan(r.URL.Query().Get("continue"), &start)
	fmt.Sscan(r.URL.Query().Get("limit"), &limit)
	if limit == 0 || limit > pageSize {
		status(w, 400, "BadRequest")
		return
	}
	list := corev1.PodList{}
	list.Kind, list.APIVersion = "PodList", "v1"
	for i := start; i < min(start+limit, s.pods); i++ {
		list.Items = append(list.Items, *onePod(i))
	}
	if start+limit < s.pods {
		list.Continue = fmt.Sprint(start + limit)
	}
	json.NewEncoder(w).Encode(list)
}

func status(w http.ResponseWriter, code int, reason string) {
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"said so"}`, reason, code)
}

func (s *apiServer) collect(t *testing.T, o Options) (*model.World, From, error) {
	t.Helper()
	cs, err := kubernetes.NewForConfig(&rest.Config{Host: s.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	w := &model.World{}
	o.Server = s.URL
	from, err := Collect(t.Context(), cs, o, ask(model.Endpoint{Kind: "pod", Namespace: "shop", Name: "p0"}, model.Endpoint{Kind: "host", Host: "x.example"}), w)
	return w, from, err
}

func TestPaging(t *testing.T) {
	s := newAPIServer(t)
	s.pods = 1234
	w, _, err := s.collect(t, Options{})
	if err != nil || len(w.Kube.Pods) != 1234 || !w.Read["pod"] {
		t.Errorf("%d pods, %v, gaps %+v", len(w.Kube.Pods), err, w.Gaps)
	}
	if w.Kube.Version != "v1.36.3" {
		t.Errorf("version %q", w.Kube.Version)
	}
}

func TestExpiredContinueToken(t *testing.T) {
	s := newAPIServer(t)
	s.pods = 1234
	var expired atomic.Bool
	list := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("continue") == "1000" && expired.CompareAndSwap(false, true) {
			status(w, 410, "Expired")
			return
		}
		s.listPods(w, r)
	}
	s.answers["/api/v1/namespaces/shop/pods"] = list
	w, _, err := s.collect(t, Options{})
	if err != nil || len(w.Kube.Pods) != 1234 || len(w.Gaps) > 0 || !expired.Load() {
		t.Errorf("%d pods, %v, gaps %+v", len(w.Kube.Pods), err, w.Gaps)
	}
}

func TestTooManyRequests(t *testing.T) {
	s := newAPIServer(t)
	var calls atomic.Int32
	s.answers["/apis/networking.k8s.io/v1/networkpolicies"] = func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			status(w, 429, "TooManyRequests")
			return
		}
		fmt.Fprint(w, `{"kind":"NetworkPolicyList","apiVersion":"networking.k8s.io/v1","items":[]}`)
	}
	started := time.Now()
	w, _, err := s.collect(t, Options{})
	if err != nil || !w.Read["networkpolicy"] || calls.Load() != 2 || time.Since(started) < 900*time.Millisecond {
		t.Errorf("%d calls in %s, %v, gaps %+v", calls.Load(), time.Since(started), err, w.Gaps)
	}
}

func TestFaultsOfOneKind(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		reason string
	}{
		{"403", func(w http.ResponseWriter, r *http.Request) { status(w, 403, "Forbidden") }, "403 Forbidden"},
		{"401", func(w http.ResponseWriter, r *http.Request) { status(w, 401, "Unauthorized") }, "401 Unauthorized: the token was not accepted or has expired"},
		{"500", func(w http.ResponseWriter, r *http.Request) { status(w, 500, "InternalError") }, "said so"},
		{"hanging", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "timed out after 2s"},
		{"429 for long", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "3600")
			status(w, 429, "TooManyRequests")
		}, ""},
		{"not JSON", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") }, ""},
		{"cut off", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"items":[`) }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newAPIServer(t)
			for _, path := range []string{"", "namespaces/shop/", "namespaces/kube-system/"} {
				s.answers["/apis/networking.k8s.io/v1/"+path+"networkpolicies"] = test.answer
			}
			o := Options{CallTimeout: time.Minute}
			if test.name == "hanging" || test.name == "429 for long" {
				o.CallTimeout = 2 * time.Second
			}
			w, from, err := s.collect(t, o)
			if err != nil || from.Pod == nil {
				t.Fatal(err)
			}
			if w.Read["networkpolicy"] || !w.Read["pod"] {
				t.Errorf("complete: %v", w.Read)
			}
			found := false
			for _, g := range w.Gaps {
				if g.What == "networkpolicies in namespace shop" {
					found = g.Reason != "" && strings.Contains(g.Reason, test.reason)
					if (g.Permission != "") != (test.name == "403") {
						t.Errorf("permission %q", g.Permission)
					}
				}
			}
			if !found {
				t.Errorf("gaps %+v", w.Gaps)
			}
		})
	}
}

func TestNothingCanBeSaid(t *testing.T) {
	path := "/api/v1/namespaces/shop/pods/p0"
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   error
		text   string
	}{
		{"expired token", func(w http.ResponseWriter, r *http.Request) { status(w, 401, "Unauthorized") }, &UnauthorizedError{}, "does not accept these credentials"},
		{"forbidden", func(w http.ResponseWriter, r *http.Request) { status(w, 403, "Forbidden") }, &ForbiddenError{}, "ask for the permission to get pods/p0 in namespace shop"},
		{"slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, &UnreachableError{}, "does not answer (timed out after 300ms)"},
		{"login page", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html>log in"))
		}, &UnreachableError{}, "no Kubernetes API server"},
		{"cut off", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"kind":"Pod","met`))
		}, &UnreachableError{}, "no Kubernetes API server"},
		{"missing", func(w http.ResponseWriter, r *http.Request) { status(w, 404, "NotFound") }, &NotFoundError{}, "pod p0 in namespace shop does not exist"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newAPIServer(t)
			s.answers[path] = test.answer
			_, _, err := s.collect(t, Options{CallTimeout: 300 * time.Millisecond})
			if err == nil || !strings.Contains(err.Error(), test.text) || fmt.Sprintf("%T", err) != fmt.Sprintf("%T", test.want) {
				t.Errorf("%T %v", err, err)
			}
		})
	}
	t.Run("away", func(t *testing.T) {
		s := newAPIServer(t)
		s.Close()
		started := time.Now()
		_, _, err := s.collect(t, Options{})
		var away *UnreachableError
		if !errors.As(err, &away) || !strings.Contains(err.Error(), "connection refused") || time.Since(started) > 20*time.Second {
			t.Errorf("after %s: %v", time.Since(started), err)
		}
	})
}

// TestServersPassword: a kubeconfig's server may hold one, and it goes nowhere.
func TestServersPassword(t *testing.T) {
	var w model.World
	r := newReader(nil, &w, Options{Server: "https://admin:hunter2@api.test:6443/base?token=hunter2"})
	err := r.fatal("list", pods, "", "", &url.Error{Op: "Get", URL: "x", Err: errors.New("dial https://admin:hunter2@api.test:6443: refused")})
	if !strings.Contains(err.Error(), "https://api.test:6443/base") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error: %v", err)
	}
	if !strings.HasPrefix(w.Kube.Server, "https://api.test:6443/base") || strings.Contains(w.Kube.Server, "hunter2") {
		t.Errorf("kept: %s", w.Kube.Server)
	}
}

func TestUntrustedServer(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	_, _, err := (&apiServer{Server: s}).collect(t, Options{})
	if err == nil || !strings.Contains(err.Error(), "certificate-authority-data") || strings.Contains(err.Error(), "does not answer") {
		t.Errorf("%v", err)
	}
}

// TestHostOfTwoWords: status.example is asked for inside the cluster only where it can be a Service.
func TestHostOfTwoWords(t *testing.T) {
	refused := func(w http.ResponseWriter, _ *http.Request) { status(w, 403, "Forbidden") }
	for _, test := range []struct {
		name    string
		answers map[string]http.HandlerFunc
		reads   bool
	}{
		{"no such namespace", map[string]http.HandlerFunc{
			"/api/v1/namespaces/example": func(w http.ResponseWriter, _ *http.Request) { status(w, 404, "NotFound") },
		}, false},
		{"everything refused", map[string]http.HandlerFunc{
			"/api/v1/namespaces/example": refused, "/api/v1/namespaces/example/services/x": refused,
		}, false},
		{"a Service", map[string]http.HandlerFunc{
			"/api/v1/namespaces/example":            refused,
			"/api/v1/namespaces/example/services/x": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"kind":"Service","apiVersion":"v1"}`) },
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newAPIServer(t)
			refusedList := func(w http.ResponseWriter, _ *http.Request) { status(w, 403, "Forbidden") }
			s.answers["/apis/apps/v1/deployments"] = refusedList // so that namespaces are read one by one
			asked := false
			s.answers["/apis/apps/v1/namespaces/example/deployments"] = func(w http.ResponseWriter, _ *http.Request) {
				asked = true
				fmt.Fprint(w, `{"kind":"DeploymentList","apiVersion":"apps/v1","items":[]}`)
			}
			for path, answer := range test.answers {
				s.answers[path] = answer
			}
			if _, _, err := s.collect(t, Options{}); err != nil || asked != test.reads {
				t.Errorf("asked for the namespace's deployments: %v, %v", asked, err)
			}
		})
	}
}

func TestConnect(t *testing.T) {
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	t.Setenv("HOME", t.TempDir())
	flags := genericclioptions.NewConfigFlags(false)
	_, err := Connect(flags)
	var config *ConfigError
	if !errors.As(err, &config) || !strings.Contains(err.Error(), "no kubeconfig: set KUBECONFIG") {
		t.Errorf("%v", err)
	}
	server, namespace := "https://127.0.0.1:1", "shop"
	flags.APIServer, flags.Namespace = &server, &namespace
	c, err := Connect(flags)
	if err != nil || c.Namespace != "shop" || c.Config.Host != server {
		t.Errorf("%+v %v", c, err)
	}
}
