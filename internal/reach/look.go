package reach

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Connection is a rectangle of pairs with the same open ports.
type Connection struct {
	From    []string `json:"from"`
	To      []string `json:"to"`
	Ports   string   `json:"ports"`             // "tcp/80,tcp/443", "all", "" where none is open for sure
	Unknown string   `json:"unknown,omitempty"` // those of which it is not known
}

// Look is what one question without an expectation comes to.
type Look struct {
	Source
	From        Side         `json:"from,omitzero"`
	To          Side         `json:"to,omitzero"`
	Port        string       `json:"port,omitempty"`
	Answer      *Answer      `json:"answer,omitempty"` // where both sides are named
	Connections []Connection `json:"connections"`
}

// Look answers who can reach TO, what FROM can reach, or what is open between both.
func (e *Engine) Look(i Intent, namespace string) (*Look, error) {
	l := &Look{Source: e.Source(), From: i.From, To: i.To, Port: i.Port, Connections: []Connection{}}
	protocol, _ := ProtocolIndex(i.Protocol)
	ports, err := parsePorts(i.Port)
	if err != nil {
		return nil, err
	}
	from, err := e.looked(i.From, namespace)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	to, err := e.looked(i.To, namespace)
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	if !i.From.none() && !i.To.none() {
		a := e.Ask(i, namespace)
		l.Answer = &a
		if to.host != "" {
			return l, nil
		}
	}
	if to.host != "" {
		return nil, fmt.Errorf("--to %s: a name outside of the cluster; name --from and --port too", to.host)
	}
	e.sources(from)
	if from.why != "" {
		return nil, fmt.Errorf("--from: %s", from.why)
	}
	targets, no := e.targets(from, to, protocol, ports)
	if no.text != "" {
		if l.Answer != nil {
			return l, nil
		}
		return nil, fmt.Errorf("--to: %s", no.text)
	}
	mask := mask(i.Port != "", protocol)
	l.Connections = e.table(from.parties, targets, mask, i.To.none())
	return l, nil
}

// mask says which protocols are asked about: all, unless a port is named.
func mask(named bool, protocol int) [len(Protocols)]bool {
	if !named {
		return [...]bool{true, true, true}
	}
	var m [len(Protocols)]bool
	m[protocol] = true
	return m
}

// looked finds a side; one that is not named is everybody.
func (e *Engine) looked(s Side, namespace string) (*group, error) {
	if !s.none() {
		g, err := e.resolve(s, namespace)
		if err == nil && g.why != "" {
			return nil, fmt.Errorf("%s: %s", s, g.why)
		}
		return g, err
	}
	g := &group{}
	for i := range e.units {
		for _, p := range e.units[i].members {
			e.join(g, p)
		}
	}
	for i := e.pods; i < int32(len(e.entries)); i++ {
		n := &e.entries[i]
		if i < e.outside || !e.dead[i-e.outside] {
			g.parties = append(g.parties, Party{Addr: n.ip, entry: i, Node: n.node != "", atom: i >= e.outside})
		}
	}
	return g, nil
}

// cellKey is what pairs must share to be one line of the table.
type cellKey struct {
	fixed string // the side that lines are kept apart by
	f     fn
	doubt bool
}

// table lists what is open between sources and targets: one line for each of
// the one side and each set of ports, with all of the other side.
func (e *Engine) table(sources []Party, targets []target, mask [len(Protocols)]bool, bySource bool) []Connection {
	type side struct{ sources, targets []Party }
	lines := map[cellKey]*side{}
	var order []cellKey
	wholes := map[fn]fn{}
	for _, t := range targets {
		for _, s := range sources {
			if s.Pod == nil && t.party.Pod == nil {
				continue // no policy is asked
			}
			if s.Pod != nil && s.Pod == t.party.Pod && (len(sources) > 1 || len(targets) > 1) {
				continue
			}
			if e.strangers(s, t.party) {
				continue
			}
			f := e.ports(s, t.party)
			g, ok := wholes[f]
			if !ok || t.ports != (portRange{first: 1, last: ports - 1}) {
				g = e.cut(f, t, mask)
				if t.ports == (portRange{first: 1, last: ports - 1}) {
					wholes[f] = g
				}
			}
			if g == drops {
				continue
			}
			k := cellKey{f: g, doubt: t.doubtful != ""}
			if bySource {
				k.fixed = e.Label(s)
			} else {
				k.fixed = e.Label(t.party)
			}
			line := lines[k]
			if line == nil {
				line = &side{}
				lines[k] = line
				order = append(order, k)
			}
			line.sources, line.targets = append(line.sources, s), append(line.targets, t.party)
		}
	}
	out := make([]Connection, 0, len(order))
	for _, k := range order {
		c := Connection{Ports: text(e.fns.spans(k.f, model.Pass)), Unknown: text(e.fns.spans(k.f, model.Unknown))}
		if k.doubt && c.Ports != "" {
			c.Ports, c.Unknown = "", strings.Trim(c.Unknown+","+c.Ports, ",")
		}
		c.From, c.To = e.labels(lines[k].sources), e.labels(lines[k].targets)
		out = append(out, c)
	}
	return out
}

// cut keeps the ports of a function that are asked about.
func (e *Engine) cut(f fn, t target, mask [len(Protocols)]bool) fn {
	var out []piece
	for protocol, on := range mask {
		if !on {
			continue
		}
		ranges := []portRange{t.ports}
		if t.ports.name != "" {
			ranges = e.numbers(t.party.Pod, t.ports.name, protocol)
		}
		base := uint32(protocol) * ports
		for _, r := range ranges {
			for _, p := range e.fns.pieces(f) {
				first, last := max(p.first, base+uint32(r.first)), min(p.last, base+uint32(r.last))
				if first <= last {
					out = append(out, piece{first, last, p.v})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b piece) int { return cmp.Compare(a.first, b.first) })
	return e.fns.id(out)
}

// labels names parties: workloads whose pods are all among them by their name,
// pods, nodes, and the networks outside.
func (e *Engine) labels(list []Party) []string {
	e.ownerOnce.Do(e.indexOwners)
	owned := map[model.Ref]int{}
	seen := map[*model.Pod]bool{}
	var out []string
	for _, p := range list {
		if p.Pod != nil && !seen[p.Pod] {
			seen[p.Pod] = true
			owned[p.Pod.Owner]++
		}
	}
	done := map[string]bool{}
	add := func(s string) {
		if !done[s] {
			done[s] = true
			out = append(out, s)
		}
	}
	for _, p := range list {
		switch {
		case p.Pod != nil && p.Pod.Owner != "" && !p.Pod.Standing && owned[p.Pod.Owner] > 1 && owned[p.Pod.Owner] == e.living(p.Pod.Owner):
			add(fmt.Sprintf("%s/%s/%s (%d pods)", p.Pod.Namespace, p.Pod.Owner.Kind(), p.Pod.Owner.Name(), owned[p.Pod.Owner]))
		case p.Pod != nil || p.entry < e.outside:
			add(e.Label(p))
		}
	}
	return append(out, e.outsideLabels(list)...)
}

func (e *Engine) living(owner model.Ref) int {
	n := 0
	for _, p := range e.byOwner[owner] {
		if _, ok := e.unitOf[p]; ok {
			n++
		}
	}
	return n
}

// outsideLabels names atoms: a network stands for those inside it that are in
// the list as well, and says which are not.
func (e *Engine) outsideLabels(list []Party) []string {
	in := map[int32]bool{}
	var single []string
	for _, p := range list {
		if p.Pod != nil || p.entry < e.outside {
			continue
		}
		if p.atom {
			in[p.entry-e.outside] = true
		} else {
			single = append(single, p.Addr.String())
		}
	}
	for a := int32(0); a < int32(len(e.atoms.list)); {
		if !in[a] {
			a++
			continue
		}
		var but []string
		end := e.atoms.after[a]
		for b := a + 1; b < end; {
			if in[b] || e.atoms.empty[b] || e.dead[b] {
				b++
				continue
			}
			but = append(but, e.atoms.list[b].String())
			b = e.atoms.after[b]
		}
		label := e.atoms.list[a].String()
		if len(but) > 4 {
			but = append(but[:4], fmt.Sprintf("%d more", len(but)-4))
		}
		if len(but) > 0 {
			label += " but for " + strings.Join(but, ", ")
			// What lies in the holes may be in the list again.
			single = append(single, label)
			a = e.nested(a, end, in, &single)
			continue
		}
		single = append(single, label)
		a = end
	}
	return single
}

// nested adds what is in the list inside the holes of an atom.
func (e *Engine) nested(a, end int32, in map[int32]bool, out *[]string) int32 {
	for b := a + 1; b < end; {
		if in[b] || e.atoms.empty[b] || e.dead[b] {
			b++
			continue
		}
		for c := b + 1; c < e.atoms.after[b]; c++ {
			if in[c] {
				*out = append(*out, e.atoms.list[c].String())
				c = e.atoms.after[c] - 1
			}
		}
		b = e.atoms.after[b]
	}
	return end
}

// Table is one row a connection.
func (l *Look) Table() ([]string, [][]string) {
	return []string{"FROM", "TO", "PORTS", "NOT KNOWN"}, rows(l.Connections)
}

// shownNames is how many names of one side a row holds.
const shownNames = 6

func rows(list []Connection) [][]string {
	out := make([][]string, len(list))
	for i, c := range list {
		out[i] = []string{few(c.From), few(c.To), c.Ports, c.Unknown}
	}
	return out
}

func few(list []string) string {
	if len(list) > shownNames {
		return strings.Join(list[:shownNames], ", ") + fmt.Sprintf(" and %d more", len(list)-shownNames)
	}
	return strings.Join(list, ", ")
}

// Edges are the connections as arrows.
func (l *Look) Edges() [][3]string { return edges(l.Connections) }

func edges(list []Connection) [][3]string {
	var out [][3]string
	for _, c := range list {
		label := c.Ports
		if c.Unknown != "" {
			label = strings.TrimPrefix(label+" not known: "+c.Unknown, " ")
		}
		for _, from := range c.From {
			for _, to := range c.To {
				out = append(out, [3]string{from, to, label})
			}
		}
	}
	return out
}

// Text is the answer where both sides are named.
func (l *Look) Text(bool) (before, after string) {
	before = l.head()
	if a := l.Answer; a != nil {
		before += fmt.Sprintf("%s -> %s: %s, by %s\n  %s\n", model.Printable(a.From.String()), model.Printable(a.To.String()), a.Actual, model.Printable(a.By), model.Printable(a.Reason))
	}
	if len(l.Connections) == 0 {
		before += "nothing is open\n"
	} else {
		before += "\n"
	}
	return before, l.tail()
}
