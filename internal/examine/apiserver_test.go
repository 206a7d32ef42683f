package examine

import (
	"net/netip"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/podpath/podpath/internal/model"
)

func TestAPIServer(t *testing.T) {
	for to, want := range map[string]bool{
		"kubernetes.default:443": true, "https://kubernetes.default.svc/healthz": true, "https://10.0.0.1/readyz": true, "https://kubernetes.default.svc.cluster.local": true,
		"https://kubernetes.default.example": false, "https://10.0.0.2": false, "https://api.example": false,
	} {
		c := question(t, to)
		c.World.Kube.Services = map[model.Ref]*model.Service{"service/default/kubernetes": {Namespace: "default", Name: "kubernetes", ClusterIPs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}}
		if got := toAPIServer(c); got != want {
			t.Errorf("%s: %v", to, got)
		}
		if got := clusterRoots(c, &rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: []byte("pem")}}); (got == "pem") != want {
			t.Errorf("%s: trusts %q", to, got)
		}
		c.Observations = []model.Observation{{Vantage: model.VantagePod, Result: model.HTTPStatus, Failed: "http", HTTP: &model.HTTPAnswer{Status: 403}}}
		reached(c)
		if got := c.Observations[0].Result == model.OK && len(c.Notes) == 1; got != want {
			t.Errorf("%s: a 403 is %+v, %q", to, c.Observations[0], c.Notes)
		}
	}
}
