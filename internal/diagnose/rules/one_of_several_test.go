package rules

import (
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/diagnose/rules/ruletest"
	"github.com/podpath/podpath/internal/model"
)

// twoPods is a question to a Service with two endpoints, of which the first is odd.
const twoPods = `
ask: {to: 'https://web.shop.svc.cluster.local', dst: 10.0.40.7}
patch: {kube: {endpointSlices: {endpointslice/shop/web: {endpoints: [{addresses: [10.244.1.11], ready: true, serving: true, node: aks-np-1, target: pod/shop/web-1}, {addresses: [10.244.0.12], ready: true, serving: true, node: aks-np-0, target: pod/ops/tools-0}]}}}}
`

const expired = `failed: tls, result: cert-expired, certs: [{subject: CN=web, issuer: CN=CA, names: [web], notBefore: '2025-06-01T00:00:00Z', notAfter: '2026-03-01T00:00:00Z'}]`

// TestOneOfSeveral holds that the pod is named where one endpoint of several is odd,
// and that nobody is blamed for all of them where it is not alone.
func TestOneOfSeveral(t *testing.T) {
	for _, c := range []struct {
		name, seen string
		rule       string
		subject    model.Ref
		says       string
	}{
		{"one certificate", `observe:
- {vantage: pod}
- {vantage: pod, sample: true, ` + expired + `}
- {vantage: pod, purpose: "control:endpoint", address: "10.244.1.11:8080", ` + expired + `}
- {vantage: pod, purpose: "control:endpoint", address: "10.244.0.12:8080"}
`, "cert-expired", "pod/shop/web-1", "one of 2 endpoints"},
		{"all certificates", `observe:
- {vantage: pod, ` + expired + `}
- {vantage: pod, purpose: "control:endpoint", address: "10.244.1.11:8080", ` + expired + `}
- {vantage: pod, purpose: "control:endpoint", address: "10.244.0.12:8080", ` + expired + `}
`, "cert-expired", "host/web.shop.svc.cluster.local", "has expired"},
		{"one is slow", `observe:
- {vantage: pod}
- {vantage: pod, purpose: "control:endpoint", address: "10.244.1.11:8080"}
- {vantage: pod, purpose: "control:endpoint", address: "10.244.0.12:8080"}
tries:
- {of: "..w.w...w..w....w.w...w.."}
- {of: "wwwwwwwwwwwwwwwwwwwwwwwww", purpose: "control:endpoint", address: "10.244.1.11:8080"}
- {of: ".........................", purpose: "control:endpoint", address: "10.244.0.12:8080"}
`, "endpoint-slow", "pod/shop/web-1", "one of 2 endpoints"},
		{"all are slow now and then", `observe:
- {vantage: pod}
- {vantage: pod, purpose: "control:endpoint", address: "10.244.1.11:8080"}
- {vantage: pod, purpose: "control:endpoint", address: "10.244.0.12:8080"}
tries:
- {of: "..w.w...w..w....w.w...w.."}
- {of: "w.w....w.w.w..w.w...w.w..", purpose: "control:endpoint", address: "10.244.1.11:8080"}
- {of: "..w..w...w.w...w....w....", purpose: "control:endpoint", address: "10.244.0.12:8080"}
`, "endpoint-slow", "deployment/shop/web", "for some of its answers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec, err := ruletest.Parse([]byte(twoPods+c.seen), nil)
			if err != nil {
				t.Fatal(err)
			}
			built := build(t, spec)
			res := run(built)
			if len(res.Causes) == 0 || res.Causes[0].Rule != c.rule || res.Causes[0].Subject != c.subject || !strings.Contains(text(&res.Causes[0]), c.says) {
				t.Errorf("want %s of %s and %q\n%s", c.rule, c.subject, c.says, dump(built, &res))
			}
		})
	}
}

// TestLetThrough holds that a line which stops everything is not called proven
// where the tries after the first failure got through.
func TestLetThrough(t *testing.T) {
	const drops = `
patch: {nodes: {aks-np-0: {filters: [{tool: iptables-nft, family: ip, text: "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A FORWARD -s 10.244.0.0/16 -p tcp -m tcp --dport 443 -j DROP\nCOMMIT\n"}]}}}
observe:
- {vantage: pod, failed: tcp, result: timeout}
- {vantage: node}
- {vantage: other-node}
tries: [{of: '`
	for of, want := range map[string]diagnose.Confidence{
		"F......................": diagnose.Possible, // one failure, and then none: it is not there any more, or was never the cause
		"FF..F...FF....F..FFF...": diagnose.Possible,
		"FFFFFFFFFFFFFFFFFFFFFFF": diagnose.Proven,
		"........FFFFFFFFFFFFFFF": diagnose.Proven, // it came while it was watched
	} {
		spec, err := ruletest.Parse([]byte(drops+of+"'}]\n"), nil)
		if err != nil {
			t.Fatal(err)
		}
		built := build(t, spec)
		res := run(built)
		if len(res.Causes) == 0 || res.Causes[0].Rule != "node-firewall-drops" || res.Causes[0].Confidence != want {
			t.Errorf("%s: want node-firewall-drops, %v\n%s", of, want, dump(built, &res))
		}
	}
}

// TestTheUsualFailureStandsForASeries holds that one failure of another kind, which
// happened to come first, is not taken for what the question is about.
func TestTheUsualFailureStandsForASeries(t *testing.T) {
	const seen = `observe:
- {vantage: pod, failed: tcp, result: timeout}
- {vantage: pod, sample: true, ` + expired + `}
- {vantage: pod, purpose: "control:endpoint", address: "10.244.1.11:8080", ` + expired + `}
- {vantage: pod, purpose: "control:endpoint", address: "10.244.0.12:8080"}
tries: [{of: 'F'}, {of: '.F.FF.FF..F.F..FF.F.F', failed: tls, result: cert-expired}]
`
	spec, err := ruletest.Parse([]byte(twoPods+seen), nil)
	if err != nil {
		t.Fatal(err)
	}
	built := build(t, spec)
	res := run(built)
	if len(res.Causes) == 0 || res.Causes[0].Rule != "cert-expired" || res.Causes[0].Subject != "pod/shop/web-1" {
		t.Errorf("want cert-expired of pod/shop/web-1\n%s", dump(built, &res))
	}
}

// TestAnOldAddressOfAName holds that a name which leads to an address that no Service
// has is what is told, and neither the cluster nor kube-proxy's own rule for such addresses.
func TestAnOldAddressOfAName(t *testing.T) {
	spec, err := ruletest.Parse([]byte(`
ask: {to: 'http://web.shop.svc.cluster.local', dst: 10.0.99.9}
observe:
- {vantage: pod, failed: tcp, result: timeout, address: "10.0.99.9:80"}
- {vantage: other-node, failed: tcp, result: timeout, address: "10.0.99.9:80"}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	built := build(t, spec)
	res := run(built)
	if len(res.Causes) == 0 || res.Causes[0].Hop != model.HopDNS || res.Causes[0].Confidence != diagnose.Likely || !strings.Contains(text(&res.Causes[0]), "10.0.99.9, which no Service has") {
		t.Errorf("want an old answer\n%s", dump(built, &res))
	}
}
