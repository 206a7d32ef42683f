package reach

import (
	"cmp"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

// named is a port that a pod's containers give a name to.
type named struct {
	name     string
	protocol int
	port     uint16
}

// unit is a class of pods that no rule tells apart.
type unit struct {
	ns      string
	rep     *model.Pod   // stands for all
	members []*model.Pod // in order of their names
	entries []int32      // one for each address, or one for none
	names   []named      // of those that rules use
	nameID  int32        // equal for equal names
	sides   [2][]int32   // profile of egress, of ingress, at each entry
}

// entry is one address, or class of addresses, that rules may name as a peer.
type entry struct {
	unit int32      // -1: no pod
	node string     // of a node's address
	ip   netip.Addr // one of it; invalid: a pod without an address
	atom int32      // -1: none
}

// looks are what the rules of a World look at; all else makes no difference.
type looks struct {
	values   map[string]map[string]bool // by label; nil: any value may make a difference
	keys     []string
	ports    map[string]bool
	accounts bool
	nodes    bool // on which node a pod is
	prefixes []netip.Prefix
}

func look(r *policy.Rules) *looks {
	l := &looks{values: map[string]map[string]bool{}, ports: map[string]bool{}}
	for i := range r.Tiers {
		for _, p := range r.Tiers[i].Policies {
			l.selection(&p.Subject)
			l.side(p.Ingress)
			l.side(p.Egress)
		}
	}
	l.keys = slices.Sorted(maps.Keys(l.values))
	return l
}

func (l *looks) side(s *policy.Side) {
	if s == nil {
		return
	}
	for i := range s.Rules {
		r := &s.Rules[i]
		l.nodes = l.nodes || r.Windows != ""
		for _, list := range [2][]policy.Peer{r.Peers, r.Self} {
			for j := range list {
				p := &list[j]
				l.selection(&p.Pods)
				l.nodes = l.nodes || p.Kind == policy.Hosts && p.Own != policy.AnyNode
				l.prefixes = append(append(l.prefixes, p.CIDRs...), p.Except...)
			}
		}
		for _, list := range [2][]policy.Port{r.Ports, r.NotPorts} {
			for _, p := range list {
				if p.Name != "" {
					l.ports[p.Name] = true
				}
			}
		}
	}
}

func (l *looks) selection(s *policy.Selection) {
	l.accounts = l.accounts || len(s.ServiceAccounts) > 0 || !s.Accounts.Everything()
	for i := range s.Pods.Reqs {
		r := &s.Pods.Reqs[i]
		known, seen := l.values[r.Key]
		if !seen {
			known = map[string]bool{}
			l.values[r.Key] = known
		}
		for _, v := range r.Values {
			if known != nil {
				known[v] = true
			}
		}
	}
	if s.Pods.Expr != nil {
		for _, k := range s.Pods.Keys() {
			l.values[k] = nil
		}
	}
}

// signature is equal for pods that no rule tells apart.
func (e *Engine) signature(buf []byte, p *model.Pod, ports []named, ipAtoms []int32) []byte {
	word := func(s string) { buf = append(binary.AppendUvarint(buf, uint64(len(s))), s...) }
	word(p.Namespace)
	for i, k := range e.looks.keys {
		v, ok := p.Labels[k]
		if !ok {
			continue
		}
		buf = binary.AppendUvarint(buf, uint64(i)+1)
		if known := e.looks.values[k]; known == nil || known[v] {
			word(v)
		} else {
			buf = append(buf, 0xff, 0xff) // a value that no rule names
		}
	}
	buf = append(buf, 0)
	if e.looks.accounts {
		word(p.ServiceAccount)
	}
	if e.looks.nodes {
		word(p.Node)
	}
	for _, n := range ports {
		word(n.name)
		buf = append(buf, byte(n.protocol), byte(n.port), byte(n.port>>8))
	}
	buf = append(buf, 0)
	for _, a := range ipAtoms {
		buf = binary.AppendVarint(buf, int64(a))
	}
	return buf
}

// portNames are the named ports of a pod that rules use.
func (e *Engine) portNames(buf []named, p *model.Pod) []named {
	if len(e.looks.ports) == 0 {
		return buf
	}
	for i := range p.Containers {
		c := &p.Containers[i]
		if !policy.Serves(c) {
			continue
		}
		for _, port := range c.Ports {
			if port.Name == "" || !e.looks.ports[port.Name] {
				continue
			}
			if protocol, ok := ProtocolIndex(cmp.Or(port.Protocol, "tcp")); ok {
				buf = append(buf, named{port.Name, protocol, port.Port})
			}
		}
	}
	if len(buf) > 1 {
		slices.SortFunc(buf, func(a, b named) int {
			return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.port, b.port))
		})
		buf = slices.Compact(buf)
	}
	return buf
}

// classify puts the pods into units.
func (e *Engine) classify() {
	w := e.x.World()
	bySignature := make(map[string]int32, 1024)
	nameIDs := map[string]int32{"": 0}
	var buf []byte
	var names []named
	var ipAtoms []int32
	for _, p := range w.Kube.Pods {
		if !policy.Lives(p) {
			continue
		}
		ipAtoms = ipAtoms[:0]
		for _, ip := range p.IPs {
			ipAtoms = append(ipAtoms, e.atoms.of(ip.Unmap()))
		}
		names = e.portNames(names[:0], p)
		buf = e.signature(buf[:0], p, names, ipAtoms)
		id, ok := bySignature[string(buf)]
		if !ok {
			id = int32(len(e.units))
			bySignature[string(buf)] = id
			e.units = append(e.units, unit{ns: p.Namespace, rep: p, names: slices.Clone(names)})
		}
		u := &e.units[id]
		u.members = append(u.members, p)
	}
	e.order()
	for i := range e.units {
		u := &e.units[i]
		key := buf[:0]
		for _, n := range u.names {
			key = append(append(key, n.name...), 0, byte(n.protocol), byte(n.port), byte(n.port>>8))
		}
		id, ok := nameIDs[string(key)]
		if !ok {
			id = int32(len(nameIDs))
			nameIDs[string(key)] = id
		}
		u.nameID = id
	}
}

// order makes the order of units and members the same for every run.
func (e *Engine) order() {
	for i := range e.units {
		u := &e.units[i]
		slices.SortFunc(u.members, func(a, b *model.Pod) int { return cmp.Compare(a.Name, b.Name) })
		u.rep = u.members[0]
	}
	slices.SortFunc(e.units, func(a, b unit) int { return cmp.Or(cmp.Compare(a.ns, b.ns), cmp.Compare(a.rep.Name, b.rep.Name)) })
	e.unitOf = make(map[*model.Pod]int32, len(e.x.World().Kube.Pods))
	for i := range e.units {
		for _, p := range e.units[i].members {
			e.unitOf[p] = int32(i)
		}
	}
}

// enter lists all addresses that may be peers: those of units, of nodes, and
// one for each atom, which stands for the rest of it.
func (e *Engine) enter() {
	add := func(n entry) int32 {
		e.entries = append(e.entries, n)
		return int32(len(e.entries) - 1)
	}
	for i := range e.units {
		u := &e.units[i]
		for _, ip := range u.rep.IPs {
			u.entries = append(u.entries, add(entry{unit: int32(i), ip: ip.Unmap(), atom: e.atoms.of(ip.Unmap())}))
		}
		if len(u.rep.IPs) == 0 {
			u.entries = append(u.entries, add(entry{unit: int32(i), atom: -1}))
		}
	}
	e.pods = int32(len(e.entries))
	e.nodeEntry = map[netip.Addr]int32{}
	nodes := e.x.World().Kube.Nodes
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		if nodes[name] == nil {
			continue
		}
		for _, ip := range slices.Concat(nodes[name].InternalIPs, nodes[name].ExternalIPs) {
			ip = ip.Unmap()
			if at, _ := e.x.NodeAt(ip); at == name {
				if _, again := e.nodeEntry[ip]; !again {
					e.nodeEntry[ip] = add(entry{unit: -1, node: name, ip: ip, atom: e.atoms.of(ip)})
				}
			}
		}
	}
	e.outside = int32(len(e.entries))
	for i := range e.atoms.list {
		ip, ok := e.free(int32(i))
		e.dead = append(e.dead, !ok)
		add(entry{unit: -1, ip: ip, atom: int32(i)})
	}
	e.byAtom = make([][]int32, len(e.atoms.list))
	for i := range e.entries {
		if a := e.entries[i].atom; a >= 0 {
			e.byAtom[a] = append(e.byAtom[a], int32(i))
		} else {
			e.unplaced = append(e.unplaced, int32(i))
		}
	}
}

// free is an address of an atom that no pod or node has, as far as a short look finds one.
func (e *Engine) free(i int32) (netip.Addr, bool) {
	ip, ok := e.atoms.sample(i)
	for range 4096 {
		if !ok {
			break
		}
		if _, isNode := e.x.NodeAt(ip); !isNode && e.x.PodAt(ip) == nil {
			return ip, true
		}
		next := ip.Next()
		if !next.IsValid() || e.atoms.of(next) != i {
			break
		}
		ip = next
	}
	return e.atoms.list[i].Addr(), false
}
