package manifest

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy/decode"
)

// add turns one decoded object into what the World holds of it.
func (b *builder) add(o *object) error {
	var err error
	switch v := o.parsed.(type) {
	case *plain:
		err = b.namespace(v, o)
	case *podObject:
		err = b.pod(v, o)
	case *serviceObject:
		err = b.service(v, o)
	case *nodeObject:
		err = b.node(v, o)
	case *sliceObject:
		err = b.slice(v, o)
	case *ingressObject:
		err = b.ingress(v, o)
	case *policyObject:
		err = b.policy(v, o)
	case *workloadObject:
		err = b.workload(v, o)
	default:
		var known bool
		if known, err = b.other(o); !known && err == nil {
			b.ignored[o.apiVersion+" "+o.kind]++
			return nil
		}
	}
	b.objects++
	if err != nil {
		return fmt.Errorf("%s: %s %s: %w", o.at, o.kind, o.meta.Name, err)
	}
	return nil
}

// other is a policy of one of the many other kinds, or nothing that matters.
func (b *builder) other(o *object) (known bool, err error) {
	if o.raw == nil {
		return false, nil
	}
	if meta, ok := o.raw["metadata"].(map[string]any); ok && meta["namespace"] == nil {
		meta["namespace"] = o.meta.Namespace
	}
	group, _, _ := strings.Cut(o.apiVersion, "/")
	ref := model.NewRef(o.kind+"."+group, o.meta.Namespace, o.meta.Name)
	if old, ok := b.where[ref]; ok {
		if reflect.DeepEqual(b.raws[ref], o.raw) {
			return true, nil
		}
		return true, fmt.Errorf("it is defined already, and differently, in %s: leave one of them", old)
	}
	if known, err = decode.Add(b.w, o.raw); known {
		b.where[ref], b.raws[ref] = o.at, o.raw
	}
	return known, err
}

func (b *builder) namespace(v *plain, o *object) error {
	ns := &model.Namespace{Name: v.Metadata.Name, Labels: v.Metadata.Labels, Terminating: v.Metadata.DeletionTimestamp != ""}
	return put(b, b.w.Kube.Namespaces, ns.Name, model.NewRef("namespace", ns.Name), ns, o.at)
}

func (b *builder) pod(v *podObject, o *object) error {
	p := &model.Pod{Namespace: o.meta.Namespace, Name: o.meta.Name, Labels: v.Metadata.Labels, Phase: v.Status.Phase, Deleting: v.Metadata.DeletionTimestamp != ""}
	if p.Phase == "" {
		p.Phase = "Pending" // not applied yet
	}
	if err := v.Spec.into(p); err != nil {
		return err
	}
	list := []string{}
	for _, i := range v.Status.PodIPs {
		list = append(list, i.IP)
	}
	if len(list) == 0 {
		list = append(list, v.Status.PodIP)
	}
	var err error
	if p.IPs, err = addrs("status.podIPs", list...); err != nil {
		return err
	}
	for _, r := range v.Metadata.OwnerReferences {
		if r.Controller || len(v.Metadata.OwnerReferences) == 1 {
			p.Owner = model.NewRef(r.Kind, p.Namespace, r.Name)
			b.owned[p.Owner] = true
		}
	}
	if host, err := addrs("status.hostIP", v.Status.HostIP); err != nil {
		return err
	} else if len(host) > 0 && p.Node != "" && !slices.Contains(b.hosts[p.Node], host[0]) {
		b.hosts[p.Node] = append(b.hosts[p.Node], host[0])
	}
	return put(b, b.w.Kube.Pods, p.Ref(), p.Ref(), p, o.at)
}

// into fills in what a pod's specification says.
func (s *podSpec) into(p *model.Pod) error {
	p.Node, p.HostNetwork, p.ServiceAccount = s.NodeName, s.HostNetwork, s.ServiceAccountName
	if p.ServiceAccount == "" {
		p.ServiceAccount = s.ServiceAccount
	}
	if p.ServiceAccount == "" {
		p.ServiceAccount = "default"
	}
	for i := range s.InitContainers {
		kind := "init"
		if s.InitContainers[i].RestartPolicy == "Always" {
			kind = "sidecar"
		}
		if err := s.InitContainers[i].into(p, kind, fmt.Sprintf("initContainers[%d]", i)); err != nil {
			return err
		}
	}
	for i := range s.Containers {
		if err := s.Containers[i].into(p, "", fmt.Sprintf("containers[%d]", i)); err != nil {
			return err
		}
	}
	return nil
}

func (c *container) into(p *model.Pod, kind, field string) error {
	out := model.Container{Name: c.Name, Kind: kind}
	for i, cp := range c.Ports {
		field := fmt.Sprintf("%s.ports[%d]", field, i)
		n, err := port(field+".containerPort", cp.ContainerPort)
		if err != nil {
			return err
		}
		host, err := port(field+".hostPort", cp.HostPort)
		if err != nil {
			return err
		}
		proto, err := protocol(field+".protocol", cp.Protocol)
		if err != nil {
			return err
		}
		out.Ports = append(out.Ports, model.ContainerPort{Name: cp.Name, Port: n, Protocol: proto, HostPort: host})
	}
	p.Containers = append(p.Containers, out)
	return nil
}

func (b *builder) service(v *serviceObject, o *object) error {
	s := &v.Spec
	out := &model.Service{
		Namespace: o.meta.Namespace, Name: o.meta.Name, Labels: v.Metadata.Labels, Annotations: v.Metadata.Annotations, Type: s.Type,
		ExternalName: s.ExternalName, Selector: s.Selector, Headless: s.ClusterIP == "None",
		ExternalTrafficPolicy: s.ExternalTrafficPolicy, InternalTrafficPolicy: s.InternalTrafficPolicy,
		SessionAffinity: s.SessionAffinity, PublishNotReady: s.PublishNotReadyAddresses,
	}
	if out.Type == "" {
		out.Type = "ClusterIP"
	}
	var err error
	list := s.ClusterIPs
	if len(list) == 0 {
		list = []string{s.ClusterIP}
	}
	if out.ClusterIPs, err = addrs("spec.clusterIPs", list...); err != nil {
		return err
	}
	if out.ExternalIPs, err = addrs("spec.externalIPs", s.ExternalIPs...); err != nil {
		return err
	}
	for _, i := range v.Status.LoadBalancer.Ingress {
		more, err := addrs("status.loadBalancer.ingress", i.IP)
		if err != nil {
			return err
		}
		out.LoadBalancerIPs = append(out.LoadBalancerIPs, more...)
	}
	for i, p := range s.Ports {
		field := fmt.Sprintf("spec.ports[%d]", i)
		n, err := port(field+".port", p.Port)
		if err != nil {
			return err
		}
		node, err := port(field+".nodePort", p.NodePort)
		if err != nil {
			return err
		}
		proto, err := protocol(field+".protocol", p.Protocol)
		if err != nil {
			return err
		}
		target := string(p.TargetPort)
		if target == "" || target == "0" {
			target = strconv.Itoa(int(n))
		}
		out.Ports = append(out.Ports, model.ServicePort{Name: p.Name, Protocol: proto, Port: n, TargetPort: target, NodePort: node})
	}
	ref := model.NewRef("service", out.Namespace, out.Name)
	return put(b, b.w.Kube.Services, ref, ref, out, o.at)
}

func (b *builder) ingress(v *ingressObject, o *object) error {
	out := &model.Ingress{Namespace: o.meta.Namespace, Name: o.meta.Name, Class: v.Spec.IngressClassName}
	if out.Class == "" {
		out.Class = v.Metadata.Annotations["kubernetes.io/ingress.class"]
	}
	add := func(b *ingressBackend) {
		if b == nil || b.Service == nil {
			return
		}
		back := model.IngressBackend{Service: b.Service.Name, Port: b.Service.Port.Name}
		if n := b.Service.Port.Number; n != 0 {
			back.Port = strconv.Itoa(int(n))
		}
		if !slices.Contains(out.Backends, back) {
			out.Backends = append(out.Backends, back)
		}
	}
	add(v.Spec.DefaultBackend)
	for i := range v.Spec.Rules {
		rule := &v.Spec.Rules[i]
		if host := cmp.Or(rule.Host, "*"); !slices.Contains(out.Hosts, host) {
			out.Hosts = append(out.Hosts, host)
		}
		for j := range rule.HTTP.Paths {
			add(&rule.HTTP.Paths[j].Backend)
		}
	}
	for _, i := range v.Status.LoadBalancer.Ingress {
		more, err := addrs("status.loadBalancer.ingress", i.IP)
		if err != nil {
			return err
		}
		out.Addresses = append(out.Addresses, more...)
	}
	return put(b, b.w.Kube.Ingresses, out.Ref(), out.Ref(), out, o.at)
}

func (b *builder) node(v *nodeObject, o *object) error {
	out := &model.Node{Name: v.Metadata.Name, Labels: v.Metadata.Labels, ProviderID: v.Spec.ProviderID}
	for _, a := range v.Status.Addresses {
		list := &out.InternalIPs
		switch a.Type {
		case "ExternalIP":
			list = &out.ExternalIPs
		case "InternalIP":
		default:
			continue
		}
		more, err := addrs("status.addresses", a.Address)
		if err != nil {
			return err
		}
		*list = append(*list, more...)
	}
	nets := v.Spec.PodCIDRs
	if len(nets) == 0 && v.Spec.PodCIDR != "" {
		nets = []string{v.Spec.PodCIDR}
	}
	for _, n := range nets {
		p, err := cidr("spec.podCIDRs", n)
		if err != nil {
			return err
		}
		out.PodCIDRs = append(out.PodCIDRs, p)
	}
	return put(b, b.w.Kube.Nodes, out.Name, model.NewRef("node", out.Name), out, o.at)
}

func (b *builder) slice(v *sliceObject, o *object) error {
	out := &model.EndpointSlice{Namespace: o.meta.Namespace, Name: o.meta.Name, Service: v.Metadata.Labels["kubernetes.io/service-name"], AddressType: v.AddressType}
	for i, p := range v.Ports {
		n, err := port(fmt.Sprintf("ports[%d].port", i), p.Port)
		if err != nil {
			return err
		}
		proto, err := protocol(fmt.Sprintf("ports[%d].protocol", i), p.Protocol)
		if err != nil {
			return err
		}
		out.Ports = append(out.Ports, model.EndpointPort{Name: p.Name, Port: n, Protocol: proto})
	}
	for _, e := range v.Endpoints {
		end := model.SliceEndpoint{Addresses: e.Addresses, Ready: e.Conditions.Ready == nil || *e.Conditions.Ready, Terminating: e.Conditions.Terminating, Node: e.NodeName}
		end.Serving = end.Ready
		if e.Conditions.Serving != nil {
			end.Serving = *e.Conditions.Serving
		}
		if e.TargetRef.Name != "" {
			ns := e.TargetRef.Namespace
			if ns == "" {
				ns = out.Namespace
			}
			end.Target = model.NewRef(e.TargetRef.Kind, ns, e.TargetRef.Name)
		}
		out.Endpoints = append(out.Endpoints, end)
	}
	ref := model.NewRef("endpointslice", out.Namespace, out.Name)
	return put(b, b.w.Kube.EndpointSlices, ref, ref, out, o.at)
}

func (b *builder) policy(v *policyObject, o *object) error {
	p := &model.NetworkPolicy{Namespace: o.meta.Namespace, Name: o.meta.Name}
	if err := v.Spec.PodSelector.check("spec.podSelector"); err != nil {
		return err
	}
	p.PodSelector = *v.Spec.PodSelector.model()
	for i, t := range v.Spec.PolicyTypes {
		switch t {
		case "Ingress":
			p.Ingress = true
		case "Egress":
			p.Egress = true
		default:
			return fmt.Errorf("spec.policyTypes[%d]: %q is neither Ingress nor Egress", i, t)
		}
	}
	if len(v.Spec.PolicyTypes) == 0 { // what the API server fills in
		p.Ingress, p.Egress = true, len(v.Spec.Egress) > 0
	}
	var err error
	for i := range v.Spec.Ingress {
		r := &v.Spec.Ingress[i]
		field := fmt.Sprintf("spec.ingress[%d]", i)
		if len(r.To) > 0 {
			return fmt.Errorf("%s.to: an ingress rule has 'from', not 'to'", field)
		}
		p.IngressRules, err = appendRule(p.IngressRules, field, "from", r.From, r.Ports)
		if err != nil {
			return err
		}
	}
	for i := range v.Spec.Egress {
		r := &v.Spec.Egress[i]
		field := fmt.Sprintf("spec.egress[%d]", i)
		if len(r.From) > 0 {
			return fmt.Errorf("%s.from: an egress rule has 'to', not 'from'", field)
		}
		p.EgressRules, err = appendRule(p.EgressRules, field, "to", r.To, r.Ports)
		if err != nil {
			return err
		}
	}
	return put(b, b.w.Kube.Policies, p.Ref(), p.Ref(), p, o.at)
}

func appendRule(rules []model.PolicyRule, field, side string, peers []policyPeer, ports []policyPort) ([]model.PolicyRule, error) {
	var r model.PolicyRule
	for i := range peers {
		p, err := peers[i].model(fmt.Sprintf("%s.%s[%d]", field, side, i))
		if err != nil {
			return nil, err
		}
		r.Peers = append(r.Peers, p)
	}
	for i := range ports {
		p, err := ports[i].model(fmt.Sprintf("%s.ports[%d]", field, i))
		if err != nil {
			return nil, err
		}
		r.Ports = append(r.Ports, p)
	}
	return append(rules, r), nil
}

func (p *policyPeer) model(field string) (model.PolicyPeer, error) {
	out := model.PolicyPeer{PodSelector: p.PodSelector.model(), NamespaceSelector: p.NamespaceSelector.model()}
	switch {
	case p.IPBlock == nil && p.PodSelector == nil && p.NamespaceSelector == nil:
		return out, fmt.Errorf("%s: names none of podSelector, namespaceSelector, ipBlock", field)
	case p.IPBlock != nil && (p.PodSelector != nil || p.NamespaceSelector != nil):
		return out, fmt.Errorf("%s: ipBlock cannot stand beside a selector", field)
	}
	if err := p.PodSelector.check(field + ".podSelector"); err != nil {
		return out, err
	}
	if err := p.NamespaceSelector.check(field + ".namespaceSelector"); err != nil {
		return out, err
	}
	if p.IPBlock == nil {
		return out, nil
	}
	var err error
	if out.IPBlock, err = cidr(field+".ipBlock.cidr", p.IPBlock.CIDR); err != nil {
		return out, err
	}
	for _, e := range p.IPBlock.Except {
		except, err := cidr(field+".ipBlock.except", e)
		if err != nil {
			return out, err
		}
		if !within(except, out.IPBlock) {
			return out, fmt.Errorf("%s.ipBlock.except: %s does not lie in %s", field, except, out.IPBlock)
		}
		out.Except = append(out.Except, except)
	}
	return out, nil
}

func within(inner, outer netip.Prefix) bool {
	return inner.Bits() >= outer.Bits() && outer.Contains(inner.Addr())
}

func (p *policyPort) model(field string) (model.PolicyPort, error) {
	proto, err := protocol(field+".protocol", p.Protocol)
	out := model.PolicyPort{Protocol: proto, Port: string(p.Port)}
	if err != nil {
		return out, err
	}
	n, notNumber := strconv.Atoi(out.Port)
	if out.Port != "" && notNumber == nil && (n < 1 || n > 65535) {
		return out, fmt.Errorf("%s.port: %s is not between 1 and 65535", field, out.Port)
	}
	if p.EndPort == nil {
		return out, nil
	}
	switch end := *p.EndPort; {
	case notNumber != nil:
		return out, fmt.Errorf("%s.endPort: needs a port that is a number", field)
	case end < int32(n) || end > 65535:
		return out, fmt.Errorf("%s.endPort: %d is not between port %d and 65535", field, end, n)
	default:
		out.EndPort = uint16(end)
	}
	return out, nil
}

// check refuses what the API server would refuse.
func (s *selector) check(field string) error {
	if s == nil {
		return nil
	}
	for i, e := range s.MatchExpressions {
		field := fmt.Sprintf("%s.matchExpressions[%d]", field, i)
		switch e.Operator {
		case "In", "NotIn":
			if len(e.Values) == 0 {
				return fmt.Errorf("%s: %s needs values", field, e.Operator)
			}
		case "Exists", "DoesNotExist":
			if len(e.Values) > 0 {
				return fmt.Errorf("%s: %s takes no values", field, e.Operator)
			}
		default:
			return fmt.Errorf("%s.operator: %q is none of In, NotIn, Exists, DoesNotExist", field, e.Operator)
		}
		if strings.TrimSpace(e.Key) == "" {
			return fmt.Errorf("%s.key is missing", field)
		}
	}
	return nil
}
