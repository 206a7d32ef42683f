package corefile

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Kind is what happens to a query.
type Kind string

// The kinds. Unknown is the zero value: a plugin decides that is not followed.
const (
	Unknown    Kind = ""
	Kubernetes Kind = "kubernetes" // CoreDNS answers from the cluster's Services
	Forward    Kind = "forward"    // it asks another server
	Hosts      Kind = "hosts"      // it answers from a hosts block
	Template   Kind = "template"   // it answers what a template says
	Refused    Kind = "refused"    // no server block is for the name
	Failed     Kind = "servfail"   // a server block is, and none of its plugins answers
)

// Decision is what a configuration does with one query.
type Decision struct {
	Kind      Kind
	Name      string  // as it is looked up in the end, absolute
	Server    *Server // whose block serves it
	By        *Plugin // what decides; nil: nothing does
	At        Pos     // of the deciding line
	Line      string  // that line
	Rewritten *Plugin // what changed the name; nil: nothing did
	Rcode     string  // of Template and Hosts: NXDOMAIN, NOERROR, …
	Addrs     []netip.Addr
	Upstreams []string // of Forward, as written
	Trail     []string // what else was looked at, in order
}

// Decide says which line decides over a query. Plugins are asked in CoreDNS's
// own order, not in that of the file.
func (f *File) Decide(name, qtype string) Decision {
	d := Decision{Name: Absolute(name)}
	d.Server = f.serverOf(d.Name)
	if d.Server == nil {
		d.Kind = Refused
		return d
	}
	d.At, d.Line = d.Server.Pos, "server block "+d.Server.zoneText()
	d.rewrite()
	for _, plugin := range known {
		for i := range d.Server.Plugins {
			p := &d.Server.Plugins[i]
			if p.Name != plugin {
				continue
			}
			if d.asks(p, qtype) {
				return d
			}
		}
	}
	d.Kind = Failed
	return d
}

// serverOf is the block with the longest zone that holds a name, on port 53.
func (f *File) serverOf(name string) *Server {
	var best *Server
	bits := -1
	for i := range f.Servers {
		for _, z := range f.Servers[i].Zones {
			if z.Scheme == "dns" && z.Port == "53" && In(name, z.Name) && len(z.Name) > bits {
				best, bits = &f.Servers[i], len(z.Name)
			}
		}
	}
	return best
}

func (s *Server) zoneText() string {
	var out []string
	for _, z := range s.Zones {
		out = append(out, z.Name+":"+z.Port)
	}
	return strings.Join(out, " ")
}

func (d *Decision) by(kind Kind, p *Plugin, line Line) bool {
	d.Kind, d.By, d.At, d.Line = kind, p, p.Pos, p.Text()
	if len(line.Words) > 0 {
		d.At, d.Line = line.Pos, strings.Join(line.Words, " ")
	}
	return true
}

func (d *Decision) pass(p *Plugin, why string) bool {
	d.Trail = append(d.Trail, fmt.Sprintf("%s: %s: %s", p.Pos, p.Text(), why))
	return false
}

// asks says that a plugin ends the search.
func (d *Decision) asks(p *Plugin, qtype string) bool {
	switch p.Name {
	case "template":
		return d.template(p, qtype)
	case "hosts":
		return d.hosts(p, qtype)
	case "kubernetes":
		return d.kubernetes(p)
	case "forward":
		return d.forward(p)
	case "acl", "k8s_external", "file", "auto", "secondary", "etcd", "route53", "azure", "clouddns", "nomad", "grpc", "dns64", "erratic", "whoami":
		if p.Name == "grpc" || zoned(p.Args, d) {
			return d.by(Unknown, p, Line{})
		}
	}
	return false
}

// zoned says that a name is in one of the zones that stand among a plugin's
// arguments; without any the block's own are meant.
func zoned(args []string, d *Decision) bool {
	any := false
	for _, a := range args {
		if strings.HasPrefix(a, "/") {
			continue
		}
		any = true
		if In(d.Name, Absolute(a)) {
			return true
		}
	}
	return !any
}

func (p *Plugin) falls(name string) bool {
	for _, l := range p.Block {
		if l.Words[0] == "fallthrough" {
			return len(l.Words) == 1 || slices.ContainsFunc(l.Words[1:], func(z string) bool { return In(name, Absolute(z)) })
		}
	}
	return false
}

func (d *Decision) template(p *Plugin, qtype string) bool {
	if len(p.Args) < 2 || !wordIs(p.Args[1], qtype) || !wordIs(p.Args[0], "IN") || !zoned(p.Args[2:], d) {
		return false
	}
	rcode, answers, matched, any := "NOERROR", []netip.Addr(nil), false, false
	line := Line{}
	for _, l := range p.Block {
		switch l.Words[0] {
		case "match":
			for _, expr := range l.Words[1:] {
				any = true
				if re, err := regexp.Compile(expr); err == nil && re.MatchString(d.Name) {
					matched, line = true, l
				}
			}
		case "rcode":
			if len(l.Words) > 1 {
				rcode = strings.ToUpper(l.Words[1])
			}
		case "answer":
			answers = append(answers, lastAddr(l.Words)...)
		}
	}
	if any && !matched {
		if p.falls(d.Name) {
			return d.pass(p, "its pattern does not match")
		}
		return d.by(Unknown, p, line) // no pattern matches and nothing falls through
	}
	d.Rcode, d.Addrs = rcode, answers
	return d.by(Template, p, Line{})
}

// wordIs compares a class or type; ANY is all of them.
func wordIs(word, want string) bool {
	return strings.EqualFold(word, want) || strings.EqualFold(word, "ANY")
}

func lastAddr(words []string) []netip.Addr {
	fields := strings.Fields(strings.Join(words, " "))
	a, err := netip.ParseAddr(fields[len(fields)-1])
	if err != nil {
		return nil
	}
	return []netip.Addr{a}
}

func (d *Decision) hosts(p *Plugin, qtype string) bool {
	file := len(p.Args) > 0
	if file && !zoned(p.Args[1:], d) {
		return false
	}
	named := Line{}
	for _, l := range p.Block {
		a, err := netip.ParseAddr(l.Words[0])
		if err != nil || !slices.ContainsFunc(l.Words[1:], func(n string) bool { return Absolute(n) == d.Name }) {
			continue
		}
		named = l
		if a.Is4() == (qtype == "A") {
			d.Addrs = append(d.Addrs, a)
		}
	}
	switch {
	case len(named.Words) > 0:
		d.Rcode = "NOERROR"
		return d.by(Hosts, p, named)
	case p.falls(d.Name):
		return d.pass(p, "has no entry for the name, and falls through")
	case file:
		return d.by(Unknown, p, Line{}) // the file's entries are not at hand
	}
	// Without fallthrough the plugin has no answer, and no start of authority to deny with.
	d.Rcode = "SERVFAIL"
	return d.by(Hosts, p, Line{})
}

func (d *Decision) kubernetes(p *Plugin) bool {
	if !zoned(p.Args, d) {
		return d.pass(p, "is not for the name's zone")
	}
	return d.by(Kubernetes, p, Line{})
}

func (d *Decision) forward(p *Plugin) bool {
	if len(p.Args) < 2 || !In(d.Name, Absolute(p.Args[0])) {
		return d.pass(p, "is not for the name's zone")
	}
	for _, l := range p.Block {
		if l.Words[0] == "except" && slices.ContainsFunc(l.Words[1:], func(z string) bool { return In(d.Name, Absolute(z)) }) {
			return d.pass(p, "excepts the name")
		}
	}
	d.Upstreams = p.Args[1:]
	return d.by(Forward, p, Line{})
}

// rewrite applies the name rules of the block, in order; the first that matches ends it unless it says continue.
func (d *Decision) rewrite() {
	for i := range d.Server.Plugins {
		p := &d.Server.Plugins[i]
		if p.Name != "rewrite" {
			continue
		}
		words, goOn := p.Args, false
		if len(words) > 0 && (words[0] == "continue" || words[0] == "stop") {
			goOn, words = words[0] == "continue", words[1:]
		}
		if len(words) == 0 {
			for _, l := range p.Block {
				if l.Words[0] == "name" {
					words = l.Words
					break
				}
			}
		}
		to, ok := renamed(d.Name, words)
		if !ok {
			continue
		}
		d.Trail = append(d.Trail, fmt.Sprintf("%s: %s: %s becomes %s", p.Pos, p.Text(), d.Name, to))
		d.Name, d.Rewritten = to, p
		if !goOn {
			return
		}
	}
}

// renamed is what a rule "name KIND FROM TO" makes of a name.
func renamed(name string, words []string) (string, bool) {
	if len(words) < 3 || words[0] != "name" {
		return "", false
	}
	kind := "exact"
	switch words[1] {
	case "exact", "prefix", "suffix", "substring", "regex":
		kind, words = words[1], words[1:]
	}
	if len(words) < 3 {
		return "", false
	}
	from, to := strings.ToLower(words[1]), strings.ToLower(words[2])
	switch kind {
	case "exact":
		return Absolute(to), Absolute(from) == name
	case "prefix":
		rest, ok := strings.CutPrefix(name, from)
		return to + rest, ok
	case "suffix":
		rest, ok := strings.CutSuffix(name, Absolute(from))
		return rest + Absolute(to), ok
	case "substring":
		return strings.ReplaceAll(name, from, to), strings.Contains(name, from)
	}
	re, err := regexp.Compile(from)
	if err != nil {
		return "", false
	}
	m := re.FindStringSubmatch(name)
	if m == nil {
		return "", false
	}
	for i, group := range m[1:] { // {0} is the whole match, {1} the first group
		to = strings.ReplaceAll(to, fmt.Sprintf("{%d}", i+1), group)
	}
	return Absolute(strings.ReplaceAll(to, "{0}", m[0])), true
}

// Upstream is a server of a forward line; the zero value when it is a file or no address.
func Upstream(word string) netip.AddrPort {
	if scheme, rest, ok := strings.Cut(word, "://"); ok && scheme != "" {
		word = rest
	}
	word, _, _ = strings.Cut(word, "%") // tls://9.9.9.9%dns.quad9.net
	if ap, err := netip.ParseAddrPort(word); err == nil {
		return ap
	}
	if a, err := netip.ParseAddr(strings.Trim(word, "[]")); err == nil {
		return netip.AddrPortFrom(a, 53)
	}
	return netip.AddrPort{}
}
