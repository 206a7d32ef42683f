package decode

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Bounds of what one object may hold: more is no policy that an API server took.
const (
	maxItems = 10_000   // of one list
	maxText  = 64 << 10 // bytes of one string
)

// fields is an object of which it is noted what was looked at: what is left in
// the end was not understood.
type fields struct {
	m    map[string]any
	used map[string]bool
	bad  string // the first thing that was not as it must be
}

// fieldsOf takes an object; nil is an empty one.
func fieldsOf(v any) *fields {
	f := &fields{used: map[string]bool{}}
	switch m := v.(type) {
	case nil:
	case map[string]any:
		f.m = m
	case map[any]any: // as some YAML readers make them
		f.m = make(map[string]any, len(m))
		for k, v := range m {
			f.m[fmt.Sprint(k)] = v
		}
	default:
		f.bad = "what should be an object is none"
	}
	return f
}

// get takes a field.
func (f *fields) get(key string) any {
	f.used[key] = true
	return f.m[key]
}

// has says whether a field is there and not null.
func (f *fields) has(key string) bool { return f.m[key] != nil }

func (f *fields) fail(key, why string) {
	if f.bad == "" {
		f.bad = key + " " + why
	}
}

// object takes a field that is an object.
func (f *fields) object(key string) *fields { return fieldsOf(f.get(key)) }

// list takes a field that is a list.
func (f *fields) list(key string) []any {
	switch v := f.get(key).(type) {
	case nil:
		return nil
	case []any:
		if len(v) > maxItems {
			f.fail(key, "has more than "+strconv.Itoa(maxItems)+" items")
			return v[:maxItems]
		}
		return v
	}
	f.fail(key, "is no list")
	return nil
}

// text takes a field that is a string, or what was meant as one: YAML readers
// take a bare 80 for a number and a bare y for a boolean.
func (f *fields) text(key string) string {
	s, ok := text(f.get(key))
	if !ok {
		f.fail(key, "is no string")
	}
	return s
}

// texts takes a field that is a list of strings.
func (f *fields) texts(key string) []string {
	var out []string
	for _, v := range f.list(key) {
		s, ok := text(v)
		if !ok {
			f.fail(key, "holds something else than strings")
			continue
		}
		out = append(out, s)
	}
	return out
}

// flag takes a field that is true or false; nil: absent.
func (f *fields) flag(key string) *bool {
	s, ok := text(f.get(key))
	b, err := strconv.ParseBool(s)
	if !f.has(key) {
		return nil
	}
	if !ok || err != nil {
		f.fail(key, "is neither true nor false")
		return nil
	}
	return &b
}

// number takes a field that is a number; nil: absent.
func (f *fields) number(key string) *float64 {
	if !f.has(key) {
		f.used[key] = true
		return nil
	}
	s, ok := text(f.get(key))
	n, err := strconv.ParseFloat(s, 64)
	if !ok || err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		f.fail(key, "is no number")
		return nil
	}
	return &n
}

// port takes a field that is a port number; 0: absent.
func (f *fields) port(key string) uint16 {
	s := f.text(key)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		f.fail(key, "is no port number")
	}
	return uint16(n)
}

// prefixes takes a field that is a list of address ranges, or single addresses.
func (f *fields) prefixes(key string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range f.texts(key) {
		p, ok := prefix(s)
		if !ok {
			f.fail(key, "holds something that is no range of addresses: "+strconv.Quote(short(s)))
			continue
		}
		out = append(out, p)
	}
	return out
}

// ignore marks fields that change nothing about what is allowed.
func (f *fields) ignore(keys ...string) *fields {
	for _, k := range keys {
		f.used[k] = true
	}
	return f
}

// left says what was not understood: the first of the fields that nobody took.
func (f *fields) left() string {
	if f.bad != "" {
		return f.bad
	}
	for _, k := range slices.Sorted(maps.Keys(f.m)) {
		if !f.used[k] && f.m[k] != nil {
			return "its field " + short(k) + " is not understood"
		}
	}
	return ""
}

func short(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// text is a scalar as it was most likely written.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return v, len(v) <= maxText
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	case int:
		return strconv.Itoa(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case uint64:
		return strconv.FormatUint(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}

func prefix(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err == nil
}

// selector reads a Kubernetes label selector; nil stays nil.
func selector(v any) (*model.Selector, string) {
	if v == nil {
		return nil, ""
	}
	f := fieldsOf(v)
	out := &model.Selector{}
	labels, why := labels(f.get("matchLabels"))
	out.MatchLabels = labels
	for _, e := range f.list("matchExpressions") {
		x := fieldsOf(e)
		out.Expressions = append(out.Expressions, model.SelectorExpression{Key: x.text("key"), Operator: x.text("operator"), Values: x.texts("values")})
		why = first(why, x.left())
	}
	return out, first(why, f.left())
}

// labels reads a map of strings.
func labels(v any) (model.Labels, string) {
	f := fieldsOf(v)
	if len(f.m) == 0 {
		return nil, f.bad
	}
	if len(f.m) > maxItems {
		return nil, "there are more than " + strconv.Itoa(maxItems) + " labels"
	}
	out := make(model.Labels, len(f.m))
	for k := range f.m {
		out[k] = f.text(k)
	}
	return out, f.bad
}

// first is the first text that is not empty.
func first(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}
