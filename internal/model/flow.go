package model

import "net/netip"

// Flow is one connection as a packet header shows it at one place of its way.
type Flow struct {
	Protocol string     `json:"protocol"`          // "tcp" or "udp"
	Src      netip.Addr `json:"src,omitzero"`      // unset: not known
	SrcPort  uint16     `json:"srcPort,omitempty"` // 0: any ephemeral port
	Dst      netip.Addr `json:"dst,omitzero"`
	DstPort  uint16     `json:"dstPort,omitempty"`
	Host     string     `json:"host,omitempty"`     // SNI and Host header, when there is one
	Scheme   string     `json:"scheme,omitempty"`   // "https", "http" or ""
	HostPort uint16     `json:"hostPort,omitempty"` // the port of Host that a proxy at Dst is asked for; 0: Dst is no proxy
	From     Ref        `json:"from,omitempty"`     // who opens it, when it is an object that was read
	To       Ref        `json:"to,omitempty"`
	Alike    bool       `json:"-"` // From and To stand for two pods that are alike in everything, not for one that talks to itself
}

// Endpoint is one side of a question as the user wrote it, parsed.
type Endpoint struct {
	Raw       string     `json:"raw"`                 // as typed, but for what may be secret in a URL
	Kind      string     `json:"kind"`                // pod, deployment, …, service, node, ip, host, url, internet
	Namespace string     `json:"namespace,omitempty"` // for namespaced kinds
	Name      string     `json:"name,omitempty"`
	Host      string     `json:"host,omitempty"` // host and url
	Addr      netip.Addr `json:"addr,omitzero"`  // ip, and hosts that are literals
	Port      uint16     `json:"port,omitempty"`
	Scheme    string     `json:"scheme,omitempty"` // http, https, tcp, udp
	Path      string     `json:"path,omitempty"`   // of a URL, with its query
}

// Question is what the user asked.
type Question struct {
	From      Endpoint   `json:"from"`
	To        Endpoint   `json:"to"`
	Protocol  string     `json:"protocol"`            // "tcp" or "udp"
	Host      string     `json:"host,omitempty"`      // SNI and Host, when other than To's
	Address   netip.Addr `json:"address,omitzero"`    // pins the destination address
	Container string     `json:"container,omitempty"` // of From's pod, whose settings and certificates count; default: see Pod.App
	Via       string     `json:"via,omitempty"`       // "app": the pod's own established connections
	Beside    []Endpoint `json:"beside,omitempty"`    // other destinations that are watched beside To, to be compared with
}

// Step is one place on the way with what happens there and why.
type Step struct {
	Hop     Hop      `json:"hop"`
	At      Ref      `json:"at"`                // the place: "nsg/nsg-nodes", "node/n1", "subnet/v/s"
	Title   string   `json:"title"`             // "NSG nsg-aks on subnet nodes, outbound"
	Verdict Verdict  `json:"verdict"`           // what happens to the packet here
	Decided Ref      `json:"decided,omitempty"` // the line of configuration that decided: "nsg/nsg-nodes/DenyWeb"
	Reason  string   `json:"reason"`            // one sentence: which line, why
	In      Flow     `json:"in"`                // the packet as it arrives
	Out     Flow     `json:"out"`               // as it leaves (rewritten or not); zero after a drop
	Trail   []string `json:"trail,omitempty"`   // what else was looked at, in order
	Gaps    []Gap    `json:"gaps,omitempty"`    // what could not be read and would decide

	Filter *FilterRule `json:"filter,omitempty"` // the rule of a node's packet filter that decided
	Proxy  *ProxyState `json:"proxy,omitempty"`  // what a node has of a Service

	Terminates bool `json:"terminates,omitempty"` // it ends the connection itself and opens one of its own: an answer to a SYN comes from here

	Service *ServiceChoice `json:"service,omitempty"` // how a Service chose, where it did not choose among all of its endpoints
	Outer   bool           `json:"outer,omitempty"`   // it is about a packet from node to node that carries the pods' own
	Hairpin bool           `json:"hairpin,omitempty"` // it is about a pod that is the endpoint of its own connection
}

// FilterRule is one rule of a node's packet filter, or the policy of a chain.
type FilterRule struct {
	Tool   string  `json:"tool"` // iptables-legacy, iptables-nft, nft
	Family string  `json:"family"`
	Table  string  `json:"table"`
	Chain  string  `json:"chain"`
	Text   string  `json:"text"`             // the rule's own words; of a policy: "policy drop"
	Handle int     `json:"handle,omitempty"` // to name it in nft
	Line   int     `json:"line,omitempty"`   // in iptables-save's output
	With   string  `json:"with,omitempty"`   // what a reject sends back
	Share  float64 `json:"share,omitempty"`  // of the connections, where not all
}

// ServiceChoice says which of a Service's own settings kept a packet from its endpoints.
type ServiceChoice struct {
	By        string   `json:"by"`                  // the field of the Service: externalTrafficPolicy, internalTrafficPolicy, loadBalancerSourceRanges; or addressType of its slices
	Node      string   `json:"node,omitempty"`      // that translates
	All       int      `json:"all"`                 // ready endpoints, wherever they are
	Elsewhere []string `json:"elsewhere,omitempty"` // the nodes that have some
}

// ProxyState compares what a node's kube-proxy wrote for a Service's port with
// the endpoints that the API has.
type ProxyState struct {
	Mode    string   `json:"mode"`              // iptables, nftables, ipvs, "" not known
	Absent  bool     `json:"absent,omitempty"`  // nothing translates the Service's address
	Refused bool     `json:"refused,omitempty"` // the node refuses it, as a Service without endpoints
	Stale   []string `json:"stale,omitempty"`   // targets that are no endpoints: address:port
	Missing []string `json:"missing,omitempty"` // endpoints that are no targets
	Share   float64  `json:"share,omitempty"`   // of the connections that go to stale targets
	Bare    bool     `json:"bare,omitempty"`    // it sends on to another node without its own address as the source: the answer goes past it
	Rule    string   `json:"rule,omitempty"`    // that translates to the first stale target, or refuses
	Order   bool     `json:"order,omitempty"`   // another table translates at the same priority: Share is so if the stale one's comes first, which no tool tells
}

// Path is the predicted way of one flow.
type Path struct {
	Flow    Flow         `json:"flow"`
	Steps   []Step       `json:"steps"`
	After   []Step       `json:"after,omitempty"`  // what would come after the first drop, judged as if it had passed: blocks in a row are all seen
	Return  []Step       `json:"return,omitempty"` // the way back, from the far end
	Egress  []netip.Addr `json:"egress,omitempty"` // public source addresses the far end may see
	Device  Ref          `json:"device,omitempty"` // what translates the source: natgateway/…, loadbalancer/…, firewall/…
	Verdict Verdict      `json:"verdict"`          // Pass only if every step and every return step passes
	Spread  *Spread      `json:"spread,omitempty"` // of a Service with several endpoints: how many of the ways are like this one
}

// Spread is how many of the ways to a Service's endpoints are blocked.
type Spread struct {
	Ways    int `json:"ways"`
	Blocked int `json:"blocked"`
}

// Share is the share of the connections that the path's fate meets, where that
// is known to be a part of them; 1 otherwise.
func (p *Path) Share(s *Step) float64 {
	switch {
	case s != nil && s.Proxy != nil && s.Proxy.Share > 0:
		return s.Proxy.Share
	case p.Spread != nil && p.Spread.Blocked > 0:
		return float64(p.Spread.Blocked) / float64(p.Spread.Ways)
	}
	return 1
}

// Broken is the first step (out, then back) that does not let the packet pass, or nil.
func (p *Path) Broken() *Step {
	for _, steps := range [][]Step{p.Steps, p.Return} {
		for i := range steps {
			if v := steps[i].Verdict; v == Drop || v == Reject {
				return &steps[i]
			}
		}
	}
	return nil
}

// Terminates says that a step of the way there ends the sender's connection.
func (p *Path) Terminates() bool {
	for i := range p.Steps {
		if p.Steps[i].Terminates {
			return true
		}
	}
	return false
}

// Gap is one thing that could not be read, and what would allow it.
type Gap struct {
	What       string `json:"what"`                 // "route table rt-nodes", "nodes"
	Ref        Ref    `json:"ref,omitempty"`        // the object, when it is one
	Reason     string `json:"reason"`               // "403 AuthorizationFailed", "timed out after 5s"
	Permission string `json:"permission,omitempty"` // "get nodes (cluster scope)" or "Microsoft.Network/routeTables/read on …"
	Skipped    bool   `json:"skipped,omitempty"`    // left out because the answer did not need it
}
