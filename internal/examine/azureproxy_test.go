package examine

import (
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

func TestPrescribedProxy(t *testing.T) {
	cluster := &model.ManagedCluster{HTTPProxy: &model.HTTPProxy{
		HTTP: "http://10.1.0.4:3128/", HTTPS: "http://10.1.0.4:3129/", NoProxy: []string{"localhost", "10.0.0.0/8", ".corp.example"},
	}}
	for _, c := range []struct {
		scheme, host, want string
	}{
		{"https", "api.example.com", "http://10.1.0.4:3129/"},
		{"http", "api.example.com", "http://10.1.0.4:3128/"},
		{"https", "wiki.corp.example", ""}, // in noProxy
		{"https", "10.2.3.4", ""},          // in a range of noProxy
		{"", "api.example.com", ""},        // plain TCP knows no proxy
	} {
		if got := prescribed(cluster, probe.Target{Scheme: c.scheme, Host: c.host, Port: 443}); got != c.want {
			t.Errorf("%s://%s: %q, want %q", c.scheme, c.host, got, c.want)
		}
	}
	if got := prescribed(&model.ManagedCluster{}, probe.Target{Scheme: "https", Host: "api.example.com"}); got != "" {
		t.Errorf("without httpProxyConfig: %q", got)
	}
}
