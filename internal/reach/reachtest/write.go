package reachtest

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Write writes a World as manifests, one file a namespace, as kubectl would
// print them. Owners are left out: each pod stands for itself. With workloads,
// those of several pods are written as they lie in a repository instead.
func Write(w *model.World, dir string, workloads bool) error {
	replicas := map[model.Ref][]*model.Pod{}
	if workloads {
		for _, ref := range sorted(w.Kube.Pods) {
			p := w.Kube.Pods[ref]
			replicas[p.Owner] = append(replicas[p.Owner], p)
		}
	}
	files := map[string]*bytes.Buffer{}
	doc := func(ns, apiVersion, kind, name string, labels model.Labels) *bytes.Buffer {
		b := files[ns]
		if b == nil {
			b = &bytes.Buffer{}
			files[ns] = b
		}
		fmt.Fprintf(b, "---\napiVersion: %s\nkind: %s\nmetadata:\n  name: %s\n", apiVersion, kind, name)
		if ns != "" && kind != "Namespace" {
			fmt.Fprintf(b, "  namespace: %s\n", ns)
		}
		mapping(b, "  ", "labels", labels)
		return b
	}
	for _, name := range sorted(w.Kube.Namespaces) {
		doc(name, "v1", "Namespace", name, w.Kube.Namespaces[name].Labels)
	}
	for _, name := range sorted(w.Kube.Nodes) {
		n := w.Kube.Nodes[name]
		b := doc("", "v1", "Node", name, n.Labels)
		b.WriteString("status:\n  addresses:\n")
		for _, ip := range n.InternalIPs {
			fmt.Fprintf(b, "  - address: %s\n    type: InternalIP\n", ip)
		}
	}
	for _, ref := range sorted(w.Kube.Pods) {
		p := w.Kube.Pods[ref]
		if list := replicas[p.Owner]; len(list) > 1 {
			if list[0] == p {
				workload(doc(p.Namespace, "apps/v1", "Deployment", p.Owner.Name(), p.Labels), p, len(list))
			}
			continue
		}
		pod(doc(p.Namespace, "v1", "Pod", p.Name, p.Labels), p)
	}
	for _, ref := range sorted(w.Kube.Services) {
		s := w.Kube.Services[ref]
		service(doc(s.Namespace, "v1", "Service", s.Name, s.Labels), s)
	}
	for _, ref := range sorted(w.Kube.Policies) {
		p := w.Kube.Policies[ref]
		policy(doc(p.Namespace, "networking.k8s.io/v1", "NetworkPolicy", p.Name, nil), p)
	}
	for _, ns := range sorted(files) {
		if err := os.WriteFile(filepath.Join(dir, cmp.Or(ns, "cluster")+".yaml"), files[ns].Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func mapping(b *bytes.Buffer, indent, key string, m model.Labels) {
	if len(m) == 0 {
		return
	}
	fmt.Fprintf(b, "%s%s:\n", indent, key)
	for _, k := range sorted(m) {
		fmt.Fprintf(b, "%s  %s: %q\n", indent, k, m[k])
	}
}

func pod(b *bytes.Buffer, p *model.Pod) {
	fmt.Fprintf(b, "spec:\n  nodeName: %s\n  hostNetwork: %v\n  serviceAccountName: %s\n  dnsPolicy: ClusterFirst\n  restartPolicy: Always\n  containers:\n", p.Node, p.HostNetwork, cmp.Or(p.ServiceAccount, "default"))
	for _, c := range p.Containers {
		fmt.Fprintf(b, "  - name: %s\n    image: registry.example/%s:1.2.3\n    imagePullPolicy: IfNotPresent\n    resources:\n      requests:\n        cpu: 100m\n        memory: 64Mi\n    ports:\n", c.Name, c.Name)
		for _, port := range c.Ports {
			fmt.Fprintf(b, "    - containerPort: %d\n      name: %s\n      protocol: %s\n", port.Port, port.Name, port.Protocol)
		}
	}
	fmt.Fprintf(b, "status:\n  phase: %s\n  conditions:\n  - type: Ready\n    status: \"True\"\n", p.Phase)
	if len(p.IPs) > 0 {
		fmt.Fprintf(b, "  podIP: %s\n  podIPs:\n", p.IPs[0])
	}
	for _, ip := range p.IPs {
		fmt.Fprintf(b, "  - ip: %s\n", ip)
	}
}

func workload(b *bytes.Buffer, p *model.Pod, replicas int) {
	fmt.Fprintf(b, "spec:\n  replicas: %d\n  selector:\n", replicas)
	mapping(b, "    ", "matchLabels", p.Labels)
	b.WriteString("  template:\n    metadata:\n")
	mapping(b, "      ", "labels", p.Labels)
	b.WriteString("    spec:\n      containers:\n")
	for _, c := range p.Containers {
		fmt.Fprintf(b, "      - name: %s\n        image: registry.example/%s:1.2.3\n        ports:\n", c.Name, c.Name)
		for _, port := range c.Ports {
			fmt.Fprintf(b, "        - containerPort: %d\n          name: %s\n          protocol: %s\n", port.Port, port.Name, port.Protocol)
		}
	}
}

func service(b *bytes.Buffer, s *model.Service) {
	fmt.Fprintf(b, "spec:\n  type: %s\n", s.Type)
	if len(s.ClusterIPs) > 0 {
		fmt.Fprintf(b, "  clusterIP: %s\n", s.ClusterIPs[0])
	}
	mapping(b, "  ", "selector", s.Selector)
	b.WriteString("  ports:\n")
	for _, p := range s.Ports {
		fmt.Fprintf(b, "  - name: %s\n    port: %d\n    protocol: %s\n    targetPort: %s\n", p.Name, p.Port, p.Protocol, p.TargetPort)
	}
}

func policy(b *bytes.Buffer, p *model.NetworkPolicy) {
	b.WriteString("spec:\n")
	selector(b, "  ", "podSelector", &p.PodSelector)
	b.WriteString("  policyTypes:\n")
	for _, side := range []struct {
		name, key, peers string
		on               bool
		rules            []model.PolicyRule
	}{{"Ingress", "ingress", "from", p.Ingress, p.IngressRules}, {"Egress", "egress", "to", p.Egress, p.EgressRules}} {
		if !side.on {
			continue
		}
		// policyTypes goes first; what follows is kept until both are written.
		defer func() { rules(b, side.key, side.peers, side.rules) }()
		fmt.Fprintf(b, "  - %s\n", side.name)
	}
}

func rules(b *bytes.Buffer, key, peers string, list []model.PolicyRule) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "  %s:\n", key)
	for _, r := range list {
		if len(r.Peers) == 0 && len(r.Ports) == 0 {
			b.WriteString("  - {}\n")
			continue
		}
		lead := "  - "
		if len(r.Peers) > 0 {
			fmt.Fprintf(b, "%s%s:\n", lead, peers)
			lead = "    "
			for i := range r.Peers {
				peer(b, &r.Peers[i])
			}
		}
		if len(r.Ports) > 0 {
			fmt.Fprintf(b, "%sports:\n", lead)
			for _, p := range r.Ports {
				fmt.Fprintf(b, "    - protocol: %s\n", p.Protocol)
				if p.Port != "" {
					fmt.Fprintf(b, "      port: %s\n", p.Port)
				}
				if p.EndPort != 0 {
					fmt.Fprintf(b, "      endPort: %d\n", p.EndPort)
				}
			}
		}
	}
}

func peer(b *bytes.Buffer, p *model.PolicyPeer) {
	if p.IPBlock.IsValid() {
		fmt.Fprintf(b, "    - ipBlock:\n        cidr: %s\n", p.IPBlock)
		if len(p.Except) > 0 {
			fmt.Fprintf(b, "        except: [%s]\n", strings.Join(texts(p.Except), ", "))
		}
		return
	}
	b.WriteString("    -\n")
	if p.NamespaceSelector != nil {
		selector(b, "      ", "namespaceSelector", p.NamespaceSelector)
	}
	if p.PodSelector != nil {
		selector(b, "      ", "podSelector", p.PodSelector)
	}
}

func texts(list []netip.Prefix) []string {
	var out []string
	for _, p := range list {
		out = append(out, fmt.Sprintf("%q", p.String()))
	}
	return out
}

func selector(b *bytes.Buffer, indent, key string, s *model.Selector) {
	if len(s.MatchLabels) == 0 && len(s.Expressions) == 0 {
		fmt.Fprintf(b, "%s%s: {}\n", indent, key)
		return
	}
	fmt.Fprintf(b, "%s%s:\n", indent, key)
	mapping(b, indent+"  ", "matchLabels", s.MatchLabels)
	if len(s.Expressions) == 0 {
		return
	}
	fmt.Fprintf(b, "%s  matchExpressions:\n", indent)
	for _, e := range s.Expressions {
		fmt.Fprintf(b, "%s  - key: %s\n%s    operator: %s\n", indent, e.Key, indent, e.Operator)
		if len(e.Values) > 0 {
			fmt.Fprintf(b, "%s    values: [\"%s\"]\n", indent, strings.Join(e.Values, "\", \""))
		}
	}
}
