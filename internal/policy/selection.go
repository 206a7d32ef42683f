package policy

import (
	"slices"
	"sort"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// nameLabel is the label that the API server puts on every namespace.
const nameLabel = "kubernetes.io/metadata.name"

// Selection is a choice of pods. All of its parts must hold; the zero value is
// every pod. Pods in the host's network are never chosen.
type Selection struct {
	Namespace       string   // this namespace only; "" is any
	Namespaces      Selector // over the labels of the pod's namespace (its name is always one: kubernetes.io/metadata.name)
	Pods            Selector // over the pod's labels
	ServiceAccounts []string // the pod's account is one of these; empty: any
	Accounts        Selector // over the labels of the pod's account
	Unknown         string   // not empty: a pod that all else chooses may be chosen or not, and why
}

// Key is equal for selections that choose the same pods for sure.
func (s *Selection) Key() string {
	return strings.Join([]string{s.Namespace, s.Namespaces.Key(), s.Pods.Key(), strings.Join(s.ServiceAccounts, ","), s.Accounts.Key(), s.Unknown}, "\x00")
}

// Op is the operator of a requirement.
type Op uint8

// The operators, with the API server's meaning: NotIn also holds where the key is missing.
const (
	In Op = iota
	NotIn
	Exists
	NotExists
)

// Requirement is one condition on a label.
type Requirement struct {
	Key    string
	Op     Op
	Values []string // sorted; In and NotIn
}

// Holds says whether labels fulfil the requirement.
func (r *Requirement) Holds(labels model.Labels) bool {
	value, ok := labels[r.Key]
	switch r.Op {
	case In:
		return ok && contains(r.Values, value)
	case NotIn:
		return !ok || !contains(r.Values, value)
	case Exists:
		return ok
	default:
		return !ok
	}
}

func contains(values []string, v string) bool {
	if len(values) == 1 {
		return values[0] == v
	}
	return slices.Contains(values, v)
}

// Selector is a parsed label selector: all of Reqs hold, and Expr where there
// is one. The zero value selects everything. It is not changed once made.
type Selector struct {
	Reqs []Requirement // sorted by key
	Expr *Expr         // what cannot be said by Reqs (Calico's or, not, contains, …); nil: nothing more
	key  string
}

// Everything says that the selector has no condition.
func (s *Selector) Everything() bool { return len(s.Reqs) == 0 && s.Expr == nil }

// Key is equal for selectors that are the same.
func (s *Selector) Key() string { return s.key }

// Matches says whether the selector selects labels.
func (s *Selector) Matches(labels model.Labels) bool {
	for i := range s.Reqs {
		if !s.Reqs[i].Holds(labels) {
			return false
		}
	}
	return s.Expr == nil || s.Expr.matches(labels)
}

// newSelector makes a selector of its parts.
func newSelector(reqs []Requirement, expr *Expr) Selector {
	for i := range reqs {
		slices.Sort(reqs[i].Values)
	}
	sort.SliceStable(reqs, func(i, j int) bool { return reqs[i].Key < reqs[j].Key })
	var b strings.Builder
	for i := range reqs {
		r := &reqs[i]
		b.WriteString(r.Key + "\x01" + string('0'+rune(r.Op)) + strings.Join(r.Values, "\x02") + "\x03")
	}
	if expr != nil {
		b.WriteString(expr.text)
	}
	return Selector{Reqs: reqs, Expr: expr, key: b.String()}
}

// fromLabels compiles a Kubernetes selector; nil selects everything. The second
// result is the reason when an operator is not known.
func fromLabels(s *model.Selector) (Selector, string) {
	if s == nil {
		return Selector{}, ""
	}
	unknown := ""
	reqs := make([]Requirement, 0, len(s.MatchLabels)+len(s.Expressions))
	for k, v := range s.MatchLabels {
		reqs = append(reqs, Requirement{Key: k, Values: []string{v}})
	}
	for i := range s.Expressions {
		e := &s.Expressions[i]
		r := Requirement{Key: e.Key, Values: slices.Clone(e.Values)}
		switch e.Operator {
		case "In":
		case "NotIn":
			r.Op = NotIn
		case "Exists":
			r.Op, r.Values = Exists, nil
		case "DoesNotExist":
			r.Op, r.Values = NotExists, nil
		default:
			unknown = "selector operator " + e.Operator + " is not known"
			continue
		}
		reqs = append(reqs, r)
	}
	return newSelector(reqs, nil), unknown
}
