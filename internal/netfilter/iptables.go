package netfilter

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxText bounds the rule sets that are parsed, and maxRules what they may hold.
const (
	maxText  = 32 << 20
	maxRules = 500_000
)

// builtin are iptables' tables: where the kernel enters each, and at which
// priority (include/uapi/linux/netfilter_ipv4.h).
var builtin = map[string]struct {
	priority int
	kind     string
	hooks    []string
}{
	"raw":      {-300, "filter", []string{HookPrerouting, HookOutput}},
	"mangle":   {-150, "filter", []string{HookPrerouting, HookInput, HookForward, HookOutput, HookPostrouting}},
	"nat":      {-100, "nat", []string{HookPrerouting, HookInput, HookOutput, HookPostrouting}},
	"filter":   {0, "filter", []string{HookInput, HookForward, HookOutput}},
	"security": {50, "filter", []string{HookInput, HookForward, HookOutput}},
}

// ParseSave reads the output of iptables-save or ip6tables-save, of any of their
// backends, with counters or without. A rule that is not understood is kept as
// unknown; an error means that the text is no such output.
func ParseSave(text, family, backend string) (*RuleSet, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("iptables-save: %d bytes are more than the %d that are read", len(text), maxText)
	}
	p := &saveParser{rs: &RuleSet{filled: map[string]bool{}}, family: family, backend: backend}
	number := 0
	for line := range strings.Lines(text) {
		number++
		p.line = number
		if err := p.read(strings.TrimRight(line, "\r\n")); err != nil {
			return nil, fmt.Errorf("iptables-save: line %d: %w", number, err)
		}
	}
	for _, t := range p.rs.Tables {
		t.resolve()
	}
	return p.rs, nil
}

type saveParser struct {
	rs              *RuleSet
	family, backend string
	table           *Table
	line, rules     int
}

func (p *saveParser) read(line string) error {
	switch {
	case strings.TrimSpace(line) == "":
		return nil
	case strings.HasPrefix(line, "#"):
		if strings.Contains(line, "incompatible") { // "# Table `x' is incompatible, use 'nft' tool."
			p.rs.Notes = append(p.rs.Notes, strings.TrimSpace(strings.TrimPrefix(line, "#")))
		}
		return nil
	case strings.HasPrefix(line, "*"):
		p.table = &Table{Family: p.family, Name: strings.TrimSpace(line[1:]), Backend: p.backend, Chains: map[string]*Chain{}, Sets: map[string]*Set{}}
		p.rs.Tables = append(p.rs.Tables, p.table)
		return nil
	case line == "COMMIT":
		p.table = nil
		return nil
	case p.table == nil:
		return fmt.Errorf("%q is outside any table", clip(line))
	case strings.HasPrefix(line, ":"):
		return p.chain(line)
	}
	return p.rule(line)
}

// chain reads ":FORWARD DROP [10:600]".
func (p *saveParser) chain(line string) error {
	words := strings.Fields(line[1:])
	if len(words) < 2 {
		return fmt.Errorf("%q is no chain with its policy", clip(line))
	}
	c := p.table.add(words[0])
	c.Line = p.line
	switch words[1] {
	case "ACCEPT":
		c.Policy = Accept
	case "DROP":
		c.Policy = Drop
	}
	b, ok := builtin[p.table.Name]
	if hook := strings.ToLower(words[0]); ok && words[0] == strings.ToUpper(hook) && slices.Contains(b.hooks, hook) {
		c.Hook, c.Type, c.Priority = hook, b.kind, b.priority
		if p.table.Name == "nat" {
			c.Priority = natPriority(hook)
		}
	}
	return nil
}

func (t *Table) add(name string) *Chain {
	if c := t.Chains[name]; c != nil {
		return c
	}
	c := &Chain{Name: name}
	t.Chains[name] = c
	t.Order = append(t.Order, name)
	return c
}

func (p *saveParser) rule(line string) error {
	if p.rules++; p.rules > maxRules {
		return fmt.Errorf("more than %d rules", maxRules)
	}
	packets, rest := counters(line)
	words, err := split(rest)
	if err != nil {
		return err
	}
	if len(words) < 2 || words[0] != "-A" {
		return fmt.Errorf("%q is no rule", clip(line))
	}
	r := &Rule{Text: rest, Line: p.line, Packets: packets}
	rp := ruleParser{rule: r, words: words[2:], v6: p.family == "ip6"}
	rp.run()
	for _, name := range rp.fills {
		p.rs.filled[name] = true
	}
	c := p.table.add(words[1])
	c.Rules = append(c.Rules, r)
	return nil
}

// counters takes "[packets:bytes] " off the front of a rule.
func counters(line string) (int64, string) {
	if !strings.HasPrefix(line, "[") {
		return 0, line
	}
	inside, rest, ok := strings.Cut(line[1:], "] ")
	if !ok {
		return 0, line
	}
	packets, _, _ := strings.Cut(inside, ":")
	n, err := strconv.ParseInt(packets, 10, 64)
	if err != nil {
		return 0, rest
	}
	return n, rest
}

// split takes a line apart as iptables-restore does: blanks separate, double
// quotes hold together, a backslash takes the next character as it is.
func split(line string) ([]string, error) {
	var words []string
	var b strings.Builder
	quoted, started, escaped := false, false, false
	for _, c := range line {
		switch {
		case escaped:
			b.WriteRune(c)
			escaped = false
		case c == '\\' && quoted:
			escaped = true
		case c == '"':
			quoted, started = !quoted, true
		case (c == ' ' || c == '\t') && !quoted:
			if started {
				words = append(words, b.String())
			}
			b.Reset()
			started = false
		default:
			b.WriteRune(c)
			started = true
		}
	}
	if quoted || escaped {
		return nil, fmt.Errorf("a quote in %q does not end", clip(line))
	}
	if started {
		words = append(words, b.String())
	}
	return words, nil
}

func clip(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return s
}

// resolve turns jumps to what is no chain of the table into targets that are not known.
func (t *Table) resolve() {
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			for i := range r.Exprs {
				e := &r.Exprs[i]
				if e.Kind == ExprVerdict && e.Jump.Chain != "" && t.Chains[e.Jump.Chain] == nil {
					e.Kind = ExprUnknownEnd
				}
			}
		}
	}
}
