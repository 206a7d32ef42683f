package policy

import (
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Expr is a selector expression beyond plain requirements: Calico's language.
type Expr struct {
	kind exprKind
	key  string
	vals []string
	of   []*Expr // and, or, not
	text string  // as it was written
}

type exprKind uint8

const (
	exprAll exprKind = iota
	exprGlobal
	exprHas
	exprIn
	exprNotIn
	exprContains
	exprStarts
	exprEnds
	exprAnd
	exprOr
	exprNot
)

// String is the expression as it was written.
func (e *Expr) String() string { return e.text }

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
	return false // global(): no pod is without a namespace
}
