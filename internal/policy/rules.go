package policy

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Rules are the policies of a World, of every kind, in one neutral form. The
// evaluator of one flow and the engine of all pairs read nothing else.
//
// A connection is judged at each end that is a pod with an address of its own:
// egress at its source, ingress at its destination. It passes if both let it.
// At one end, in one direction:
//
//  1. The tiers are asked in order. In a tier, those policies count whose
//     Subject selects the pod and whose Side for the direction is not nil.
//  2. In a tier, policies are asked by Rank, each policy's rules in order. The
//     first rule that matches decides: Allow and Deny end everything; Next goes
//     on to the next tier; Log decides nothing and is passed over. Policies of
//     one Rank have no defined order: where they would decide differently, the
//     answer is unknown.
//  3. When no rule of the tier decides: Deny if any of the policies that count
//     Isolates the pod in this direction, else the next tier.
//  4. After the last tier: Allow.
//
// Whatever is not understood makes one rule (or one policy's Subject)
// uncertain: it may match or not, if all else about it matches. The answer is
// unknown only if it comes out differently for the two.
type Rules struct {
	Dialect Dialect
	Engine  string // what the dialect was told from; "" when nothing said so
	Tiers   []Tier
	Ignored []Ignored // policies that nothing carries out for pods, with the reason

	// OwnNodeIngress, OwnNodeEgress say that a pod and its own node talk whatever policies say.
	OwnNodeIngress, OwnNodeEgress bool
}

// Tier is one step of the order in which policies are asked.
type Tier struct {
	Name     string    // "admin", "networkpolicy", "baseline"; with Calico the tiers' own names
	Policies []*Policy // by Rank, then by Ref
}

// Policy is one policy as it is asked.
type Policy struct {
	Ref     model.Ref
	Kind    string // as people write it: "NetworkPolicy", "AdminNetworkPolicy", …
	Order   string // its own priority or order in words, "" when its kind has none
	Rank    int    // place among the policies of its tier, from 0; equal: no defined order
	Subject Selection
	Ingress *Side // nil: says nothing about ingress
	Egress  *Side
}

// RuleText names a rule by the policy's own list in which it stands, and its
// place there, counted from one: "egress rule 2". Cilium keeps what denies in
// lists of their own.
func (p *Policy) RuleText(r *Rule, ingress bool) string {
	return p.list(r, ingress) + " rule " + strconv.Itoa(r.Index+1)
}

func (p *Policy) list(r *Rule, ingress bool) string {
	if r.Action == Deny && strings.HasPrefix(p.Kind, "Cilium") {
		return direction(ingress) + "Deny"
	}
	return direction(ingress)
}

// Side is what a policy says about one direction.
type Side struct {
	Rules    []Rule
	Isolates bool   // what no rule of the tier decides is denied
	Default  string // what the refusal is called where that is no default deny of the policy's own
}

// Action is what a rule does to what it matches.
type Action uint8

// The actions. Unsure is that of a rule whose own action is not understood.
const (
	Unsure Action = iota
	Allow
	Deny
	Next // Pass: the next tier decides
	Log  // decides nothing
)

var actionNames = [...]string{"unknown", "allow", "deny", "pass", "log"}

func (a Action) String() string { return actionNames[int(a)%len(actionNames)] }

// Rule is one rule. It matches when the other side is any of its Peers, the pod
// that the policy selects is any of Self, and the port is any of Ports and none
// of NotPorts.
type Rule struct {
	Index    int    // in the policy's own list, from 0; two neutral rules may stem from one
	Name     string // its own name, for kinds whose rules have names
	Action   Action
	Peers    []Peer // empty: everybody
	Self     []Peer // empty: no further condition (Calico: an ingress rule's destination, an egress rule's source)
	Ports    []Port // empty: every port of every protocol
	NotPorts []Port
	Unknown  string // not empty: whether it matches is not known where all else does, and why
	Windows  string // as Unknown, but only for selected pods on Windows nodes
}

// PeerKind is what kind of thing a Peer describes.
type PeerKind uint8

// The kinds of peers.
const (
	Nobody  PeerKind = iota // matches nothing
	Pods                    // pods with an address of their own that Pods selects
	Hosts                   // cluster nodes (and pods in their network) that Nodes selects
	Range                   // addresses, whoever has them
	Names                   // addresses that DNS names resolve to
	Anyone                  // everybody
	Mystery                 // not understood: may be anybody
)

// Peer is one description of the other side. For all kinds but Names and
// Mystery the address must also lie in one of CIDRs (where there are any) and in
// none of Except.
type Peer struct {
	Kind   PeerKind
	Pods   Selection      // Pods
	Nodes  Selector       // Hosts: labels of the node
	Own    Where          // Hosts: the selected pod's own node, other nodes, or any
	CIDRs  []netip.Prefix // Range; a further condition for the others
	Except []netip.Prefix
	Beyond bool     // Range: addresses of pods and nodes of the cluster are not meant (Cilium's identities)
	Names  []string // Names: "example.com", "*.example.com"
	Why    string   // Mystery: the reason
}

// Where says which nodes are meant.
type Where uint8

// Any node, the pod's own, or all others.
const (
	AnyNode Where = iota
	OwnNode
	OtherNode
)

// Port is a range of ports of a protocol, or a name that containers give to a port.
type Port struct {
	Protocol    string // "tcp", "udp", "sctp", …; "" is every protocol
	First, Last uint16 // 0 and 65535: all
	Name        string // looked up on the pod that is connected to; First and Last are then 0
	Unknown     string // not empty: a match is uncertain, and why
}

// Ignored is a policy that is not carried out, and why.
type Ignored struct {
	Ref    model.Ref
	Reason string
}
