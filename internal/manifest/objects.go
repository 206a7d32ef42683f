package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/podpath/podpath/internal/model"
)

// The types below are the API's, as far as connections depend on them. Reading
// whole objects into the API's own Go types takes several times as long, and
// those refuse labels that YAML 1.1 takes for booleans and numbers, though
// kubectl prints them without quotes. Both decoders find the fields by these
// names: encoding/json whatever the case, YAML by the tags.

type meta struct {
	Name            string            `yaml:"name"`
	GenerateName    string            `yaml:"generateName"`
	Namespace       string            `yaml:"namespace"`
	Labels          map[string]string `yaml:"labels"`
	Annotations     map[string]string `yaml:"annotations"`
	OwnerReferences []struct {
		Kind       string `yaml:"kind"`
		Name       string `yaml:"name"`
		Controller bool   `yaml:"controller"`
	} `yaml:"ownerReferences"`
	DeletionTimestamp string `yaml:"deletionTimestamp"`
}

type plain struct {
	Metadata meta `yaml:"metadata"`
}

type podObject struct {
	Metadata meta    `yaml:"metadata"`
	Spec     podSpec `yaml:"spec"`
	Status   struct {
		Phase  string `yaml:"phase"`
		PodIP  string `yaml:"podIP"`
		PodIPs []ip   `yaml:"podIPs"`
		HostIP string `yaml:"hostIP"`
	} `yaml:"status"`
}

type ip struct {
	IP string `yaml:"ip"`
}

type podSpec struct {
	NodeName           string      `yaml:"nodeName"`
	HostNetwork        bool        `yaml:"hostNetwork"`
	ServiceAccountName string      `yaml:"serviceAccountName"`
	ServiceAccount     string      `yaml:"serviceAccount"`
	Containers         []container `yaml:"containers"`
	InitContainers     []container `yaml:"initContainers"`
}

type container struct {
	Name          string `yaml:"name"`
	RestartPolicy string `yaml:"restartPolicy"`
	Ports         []struct {
		Name          string `yaml:"name"`
		ContainerPort int32  `yaml:"containerPort"`
		Protocol      string `yaml:"protocol"`
		HostPort      int32  `yaml:"hostPort"`
	} `yaml:"ports"`
}

type template struct {
	Metadata meta    `yaml:"metadata"`
	Spec     podSpec `yaml:"spec"`
}

type workloadObject struct {
	Metadata meta `yaml:"metadata"`
	Spec     struct {
		Replicas    *int32    `yaml:"replicas"`
		Parallelism *int32    `yaml:"parallelism"`
		Template    template  `yaml:"template"`
		Selector    yamlOrAny `yaml:"selector"`
		JobTemplate struct {
			Spec struct {
				Parallelism *int32   `yaml:"parallelism"`
				Template    template `yaml:"template"`
			} `yaml:"spec"`
		} `yaml:"jobTemplate"`
	} `yaml:"spec"`
}

type selector struct {
	MatchLabels      map[string]string          `yaml:"matchLabels"`
	MatchExpressions []model.SelectorExpression `yaml:"matchExpressions"`
}

// yamlOrAny is a selector of a workload: a ReplicationController's is a map of
// labels, all others' have matchLabels.
type yamlOrAny struct{ *model.Selector }

func (s *yamlOrAny) UnmarshalYAML(n *yaml.Node) error { return s.read(n.Decode) }

func (s *yamlOrAny) UnmarshalJSON(data []byte) error {
	return s.read(func(v any) error { return json.Unmarshal(data, v) })
}

func (s *yamlOrAny) read(decode func(any) error) error {
	var sel selector
	if err := decode(&sel); err == nil && (sel.MatchLabels != nil || sel.MatchExpressions != nil) {
		s.Selector = sel.model()
		return nil
	}
	var labels map[string]string
	if err := decode(&labels); err != nil {
		return fmt.Errorf("selector: %w", err)
	}
	s.Selector = &model.Selector{MatchLabels: labels}
	return nil
}

func (s *selector) model() *model.Selector {
	if s == nil {
		return nil
	}
	return &model.Selector{MatchLabels: s.MatchLabels, Expressions: s.MatchExpressions}
}

// number is a port: a number or a name.
type number string

func (p *number) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: a port is a number or a name", n.Line)
	}
	if n.Tag != "!!null" {
		*p = number(n.Value)
	}
	return nil
}

func (p *number) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("null")) {
		return nil
	}
	if data[0] != '"' {
		if _, err := strconv.ParseInt(string(data), 10, 32); err != nil {
			return fmt.Errorf("%.20s is not a port: a number or a name", data)
		}
		*p = number(data)
		return nil
	}
	var s string
	err := json.Unmarshal(data, &s)
	*p = number(s)
	return err
}

type serviceObject struct {
	Metadata meta `yaml:"metadata"`
	Spec     struct {
		Type                     string            `yaml:"type"`
		ClusterIP                string            `yaml:"clusterIP"`
		ClusterIPs               []string          `yaml:"clusterIPs"`
		ExternalIPs              []string          `yaml:"externalIPs"`
		ExternalName             string            `yaml:"externalName"`
		Selector                 map[string]string `yaml:"selector"`
		ExternalTrafficPolicy    string            `yaml:"externalTrafficPolicy"`
		InternalTrafficPolicy    string            `yaml:"internalTrafficPolicy"`
		SessionAffinity          string            `yaml:"sessionAffinity"`
		PublishNotReadyAddresses bool              `yaml:"publishNotReadyAddresses"`
		Ports                    []struct {
			Name       string `yaml:"name"`
			Protocol   string `yaml:"protocol"`
			Port       int32  `yaml:"port"`
			TargetPort number `yaml:"targetPort"`
			NodePort   int32  `yaml:"nodePort"`
		} `yaml:"ports"`
	} `yaml:"spec"`
	Status struct {
		LoadBalancer struct {
			Ingress []ip `yaml:"ingress"`
		} `yaml:"loadBalancer"`
	} `yaml:"status"`
}

type ingressObject struct {
	Metadata meta `yaml:"metadata"`
	Spec     struct {
		IngressClassName string          `yaml:"ingressClassName"`
		DefaultBackend   *ingressBackend `yaml:"defaultBackend"`
		Rules            []struct {
			Host string `yaml:"host"`
			HTTP struct {
				Paths []struct {
					Backend ingressBackend `yaml:"backend"`
				} `yaml:"paths"`
			} `yaml:"http"`
		} `yaml:"rules"`
	} `yaml:"spec"`
	Status struct {
		LoadBalancer struct {
			Ingress []ip `yaml:"ingress"`
		} `yaml:"loadBalancer"`
	} `yaml:"status"`
}

type ingressBackend struct {
	Service *struct {
		Name string `yaml:"name"`
		Port struct {
			Name   string `yaml:"name"`
			Number int32  `yaml:"number"`
		} `yaml:"port"`
	} `yaml:"service"`
}

type sliceObject struct {
	Metadata    meta   `yaml:"metadata"`
	AddressType string `yaml:"addressType"`
	Ports       []struct {
		Name     string `yaml:"name"`
		Port     int32  `yaml:"port"`
		Protocol string `yaml:"protocol"`
	} `yaml:"ports"`
	Endpoints []struct {
		Addresses  []string `yaml:"addresses"`
		Conditions struct {
			Ready       *bool `yaml:"ready"`
			Serving     *bool `yaml:"serving"`
			Terminating bool  `yaml:"terminating"`
		} `yaml:"conditions"`
		NodeName  string `yaml:"nodeName"`
		TargetRef struct {
			Kind      string `yaml:"kind"`
			Namespace string `yaml:"namespace"`
			Name      string `yaml:"name"`
		} `yaml:"targetRef"`
	} `yaml:"endpoints"`
}

type nodeObject struct {
	Metadata meta `yaml:"metadata"`
	Spec     struct {
		PodCIDR    string   `yaml:"podCIDR"`
		PodCIDRs   []string `yaml:"podCIDRs"`
		ProviderID string   `yaml:"providerID"`
	} `yaml:"spec"`
	Status struct {
		Addresses []struct {
			Type    string `yaml:"type"`
			Address string `yaml:"address"`
		} `yaml:"addresses"`
	} `yaml:"status"`
}

type policyObject struct {
	Metadata meta `yaml:"metadata"`
	Spec     struct {
		PodSelector selector     `yaml:"podSelector"`
		PolicyTypes []string     `yaml:"policyTypes"`
		Ingress     []policyRule `yaml:"ingress"`
		Egress      []policyRule `yaml:"egress"`
	} `yaml:"spec"`
}

type policyRule struct {
	From  []policyPeer `yaml:"from"`
	To    []policyPeer `yaml:"to"`
	Ports []policyPort `yaml:"ports"`
}

type policyPeer struct {
	PodSelector       *selector `yaml:"podSelector"`
	NamespaceSelector *selector `yaml:"namespaceSelector"`
	IPBlock           *struct {
		CIDR   string   `yaml:"cidr"`
		Except []string `yaml:"except"`
	} `yaml:"ipBlock"`
}

type policyPort struct {
	Protocol string `yaml:"protocol"`
	Port     number `yaml:"port"`
	EndPort  *int32 `yaml:"endPort"`
}

// decode reads what the kind says that it is. Kinds of other groups that share
// a name (a Service of Knative, say) are other kinds.
func (o *object) decode(s source) error {
	var m *meta
	take := func(v any, at *meta) { o.parsed, m = v, at }
	group, _, core := strings.Cut(o.apiVersion, "/")
	if !core {
		group = ""
	}
	switch group + "/" + o.kind {
	case "/Namespace":
		v := &plain{}
		take(v, &v.Metadata)
	case "/Pod":
		v := &podObject{}
		take(v, &v.Metadata)
	case "/Service":
		v := &serviceObject{}
		take(v, &v.Metadata)
	case "/Node":
		v := &nodeObject{}
		take(v, &v.Metadata)
	case "discovery.k8s.io/EndpointSlice":
		v := &sliceObject{}
		take(v, &v.Metadata)
	case "networking.k8s.io/Ingress":
		v := &ingressObject{}
		take(v, &v.Metadata)
	case "networking.k8s.io/NetworkPolicy", "extensions/NetworkPolicy":
		v := &policyObject{}
		take(v, &v.Metadata)
	case "apps/Deployment", "apps/StatefulSet", "apps/DaemonSet", "apps/ReplicaSet", "extensions/Deployment", "extensions/DaemonSet", "extensions/ReplicaSet",
		"/ReplicationController", "batch/Job", "batch/CronJob":
		v := &workloadObject{}
		take(v, &v.Metadata)
	default:
		if !mayBePolicy(group, o.kind) {
			return nil
		}
		raw, err := s.untyped()
		if err != nil {
			return err
		}
		o.raw = raw
		meta, _ := raw["metadata"].(map[string]any)
		o.meta.Name, _ = meta["name"].(string)
		o.meta.Namespace, _ = meta["namespace"].(string)
		return nil
	}
	if err := s.into(o.parsed); err != nil {
		return err
	}
	o.meta = *m
	if o.kind != "NetworkPolicy" {
		return nil
	}
	raw, err := s.untyped()
	if err != nil {
		return err
	}
	return unknownField("spec", raw["spec"], policyShape)
}

// mayBePolicy says whether package policy/decode is asked about a kind.
func mayBePolicy(group, kind string) bool {
	return group == "policy.networking.k8s.io" || group == "cilium.io" || strings.HasSuffix(group, "projectcalico.org") || group == "" && kind == "ServiceAccount"
}

func addr(field, s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("%s: %q is not an address", field, s)
	}
	return a.Unmap().WithZone(""), nil
}

func addrs(field string, list ...string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, s := range list {
		if s == "" || s == "None" {
			continue
		}
		a, err := addr(field, s)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

func cidr(field, s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%s: %q is not a network in CIDR form", field, s)
	}
	return p.Masked(), nil
}

func port(field string, n int32) (uint16, error) {
	if n < 0 || n > 65535 {
		return 0, fmt.Errorf("%s: %d is not between 1 and 65535", field, n)
	}
	return uint16(n), nil
}

// protocol fills in the API's default, and refuses what no API server would take.
func protocol(field, s string) (string, error) {
	switch s {
	case "":
		return "TCP", nil
	case "TCP", "UDP", "SCTP":
		return s, nil
	}
	return "", fmt.Errorf("%s: %q is none of TCP, UDP, SCTP", field, s)
}
