package check

import (
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace/tracetest"
)

func TestWebhookUnreachable(t *testing.T) {
	hook := func(fails bool, resources ...string) func(*model.World) {
		return func(w *model.World) {
			shop(w)
			w.Kube.Webhooks = []model.Webhook{{Config: "guard", Name: "guard.example.org", Service: "service/a/shop", Port: 80, Fails: fails, Resources: resources}}
		}
	}
	empty := func(w *model.World) {
		hook(true, "pods")(w)
		withoutEndpoints(w)
	}
	const found, maybe = "webhook/guard likely", "webhook/guard possible"
	try(t, "webhook-unreachable",
		example{"there", hook(true, "pods"), nil},
		example{"no endpoint", empty, []string{found}},
		example{"no endpoint, and it may be passed over", func(w *model.World) {
			hook(false, "pods")(w)
			withoutEndpoints(w)
		}, []string{maybe}},
		example{"no Service", func(w *model.World) {
			hook(true, "pods")(w)
			delete(w.Kube.Services, "service/a/shop")
		}, []string{found}},
		example{"no such port", func(w *model.World) {
			hook(true, "pods")(w)
			w.Kube.Webhooks[0].Port = 443
		}, []string{found}},
		example{"by a URL", func(w *model.World) {
			empty(w)
			w.Kube.Webhooks[0].Service = ""
		}, nil},
		example{"endpoints were not read", func(w *model.World) {
			empty(w)
			delete(w.Read, "endpointslice")
		}, nil},
	)
	severity := func(resources ...string) Severity {
		w := healthy("azure-overlay", "loadBalancer")
		hook(true, resources...)(w)
		withoutEndpoints(w)
		for _, f := range Run(w, Options{Now: now}).Causes {
			if f.Rule == "webhook-unreachable" {
				return f.Severity
			}
		}
		return Notice
	}
	if severity("pods") != Outage || severity("*") != Outage || severity("ingresses.networking.k8s.io") != Broken {
		t.Error("a webhook for pods stops more than one for something else")
	}
}

func TestAPIService(t *testing.T) {
	served := func(available string) func(*model.World) {
		return func(w *model.World) {
			w.Kube.APIServices = []model.APIService{{Name: "v1beta1.metrics.k8s.io", Service: "service/kube-system/metrics-server", Available: available, Reason: "MissingEndpoints"}}
		}
	}
	try(t, "api-service-unavailable", example{"available", served("True"), nil}, example{"not yet known", served(""), nil}, example{"not available", served("False"), []string{"apiservice/v1beta1.metrics.k8s.io likely"}})
}

func TestCertificateDates(t *testing.T) {
	bundle := func(left ...time.Duration) func(*model.World) {
		return func(w *model.World) {
			for _, d := range left {
				w.Kube.Certificates = append(w.Kube.Certificates, model.Certificate{What: "caBundle of webhook x", Of: "webhook/x", NotBefore: now.Add(-1000 * time.Hour), NotAfter: now.Add(d)})
			}
		}
	}
	const day = 24 * time.Hour
	try(t, "certificate-dates",
		example{"years", bundle(900 * day), nil},
		example{"expired", bundle(-day), []string{"webhook/x likely"}},
		example{"soon", bundle(10 * day), []string{"webhook/x possible"}},
		example{"an old one beside a new one", bundle(-day, 900*day), nil},
		example{"not yet", func(w *model.World) {
			bundle(900 * day)(w)
			w.Kube.Certificates[0].NotBefore = now.Add(day)
		}, []string{"webhook/x likely"}},
	)
	w := healthy("azure-overlay", "loadBalancer")
	bundle(-day)(w)
	if r := Run(w, Options{}); len(r.Causes) > 0 {
		t.Error("dates are judged without a date")
	}
}

func TestDeprecatedAPI(t *testing.T) {
	asked := func(server, removed string) func(*model.World) {
		return func(w *model.World) {
			w.Kube.Version = server
			w.Kube.Deprecated = []model.DeprecatedAPI{{Group: "flowcontrol.apiserver.k8s.io", Version: "v1beta3", Resource: "flowschemas", Removed: removed}}
		}
	}
	const found = "api/flowschemas/flowcontrol.apiserver.k8s.io.v1beta3 possible"
	try(t, "deprecated-api",
		example{"the next release", asked("v1.31.2", "1.32"), []string{found}}, example{"far off", asked("v1.28.0", "1.32"), nil},
		example{"never", asked("v1.31.2", ""), nil}, example{"a version that says nothing", asked("", "1.32"), []string{found}},
	)
}

func TestKubeletSkew(t *testing.T) {
	versions := func(server, kubelet string) func(*model.World) {
		return func(w *model.World) {
			w.Kube.Version = server
			w.Kube.Nodes["n1"].KubeletVersion, w.Kube.Nodes["n2"].KubeletVersion = kubelet, server
		}
	}
	try(t, "kubelet-skew",
		example{"the same", versions("v1.36.3", "v1.36.1"), nil}, example{"three older", versions("v1.36.3", "v1.33.0"), nil},
		example{"four older", versions("v1.36.3", "v1.32.9"), []string{"node/n1 likely"}}, example{"newer", versions("v1.36.3", "v1.37.0"), []string{"node/n1 likely"}},
		example{"not known", versions("v1.36.3", ""), nil},
	)
}

func TestRetired(t *testing.T) {
	tryOn(t, "kubenet", "loadBalancer", "retired", example{"kubenet", func(*model.World) {}, []string{"cluster/c1 possible"}})
	try(t, "retired",
		example{"an overlay", func(*model.World) {}, nil},
		example{"Azure's policy manager", func(w *model.World) { w.Azure.Cluster.NetworkPolicy = "azure" }, []string{"cluster/c1 possible"}},
		example{"and Windows nodes", func(w *model.World) {
			w.Azure.Cluster.NetworkPolicy = "azure"
			w.Kube.Nodes["n2"].Labels["kubernetes.io/os"] = "windows"
		}, []string{"cluster/c1 possible", "cluster/c1 possible"}},
		example{"kube-proxy in ipvs mode", func(w *model.World) { w.Azure.Cluster.ProxyMode = "IPVS" }, []string{"cluster/c1 possible"}},
		example{"kube-proxy in ipvs mode, by its own configuration", func(w *model.World) {
			w.Azure.Cluster = nil
			w.Kube.ConfigMaps = map[model.Ref]map[string]string{"configmap/kube-system/kube-proxy": {"config.conf": "mode: ipvs\n"}}
		}, []string{"configmap/kube-system/kube-proxy possible"}},
		example{"kube-proxy in nftables mode", func(w *model.World) { w.Azure.Cluster.ProxyMode = "NFTABLES" }, nil},
		example{"a Basic load balancer", func(w *model.World) { w.Azure.LoadBalancers[tracetest.ID("loadBalancers", "kubernetes")].SKU = "Basic" }, []string{"loadbalancer/kubernetes possible"}},
		example{"ingress-nginx", func(w *model.World) {
			_, pod := shop(w)
			pod.Containers[0].Image = "registry.k8s.io/ingress-nginx/controller:v1.11.2"
		}, []string{"deployment/a/shop possible"}},
	)
}
