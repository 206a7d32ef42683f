package vantage

import (
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

func TestReadTool(t *testing.T) {
	https := probe.Target{Host: "a.test", Port: 443, Scheme: "https"}
	tcp := probe.Target{Host: "192.0.2.1", Port: 5432}
	for name, c := range map[string]struct {
		target probe.Target
		out    string
		failed string
		result model.Reason
	}{
		"ok":        {https, "tool=curl\nnamelookup=0.01\nconnect=0.02\nappconnect=0.05\ncode=200\nip=192.0.2.1\nlocal=10.0.0.1:4000\nexit=0\n", "", model.OK},
		"503":       {https, "tool=curl\nnamelookup=0.01\nconnect=0.02\nappconnect=0.05\ncode=503\nexit=0\n", "http", model.HTTPStatus},
		"no name":   {https, "tool=curl\ncurl: (6) Could not resolve host: a.test\nexit=6\n", "dns", model.ServFail},
		"silent":    {https, "tool=curl\ncurl: (28) Connection timed out after 4001 ms\nnamelookup=0.01\nconnect=0.000\nexit=28\n", "tcp", model.TimedOut},
		"tls reset": {https, "tool=curl\ncurl: (35) Recv failure: Connection reset by peer\nnamelookup=0.01\nconnect=0.02\nappconnect=0.0\nexit=35\n", "tls", model.Reset},
		"tls drop":  {https, "tool=curl\ncurl: (28) SSL connection timeout\nnamelookup=0.01\nconnect=0.02\nappconnect=0.0\nexit=28\n", "tls", model.TimedOut},
		"expired":   {https, "tool=curl\ncurl: (60) SSL certificate problem: certificate has expired\nnamelookup=0.01\nconnect=0.02\nexit=60\n", "tls", model.CertExpired},
		"refused":   {tcp, "tool=nc\nnc: 192.0.2.1 (192.0.2.1:5432): Connection refused\nexit=1\n", "tcp", model.Refused},
		"nc silent": {tcp, "tool=nc\nexit=1\n", "tcp", model.TimedOut},
		"bash":      {tcp, "tool=bash\nexit=124\n", "tcp", model.TimedOut},
		"telnet":    {tcp, "tool=curl\nnamelookup=0\nconnect=0.02\ncurl: (28) Operation timed out\nexit=28\n", "", model.OK},
	} {
		o, ok := readTool(c.target, c.out)
		if !ok || o.Result != c.result || o.Failed != c.failed {
			t.Errorf("%s: %v %q in %q (%s)", name, ok, o.Result, o.Failed, o.Detail)
		}
	}
	for _, out := range []string{"", "tool=none\nexit=0\n", "OCI runtime exec failed: sh not found"} {
		if _, ok := readTool(tcp, out); ok {
			t.Errorf("%q made an observation", out)
		}
	}
}

func FuzzReadTool(f *testing.F) {
	f.Add("tool=curl\nnamelookup=1e309\nip=::1\nlocal=[::1]:1\ncode=-5\nexit=35\n")
	f.Fuzz(func(t *testing.T, out string) {
		o, ok := readTool(probe.Target{Host: "a", Port: 1, Scheme: "https"}, out)
		if ok && o.Result == "" {
			t.Error("no result")
		}
	})
}
