package kube

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/podpath/podpath/internal/model"
)

// authority is a bundle of one certificate.
func authority(t testing.TB, name string, end time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: end.Add(-time.Hour), NotAfter: end, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// hooks is a list of a kind for which there are types.
func hooks(kind string, items ...string) string {
	return strings.ReplaceAll(list(kind, items...), "x/v1", "admissionregistration.k8s.io/v1")
}

// whole reads a whole cluster with what surrounds its API server.
func whole(t *testing.T, s *apiServer) *model.World {
	t.Helper()
	cs, err := kubernetes.NewForConfig(&rest.Config{Host: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	var w model.World
	if _, err := Collect(context.Background(), cs, Options{Full: true, Control: true}, &model.Question{}, &w); err != nil {
		t.Fatal(err)
	}
	return &w
}

func TestControl(t *testing.T) {
	s := newAPIServer(t)
	end := time.Date(2031, time.May, 4, 3, 2, 1, 0, time.UTC)
	bundle := base64.StdEncoding.EncodeToString(authority(t, "hook-ca", end))
	s.say("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", hooks("ValidatingWebhookConfiguration",
		`{"metadata":{"name":"guard"},"webhooks":[{"name":"g.example.org","clientConfig":{"service":{"namespace":"a","name":"hook"},"caBundle":"`+bundle+`"},"rules":[{"apiGroups":["","apps"],"resources":["pods"]}]}]}`))
	s.say("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", hooks("MutatingWebhookConfiguration",
		`{"metadata":{"name":"inject"},"webhooks":[{"name":"i.example.org","failurePolicy":"Ignore","clientConfig":{"url":"https://hooks.example.org:8443/x"}},
		{"name":"j.example.org","clientConfig":{"service":{"namespace":"a","name":"hook","port":8443}}}]}`))
	s.say("/apis/apiregistration.k8s.io/v1/apiservices", list("APIService",
		`{"metadata":{"name":"v1.apps"},"spec":{}}`,
		`{"metadata":{"name":"v1beta1.metrics.k8s.io"},"spec":{"service":{"namespace":"kube-system","name":"metrics-server"}},"status":{"conditions":[{"type":"Available","status":"False","reason":"MissingEndpoints","message":"no endpoints"}]}}`))
	s.say("/metrics", "# HELP x\napiserver_requested_deprecated_apis{group=\"batch\",removed_release=\"1.25\",resource=\"cronjobs\",subresource=\"\",version=\"v1beta1\"} 1\n"+
		"apiserver_requested_deprecated_apis{group=\"batch\",removed_release=\"1.25\",resource=\"cronjobs\",subresource=\"status\",version=\"v1beta1\"} 1\nup 1\n")
	w := whole(t, s)
	k := &w.Kube
	if !w.Read["webhook"] || !w.Read["apiservice"] || !w.Read["deprecatedapi"] || len(w.Gaps) > 0 {
		t.Errorf("read %v, gaps %v", w.Read, w.Gaps)
	}
	byName := map[string]model.Webhook{}
	for _, h := range k.Webhooks {
		byName[h.Name] = h
	}
	if g := byName["g.example.org"]; g.Service != "service/a/hook" || g.Port != 443 || !g.Fails || strings.Join(g.Resources, " ") != "pods pods.apps" || g.Ref() != "webhook/guard" || g.Mutating {
		t.Errorf("%+v", g)
	}
	if i := byName["i.example.org"]; i.Host != "hooks.example.org:8443" || i.Service != "" || i.Fails || !i.Mutating {
		t.Errorf("%+v", i)
	}
	if j := byName["j.example.org"]; j.Port != 8443 || !j.Fails {
		t.Errorf("%+v", j)
	}
	if len(k.Certificates) != 1 || k.Certificates[0].Name != "hook-ca" || !k.Certificates[0].NotAfter.Equal(end) || k.Certificates[0].Of != "webhook/guard" {
		t.Errorf("%+v", k.Certificates)
	}
	if len(k.APIServices) != 1 || k.APIServices[0].Available != "False" || k.APIServices[0].Service != "service/kube-system/metrics-server" {
		t.Errorf("%+v", k.APIServices)
	}
	if len(k.Deprecated) != 1 || k.Deprecated[0] != (model.DeprecatedAPI{Group: "batch", Version: "v1beta1", Resource: "cronjobs", Removed: "1.25"}) {
		t.Errorf("%+v", k.Deprecated)
	}
}

func TestControlRefused(t *testing.T) {
	s := newAPIServer(t)
	for _, path := range []string{
		"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", "/apis/apiregistration.k8s.io/v1/apiservices", "/metrics",
	} {
		s.answers[path] = func(w http.ResponseWriter, _ *http.Request) { status(w, 403, "Forbidden") }
	}
	w := whole(t, s)
	var needs []string
	for _, g := range w.Gaps {
		needs = append(needs, g.Permission)
	}
	got := strings.Join(needs, "; ")
	for _, want := range []string{"list validatingwebhookconfigurations.admissionregistration.k8s.io (cluster scope)", "list apiservices.apiregistration.k8s.io (cluster scope)", "get /metrics (nonResourceURLs)"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	if w.Read["webhook"] || w.Read["apiservice"] || w.Read["deprecatedapi"] {
		t.Errorf("read %v", w.Read)
	}
}

func TestControlIsOnlyReadWhenAskedFor(t *testing.T) {
	s := newAPIServer(t)
	s.answers["/metrics"] = func(http.ResponseWriter, *http.Request) { t.Error("metrics were asked for") }
	cs, err := kubernetes.NewForConfig(&rest.Config{Host: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	var w model.World
	if _, err := Collect(context.Background(), cs, Options{Full: true}, &model.Question{}, &w); err != nil || w.Read["webhook"] {
		t.Errorf("%v %v", err, w.Read)
	}
}

func TestServerCertificate(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("a token was sent")
		}
		http.Error(w, "no", http.StatusUnauthorized)
	}))
	defer s.Close()
	config := &rest.Config{Host: s.URL, BearerToken: "t", TLSClientConfig: rest.TLSClientConfig{CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})}}
	list, err := ServerCertificate(context.Background(), config)
	if err != nil || len(list) != 1 || !list[0].NotAfter.Equal(s.Certificate().NotAfter) || !strings.Contains(list[0].What, "127.0.0.1") {
		t.Errorf("%+v %v", list, err)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	if _, err := ServerCertificate(context.Background(), &rest.Config{Host: plain.URL}); err == nil {
		t.Error("a certificate without TLS")
	}
}

// FuzzMetrics: a page of metrics is whatever answers at that path.
func FuzzMetrics(f *testing.F) {
	f.Add([]byte("apiserver_requested_deprecated_apis{group=\"a\",version=\"v1\",resource=\"b\",removed_release=\"1.2\"} 1\n"))
	f.Add([]byte("apiserver_requested_deprecated_apis{resource=\"\\\"\"}"))
	f.Fuzz(func(t *testing.T, page []byte) {
		list, err := readDeprecated(bytes.NewReader(page))
		if err == nil && len(list) > maxDeprecated {
			t.Errorf("%d entries", len(list))
		}
		for _, d := range list {
			if d.Resource == "" {
				t.Errorf("%+v", d)
			}
		}
	})
}

// FuzzCertificates: a bundle is whatever somebody wrote into a configuration.
func FuzzCertificates(f *testing.F) {
	f.Add(authority(f, "x", time.Unix(2e9, 0)))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, bundle []byte) {
		if list := certificates("x", "webhook/x", bundle); len(list) > maxCertificates {
			t.Error(fmt.Sprint(len(list)))
		}
	})
}
