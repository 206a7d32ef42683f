package reach

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

// refusal is why a connection has no target at all.
type refusal struct {
	by, text string
	unknown  bool
}

// targets are what a group means as the end of connections. Policies see a
// connection to a Service as one to the pod that it is sent on to.
func (e *Engine) targets(from, to *group, protocol int, p portRange) ([]target, refusal) {
	if to.service != nil {
		return e.throughService(from, to.service, protocol, p)
	}
	var out []target
	for _, party := range to.parties {
		if party.Pod == nil && p.name != "" {
			return nil, refusal{text: "port " + p.name + " is a name, and " + e.Label(party) + " has no named ports: give its number", unknown: true}
		}
		if s := e.nodePort(party, protocol, p); s != nil {
			list, no := e.throughNodePort(s, protocol, p)
			if no.text != "" {
				return nil, no
			}
			out = append(out, list...)
			continue
		}
		out = append(out, target{party: party, ports: p})
	}
	if p.name != "" && !slices.ContainsFunc(out, func(t target) bool { return len(e.numbers(t.party.Pod, p.name, protocol)) > 0 }) {
		return nil, refusal{text: "no container of the destination has a " + Protocols[protocol] + " port called " + p.name, unknown: true}
	}
	return out, refusal{}
}

func (e *Engine) throughService(from *group, s *model.Service, protocol int, p portRange) ([]target, refusal) {
	ref := string(model.NewRef("service", s.Namespace, s.Name))
	if s.Type == "ExternalName" {
		return nil, refusal{by: ref, text: ref + " is a name for " + s.ExternalName + ": ask about that name", unknown: true}
	}
	outside := slices.ContainsFunc(from.parties, func(p Party) bool { return p.entry >= e.outside })
	if outside && s.Type != "LoadBalancer" && s.Type != "NodePort" && len(s.ExternalIPs) == 0 {
		return nil, refusal{by: ref, text: ref + " is of type " + s.Type + ": nothing outside of the cluster can reach its address"}
	}
	doubtful := ""
	if outside && s.ExternalTrafficPolicy != "Local" {
		doubtful = ref + " has externalTrafficPolicy Cluster: whether policies see the client or a node as the source differs between dataplanes"
	}
	return e.backendTargets(s, protocol, p, doubtful, func(sp *model.ServicePort) bool {
		return p.name != "" && sp.Name == p.name || p.name == "" && p.first <= sp.Port && sp.Port <= p.last
	})
}

// backendTargets are the pods behind those ports of a Service that are meant.
func (e *Engine) backendTargets(s *model.Service, protocol int, p portRange, doubtful string, meant func(*model.ServicePort) bool) ([]target, refusal) {
	ref := string(model.NewRef("service", s.Namespace, s.Name))
	pods := e.backends(s)
	if len(pods) == 0 {
		if len(s.Selector) == 0 {
			return nil, refusal{text: ref + " has no selector, and its endpoints are no pods that were read", unknown: true}
		}
		return nil, refusal{by: ref, text: ref + " has no endpoints: its selector selects no pods"}
	}
	var out []target
	some := false
	for i := range s.Ports {
		sp := &s.Ports[i]
		if k, _ := ProtocolIndex(sp.Protocol); k != protocol || !meant(sp) {
			continue
		}
		some = true
		for _, pod := range pods {
			out = e.behind(out, s, pod, sp, protocol, doubtful)
		}
	}
	if s.Headless && !some && p.name == "" { // its name leads to the pods themselves: every port is there
		for _, pod := range pods {
			out = e.at(out, pod, p, doubtful)
		}
		return out, refusal{}
	}
	switch {
	case !some:
		return nil, refusal{by: ref, text: ref + " has no " + Protocols[protocol] + " port that is meant"}
	case len(out) == 0:
		return nil, refusal{by: ref, text: ref + " leads nowhere: none of its pods has a port of the name that it targets"}
	}
	return out, refusal{}
}

// behind is one pod behind one port of a Service.
func (e *Engine) behind(out []target, s *model.Service, pod *model.Pod, sp *model.ServicePort, protocol int, doubtful string) []target {
	if s.Headless {
		return e.at(out, pod, portRange{first: sp.Port, last: sp.Port}, doubtful)
	}
	if n, err := strconv.ParseUint(sp.TargetPort, 10, 16); err == nil {
		return e.at(out, pod, portRange{first: uint16(n), last: uint16(n)}, doubtful)
	}
	for _, r := range e.numbers(pod, sp.TargetPort, protocol) {
		out = e.at(out, pod, r, doubtful)
	}
	return out
}

func (e *Engine) at(out []target, pod *model.Pod, p portRange, doubtful string) []target {
	g := &group{}
	e.join(g, pod)
	for _, party := range g.parties {
		out = append(out, target{party: party, ports: p, doubtful: doubtful})
	}
	return out
}

// backends are the pods behind a Service: those of its EndpointSlices where
// there are any, those that its selector selects before it is applied.
func (e *Engine) backends(s *model.Service) []*model.Pod {
	e.backendOnce.Do(e.indexBackends)
	ref := model.NewRef("service", s.Namespace, s.Name)
	if list, ok := e.bySlice[ref]; ok {
		return list
	}
	if len(s.Selector) == 0 {
		return nil
	}
	sel := policy.NewSelection(s.Namespace, nil, &model.Selector{MatchLabels: s.Selector})
	var out []*model.Pod
	for _, p := range e.byNamespace[s.Namespace] {
		if !ended(p) && sel.Pods.Matches(p.Labels) {
			out = append(out, p)
		}
	}
	return out
}

func (e *Engine) indexBackends() {
	k := &e.x.World().Kube
	e.byNamespace = map[string][]*model.Pod{}
	for _, p := range k.Pods {
		e.byNamespace[p.Namespace] = append(e.byNamespace[p.Namespace], p)
	}
	for _, list := range e.byNamespace {
		slices.SortFunc(list, func(a, b *model.Pod) int { return strings.Compare(a.Name, b.Name) })
	}
	e.bySlice = map[model.Ref][]*model.Pod{}
	for _, s := range k.EndpointSlices {
		ref := model.NewRef("service", s.Namespace, s.Service)
		list := e.bySlice[ref]
		for i := range s.Endpoints {
			for _, p := range e.endpointPods(&s.Endpoints[i]) {
				if !slices.Contains(list, p) {
					list = append(list, p)
				}
			}
		}
		slices.SortFunc(list, func(a, b *model.Pod) int { return strings.Compare(a.Name, b.Name) })
		e.bySlice[ref] = list
	}
}

func (e *Engine) endpointPods(end *model.SliceEndpoint) []*model.Pod {
	if p := e.x.World().Kube.Pods[end.Target]; p != nil {
		return []*model.Pod{p}
	}
	for _, a := range end.Addresses {
		if ip, err := netip.ParseAddr(a); err == nil {
			if p := e.x.PodAt(ip); p != nil {
				return []*model.Pod{p}
			}
		}
	}
	return nil
}

// nodePort is the Service that a port of a node leads to.
func (e *Engine) nodePort(party Party, protocol int, p portRange) *model.Service {
	if party.entry < e.pods || party.entry >= e.outside || p.first != p.last {
		return nil
	}
	for _, s := range e.x.World().Kube.Services {
		for i := range s.Ports {
			if k, _ := ProtocolIndex(s.Ports[i].Protocol); s.Ports[i].NodePort == p.first && k == protocol {
				return s
			}
		}
	}
	return nil
}

func (e *Engine) throughNodePort(s *model.Service, protocol int, p portRange) ([]target, refusal) {
	why := fmt.Sprintf("port %d is the NodePort of service/%s/%s: whether policies see the client or a node as the source differs between dataplanes", p.first, s.Namespace, s.Name)
	return e.backendTargets(s, protocol, p, why, func(sp *model.ServicePort) bool { return sp.NodePort == p.first })
}
