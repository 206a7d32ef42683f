package reach

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
)

// Summary is what a World's policies leave open, and what in them changes nothing.
type Summary struct {
	Source
	Pairs       Pairs        `json:"pairs"`
	Egress      []Exposure   `json:"egress"`  // to the internet
	Ingress     []Entrance   `json:"ingress"` // from it
	Findings    []Finding    `json:"findings"`
	Connections []Connection `json:"connections"` // between pods

	lists bool
	read  map[string]bool // the kinds that are whole
}

// none is what is said where nothing was found: that there is nothing, if all was read.
func (s *Summary) none(nothing string, kinds ...string) string {
	for _, kind := range kinds {
		if !s.read[kind] {
			return "  not known: not every " + kind + " could be read\n"
		}
	}
	return "  " + nothing + "\n"
}

// Exposure is what some pods may open to the internet.
type Exposure struct {
	Pods    []string     `json:"pods"`
	Count   int          `json:"count"`
	To      []string     `json:"to"` // networks; "internet" for all of it
	Ports   string       `json:"ports"`
	Unknown string       `json:"unknown,omitempty"`
	Source  []netip.Addr `json:"source,omitempty"` // public addresses that the far end sees, where Azure was read
}

// Entrance is a way from the internet to pods.
type Entrance struct {
	Through string   `json:"through"` // service/NS/NAME, hostPort
	Kind    string   `json:"kind"`    // LoadBalancer, NodePort, externalIPs, hostPort
	Address []string `json:"address,omitempty"`
	Port    string   `json:"port"`
	Pods    []string `json:"pods"`
	Actual  string   `json:"actual"` // allow, deny, unknown: what policies say
	By      string   `json:"by"`
}

// Summary sums the World up. With lists it holds all connections as well.
func (e *Engine) Summary(lists bool) *Summary {
	s := &Summary{Source: e.Source(), Pairs: e.Pairs(), Findings: e.Hygiene(), lists: lists, read: e.x.World().Read}
	s.Egress, s.Ingress = e.egress(), e.entrances()
	s.Connections = []Connection{}
	if lists {
		s.Connections = e.Connections()
	}
	if s.Findings == nil {
		s.Findings = []Finding{}
	}
	return s
}

// egress groups pods by what they may open to the internet.
func (e *Engine) egress() []Exposure {
	inet := slices.DeleteFunc(e.atoms.internet(e.x.PodNets()), func(a int32) bool {
		return e.atoms.list[a].Addr().Is4() && !e.families[0] || e.atoms.list[a].Addr().Is6() && !e.families[1]
	})
	type state struct {
		exposure Exposure
		pods     []Party
	}
	groups := map[string]*state{}
	var order []string
	for _, p := range e.profiles[egress] {
		byFn := map[fn][]Party{}
		for _, a := range inet {
			if e.dead[a] {
				continue
			}
			if f := p.at(e.outside + a); f != drops {
				byFn[f] = append(byFn[f], e.atomParty(a))
			}
		}
		for _, f := range slices.Sorted(maps.Keys(byFn)) {
			x := Exposure{Ports: text(e.fns.spans(f, model.Pass)), Unknown: text(e.fns.spans(f, model.Unknown))}
			x.To = e.internetLabels(byFn[f], inet)
			key := strings.Join(append(x.To, x.Ports, x.Unknown), "\x00")
			g := groups[key]
			if g == nil {
				g = &state{exposure: x}
				groups[key] = g
				order = append(order, key)
			}
			for _, u := range p.units {
				for _, m := range e.units[u].members {
					if party, ok := e.PodParty(m, 0); ok {
						g.pods = append(g.pods, party)
					}
				}
			}
		}
	}
	sources := e.publicSources()
	out := make([]Exposure, 0, len(order))
	for _, key := range order {
		g := groups[key]
		g.exposure.Pods, g.exposure.Count = e.labels(g.pods), len(g.pods)
		g.exposure.Source = sources(g.pods)
		out = append(out, g.exposure)
	}
	slices.SortStableFunc(out, func(a, b Exposure) int { return cmp.Compare(b.Count, a.Count) })
	return out
}

// internetLabels names a part of the internet: all, one address family, or networks.
func (e *Engine) internetLabels(part []Party, whole []int32) []string {
	var all, got [2]int // IPv4, IPv6
	family := func(a int32) int {
		if e.atoms.list[a].Addr().Is4() {
			return 0
		}
		return 1
	}
	for _, a := range whole {
		if !e.dead[a] {
			all[family(a)]++
		}
	}
	for _, p := range part {
		got[family(p.entry-e.outside)]++
	}
	switch {
	case got == all:
		return []string{"internet"}
	case got[1] == 0 && got[0] == all[0]:
		return []string{"internet (IPv4)"}
	case got[0] == 0 && got[1] == all[1]:
		return []string{"internet (IPv6)"}
	}
	return e.outsideLabels(part)
}

// publicSources tells by which public addresses pods leave, node by node, where
// the cloud's side was read.
func (e *Engine) publicSources() func([]Party) []netip.Addr {
	w := e.x.World()
	if !w.Azure.Found {
		return func([]Party) []netip.Addr { return nil }
	}
	x := trace.Build(w)
	byNode := map[string][]netip.Addr{}
	return func(pods []Party) []netip.Addr {
		var out []netip.Addr
		for _, p := range pods {
			if p.Pod.Node == "" || !p.Addr.IsValid() {
				continue
			}
			list, ok := byNode[p.Pod.Node]
			if !ok {
				path := x.Run(model.Flow{Protocol: "tcp", From: p.Pod.Ref(), Src: p.Addr, DstPort: 443})
				list = path.Egress
				byNode[p.Pod.Node] = list
			}
			out = append(out, list...)
		}
		slices.SortFunc(out, netip.Addr.Compare)
		return slices.Compact(out)
	}
}

// entrances are the Services and host ports by which the internet may get to pods.
func (e *Engine) entrances() []Entrance {
	w := e.x.World()
	out := []Entrance{}
	for _, ref := range slices.Sorted(maps.Keys(w.Kube.Services)) {
		s := w.Kube.Services[ref]
		x := Entrance{Through: string(ref), Kind: s.Type}
		for _, a := range slices.Concat(s.LoadBalancerIPs, s.ExternalIPs) {
			x.Address = append(x.Address, a.String())
		}
		switch {
		case s.Type == "LoadBalancer", s.Type == "NodePort":
		case len(s.ExternalIPs) > 0:
			x.Kind = "externalIPs"
		default:
			continue
		}
		for i := range s.Ports {
			out = append(out, e.entrance(x, s, &s.Ports[i]))
		}
	}
	return slices.Concat(out, e.ingresses(), e.hostPorts())
}

// ingresses are the Ingress objects. Their requests reach the pods from the
// controller's pods, whichever those are.
func (e *Engine) ingresses() []Entrance {
	w := e.x.World()
	var out []Entrance
	for _, ref := range slices.Sorted(maps.Keys(w.Kube.Ingresses)) {
		in := w.Kube.Ingresses[ref]
		for _, b := range in.Backends {
			x := Entrance{Through: string(ref), Kind: strings.TrimSpace("Ingress " + in.Class), Address: in.Hosts, Port: b.Service + ":" + b.Port}
			s := w.Kube.Services[model.NewRef("service", in.Namespace, b.Service)]
			if s == nil {
				x.Actual, x.By = "deny", "there is no service/"+in.Namespace+"/"+b.Service
				out = append(out, x)
				continue
			}
			x.Actual, x.By = e.behindIngress(s, &x)
			out = append(out, x)
		}
	}
	return out
}

// behindIngress says what is known of the way from a controller to a Service's pods.
func (e *Engine) behindIngress(s *model.Service, x *Entrance) (actual, by string) {
	var pods []Party
	for _, p := range e.backends(s) {
		if party, ok := e.PodParty(p, 0); ok {
			pods = append(pods, party)
		}
	}
	x.Pods = e.labels(pods)
	if len(pods) == 0 {
		return "deny", "service/" + s.Namespace + "/" + s.Name + " has no pods"
	}
	for _, p := range pods {
		if p.Pod != nil && (len(e.side(p.Pod, ingress).policies) > 0 || e.x.Unread(p.Pod.Namespace)) {
			return "unknown", "policies select its pods, and requests come from the controller's pods: ask --from those"
		}
	}
	return "allow", "no ingress policy"
}

func (e *Engine) entrance(x Entrance, s *model.Service, sp *model.ServicePort) Entrance {
	x.Port = strings.ToLower(sp.Protocol) + "/" + strconv.Itoa(int(sp.Port))
	if x.Kind == "NodePort" && sp.NodePort != 0 {
		x.Port = strings.ToLower(sp.Protocol) + "/" + strconv.Itoa(int(sp.NodePort))
	}
	var pods []Party
	for _, p := range e.backends(s) {
		if party, ok := e.PodParty(p, 0); ok {
			pods = append(pods, party)
		}
	}
	x.Pods = e.labels(pods)
	a := e.Ask(Intent{From: Side{Text: "internet"}, To: Side{Text: s.Namespace + "/svc/" + s.Name}, Port: strconv.Itoa(int(sp.Port)), Protocol: strings.ToLower(sp.Protocol)}, s.Namespace)
	x.Actual, x.By = a.Actual, a.By
	if a.Actual == "mixed" {
		x.By = "some sources or pods only; " + a.By
	}
	return x
}

// hostPorts are ports of nodes that lead to containers; pods of the host's
// network listen there themselves, on ports nobody declares.
func (e *Engine) hostPorts() []Entrance {
	var out []Entrance
	for i := range e.units {
		for _, p := range e.units[i].members {
			for _, c := range p.Containers {
				for _, port := range c.Ports {
					if port.HostPort == 0 {
						continue
					}
					protocol := strings.ToLower(cmp.Or(port.Protocol, "tcp"))
					label := podLabel(p)
					a := e.Ask(Intent{From: Side{Text: "internet"}, To: Side{Text: p.Namespace + "/pod/" + p.Name}, Port: strconv.Itoa(int(port.Port)), Protocol: protocol}, p.Namespace)
					out = append(out, Entrance{Through: "node " + p.Node, Kind: "hostPort", Port: fmt.Sprintf("%s/%d", protocol, port.HostPort), Pods: []string{label}, Actual: a.Actual, By: a.By})
				}
			}
		}
	}
	return out
}

// Table is what is open between pods, for CSV; people get Text.
func (s *Summary) Table() ([]string, [][]string) {
	if !s.lists {
		return nil, nil
	}
	var out [][]string
	for _, c := range s.Connections {
		for _, from := range c.From {
			for _, to := range c.To {
				out = append(out, []string{from, to, c.Ports, c.Unknown})
			}
		}
	}
	return []string{"FROM", "TO", "PORTS", "NOT KNOWN"}, out
}

// Edges are the connections between pods.
func (s *Summary) Edges() [][3]string { return edges(s.Connections) }

// Text is the page that people read.
func (s *Summary) Text(bool) (before, after string) {
	if s.lists {
		return s.head(), s.tail()
	}
	var b strings.Builder
	b.WriteString(s.head())
	p := s.Pairs
	fmt.Fprintf(&b, "%d pairs of pods: %d can connect on some port (%d on every port), %d not known\n", p.All, p.Open, p.Wide, p.Unknown)
	b.WriteString("\nOpen to the internet\n")
	if len(s.Egress) == 0 {
		b.WriteString(s.none("nothing", "pod"))
	}
	for i, x := range s.Egress {
		if i == shown {
			fmt.Fprintf(&b, "  and %d more groups of pods: -o json has all\n", len(s.Egress)-i)
			break
		}
		fmt.Fprintf(&b, "  %s -> %s: %s%s\n      %s\n", plural(x.Count, "pod", "pods"), few(x.To), cmp.Or(x.Ports, "nothing for sure"), also(x.Unknown), model.Printable(few(x.Pods)))
		if len(x.Source) > 0 {
			fmt.Fprintf(&b, "      as %s\n", few(addresses(x.Source)))
		}
	}
	b.WriteString("\nOpen from the internet (Services and host ports; a cloud's own firewalls are not asked here)\n")
	if len(s.Ingress) == 0 {
		b.WriteString(s.none("nothing: no Service of type LoadBalancer or NodePort, no hostPort", "pod", "service"))
	}
	for i, x := range s.Ingress {
		if i == shown {
			fmt.Fprintf(&b, "  and %d more: -o json has all\n", len(s.Ingress)-i)
			break
		}
		fmt.Fprintf(&b, "  %-7s %s %s %s %s -> %s\n          %s\n", x.Actual, model.Printable(x.Through), x.Kind, x.Port, strings.Join(x.Address, ","), model.Printable(few(x.Pods)), model.Printable(x.By))
	}
	b.WriteString("\nChanges nothing\n")
	if len(s.Findings) == 0 {
		b.WriteString(s.none("nothing: every policy and rule makes a difference, or may", "pod", "networkpolicy"))
	}
	for i, f := range s.Findings {
		if i == shown {
			fmt.Fprintf(&b, "  and %d more: -o json has all\n", len(s.Findings)-i)
			break
		}
		fmt.Fprintf(&b, "  %-20s %s: %s\n", f.Kind, model.Printable(strings.TrimSpace(string(f.Policy)+" "+f.Rule)), model.Printable(f.Reason))
	}
	return b.String(), s.tail()
}

// shown is how many lines of each kind people are shown.
const shown = 30

func also(unknown string) string {
	if unknown == "" {
		return ""
	}
	return "; not known: " + unknown
}

func addresses(list []netip.Addr) []string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}

// Connections lists what is open between pods, in rectangles.
func (e *Engine) Connections() []Connection {
	found := make(chan *block, 1024)
	go func() {
		defer close(found)
		e.blocks(func(b *block) {
			found <- &block{ports: b.ports, from: slices.Clone(b.from), to: slices.Clone(b.to)}
		})
	}()
	var all []*block
	for b := range found {
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b *block) int {
		return cmp.Or(slices.Compare(a.from, b.from), slices.Compare(a.to, b.to), cmp.Compare(a.ports, b.ports))
	})
	out := make([]Connection, 0, len(all))
	for _, b := range all {
		if len(b.from) == 1 && slices.Equal(b.from, b.to) && len(e.units[b.from[0]].members) == 1 && !e.units[b.from[0]].rep.Standing {
			continue // a pod with itself
		}
		out = append(out, Connection{
			From: e.unitLabels(b.from), To: e.unitLabels(b.to),
			Ports: text(e.fns.spans(b.ports, model.Pass)), Unknown: text(e.fns.spans(b.ports, model.Unknown)),
		})
	}
	return out
}

func (e *Engine) unitLabels(units []int32) []string {
	var list []Party
	for _, u := range units {
		for _, m := range e.units[u].members {
			list = append(list, Party{Pod: m, entry: e.units[u].entries[0]})
		}
	}
	return e.labels(list)
}
