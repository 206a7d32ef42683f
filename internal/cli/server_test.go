package cli

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// documents are what the scripts' API server serves, by path; everything else is an empty list.
var documents = map[string]string{
	"/version": `{"gitVersion":"v1.36.3"}`,
	"/api/v1/nodes": `{"kind":"NodeList","apiVersion":"v1","items":[{"metadata":{"name":"n1"},"spec":{"podCIDRs":["10.244.0.0/24"]},
		"status":{"addresses":[{"type":"InternalIP","address":"10.224.0.4"}],"conditions":[{"type":"Ready","status":"True"}]}}]}`,
	"/api/v1/namespaces":                 `{"kind":"NamespaceList","apiVersion":"v1","items":[{"metadata":{"name":"shop"}}]}`,
	"/api/v1/pods":                       `{"kind":"PodList","apiVersion":"v1","items":[{` + pod + `}]}`,
	"/api/v1/namespaces/shop/pods":       `{"kind":"PodList","apiVersion":"v1","items":[{` + pod + `}]}`,
	"/api/v1/namespaces/shop/pods/web-0": `{"kind":"Pod","apiVersion":"v1",` + pod + `}`,
	"/api/v1/services": `{"kind":"ServiceList","apiVersion":"v1","items":[
		{"metadata":{"namespace":"shop","name":"web"},"spec":{"type":"ClusterIP","clusterIP":"10.0.0.9","clusterIPs":["10.0.0.9"],"selector":{"app":"web"},"ports":[{"port":80,"targetPort":8080,"protocol":"TCP"}]}},
		{"metadata":{"namespace":"shop","name":"api"},"spec":{"type":"ClusterIP","clusterIP":"10.0.0.8","clusterIPs":["10.0.0.8"],"selector":{"app":"api"},"ports":[{"port":80,"targetPort":8080,"protocol":"TCP"}]}}]}`,
	"/apis/discovery.k8s.io/v1/endpointslices": `{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","items":[
		{"metadata":{"namespace":"shop","name":"web-x","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4","ports":[{"port":8080,"protocol":"TCP"}],"endpoints":[{"addresses":["10.244.0.9"],"conditions":{"ready":true}}]}]}`,
	"/apis/networking.k8s.io/v1/networkpolicies": `{"kind":"NetworkPolicyList","apiVersion":"networking.k8s.io/v1","items":[
		{"metadata":{"namespace":"shop","name":"deny-all"},"spec":{"podSelector":{},"policyTypes":["Egress"]}}]}`,
}

const pod = `"metadata":{"namespace":"shop","name":"web-0","labels":{"app":"web"}},
	"spec":{"nodeName":"n1","dnsPolicy":"ClusterFirst","containers":[{"name":"web","image":"web","env":[{"name":"DB_PASSWORD","value":"hunter2"}]}]},
	"status":{"phase":"Running","podIP":"10.244.0.9","podIPs":[{"ip":"10.244.0.9"}],"containerStatuses":[{"name":"web","ready":true,"state":{"running":{}}}]}`

// live starts an API server for a script and writes the kubeconfig live.yaml for it, and
// silent.yaml for one that takes every request and answers none, locked.yaml for
// one that forbids everything. It refuses everything but reading.
func live(e *testscript.Env) error {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		doc, ok := documents[r.URL.Path]
		switch {
		case strings.HasPrefix(r.URL.Path, "/locked/"):
			refuse(w, http.StatusForbidden, "Forbidden")
		case strings.HasPrefix(r.URL.Path, "/silent/"):
			<-r.Context().Done() // until the asker gives up
		case r.Method != http.MethodGet:
			refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
		case ok:
			fmt.Fprint(w, doc)
		case strings.Contains(r.URL.Path, "/namespaces/") && strings.Count(r.URL.Path[strings.Index(r.URL.Path, "/namespaces/"):], "/") == 4:
			refuse(w, http.StatusNotFound, "NotFound")
		default:
			fmt.Fprint(w, `{"kind":"List","apiVersion":"v1","metadata":{},"items":[]}`)
		}
	}))
	e.Defer(s.Close)
	config := func(server string) []byte {
		return []byte(`{"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
		"clusters": [{"name": "c", "cluster": {"server": "` + server + `"}}], "users": [{"name": "u", "user": {"token": "t"}}]}`)
	}
	for _, name := range []string{"silent", "locked"} {
		if err := os.WriteFile(filepath.Join(e.WorkDir, name+".yaml"), config(s.URL+"/"+name), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(e.WorkDir, "live.yaml"), config(s.URL), 0o600)
}

func refuse(w http.ResponseWriter, code int, reason string) {
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"no"}`, reason, code)
}
