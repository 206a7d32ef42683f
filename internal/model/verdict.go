package model

import "fmt"

// Verdict is what happens to a packet at one place. The zero value is Unknown:
// what was not read is never reported as allowed.
type Verdict uint8

// The verdicts, from knowing nothing to an answer sent back.
const (
	Unknown Verdict = iota
	Pass
	Drop   // silently discarded
	Reject // discarded, and the sender is told (RST, ICMP, an HTTP answer)
)

var verdictNames = [...]string{"unknown", "pass", "drop", "reject"}

func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return "unknown"
}

// MarshalText writes the verdict's name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads a verdict's name.
func (v *Verdict) UnmarshalText(text []byte) error {
	for i, name := range verdictNames {
		if string(text) == name {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("verdict %q is none of %v", text, verdictNames)
}

// Hop is the kind of place on a connection's way.
type Hop string

// The kinds of hop, in the order in which a connection to the outside meets them.
const (
	HopApp          Hop = "app"
	HopPod          Hop = "pod"
	HopDNS          Hop = "dns"
	HopPolicy       Hop = "policy"
	HopCNI          Hop = "cni"
	HopService      Hop = "service"
	HopKubeProxy    Hop = "kube-proxy"
	HopNodeKernel   Hop = "node-kernel"
	HopNodeResource Hop = "node-resource"
	HopMasquerade   Hop = "masquerade"
	HopNSG          Hop = "nsg"
	HopRoute        Hop = "route"
	HopGateway      Hop = "gateway"
	HopAppliance    Hop = "appliance"
	HopSNAT         Hop = "snat"
	HopNATGW        Hop = "natgw"
	HopLB           Hop = "lb"
	HopEndpoint     Hop = "endpoint"
	HopTLS          Hop = "tls"
	HopHTTP         Hop = "http"
	HopControlPlane Hop = "control-plane"
)
