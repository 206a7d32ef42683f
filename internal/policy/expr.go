package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Expr is a selector expression beyond plain requirements: Calico's language.
// Source: https://docs.tigera.io/calico/latest/reference/resources/networkpolicy#selector
type Expr struct {
	kind exprKind
	key  string
	vals []string
	of   []*Expr // and, or, not
	text string  // in a form that is the same for the same expression
}

type exprKind uint8

const (
	exprAll exprKind = iota
	exprGlobal
	exprHas
	exprIn    // also ==
	exprNotIn // also !=
	exprContains
	exprStarts
	exprEnds
	exprAnd
	exprOr
	exprNot
)

// Bounds of an expression from outside.
const (
	maxExpr  = 64 << 10 // bytes
	maxDepth = 64       // of parentheses
)

// String is the expression in Calico's language.
func (e *Expr) String() string { return e.text }

// matches judges labels of a pod (or of whatever has a namespace: nothing is global()).
func (e *Expr) matches(labels model.Labels) bool {
	value, ok := labels[e.key]
	switch e.kind {
	case exprAll:
		return true
	case exprHas:
		return ok
	case exprIn:
		return ok && contains(e.vals, value)
	case exprNotIn:
		return !ok || !contains(e.vals, value)
	case exprContains:
		return ok && strings.Contains(value, e.vals[0])
	case exprStarts:
		return ok && strings.HasPrefix(value, e.vals[0])
	case exprEnds:
		return ok && strings.HasSuffix(value, e.vals[0])
	case exprNot:
		return !e.of[0].matches(labels)
	case exprAnd, exprOr:
		for _, o := range e.of {
			if o.matches(labels) == (e.kind == exprOr) {
				return e.kind == exprOr
			}
		}
		return e.kind == exprAnd
	}
	return false
}

// some says whether any part of the expression fulfils f.
func (e *Expr) some(f func(*Expr) bool) bool {
	return f(e) || slices.ContainsFunc(e.of, func(o *Expr) bool { return o.some(f) })
}

// finish gives an expression its text.
func (e *Expr) finish() *Expr {
	quoted := make([]string, len(e.vals))
	for i, v := range e.vals {
		quoted[i] = strconv.Quote(v)
	}
	set := " {" + strings.Join(quoted, ", ") + "}"
	parts := make([]string, len(e.of))
	for i, o := range e.of {
		parts[i] = o.text
	}
	switch e.kind {
	case exprAll:
		e.text = "all()"
	case exprGlobal:
		e.text = "global()"
	case exprHas:
		e.text = "has(" + e.key + ")"
	case exprIn:
		e.text = e.key + " in" + set
	case exprNotIn:
		e.text = e.key + " not in" + set
	case exprContains:
		e.text = e.key + " contains " + quoted[0]
	case exprStarts:
		e.text = e.key + " starts with " + quoted[0]
	case exprEnds:
		e.text = e.key + " ends with " + quoted[0]
	case exprAnd:
		e.text = "(" + strings.Join(parts, " && ") + ")"
	case exprOr:
		e.text = "(" + strings.Join(parts, " || ") + ")"
	case exprNot:
		e.text = "!" + parts[0]
	}
	return e
}

// parseExpr reads an expression in Calico's language; the empty one is all().
func parseExpr(s string) (*Expr, error) {
	if len(s) > maxExpr {
		return nil, fmt.Errorf("it is longer than %d bytes", maxExpr)
	}
	p := exprParser{rest: s}
	p.space()
	if p.rest == "" {
		return (&Expr{}).finish(), nil
	}
	e, err := p.or(0)
	if err == nil && p.rest != "" {
		err = p.unexpected()
	}
	return e, err
}

type exprParser struct{ rest string }

func (p *exprParser) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

func (p *exprParser) unexpected() error {
	rest := p.rest
	if rest == "" {
		return errors.New("it ends too early")
	}
	if len(rest) > 20 {
		rest = rest[:20] + "…"
	}
	return fmt.Errorf("%q is not expected there", strings.ToValidUTF8(rest, "?"))
}

// take eats a token, and the space after it.
func (p *exprParser) take(token string) bool {
	rest, ok := strings.CutPrefix(p.rest, token)
	if ok {
		p.rest = rest
		p.space()
	}
	return ok
}

// or and and are chains; || binds least.
func (p *exprParser) or(depth int) (*Expr, error) {
	return p.chain("||", exprOr, func() (*Expr, error) {
		return p.chain("&&", exprAnd, func() (*Expr, error) { return p.operation(depth) })
	})
}

func (p *exprParser) chain(operator string, kind exprKind, part func() (*Expr, error)) (*Expr, error) {
	first, err := part()
	if err != nil || !strings.HasPrefix(p.rest, operator) {
		return first, err
	}
	e := &Expr{kind: kind, of: []*Expr{first}}
	for p.take(operator) {
		next, err := part()
		if err != nil {
			return nil, err
		}
		e.of = append(e.of, next)
	}
	return e.finish(), nil
}

func (p *exprParser) operation(depth int) (*Expr, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("its parentheses are more than %d deep", maxDepth)
	}
	negated := false
	for !strings.HasPrefix(p.rest, "!=") && p.take("!") {
		negated = !negated
	}
	e, err := p.positive(depth)
	if err == nil && negated {
		e = (&Expr{kind: exprNot, of: []*Expr{e}}).finish()
	}
	return e, err
}

func (p *exprParser) positive(depth int) (*Expr, error) {
	if p.take("(") {
		e, err := p.or(depth + 1)
		if err == nil && !p.take(")") {
			err = p.unexpected()
		}
		return e, err
	}
	for _, f := range []struct {
		name string
		kind exprKind
	}{{"all(", exprAll}, {"global(", exprGlobal}, {"has(", exprHas}} {
		if !p.take(f.name) {
			continue
		}
		e := &Expr{kind: f.kind}
		if f.kind == exprHas {
			if e.key = p.label(); e.key == "" {
				return nil, p.unexpected()
			}
		}
		if !p.take(")") {
			return nil, p.unexpected()
		}
		return e.finish(), nil
	}
	key := p.label()
	if key == "" {
		return nil, p.unexpected()
	}
	return p.comparison(key)
}

// label eats the name of a label.
func (p *exprParser) label() string {
	end := strings.IndexFunc(p.rest, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_./-", r))
	})
	if end < 0 {
		end = len(p.rest)
	}
	key := p.rest[:end]
	p.rest = p.rest[end:]
	p.space()
	if len(key) > 512 {
		return ""
	}
	return key
}

func (p *exprParser) comparison(key string) (*Expr, error) {
	e := &Expr{key: key}
	switch {
	case p.take("=="):
		e.kind = exprIn
	case p.take("!="):
		e.kind = exprNotIn
	case p.take("contains"):
		e.kind = exprContains
	case p.take("starts") && p.take("with"):
		e.kind = exprStarts
	case p.take("ends") && p.take("with"):
		e.kind = exprEnds
	case p.take("in"):
		return p.set(e, exprIn)
	case p.take("not") && p.take("in"):
		return p.set(e, exprNotIn)
	default:
		return nil, p.unexpected()
	}
	s, ok := p.literal()
	if !ok {
		return nil, p.unexpected()
	}
	e.vals = []string{s}
	return e.finish(), nil
}

func (p *exprParser) set(e *Expr, kind exprKind) (*Expr, error) {
	if e.kind = kind; !p.take("{") {
		return nil, p.unexpected()
	}
	for !p.take("}") {
		s, ok := p.literal()
		if !ok {
			return nil, p.unexpected()
		}
		e.vals = append(e.vals, s)
		if !p.take(",") && !strings.HasPrefix(p.rest, "}") {
			return nil, p.unexpected()
		}
	}
	slices.Sort(e.vals)
	e.vals = slices.Compact(e.vals)
	return e.finish(), nil
}

// literal eats a string in either kind of quotes, which know no escapes.
func (p *exprParser) literal() (string, bool) {
	if p.rest == "" || p.rest[0] != '"' && p.rest[0] != '\'' {
		return "", false
	}
	end := strings.IndexByte(p.rest[1:], p.rest[0])
	if end < 0 {
		return "", false
	}
	s := p.rest[1 : end+1]
	p.rest = p.rest[end+2:]
	p.space()
	return s, true
}

// requirement is the expression as a plain requirement, where it is one.
func (e *Expr) requirement() (Requirement, bool) {
	switch e.kind {
	case exprHas:
		return Requirement{Key: e.key, Op: Exists}, true
	case exprIn:
		return Requirement{Key: e.key, Op: In, Values: slices.Clone(e.vals)}, true
	case exprNotIn:
		return Requirement{Key: e.key, Op: NotIn, Values: slices.Clone(e.vals)}, true
	case exprNot:
		r, ok := e.of[0].requirement()
		r.Op = [...]Op{In: NotIn, NotIn: In, Exists: NotExists, NotExists: Exists}[r.Op]
		return r, ok
	}
	return Requirement{}, false
}

// parts are the conditions that must all hold.
func (e *Expr) parts() []*Expr {
	if e.kind != exprAnd {
		return []*Expr{e}
	}
	var out []*Expr
	for _, o := range e.of {
		out = append(out, o.parts()...)
	}
	return out
}

// selector makes a selector of conditions: plain ones as requirements.
func selectorOf(parts []*Expr) Selector {
	var reqs []Requirement
	var rest []*Expr
	for _, e := range parts {
		if e.kind == exprAll {
			continue
		}
		if r, ok := e.requirement(); ok {
			reqs = append(reqs, r)
		} else {
			rest = append(rest, e)
		}
	}
	switch len(rest) {
	case 0:
		return newSelector(reqs, nil)
	case 1:
		return newSelector(reqs, rest[0])
	}
	return newSelector(reqs, (&Expr{kind: exprAnd, of: rest}).finish())
}

// parseSelector reads a Calico selector over plain labels.
func parseSelector(s string) (Selector, error) {
	e, err := parseExpr(s)
	if err != nil {
		return Selector{}, err
	}
	return selectorOf(e.parts()), nil
}
