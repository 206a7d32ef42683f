package decode

import (
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// adminPolicy reads the three kinds of policy.networking.k8s.io, of any version:
// they differ in how ports are written and in what allowing is called.
func adminPolicy(w *model.World, o *object) error {
	p := &model.AdminPolicy{Ref: model.NewRef(o.kind, o.name), Tier: "admin"}
	s := o.spec
	unknown := ""
	switch o.kind {
	case "BaselineAdminNetworkPolicy":
		p.Tier = "baseline"
	case "ClusterNetworkPolicy":
		switch t := s.text("tier"); t {
		case "Admin":
		case "Baseline":
			p.Tier = "baseline"
		default:
			unknown = "its tier " + strconv.Quote(short(t)) + " is not known"
		}
	}
	if n := s.number("priority"); n != nil {
		p.Priority = int32(max(-1<<31, min(1<<31-1, *n)))
	}
	p.Subject = podsPeer(s.object("subject"))
	for i, r := range s.list("ingress") {
		p.Ingress = append(p.Ingress, adminRule(r, "from", i))
	}
	for i, r := range s.list("egress") {
		p.Egress = append(p.Egress, adminRule(r, "to", i))
	}
	p.Subject.Unknown = first(p.Subject.Unknown, unknown, s.left())
	put(&w.Kube.AdminPolicies, p.Ref, p)
	return nil
}

// podsPeer reads {namespaces} or {pods: {namespaceSelector, podSelector}}.
func podsPeer(f *fields) model.AdminPods {
	var out model.AdminPods
	why := ""
	switch {
	case f.has("namespaces"):
		out.Namespaces, why = selector(f.get("namespaces"))
	case f.has("pods"):
		pods := f.object("pods")
		var more string
		out.Namespaces, why = selector(pods.get("namespaceSelector"))
		out.Pods, more = selector(pods.get("podSelector"))
		why = first(why, more, pods.left())
	default:
		why = "it says neither namespaces nor pods"
	}
	out.Unknown = first(f.left(), why)
	return out
}

func adminRule(v any, peers string, _ int) model.AdminRule {
	f := fieldsOf(v)
	r := model.AdminRule{Name: short(f.text("name")), Action: f.text("action")}
	for _, p := range f.list(peers) {
		r.Peers = append(r.Peers, adminPeer(fieldsOf(p)))
	}
	why := ""
	for _, p := range f.list("ports") {
		port, reason := adminPort(fieldsOf(p))
		r.Ports, why = append(r.Ports, port), first(why, reason)
	}
	for _, p := range f.list("protocols") {
		port, reason := adminProtocol(fieldsOf(p))
		r.Ports, why = append(r.Ports, port), first(why, reason)
	}
	if len(r.Peers) == 0 {
		why = first(why, "it names no peers")
	}
	r.Unknown = first(f.left(), why)
	return r
}

func adminPeer(f *fields) model.AdminPeer {
	var p model.AdminPeer
	why := ""
	switch {
	case f.has("nodes"):
		p.Nodes, why = selector(f.get("nodes"))
	case f.has("networks"):
		p.Networks = f.prefixes("networks")
	case f.has("domainNames"):
		for _, n := range f.texts("domainNames") {
			if rest, ok := strings.CutPrefix(n, "*."); ok {
				n = "**." + rest // here one star stands for one or more labels
			}
			p.Names = append(p.Names, n)
		}
	default:
		pods := podsPeer(f)
		p.Pods, why = &pods, pods.Unknown
	}
	p.Unknown = first(f.left(), why)
	return p
}

// adminPort reads a port as v1alpha1 writes it.
func adminPort(f *fields) (model.PolicyPort, string) {
	var p model.PolicyPort
	var inner *fields
	switch {
	case f.has("portNumber"):
		inner = f.object("portNumber")
		p.Protocol, p.Port = first(inner.text("protocol"), "TCP"), inner.text("port")
		inner.port("port")
	case f.has("portRange"):
		inner = f.object("portRange")
		p.Protocol, p.Port, p.EndPort = first(inner.text("protocol"), "TCP"), inner.text("start"), inner.port("end")
		inner.port("start")
	case f.has("namedPort"):
		p.Port = f.text("namedPort")
		return p, f.left()
	default:
		return p, first(f.left(), "a port says neither number, range nor name")
	}
	return p, first(inner.left(), f.left())
}

// adminProtocol reads a port as ClusterNetworkPolicy writes it.
func adminProtocol(f *fields) (model.PolicyPort, string) {
	if f.has("destinationNamedPort") {
		return model.PolicyPort{Port: f.text("destinationNamedPort")}, f.left()
	}
	for _, name := range []string{"tcp", "udp", "sctp"} {
		if !f.has(name) {
			continue
		}
		p := model.PolicyPort{Protocol: strings.ToUpper(name)}
		of := f.object(name)
		port := of.object("destinationPort")
		why := ""
		switch {
		case port.has("number"):
			p.Port = port.text("number")
			port.port("number")
		case port.has("range"):
			r := port.object("range")
			p.Port, p.EndPort = r.text("start"), r.port("end")
			r.port("start")
			why = r.left()
		}
		return p, first(why, port.left(), of.left(), f.left())
	}
	return model.PolicyPort{}, first(f.left(), "a protocol is none that is known")
}
