package examine

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/collect/kube"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
	"github.com/podpath/podpath/internal/trace"
)

// maxAddresses bounds how many addresses of one name are traced.
const maxAddresses = 4

// flows are the connections to predict: one for each address that the question
// leads to, those first that a probe from the asking side found broken. Without
// any known address one flow to "somewhere on the internet" is left.
func flows(c *model.Case, from kube.From) []model.Flow {
	q := &c.Question
	base := model.Flow{
		Protocol: q.Protocol, DstPort: port(c, q.To), Scheme: q.To.Scheme, From: from.Ref(), Host: q.To.Host, Src: from.Addr,
	}
	if q.Host != "" {
		base.Host = q.Host
	}
	if q.To.Kind == "internet" { // the planner chose the hosts that stand for it
		for i := range c.Observations {
			if to, err := model.ParseEndpoint(c.Observations[i].Target, false); err == nil && to.Host != "" {
				base.Host, base.Scheme = to.Host, "https"
				break
			}
		}
	}
	var out []model.Flow
	for _, dst := range destinations(c) {
		f := base
		f.Dst = dst.Addr()
		if dst.Port() != 0 {
			f.DstPort = dst.Port()
		}
		if throughProxy(c, dst) {
			f.HostPort = base.DstPort
		}
		out = append(out, f)
	}
	if len(out) == 0 {
		base.To = unaddressed(q.To)
		out = append(out, base)
	}
	return out
}

// throughProxy says that a question went to this address because a proxy is there.
func throughProxy(c *model.Case, dst netip.AddrPort) bool {
	return slices.ContainsFunc(c.Observations, func(o model.Observation) bool {
		return o.Purpose == probe.PurposeQuestion && o.Proxy != "" && o.Address == dst
	})
}

// unaddressed is the pod, or what owns pods, that was asked for and has no
// address; "" for all else.
func unaddressed(to model.Endpoint) model.Ref {
	switch to.Kind {
	case "pod", "deployment", "replicaset", "statefulset", "daemonset", "job":
		return model.NewRef(to.Kind, to.Namespace, to.Name)
	}
	return ""
}

// destinations are the addresses that were asked for, connected to, or answered by DNS.
func destinations(c *model.Case) []netip.AddrPort {
	q := &c.Question
	if q.Address.IsValid() {
		return []netip.AddrPort{netip.AddrPortFrom(q.Address, 0)}
	}
	if known := knownAddrs(c); len(known) > 0 {
		return first(known)
	}
	origin := model.VantagePod
	if q.From.Kind == "node" {
		origin = model.VantageNode
	}
	var broken, fine, answered []netip.AddrPort
	for i := range c.Observations {
		o := &c.Observations[i]
		if o.Purpose != "" && o.Purpose != probe.PurposeQuestion {
			continue
		}
		for _, query := range o.Queries {
			answered = append(answered, addrs(query.Answers)...)
		}
		if o.Vantage != origin || !o.Address.IsValid() {
			continue
		}
		if o.Result == model.OK {
			fine = append(fine, o.Address)
		} else {
			broken = append(broken, o.Address)
		}
	}
	if list := first(slices.Concat(broken, fine)); len(list) > 0 {
		return list
	}
	return first(answered)
}

// knownAddrs are the addresses that the question names or that an object has.
func knownAddrs(c *model.Case) []netip.AddrPort {
	to := c.Question.To
	if to.Addr.IsValid() {
		return []netip.AddrPort{netip.AddrPortFrom(to.Addr, 0)}
	}
	var out []netip.AddrPort
	add := func(list []netip.Addr) {
		for _, a := range list {
			out = append(out, netip.AddrPortFrom(a, 0))
		}
	}
	k := &c.World.Kube
	switch to.Kind {
	case "service":
		if s := k.Services[model.NewRef("service", to.Namespace, to.Name)]; s != nil {
			add(s.ClusterIPs)
		}
	case "node":
		if n := k.Nodes[to.Name]; n != nil {
			add(n.InternalIPs)
		}
	case "pod":
		if p := k.Pods[model.NewRef("pod", to.Namespace, to.Name)]; p != nil {
			add(p.IPs)
		}
	case "deployment", "replicaset", "statefulset", "daemonset", "job":
		owner := model.NewRef(to.Kind, to.Namespace, to.Name)
		for _, p := range k.Pods {
			if p.Owner == owner && p.Phase == "Running" {
				add(p.IPs)
			}
		}
		slices.SortFunc(out, netip.AddrPort.Compare)
	}
	return out
}

func addrs(answers []string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range answers {
		if ip, err := netip.ParseAddr(a); err == nil {
			out = append(out, netip.AddrPortFrom(ip, 0))
		}
	}
	return out
}

// first drops repeats and keeps the first few; IPv4 comes first, as nearly every cluster's pods have only that.
func first(list []netip.AddrPort) []netip.AddrPort {
	var out []netip.AddrPort
	for _, four := range []bool{true, false} {
		for _, a := range list {
			if a.Addr().Is4() == four && !slices.Contains(out, a) && len(out) < maxAddresses {
				out = append(out, a)
			}
		}
	}
	return out
}

// port is the destination's port: as asked, or a Service's first, or what the probe's planner takes.
func port(c *model.Case, to model.Endpoint) uint16 {
	if to.Port != 0 {
		return to.Port
	}
	if to.Kind == "service" {
		if s := c.World.Kube.Services[model.NewRef("service", to.Namespace, to.Name)]; s != nil && len(s.Ports) > 0 {
			return s.Ports[0].Port
		}
	}
	if to.Kind == "pod" {
		if p := c.World.Kube.Pods[model.NewRef("pod", to.Namespace, to.Name)]; p != nil {
			for _, ctr := range p.Containers {
				if len(ctr.Ports) > 0 {
					return ctr.Ports[0].Port
				}
			}
		}
	}
	return 443
}

// facts are what the probe's planner may know beyond the question.
func facts(c *model.Case, pod *model.Pod) probe.Facts {
	f := probe.Facts{Port: port(c, c.Question.To)}
	for _, a := range knownAddrs(c) {
		f.Addrs = append(f.Addrs, a.Addr())
	}
	if pod != nil {
		f.Env = appEnv(pod, c.Question.Container)
		f.NoClusterDNS = pod.DNSPolicy == "Default" || pod.DNSPolicy == "None" || pod.HostNetwork && pod.DNSPolicy != "ClusterFirstWithHostNet"
	}
	f.Proxy = proxyOfOthers(c, pod)
	f.DNSServers = nameServers(c)
	if strings.HasPrefix(anyProviderID(c), "azure:") {
		// Azure is being read meanwhile: what every AKS cluster needs must do.
		bare := model.World{Azure: model.Azure{Cluster: &model.ManagedCluster{}}}
		for _, e := range trace.RequiredEndpoints(&bare) {
			if e.Optional || strings.Contains(e.Domain, "*") || !strings.EqualFold(e.Protocol, "https") {
				continue
			}
			f.Others = append(f.Others, net.JoinHostPort(e.Domain, strconv.Itoa(443)))
		}
	}
	return f
}

// appEnv is the environment of the container that the question is about.
func appEnv(pod *model.Pod, name string) map[string]string {
	if c := pod.App(name); c != nil {
		return c.Env
	}
	return nil
}

// proxyOfOthers is a proxy that other pods use and this one does not.
func proxyOfOthers(c *model.Case, pod *model.Pod) string {
	refs := make([]model.Ref, 0, len(c.World.Kube.Pods))
	for ref := range c.World.Kube.Pods {
		refs = append(refs, ref)
	}
	slices.Sort(refs)
	for _, ref := range refs {
		p := c.World.Kube.Pods[ref]
		if p == pod {
			continue
		}
		env := appEnv(p, "")
		for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
			if env[name] != "" {
				return env[name]
			}
		}
	}
	return ""
}

// nameServers are the addresses of the cluster's DNS pods.
func nameServers(c *model.Case) []netip.Addr {
	return slices.SortedFunc(maps.Keys(resolvers(c)), netip.Addr.Compare)
}

// resolvers are the addresses of the cluster's DNS pods, with their nodes.
func resolvers(c *model.Case) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for _, p := range c.World.Kube.Pods {
		if p.Labels["k8s-app"] == "kube-dns" && p.Phase == "Running" && len(p.IPs) > 0 {
			out[p.IPs[0]] = p.Node
		}
	}
	return out
}

func anyProviderID(c *model.Case) string {
	for _, n := range c.World.Kube.Nodes {
		if n.ProviderID != "" {
			return n.ProviderID
		}
	}
	return ""
}
