// Package corefile reads CoreDNS's configuration and says which of its lines
// decides over a name.
//
// It is a reader of its own, and not github.com/coredns/caddy/caddyfile: that
// one opens the files that "import" names on the machine it runs on, and puts
// environment variables of that machine into the text. Here the text comes from
// a ConfigMap, and its imports are other ConfigMaps' keys. The grammar is that of
// https://coredns.io/manual/configuration/.
package corefile

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Bounds of what is read: a ConfigMap holds at most 1 MiB.
const (
	maxText   = 1 << 20
	maxTokens = 200_000
	maxDepth  = 8
)

// Source is one text: a key of a ConfigMap.
type Source struct {
	ConfigMap string // "coredns-custom"
	Key       string // "corp.server"
	Text      string
}

// Pos is where something stands.
type Pos struct {
	ConfigMap string
	Key       string
	Line      int // from 1
}

func (p Pos) String() string { return fmt.Sprintf("%s, %s line %d", p.ConfigMap, p.Key, p.Line) }

// Line is one line of a plugin's block.
type Line struct {
	Pos
	Words []string
}

// Plugin is one directive of a server block.
type Plugin struct {
	Pos
	Name  string
	Args  []string
	Block []Line
}

// Text is the directive's first line.
func (p *Plugin) Text() string { return strings.Join(append([]string{p.Name}, p.Args...), " ") }

// Zone is one key of a server block: a zone and the port that it is served at.
type Zone struct {
	Name   string // absolute and lower case: "example.", "."
	Port   string
	Scheme string // dns, tls, https, grpc, quic
}

// Server is one server block.
type Server struct {
	Pos
	Zones   []Zone
	Plugins []Plugin
}

// Problem is something that CoreDNS does not start with.
type Problem struct {
	Pos
	Text string
}

// File is a whole configuration.
type File struct {
	Servers  []Server
	Problems []Problem
	Unread   []Line // imports whose texts are not at hand
}

// Parse reads a Corefile. Imports of the folder custom, as AKS mounts
// coredns-custom, are found among custom.
func Parse(main Source, custom []Source) *File {
	p := &parser{file: &File{}, custom: custom, snippets: map[string][]token{}}
	p.toks = p.lex(main)
	p.servers(0)
	p.file.check()
	return p.file
}

type parser struct {
	file     *File
	custom   []Source
	snippets map[string][]token
	toks     []token
	at       int
	total    int
}

func (p *parser) problem(pos Pos, format string, args ...any) {
	const most = 32
	if len(p.file.Problems) < most {
		p.file.Problems = append(p.file.Problems, Problem{pos, fmt.Sprintf(format, args...)})
	}
}

func (p *parser) lex(s Source) []token {
	if len(s.Text) > maxText {
		p.problem(Pos{s.ConfigMap, s.Key, 1}, "is longer than a ConfigMap can be")
		return nil
	}
	toks := lex(s)
	if p.total += len(toks); p.total > maxTokens {
		p.problem(Pos{s.ConfigMap, s.Key, 1}, "has too many words, imports included")
		return nil
	}
	return toks
}

// line takes the rest of the current token's line, without a brace that opens a block.
func (p *parser) line() (words []token, opens bool) {
	first := p.toks[p.at]
	for p.at < len(p.toks) && p.toks[p.at].sameLine(first) {
		t := p.toks[p.at]
		p.at++
		if t.is("{") && (p.at == len(p.toks) || !p.toks[p.at].sameLine(first)) {
			return words, true
		}
		words = append(words, t)
	}
	return words, false
}

// servers reads the top level: server blocks, snippets and imports.
func (p *parser) servers(depth int) {
	for p.at < len(p.toks) {
		first := p.toks[p.at]
		words, opens := p.line()
		for !opens && len(words) > 0 && strings.HasSuffix(words[len(words)-1].text, ",") && p.at < len(p.toks) {
			var more []token
			more, opens = p.line()
			words = append(words, more...)
		}
		switch {
		case len(words) == 0:
			p.problem(first.pos, "a brace stands where a zone should")
			if opens {
				p.skip()
			}
		case words[0].is("import") && !opens:
			p.imported(words, depth, func() { p.servers(depth + 1) })
		case opens && len(words) == 1 && strings.HasPrefix(words[0].text, "(") && strings.HasSuffix(words[0].text, ")"):
			start := p.at
			p.skip()
			p.snippets[strings.Trim(words[0].text, "()")] = p.toks[start:max(start, p.at-1)]
		case words[0].is("}"):
			p.problem(first.pos, "a closing brace without its opening one")
		default:
			s := Server{Pos: first.pos, Zones: zones(words)}
			if opens {
				p.plugins(&s, depth, false)
			} else { // without braces the whole text is one server's
				p.plugins(&s, depth, true)
			}
			p.file.Servers = append(p.file.Servers, s)
		}
	}
}

// imported reads in place what an import names.
func (p *parser) imported(words []token, depth int, read func()) {
	if len(words) < 2 || depth >= maxDepth {
		p.problem(words[0].pos, "import needs one name, and imports may not go in circles")
		return
	}
	name := words[1].text
	var texts [][]token
	if s, ok := p.snippets[name]; ok {
		if p.total += len(s); p.total > maxTokens {
			p.problem(words[0].pos, "has too many words, imports included")
			return
		}
		texts = append(texts, s)
	} else if path.Base(path.Dir(name)) == "custom" {
		for _, s := range p.custom {
			if ok, err := path.Match(path.Base(name), s.Key); ok && err == nil {
				texts = append(texts, p.lex(s))
			}
		}
	} else {
		p.file.Unread = append(p.file.Unread, Line{words[0].pos, texted(words)})
		return
	}
	toks, at := p.toks, p.at
	for _, t := range texts {
		p.toks, p.at = t, 0
		read()
	}
	p.toks, p.at = toks, at
}

// plugins reads a server block's inside up to its closing brace, or to the end
// of the text where the text is imported or has no braces.
func (p *parser) plugins(s *Server, depth int, bare bool) {
	for p.at < len(p.toks) {
		first := p.toks[p.at]
		words, opens := p.line()
		switch {
		case len(words) == 0:
			p.problem(first.pos, "a brace without a directive before it")
			p.skip()
			continue
		case words[0].is("}"):
			if bare {
				p.problem(first.pos, "a closing brace without its opening one")
				continue
			}
			return
		case words[0].is("import") && !opens:
			p.imported(words, depth, func() { p.plugins(s, depth+1, true) })
			continue
		}
		d := Plugin{Pos: first.pos, Name: words[0].text, Args: texted(words[1:])}
		if opens {
			d.Block = p.block(first.pos)
		}
		s.Plugins = append(s.Plugins, d)
	}
	if !bare {
		p.problem(s.Pos, "the block that begins here is not closed")
	}
}

// block reads a plugin's block up to its closing brace, nested ones included.
func (p *parser) block(open Pos) []Line {
	var out []Line
	for nested := 0; p.at < len(p.toks); {
		first := p.toks[p.at]
		words, opens := p.line()
		if opens {
			nested++
		}
		if len(words) > 0 && words[0].is("}") {
			if nested--; nested < 0 {
				return out
			}
			continue
		}
		if len(words) > 0 {
			out = append(out, Line{first.pos, texted(words)})
		}
	}
	p.problem(open, "the block that begins here is not closed")
	return out
}

// skip passes over a block.
func (p *parser) skip() {
	for nested := 1; p.at < len(p.toks) && nested > 0; {
		words, opens := p.line()
		if opens {
			nested++
		}
		if len(words) > 0 && words[0].is("}") {
			nested--
		}
	}
}

func texted(words []token) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w.text
	}
	return out
}

func zones(words []token) []Zone {
	var out []Zone
	for _, w := range words {
		for _, key := range strings.Split(w.text, ",") {
			if key != "" {
				out = append(out, zone(key))
			}
		}
	}
	return out
}

func zone(key string) Zone {
	z := Zone{Scheme: "dns"}
	if scheme, rest, ok := strings.Cut(key, "://"); ok {
		z.Scheme, key = strings.ToLower(scheme), rest
	}
	if i := strings.LastIndexByte(key, ':'); i >= 0 {
		if _, err := strconv.ParseUint(key[i+1:], 10, 16); err == nil {
			key, z.Port = key[:i], key[i+1:]
		}
	}
	z.Port = cmp.Or(z.Port, map[string]string{"tls": "853", "https": "443", "grpc": "443", "quic": "853"}[z.Scheme], "53")
	z.Name = Absolute(key)
	return z
}

// Absolute is a name in lower case, ending in a dot.
func Absolute(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) + "." }

// In says that an absolute name lies in an absolute zone.
func In(name, zone string) bool {
	return zone == "." || name == zone || strings.HasSuffix(name, "."+zone)
}

// known are the directives of CoreDNS as it is built by its makers, in the
// order in which it asks them (plugin.cfg of v1.11 to v1.15).
var known = strings.Fields(`root metadata geoip cancel tls quic timeouts multisocket reload nsid bufsize bind debug trace ready health pprof prometheus errors log
	dnstap local dns64 acl any chaos loadbalance tsig cache rewrite header dnssec autopath minimal template transfer hosts nomad route53 azure clouddns k8s_external
	kubernetes file auto secondary etcd loop forward grpc grpc_server https https3 erratic whoami on sign view startup shutdown`)

// check finds what CoreDNS refuses to start with.
func (f *File) check() {
	seen := map[string]Pos{}
	add := func(pos Pos, format string, args ...any) {
		f.Problems = append(f.Problems, Problem{pos, fmt.Sprintf(format, args...)})
	}
	for i := range f.Servers {
		s := &f.Servers[i]
		for _, z := range s.Zones {
			key := z.Scheme + "://" + z.Name + ":" + z.Port
			if old, ok := seen[key]; ok {
				add(s.Pos, "zone %s on port %s is served twice; the other block is at %s", z.Name, z.Port, old)
			}
			seen[key] = s.Pos
		}
		for j := range s.Plugins {
			switch d := &s.Plugins[j]; {
			case !slices.Contains(known, d.Name):
				add(d.Pos, "unknown directive %q", d.Name)
			case d.Name == "forward" && len(d.Args) < 2:
				add(d.Pos, "forward needs a zone and a server: %q", d.Text())
			}
		}
	}
}
