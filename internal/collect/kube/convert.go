package kube

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/internal/model"
)

// addr reads an address that the API server has validated; what is none is left out.
func addr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err == nil
}

func addrs(list []string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		if a, ok := addr(s); ok {
			out = append(out, a)
		}
	}
	return out
}

func prefix(s string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	return p.Masked(), true
}

func convertNamespace(n *corev1.Namespace) *model.Namespace {
	return &model.Namespace{Name: n.Name, Labels: n.Labels, Terminating: n.Status.Phase == corev1.NamespaceTerminating || n.DeletionTimestamp != nil}
}

func convertPod(p *corev1.Pod) *model.Pod {
	out := &model.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Labels: p.Labels, Node: p.Spec.NodeName,
		HostNetwork: p.Spec.HostNetwork, Phase: string(p.Status.Phase), Reason: p.Status.Reason, Message: p.Status.Message,
		Deleting: p.DeletionTimestamp != nil, Owner: ownerOf(p.ObjectMeta), DNSPolicy: string(p.Spec.DNSPolicy),
		Default:        p.Annotations["kubectl.kubernetes.io/default-container"],
		ServiceAccount: p.Spec.ServiceAccountName, Created: p.CreationTimestamp.UTC(),
	}
	if out.Phase == "" {
		out.Phase = string(corev1.PodUnknown)
	}
	out.Ending = ending(p)
	for _, ip := range p.Status.PodIPs {
		if a, ok := addr(ip.IP); ok {
			out.IPs = append(out.IPs, a)
		}
	}
	if a, ok := addr(p.Status.PodIP); ok && len(out.IPs) == 0 {
		out.IPs = append(out.IPs, a)
	}
	if c := p.Spec.DNSConfig; c != nil {
		out.DNSConfig = &model.DNSConfig{Nameservers: c.Nameservers, Searches: c.Searches}
		for _, option := range c.Options {
			if out.DNSConfig.Options == nil {
				out.DNSConfig.Options = map[string]string{}
			}
			text := ""
			if option.Value != nil {
				text = *option.Value
			}
			out.DNSConfig.Options[option.Name] = text
		}
	}
	for _, alias := range p.Spec.HostAliases {
		if a, ok := addr(alias.IP); ok {
			out.HostAliases = append(out.HostAliases, model.HostAlias{IP: a, Hostnames: alias.Hostnames})
		}
	}
	for _, c := range p.Status.Conditions {
		out.Conditions = append(out.Conditions, condition(string(c.Type), string(c.Status), c.Reason, c.Message, c.LastTransitionTime))
		if c.Type == corev1.PodReady {
			out.Ready = c.Status == corev1.ConditionTrue
		}
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		kind := "init"
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			kind = "sidecar"
		}
		out.Containers = append(out.Containers, convertContainer(c, kind, p.Status.InitContainerStatuses))
	}
	for i := range p.Spec.Containers {
		out.Containers = append(out.Containers, convertContainer(&p.Spec.Containers[i], "", p.Status.ContainerStatuses))
	}
	for i := range p.Spec.EphemeralContainers {
		c := corev1.Container(p.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		out.Containers = append(out.Containers, convertContainer(&c, "ephemeral", p.Status.EphemeralContainerStatuses))
	}
	if user := p.Spec.SecurityContext; user != nil && user.RunAsUser != nil {
		for i := range out.Containers {
			if out.Containers[i].RunAsUser == nil {
				out.Containers[i].RunAsUser = user.RunAsUser
			}
		}
	}
	return out
}

// ending is when a pod was told to end: its deletionTimestamp is when it has to be gone
// (ObjectMeta in k8s.io/apimachinery: the time of the request plus the grace period).
func ending(p *corev1.Pod) *model.Ending {
	if p.DeletionTimestamp == nil {
		return nil
	}
	grace := time.Duration(0)
	if s := p.DeletionGracePeriodSeconds; s != nil {
		grace = time.Duration(*s) * time.Second
	}
	return &model.Ending{Told: p.DeletionTimestamp.Add(-grace).UTC()}
}

func condition(kind, status, reason, message string, since metav1.Time) model.Condition {
	c := model.Condition{Type: kind, Status: status, Reason: reason, Message: message}
	if !since.IsZero() {
		c.Since = since.UTC()
	}
	return c
}

// ownerOf is the object's controller, one step up. `kubectl create job
// --from=cronjob/…` names the CronJob as owner and not as controller.
func ownerOf(m metav1.ObjectMeta) model.Ref {
	if c := metav1.GetControllerOfNoCopy(&m); c != nil {
		return model.NewRef(c.Kind, m.Namespace, c.Name)
	}
	for _, o := range m.OwnerReferences {
		if o.Kind == "CronJob" {
			return model.NewRef(o.Kind, m.Namespace, o.Name)
		}
	}
	return ""
}

func convertContainer(c *corev1.Container, kind string, statuses []corev1.ContainerStatus) model.Container {
	out := model.Container{Name: c.Name, Kind: kind, Image: c.Image, Command: append(append([]string(nil), c.Command...), c.Args...)}
	for _, p := range c.Ports {
		out.Ports = append(out.Ports, model.ContainerPort{Name: p.Name, Port: uint16(p.ContainerPort), Protocol: string(p.Protocol), HostPort: uint16(p.HostPort)})
	}
	if c.SecurityContext != nil {
		out.RunAsUser = c.SecurityContext.RunAsUser
	}
	out.Readiness, out.PreStop = readiness(c.ReadinessProbe), preStop(c.Lifecycle)
	out.CPUQuota, out.CPURequest = c.Resources.Limits.Cpu().AsApproximateFloat64(), c.Resources.Requests.Cpu().AsApproximateFloat64()
	out.MemoryLimit, out.MemoryRequest = c.Resources.Limits.Memory().Value(), c.Resources.Requests.Memory().Value()
	for i := range statuses {
		s := &statuses[i]
		if s.Name != c.Name {
			continue
		}
		out.Restarts, out.Ready = s.RestartCount, s.Ready
		switch {
		case s.State.Waiting != nil:
			out.State, out.Reason, out.Message = "waiting", s.State.Waiting.Reason, s.State.Waiting.Message
		case s.State.Running != nil:
			out.State, out.Started = "running", s.State.Running.StartedAt.UTC()
		case s.State.Terminated != nil:
			t := s.State.Terminated
			out.State, out.Reason, out.Message, out.ExitCode = "terminated", t.Reason, t.Message, t.ExitCode
		}
		if t := s.LastTerminationState.Terminated; t != nil {
			out.LastReason, out.LastExitCode, out.LastFinished = t.Reason, t.ExitCode, t.FinishedAt.UTC()
		}
	}
	return out
}

// readiness is what a probe asks, in a few words.
func readiness(p *corev1.Probe) string {
	switch {
	case p == nil:
		return ""
	case p.HTTPGet != nil:
		return fmt.Sprintf("GET :%s%s", p.HTTPGet.Port.String(), cmp.Or(p.HTTPGet.Path, "/"))
	case p.TCPSocket != nil:
		return "connect :" + p.TCPSocket.Port.String()
	case p.GRPC != nil:
		return fmt.Sprintf("grpc :%d", p.GRPC.Port)
	}
	return "command"
}

// preStop is what runs before a container is told to end.
func preStop(l *corev1.Lifecycle) string {
	switch {
	case l == nil || l.PreStop == nil:
		return ""
	case l.PreStop.Sleep != nil:
		return fmt.Sprintf("sleep %ds", l.PreStop.Sleep.Seconds)
	case l.PreStop.HTTPGet != nil:
		return "request"
	}
	return "command"
}

// concerns are words in the names of annotations that have to do with the network.
var concerns = []string{"network", "cidr", "cilium", "calico", "flannel", "azure", "egress", "ingress", "cni", "load-balancer", "ip-", "istio", "linkerd", "topology"}

func networkAnnotations(all map[string]string) model.Labels {
	out := model.Labels{}
	for key, val := range all {
		if len(val) > 1024 || key == corev1.LastAppliedConfigAnnotation {
			continue
		}
		for _, word := range concerns {
			if strings.Contains(key, word) {
				out[key] = val
				break
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func convertNode(n *corev1.Node) *model.Node {
	out := &model.Node{
		Name: n.Name, Labels: n.Labels, ProviderID: n.Spec.ProviderID, Unschedulable: n.Spec.Unschedulable,
		KubeletVersion: n.Status.NodeInfo.KubeletVersion, OSImage: n.Status.NodeInfo.OSImage, KernelVersion: n.Status.NodeInfo.KernelVersion,
		Annotations: networkAnnotations(n.Annotations),
		CPUs:        n.Status.Allocatable.Cpu().AsApproximateFloat64(), Memory: n.Status.Allocatable.Memory().Value(),
	}
	for _, a := range n.Status.Addresses {
		ip, ok := addr(a.Address)
		switch {
		case !ok:
		case a.Type == corev1.NodeInternalIP:
			out.InternalIPs = append(out.InternalIPs, ip)
		case a.Type == corev1.NodeExternalIP:
			out.ExternalIPs = append(out.ExternalIPs, ip)
		}
	}
	cidrs := n.Spec.PodCIDRs
	if len(cidrs) == 0 && n.Spec.PodCIDR != "" {
		cidrs = []string{n.Spec.PodCIDR}
	}
	for _, cidr := range cidrs {
		if p, ok := prefix(cidr); ok {
			out.PodCIDRs = append(out.PodCIDRs, p)
		}
	}
	for _, t := range n.Spec.Taints {
		text := t.Key
		if t.Value != "" {
			text += "=" + t.Value
		}
		out.Taints = append(out.Taints, text+":"+string(t.Effect))
	}
	for _, c := range n.Status.Conditions {
		out.Conditions = append(out.Conditions, condition(string(c.Type), string(c.Status), c.Reason, c.Message, c.LastTransitionTime))
		if c.Type == corev1.NodeReady {
			out.Ready = c.Status == corev1.ConditionTrue
		}
	}
	return out
}

func convertService(s *corev1.Service) *model.Service {
	out := &model.Service{
		Namespace: s.Namespace, Name: s.Name, Labels: s.Labels, Annotations: networkAnnotations(s.Annotations), Type: string(s.Spec.Type),
		ExternalIPs: addrs(s.Spec.ExternalIPs), ExternalName: s.Spec.ExternalName, Selector: s.Spec.Selector,
		ExternalTrafficPolicy: string(s.Spec.ExternalTrafficPolicy), SessionAffinity: string(s.Spec.SessionAffinity),
		PublishNotReady: s.Spec.PublishNotReadyAddresses, Headless: s.Spec.ClusterIP == corev1.ClusterIPNone,
	}
	if out.Type == "" {
		out.Type = string(corev1.ServiceTypeClusterIP)
	}
	for _, text := range s.Spec.LoadBalancerSourceRanges {
		if p, ok := prefix(strings.TrimSpace(text)); ok {
			out.SourceRanges = append(out.SourceRanges, p)
		}
	}
	if d := s.Spec.TrafficDistribution; d != nil {
		out.TrafficDistribution = *d
	}
	if p := s.Spec.InternalTrafficPolicy; p != nil {
		out.InternalTrafficPolicy = string(*p)
	}
	out.ClusterIPs = addrs(s.Spec.ClusterIPs)
	if len(out.ClusterIPs) == 0 {
		out.ClusterIPs = addrs([]string{s.Spec.ClusterIP})
	}
	for _, i := range s.Status.LoadBalancer.Ingress {
		if a, ok := addr(i.IP); ok {
			out.LoadBalancerIPs = append(out.LoadBalancerIPs, a)
		}
	}
	for _, p := range s.Spec.Ports {
		target := p.TargetPort.String()
		if target == "0" || target == "" {
			target = strconv.Itoa(int(p.Port))
		}
		out.Ports = append(out.Ports, model.ServicePort{
			Name: p.Name, Protocol: protocol(&p.Protocol), Port: uint16(p.Port), TargetPort: target, NodePort: uint16(p.NodePort),
		})
	}
	return out
}

// protocol fills in the API's default.
func protocol(p *corev1.Protocol) string {
	if p == nil || *p == "" {
		return string(corev1.ProtocolTCP)
	}
	return string(*p)
}

func convertSlice(s *discoveryv1.EndpointSlice) *model.EndpointSlice {
	out := &model.EndpointSlice{Namespace: s.Namespace, Name: s.Name, Service: s.Labels[discoveryv1.LabelServiceName], AddressType: string(s.AddressType)}
	for _, p := range s.Ports {
		port := model.EndpointPort{Protocol: protocol(p.Protocol)}
		if p.Name != nil {
			port.Name = *p.Name
		}
		if p.Port != nil {
			port.Port = uint16(*p.Port)
		}
		out.Ports = append(out.Ports, port)
	}
	for _, e := range s.Endpoints {
		said := func(b *bool, otherwise bool) bool {
			if b == nil {
				return otherwise
			}
			return *b
		}
		ready := said(e.Conditions.Ready, true) // not said counts as ready, by the API's own words
		end := model.SliceEndpoint{
			Addresses: e.Addresses, Ready: ready, Serving: said(e.Conditions.Serving, ready), Terminating: said(e.Conditions.Terminating, false),
		}
		if e.NodeName != nil {
			end.Node = *e.NodeName
		}
		if t := e.TargetRef; t != nil {
			namespace := t.Namespace
			if namespace == "" {
				namespace = s.Namespace
			}
			end.Target = model.NewRef(t.Kind, namespace, t.Name)
		}
		if e.Hints != nil {
			for _, z := range e.Hints.ForZones {
				end.Zones = append(end.Zones, z.Name)
			}
			for _, n := range e.Hints.ForNodes {
				end.ForNodes = append(end.ForNodes, n.Name)
			}
		}
		out.Endpoints = append(out.Endpoints, end)
	}
	return out
}

func convertPolicy(p *networkingv1.NetworkPolicy) *model.NetworkPolicy {
	out := &model.NetworkPolicy{Namespace: p.Namespace, Name: p.Name, PodSelector: *selector(&p.Spec.PodSelector)}
	for _, t := range p.Spec.PolicyTypes {
		out.Ingress = out.Ingress || t == networkingv1.PolicyTypeIngress
		out.Egress = out.Egress || t == networkingv1.PolicyTypeEgress
	}
	if len(p.Spec.PolicyTypes) == 0 { // the API server fills this in; a manifest may lack it
		out.Ingress, out.Egress = true, len(p.Spec.Egress) > 0
	}
	for _, r := range p.Spec.Ingress {
		out.IngressRules = append(out.IngressRules, policyRule(r.From, r.Ports))
	}
	for _, r := range p.Spec.Egress {
		out.EgressRules = append(out.EgressRules, policyRule(r.To, r.Ports))
	}
	return out
}

func policyRule(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) model.PolicyRule {
	var rule model.PolicyRule
	for _, p := range peers {
		peer := model.PolicyPeer{PodSelector: selector(p.PodSelector), NamespaceSelector: selector(p.NamespaceSelector)}
		if b := p.IPBlock; b != nil {
			// A block that cannot be read must become neither "all" nor "none".
			var ok bool
			if peer.IPBlock, ok = prefix(b.CIDR); !ok {
				peer.Unknown = "its ipBlock " + strconv.Quote(b.CIDR) + " is no range of addresses"
			}
			for _, e := range b.Except {
				except, ok := prefix(e)
				if !ok {
					peer.Unknown = "its except " + strconv.Quote(e) + " is no range of addresses"
				}
				peer.Except = append(peer.Except, except)
			}
		}
		rule.Peers = append(rule.Peers, peer)
	}
	for _, p := range ports {
		port := model.PolicyPort{Protocol: protocol(p.Protocol)}
		if p.Port != nil {
			port.Port = p.Port.String()
		}
		if p.EndPort != nil {
			port.EndPort = uint16(*p.EndPort)
		}
		rule.Ports = append(rule.Ports, port)
	}
	return rule
}

func selector(s *metav1.LabelSelector) *model.Selector {
	if s == nil {
		return nil
	}
	out := &model.Selector{MatchLabels: s.MatchLabels}
	for _, e := range s.MatchExpressions {
		out.Expressions = append(out.Expressions, model.SelectorExpression{Key: e.Key, Operator: string(e.Operator), Values: e.Values})
	}
	return out
}

func convertEvent(e *corev1.Event) model.Event {
	out := model.Event{
		About: model.NewRef(e.InvolvedObject.Kind, e.InvolvedObject.Namespace, e.InvolvedObject.Name),
		Type:  e.Type, Reason: e.Reason, Message: e.Message, Count: e.Count,
	}
	if e.InvolvedObject.Namespace == "" {
		out.About = model.NewRef(e.InvolvedObject.Kind, e.InvolvedObject.Name)
	}
	last := e.LastTimestamp.Time
	if last.IsZero() {
		last = e.EventTime.Time
	}
	if e.Series != nil {
		out.Count = e.Series.Count
		last = e.Series.LastObservedTime.Time
	}
	if !last.IsZero() {
		out.Last = last.UTC()
	}
	return out
}
