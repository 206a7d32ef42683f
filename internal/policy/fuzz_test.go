package policy

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy/decode"
)

// FuzzJudge: whatever policies say, they can be judged in every dialect, and
// twice the same; what no rule can be doubted of is not unknown for a pod that
// nothing selects.
func FuzzJudge(f *testing.F) {
	f.Add(`[{"apiVersion":"policy.networking.k8s.io/v1alpha1","kind":"AdminNetworkPolicy","metadata":{"name":"x"},"spec":{"priority":1,"subject":{"namespaces":{}},"egress":[{"action":"Pass","to":[{"nodes":{}},{"networks":["0.0.0.0/0"]}]},{"action":"Deny","to":[{"domainNames":["*.a"]}]}]}}]`, "10.0.0.3", uint16(80))
	f.Add(`[{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy","metadata":{"name":"x"},"spec":{"tier":"t","selector":"app != 'x' || has(y)","egress":[{"action":"Deny","notProtocol":"UDP","destination":{"notSelector":"has(app)","notNets":["::/0"],"notPorts":["1:2"]},"source":{"nets":["10.0.0.0/8"]}},{"action":"Pass"}]}},{"apiVersion":"projectcalico.org/v3","kind":"Tier","metadata":{"name":"t"},"spec":{"order":3}}]`, "8.8.8.8", uint16(443))
	f.Add(`[{"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy","metadata":{"name":"x","namespace":"a"},"spec":{"endpointSelector":{},"egress":[{"toEndpoints":[{"matchLabels":{"k8s:io.kubernetes.pod.namespace":"b"}}],"toPorts":[{"ports":[{"port":"80","endPort":90}]}]}],"egressDeny":[{"toEntities":["world"]}]}}]`, "192.168.0.2", uint16(85))
	f.Fuzz(func(t *testing.T, text, dst string, port uint16) {
		var objects []map[string]any
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		if dec.Decode(&objects) != nil || len(objects) > 10 {
			return
		}
		addr, err := netip.ParseAddr(dst)
		if err != nil {
			return
		}
		w := kindsWorld()
		for _, o := range objects {
			_, _ = decode.Add(w, o) // those that are none are left out
		}
		flow := model.Flow{Protocol: "tcp", Src: netip.MustParseAddr("10.0.0.1"), Dst: addr, DstPort: port}
		for d := range dialectNames {
			one, two := BuildAs(w, Dialect(d)), BuildAs(w, Dialect(d))
			client := w.Kube.Pods["pod/a/client"]
			a, b := one.Egress(client, flow), two.Egress(client, flow)
			if a.Verdict != b.Verdict || a.Reason != b.Reason || strings.Join(a.Trail, "\n") != strings.Join(b.Trail, "\n") {
				t.Errorf("%s: %s, then %s", dialectNames[d], a.Reason, b.Reason)
			}
			if a.Reason == "" || a.Verdict == model.Drop && a.Decided == "" {
				t.Errorf("%+v", a)
			}
			one.Ingress(client, model.Flow{Protocol: "udp", Src: addr, Dst: flow.Src, DstPort: port})
		}
	})
}
