package reach

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

// Answer is what is so about an intent.
type Answer struct {
	Name     string `json:"name,omitempty"`
	From     Side   `json:"from"`
	To       Side   `json:"to"`
	Port     Ports  `json:"port,omitempty"`
	Protocol string `json:"protocol"` // TCP, UDP, SCTP
	Expect   string `json:"expect,omitempty"`
	Actual   string `json:"actual"`         // allow, deny, unknown; where nothing was expected also mixed
	Holds    *bool  `json:"holds"`          // null: not known, or nothing was expected
	By       string `json:"by"`             // the rule, or the absence of one, that decides
	Reason   string `json:"reason"`         // the same in a sentence
	Pair     *Pair  `json:"pair,omitempty"` // the offending pair, or one for all
	Pairs    int    `json:"pairs"`          // how many classes of pairs were judged
}

// Ports are an intent's as they were written; in JSON one port is a number.
type Ports string

// MarshalJSON writes a number, or a string.
func (p Ports) MarshalJSON() ([]byte, error) {
	if n, err := strconv.ParseUint(string(p), 10, 16); err == nil {
		return strconv.AppendUint(nil, n, 10), nil
	}
	return json.Marshal(string(p))
}

// ports is "tcp/80", or "tcp" alone.
func (a *Answer) ports() string {
	return strings.TrimSuffix(strings.ToLower(a.Protocol)+"/"+string(a.Port), "/")
}

// Pair is one connection.
type Pair struct {
	From string `json:"from"`
	To   string `json:"to"`
	Port string `json:"port"` // tcp/80
}

// target is one that connections end at, with the ports there.
type target struct {
	party    Party
	ports    portRange
	doubtful string // policies may see another source than the client: why
}

// found is one pair of a kind.
type found struct {
	from     Party
	to       target
	protocol int
	port     uint16
	ok       bool
}

// outcome is what the pairs of an intent come to.
type outcome struct {
	kinds [3]found // one pair that is unknown, passes, is dropped
	pairs int
	note  string
}

func (o *outcome) add(v model.Verdict, f found) {
	if v == model.Reject {
		v = model.Drop
	}
	if f.ok = true; !o.kinds[v].ok {
		o.kinds[v] = f
	}
}

// Ask judges one intent. Names without a namespace are in the one given.
func (e *Engine) Ask(i Intent, namespace string) Answer {
	a := Answer{Name: i.Name, From: i.From, To: i.To, Port: Ports(i.Port), Protocol: strings.ToUpper(i.Protocol), Expect: i.Expect, Actual: "unknown"}
	from, err := e.resolve(i.From, namespace)
	if err != nil {
		return a.unknown("from: " + err.Error())
	}
	to, err := e.resolve(i.To, namespace)
	if err != nil {
		return a.unknown("to: " + err.Error())
	}
	e.sources(from)
	for _, g := range []*group{from, to} {
		if g.why != "" {
			return a.unknown(g.why)
		}
	}
	ports, err := parsePorts(i.Port)
	if err != nil {
		return a.unknown(err.Error())
	}
	protocol, _ := ProtocolIndex(i.Protocol)
	if to.host != "" {
		return e.askName(a, from, to.host, protocol, ports)
	}
	targets, no := e.targets(from, to, protocol, ports)
	if no.text != "" {
		if no.unknown {
			return a.unknown(no.text)
		}
		return a.settle("deny", no.by, no.text)
	}
	var o outcome
	single := from.single && to.single
	e.judgeAll(&o, from.parties, targets, protocol, single)
	if o.pairs == 0 && o.note != "" {
		return a.unknown(o.note)
	}
	if o.pairs == 0 {
		return a.unknown("no pair of two different pods, or of addresses of one family, is meant")
	}
	return e.conclude(a, &o)
}

// sources turns a Service that connects into its pods: nothing else can.
func (e *Engine) sources(g *group) {
	if g.host != "" {
		g.why = g.host + " is a name outside of the cluster: name an address or a network as the source"
	}
	if g.service == nil {
		return
	}
	for _, p := range e.backends(g.service) {
		e.join(g, p)
	}
	if g.service = nil; len(g.parties) == 0 {
		g.why = "the Service has no pods"
	}
}

func (a Answer) unknown(why string) Answer {
	a.Actual, a.By, a.Reason = "unknown", "not known", why
	return a
}

// settle fills in what is so, and whether that is what was expected.
func (a Answer) settle(actual, by, reason string) Answer {
	a.Actual, a.By, a.Reason = actual, by, reason
	if a.Expect != "" && actual != "unknown" {
		holds := actual == a.Expect
		a.Holds = &holds
	}
	return a
}

// conclude weighs the kinds of pairs: one that offends decides; then one that is not known.
func (e *Engine) conclude(a Answer, o *outcome) Answer {
	a.Pairs = o.pairs
	u, pass, drop := &o.kinds[model.Unknown], &o.kinds[model.Pass], &o.kinds[model.Drop]
	pick, actual := pass, "allow"
	switch {
	case a.Expect == "allow" && drop.ok:
		pick, actual = drop, "deny"
	case a.Expect == "deny" && pass.ok:
	case u.ok:
		pick, actual = u, "unknown"
	case drop.ok && pass.ok:
		pick, actual = drop, "mixed"
	case drop.ok:
		pick, actual = drop, "deny"
	}
	a.Pair = &Pair{e.Label(pick.from), e.Label(pick.to.party), Protocols[pick.protocol] + "/" + strconv.Itoa(int(pick.port))}
	by, reason := e.explain(pick)
	return a.settle(actual, by, reason)
}

// judgeAll judges every pair of a source and a target, classes at a time.
func (e *Engine) judgeAll(o *outcome, sources []Party, targets []target, protocol int, single bool) {
	classes := map[int32][]Party{}
	var order []int32
	for _, s := range sources {
		if classes[s.entry] == nil {
			order = append(order, s.entry)
		}
		classes[s.entry] = append(classes[s.entry], s)
	}
	type key struct {
		entry    int32
		ports    portRange
		doubtful string
	}
	targetClasses := map[key][]target{}
	var targetOrder []key
	for _, t := range targets {
		k := key{t.party.entry, t.ports, t.doubtful}
		if targetClasses[k] == nil {
			targetOrder = append(targetOrder, k)
		}
		targetClasses[k] = append(targetClasses[k], t)
	}
	for _, s := range order {
		for _, t := range targetOrder {
			e.judgeClass(o, classes[s], targetClasses[t], protocol, single)
		}
	}
}

// judgeClass judges those of a class of sources and a class of targets that can
// differ: pods are alike, but for a pod and itself, and a pod and its own node.
func (e *Engine) judgeClass(o *outcome, sources []Party, targets []target, protocol int, single bool) {
	node := e.entries[sources[0].entry].node
	if node == "" {
		node = e.entries[targets[0].party.entry].node
	}
	seen := [2]bool{} // on the node, and elsewhere
	for _, s := range sources {
		for _, t := range targets {
			if s.Pod != nil && s.Pod == t.party.Pod && !s.Pod.Standing && !single {
				continue // what a pod does with itself is not what is meant by "all pods"
			}
			if e.strangers(s, t.party) {
				continue
			}
			k := 0
			if node != "" && (s.Pod != nil && s.Pod.Node == node || t.party.Pod != nil && t.party.Pod.Node == node) {
				k = 1
			}
			if seen[k] {
				continue
			}
			seen[k] = true
			e.judgePair(o, s, t, protocol)
			if node == "" || seen[0] && seen[1] {
				return
			}
		}
	}
}

// judgePair judges one connection on each of the ports that are meant.
func (e *Engine) judgePair(o *outcome, s Party, t target, protocol int) {
	ranges := []portRange{t.ports}
	if t.ports.name != "" {
		ranges = e.numbers(t.party.Pod, t.ports.name, protocol)
	}
	if len(ranges) == 0 {
		o.note = "no target has a port of that name"
		return
	}
	o.pairs++
	if e.foreign(s) && e.foreign(t.party) {
		o.add(model.Unknown, found{s, t, protocol, ranges[0].first, true})
		return
	}
	f := e.ports(s, t.party)
	if t.doubtful != "" && !(f == passes && e.unjudged(s, t.party)) {
		o.add(model.Unknown, found{s, t, protocol, ranges[0].first, true})
		return
	}
	base := uint32(protocol) * ports
	for _, r := range ranges {
		at, end := base+uint32(r.first), base+uint32(r.last)
		for _, p := range e.fns.pieces(f) {
			if p.last < at || p.first > end {
				continue
			}
			if p.first > at {
				o.add(model.Drop, found{s, t, protocol, uint16(at - base), true})
			}
			o.add(p.v, found{s, t, protocol, uint16(max(p.first, at) - base), true})
			at = p.last + 1
		}
		if at <= end {
			o.add(model.Drop, found{s, t, protocol, uint16(at - base), true})
		}
	}
}

// foreign says that a party is neither a pod nor a node: between two of them
// nothing of the cluster decides.
func (e *Engine) foreign(p Party) bool { return p.Pod == nil && !p.Node && p.entry >= e.outside }

// unjudged says that no policy looks at either end.
func (e *Engine) unjudged(s, t Party) bool {
	return (s.Pod == nil || len(e.side(s.Pod, egress).policies) == 0) && (t.Pod == nil || len(e.side(t.Pod, ingress).policies) == 0)
}

func (e *Engine) side(p *model.Pod, d int) *profile {
	return e.profiles[d][e.units[e.unitOf[p]].sides[d][0]]
}

// numbers are what a pod means by a port's name.
func (e *Engine) numbers(p *model.Pod, name string, protocol int) []portRange {
	var out []portRange
	if p == nil {
		return nil
	}
	for i := range p.Containers {
		if !policy.Serves(&p.Containers[i]) {
			continue
		}
		for _, c := range p.Containers[i].Ports {
			if k, ok := ProtocolIndex(c.Protocol); c.Name == name && (k == protocol || !ok && protocol == 0) {
				out = append(out, portRange{first: c.Port, last: c.Port})
			}
		}
	}
	return out
}

// askName judges connections to a DNS name outside of the cluster.
func (e *Engine) askName(a Answer, from *group, host string, protocol int, p portRange) Answer {
	if p.name != "" || p.first != p.last {
		return a.unknown("name the number of a port: what a policy says about a DNS name is asked for one connection")
	}
	var o outcome
	seen := map[int32]bool{}
	reasons := map[model.Verdict][2]string{}
	for _, s := range from.parties {
		if seen[s.entry] {
			continue
		}
		seen[s.entry] = true
		o.pairs++
		v, by, reason := model.Pass, "no policy applies", "it is not a pod's connection"
		if s.Pod != nil {
			d := e.x.Egress(s.Pod, model.Flow{Protocol: Protocols[protocol], Src: s.Addr, DstPort: p.first, Host: host, From: s.Pod.Ref()})
			v, by, reason = d.Verdict, decided(&d, egress), d.Reason
		}
		if o.add(v, found{from: s}); reasons[v][0] == "" {
			reasons[v] = [2]string{by, reason}
		}
	}
	v, actual := model.Pass, "allow"
	switch {
	case a.Expect == "allow" && o.kinds[model.Drop].ok:
		v, actual = model.Drop, "deny"
	case a.Expect == "deny" && o.kinds[model.Pass].ok:
	case o.kinds[model.Unknown].ok:
		v, actual = model.Unknown, "unknown"
	case o.kinds[model.Drop].ok && o.kinds[model.Pass].ok:
		v, actual = model.Drop, "mixed"
	case o.kinds[model.Drop].ok:
		v, actual = model.Drop, "deny"
	}
	a.Pairs = o.pairs
	a.Pair = &Pair{e.Label(o.kinds[v].from), host, Protocols[protocol] + "/" + strconv.Itoa(int(p.first))}
	return a.settle(actual, reasons[v][0], reasons[v][1])
}

// explain asks the evaluator of one flow which rule decides a pair.
func (e *Engine) explain(f *found) (by, reason string) {
	if f.to.doubtful != "" {
		if v := e.Verdict(f.from, f.to.party, f.protocol, f.port); v != model.Pass || !e.unjudged(f.from, f.to.party) {
			return "not defined", f.to.doubtful
		}
	}
	if e.foreign(f.from) && e.foreign(f.to.party) {
		return "not known", "neither end is in the cluster: its policies say nothing about them"
	}
	flow := model.Flow{Protocol: Protocols[f.protocol], Src: f.from.Addr, Dst: f.to.party.Addr, DstPort: f.port, From: e.ref(f.from), To: e.ref(f.to.party)}
	var bys, reasons []string
	worst := model.Pass
	if f.from.Pod != nil && f.from.Pod == f.to.party.Pod && e.Verdict(f.from, f.to.party, f.protocol, f.port) == model.Drop {
		flow.Alike = true // two replicas: what denies one the other has a name
	}
	for d, end := range [2]*model.Pod{f.from.Pod, f.to.party.Pod} {
		if end == nil {
			continue
		}
		var found policy.Decision
		if d == egress {
			found = e.x.Egress(end, flow)
		} else {
			found = e.x.Ingress(end, flow)
		}
		if found.Verdict == model.Drop { // whatever the other end says
			return decided(&found, d), found.Reason + f.second()
		}
		if found.Verdict == model.Unknown && worst == model.Pass {
			worst, bys, reasons = model.Unknown, nil, nil
		}
		if found.Verdict == worst {
			bys, reasons = append(bys, decided(&found, d)), append(reasons, found.Reason)
		}
	}
	if len(bys) == 0 {
		return "no policy applies", "neither end is a pod with an address of its own: policies do not apply"
	}
	return strings.Join(slices.Compact(bys), "; "), strings.Join(slices.Compact(reasons), "; ") + f.second()
}

// second says which addresses a pair is about where those are not the first ones
// of its pods: policies may allow over IPv6 what they deny over IPv4.
func (f *found) second() string {
	for _, p := range []Party{f.from, f.to.party} {
		if p.Pod != nil && len(p.Pod.IPs) > 1 && p.Addr != p.Pod.IPs[0] {
			return fmt.Sprintf(" (from %s to %s)", f.from.Addr, f.to.party.Addr)
		}
	}
	return ""
}

// decided names a decision's rule: "networkpolicy/shop/web egress rule 1".
func decided(d *policy.Decision, direction int) string {
	word := [2]string{"egress", "ingress"}[direction]
	switch {
	case d.Decided == "" && d.Verdict == model.Unknown:
		return "not known"
	case d.Own:
		return "the pod's own node, whatever policies say"
	case d.Decided == "" && len(d.Trail) > 0:
		return "no " + word + " rule decides it"
	case d.Decided == "":
		return "no " + word + " policy"
	case d.Rule >= 0:
		return fmt.Sprintf("%s %s rule %d", d.Decided, cmp.Or(d.List, word), d.Rule+1)
	case d.Verdict == model.Drop:
		return fmt.Sprintf("%s %s: no rule allows it", d.Decided, word)
	}
	return fmt.Sprintf("%s %s", d.Decided, word)
}

func (e *Engine) ref(p Party) model.Ref {
	if p.Pod != nil {
		return p.Pod.Ref()
	}
	if n := e.entries[p.entry].node; n != "" && p.Node {
		return model.NewRef("node", n)
	}
	return ""
}

// Label names a party as a person would: NS/POD, NS/kind/NAME for a workload
// that stands for its replicas, node/NAME, or an address.
func (e *Engine) Label(p Party) string {
	switch {
	case p.Pod != nil:
		return podLabel(p.Pod)
	case e.entries[p.entry].node != "":
		return "node/" + e.entries[p.entry].node
	}
	return p.Addr.String()
}

func podLabel(p *model.Pod) string {
	if p.Standing && p.Owner.Kind() != "statefulset" {
		return p.Namespace + "/" + p.Owner.Kind() + "/" + p.Owner.Name()
	}
	return p.Namespace + "/" + p.Name
}
