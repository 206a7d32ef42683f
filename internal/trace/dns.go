package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/corefile"
	"github.com/podpath/podpath/internal/model"
)

// DefaultClusterDomain is the domain of a cluster that was not told another; AKS has no other.
const DefaultClusterDomain = "cluster.local"

// maxTries bounds how many names of a search list are followed.
const maxTries = 16

// Lookup predicts the way of a name: every name that the sender's resolver will
// ask for, who answers each, and what. seen is what a probe read in resolv.conf;
// without it the pod's dnsPolicy says what the kubelet wrote there.
func (x *Index) Lookup(from model.Ref, host string, seen *model.Resolver) model.Lookup {
	l := model.Lookup{Host: host, From: from}
	pod := x.w.Kube.Pods[from]
	if seen != nil {
		l.Resolver = *seen
	} else {
		l.Resolver, l.Gaps = x.resolverOf(pod, from)
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "" {
		return l
	}
	if a := aliasOf(pod, host); a.IsValid() {
		l.Tries = []model.LookupTry{{Name: corefile.Absolute(host), Result: model.OK, Answers: []string{a.String()}, Steps: []model.Step{{
			Hop: model.HopDNS, At: from, Title: "the pod's /etc/hosts", Verdict: model.Pass, Decided: from, Reason: "hostAliases name it: no server is asked",
		}}}}
		return l
	}
	names := SearchNames(l.Resolver, host)
	l.Notes = resolverNotes(l.Resolver, host)
	for _, name := range names[:min(len(names), maxTries)] {
		try := x.lookupName(name, l.Resolver, pod)
		l.Tries = append(l.Tries, try)
		if try.Result == model.OK {
			break
		}
	}
	return l
}

// SearchNames are the names that the GNU C library asks for, in order, for a
// host and a search list: resolv.conf(5). Others differ as resolverNotes says.
func SearchNames(r model.Resolver, host string) []string {
	asIs := corefile.Absolute(host)
	if strings.HasSuffix(host, ".") {
		return []string{asIs}
	}
	var out []string
	first := strings.Count(host, ".") >= r.Ndots
	if first {
		out = append(out, asIs)
	}
	for _, s := range r.Search {
		if s = strings.Trim(s, "."); s != "" {
			out = append(out, asIs+corefile.Absolute(s))
		}
	}
	if !first {
		out = append(out, asIs)
	}
	return out
}

// resolverNotes says where other resolvers part from that order: musl's does not
// search a name with ndots dots or more, and takes whatever is not NXDOMAIN for
// final (https://wiki.musl-libc.org/functional-differences-from-glibc.html).
func resolverNotes(r model.Resolver, host string) []string {
	if strings.HasSuffix(host, ".") || len(r.Search) == 0 {
		return nil
	}
	var out []string
	if dots := strings.Count(host, "."); dots >= r.Ndots {
		out = append(out, fmt.Sprintf("images with musl (Alpine) ask for %s alone: it has %d dots, and ndots is %d", host, dots, r.Ndots))
	} else {
		out = append(out, "images with musl (Alpine) stop at the first search domain that answers anything but NXDOMAIN, an answer without addresses or SERVFAIL too")
	}
	return out
}

func aliasOf(pod *model.Pod, host string) netip.Addr {
	if pod == nil {
		return netip.Addr{}
	}
	for _, a := range pod.HostAliases {
		for _, n := range a.Hostnames {
			if corefile.Absolute(n) == corefile.Absolute(host) {
				return a.IP
			}
		}
	}
	return netip.Addr{}
}

// resolverOf is what the kubelet writes into a pod's resolv.conf:
// https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pod-s-dns-policy
func (x *Index) resolverOf(pod *model.Pod, from model.Ref) (model.Resolver, []model.Gap) {
	node := from.Name()
	if pod != nil {
		node = pod.Node
	}
	if pod == nil {
		return x.nodeResolver(node)
	}
	policy := pod.DNSPolicy
	if policy == "" {
		policy = "ClusterFirst"
	}
	var r model.Resolver
	var gaps []model.Gap
	switch {
	case policy == "None":
		r = model.Resolver{Ndots: 1, From: "dnsPolicy None and the pod's dnsConfig"}
	case policy == "Default" || pod.HostNetwork && policy == "ClusterFirst":
		r, gaps = x.nodeResolver(node)
		r.From = "dnsPolicy " + policy + ", which here means the node's resolver: " + r.From
	default:
		r = model.Resolver{Servers: x.clusterDNS(), Ndots: 5, From: "dnsPolicy " + policy}
		if a := x.w.NodeDNS(pod.Node); a.IsValid() {
			r.Servers, r.From = []netip.Addr{a}, r.From+", and LocalDNS on the node's pool"
		}
		for _, s := range []string{pod.Namespace + ".svc.", "svc.", ""} {
			r.Search = append(r.Search, s+DefaultClusterDomain)
		}
	}
	if c := pod.DNSConfig; c != nil {
		for _, s := range c.Nameservers {
			if a, err := netip.ParseAddr(s); err == nil && !slices.Contains(r.Servers, a) {
				r.Servers = append(r.Servers, a)
			}
		}
		for _, s := range c.Searches {
			if !slices.Contains(r.Search, s) {
				r.Search = append(r.Search, s)
			}
		}
		if n, err := strconv.Atoi(c.Options["ndots"]); err == nil {
			r.Ndots = n
		}
	}
	return r, gaps
}

// nodeResolver is a node's own: what was read in it, else what its VNet hands out.
func (x *Index) nodeResolver(node string) (model.Resolver, []model.Gap) {
	if facts := x.w.Nodes[node]; facts != nil && facts.Resolv != "" {
		r := ReadResolver(facts.Resolv)
		r.From = "/etc/resolv.conf of node " + node
		return r, nil
	}
	gap := x.gap("node/"+node, "/etc/resolv.conf of node "+node, model.NewRef("node", node), "the node reader (no --no-probe)")
	return model.Resolver{Servers: x.vnetDNS(), Ndots: 1, From: "the VNet's DNS servers"}, []model.Gap{gap}
}

// ReadResolver takes from a resolv.conf what concerns names.
func ReadResolver(text string) model.Resolver {
	const maxLines = 256
	r := model.Resolver{Ndots: 1}
	for _, line := range strings.SplitN(text, "\n", maxLines) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(words[1]); err == nil {
				r.Servers = append(r.Servers, a.Unmap())
			}
		case "search", "domain":
			r.Search = words[1:]
		case "options":
			for _, o := range words[1:] {
				if n, ok := strings.CutPrefix(o, "ndots:"); ok {
					if v, err := strconv.Atoi(n); err == nil {
						r.Ndots = min(max(v, 0), 15)
					}
					continue
				}
				r.Options = append(r.Options, o)
			}
		}
	}
	return r
}

// clusterDNS is the address that kubelets hand to pods: AKS sets it to the
// cluster's dnsServiceIP.
func (x *Index) clusterDNS() []netip.Addr {
	if c := x.az.Cluster; c != nil && c.DNSServiceIP.IsValid() {
		return []netip.Addr{c.DNSServiceIP}
	}
	if svc := x.dnsService(); svc != nil {
		return svc.ClusterIPs
	}
	return nil
}

func (x *Index) dnsService() *model.Service {
	return x.w.Kube.Services[model.NewRef("service", "kube-system", "kube-dns")]
}

// vnetDNS are the servers that the nodes' VNet hands out.
func (x *Index) vnetDNS() []netip.Addr {
	v := x.nodesVNet()
	switch {
	case v == nil:
		return nil
	case len(v.DNSServers) > 0:
		return v.DNSServers
	}
	return []netip.Addr{wireServer}
}

// nodesVNet is the VNet that the cluster's nodes are in.
func (x *Index) nodesVNet() *model.VNet {
	for _, name := range sorted(x.w.Kube.Nodes) {
		n := x.w.Kube.Nodes[name]
		if n == nil {
			continue
		}
		for _, ip := range n.InternalIPs {
			if s, ok := x.subnets.Lookup(ip); ok {
				return x.vnets[strings.ToLower(s.VNetID)]
			}
		}
	}
	return nil
}
