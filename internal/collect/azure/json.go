package azure

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// value is one place in a JSON document. Every accessor is lenient about what
// Azure is lenient about (missing, null, the case of a key, a number as a
// string) and records everything else with the path of the place.
type value struct {
	v    any
	at   string // "properties.subnets[2].id"
	errs *[]error
}

// parse reads one JSON document. The error of a syntactically broken one says where it broke.
func parse(data []byte) (value, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		var syntax *json.SyntaxError
		switch {
		case errors.Is(err, io.EOF):
			return value{}, errors.New("the answer is empty where a JSON document was due")
		case errors.Is(err, io.ErrUnexpectedEOF):
			return value{}, fmt.Errorf("the JSON document ends in the middle (after %d bytes)", len(data))
		case errors.As(err, &syntax):
			return value{}, fmt.Errorf("not JSON at byte %d: %v", syntax.Offset, err)
		}
		return value{}, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return value{}, fmt.Errorf("something follows the JSON document at byte %d", dec.InputOffset())
	}
	return value{v: v, errs: new([]error)}, nil
}

// err is what went wrong below this document, the first few things.
func (x value) err() error {
	if x.errs == nil || len(*x.errs) == 0 {
		return nil
	}
	if errs := *x.errs; len(errs) > 3 {
		return fmt.Errorf("%w (and %d more)", errors.Join(errs[:3]...), len(errs)-3)
	}
	return errors.Join(*x.errs...)
}

func (x value) wrong(want string) {
	at := x.at
	if at == "" {
		at = "the document"
	}
	if x.errs != nil {
		*x.errs = append(*x.errs, fmt.Errorf("%s: want %s, got %s", at, want, describe(x.v)))
	}
}

// describe names a JSON value in an error without quoting more than is useful.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		if len(v) > 60 {
			v = v[:60] + "…"
		}
		return strconv.Quote(v)
	default:
		s := fmt.Sprint(v)
		if len(s) > 30 {
			s = s[:30] + "…"
		}
		return s
	}
}

// missing says that there is nothing here: absent, or null.
func (x value) missing() bool { return x.v == nil }

// get is the member of an object, whatever the case of its key.
func (x value) get(names ...string) value {
	for _, name := range names {
		at := name
		if x.at != "" {
			at = x.at + "." + name
		}
		next := value{at: at, errs: x.errs}
		switch obj := x.v.(type) {
		case nil:
		case map[string]any:
			v, ok := obj[name]
			if !ok {
				// Two keys that differ in case only: take the smallest, so that the result does not depend on map order.
				found := ""
				for key, other := range obj {
					if strings.EqualFold(key, name) && (found == "" || key < found) {
						found, v = key, other
					}
				}
			}
			next.v = v
		default:
			x.wrong("an object")
		}
		x = next
	}
	return x
}

func (x value) props() value { return x.get("properties") }

// list is the elements of a list; a lone scalar counts as a list of one.
func (x value) list() []value {
	switch v := x.v.(type) {
	case nil:
		return nil
	case []any:
		out := make([]value, 0, len(v))
		for i, e := range v {
			if e != nil {
				out = append(out, value{v: e, at: x.at + "[" + strconv.Itoa(i) + "]", errs: x.errs})
			}
		}
		return out
	case map[string]any:
		x.wrong("a list")
		return nil
	default:
		return []value{x}
	}
}

// str is a string; numbers and booleans are taken as written.
func (x value) str() string {
	switch v := x.v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	x.wrong("a string")
	return ""
}

// strs is a list of strings without empty ones.
func (x value) strs() []string {
	var out []string
	for _, e := range x.list() {
		if s := e.str(); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// num is a whole number, also when written as a string or as 4.0.
func (x value) num() int {
	var text string
	switch v := x.v.(type) {
	case nil:
		return 0
	case json.Number:
		text = v.String()
	case string:
		if text = strings.TrimSpace(v); text == "" {
			return 0
		}
	default:
		x.wrong("a number")
		return 0
	}
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		return int(n)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > math.MaxInt32 {
		x.wrong("a whole number of at most 32 bits")
		return 0
	}
	return int(f)
}

// float is a number, and whether there is one.
func (x value) float() (float64, bool) {
	n, ok := x.v.(json.Number)
	if !ok {
		if x.v != nil {
			x.wrong("a number")
		}
		return 0, false
	}
	f, err := n.Float64()
	if err != nil {
		x.wrong("a number of at most 64 bits")
		return 0, false
	}
	return f, true
}

// truth is a boolean and whether it is said at all.
func (x value) truth() *bool {
	var b bool
	switch v := x.v.(type) {
	case nil:
		return nil
	case bool:
		b = v
	case string:
		parsed, err := strconv.ParseBool(strings.ToLower(v))
		if err != nil {
			if !strings.EqualFold(v, "enabled") && !strings.EqualFold(v, "disabled") {
				x.wrong("true or false")
				return nil
			}
			parsed = strings.EqualFold(v, "enabled")
		}
		b = parsed
	default:
		x.wrong("true or false")
		return nil
	}
	return &b
}

// is is a boolean, false when not said.
func (x value) is() bool {
	b := x.truth()
	return b != nil && *b
}

// id is a reference as a map key: lower case, no slash at the end.
func (x value) id() string { return Key(x.str()) }

// ref is the id of a member that is an object with an id: {"subnet": {"id": …}}.
func (x value) ref(name string) string {
	m := x.get(name)
	if s, ok := m.v.(string); ok { // some old answers put the id itself there
		return Key(s)
	}
	return m.get("id").id()
}

// refs are the ids of a list of such objects.
func (x value) refs(name string) []string {
	var out []string
	for _, e := range x.get(name).list() {
		id := ""
		if s, ok := e.v.(string); ok {
			id = Key(s)
		} else {
			id = e.get("id").id()
		}
		if id != "" {
			out = append(out, id)
		}
	}
	return out
}

// addr is an IP address; the zero Addr when there is none.
func (x value) addr() netip.Addr {
	s := x.str()
	if s == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil || a.Zone() != "" {
		x.wrong("an IP address")
		return netip.Addr{}
	}
	return a.Unmap()
}

func (x value) addrs() []netip.Addr {
	var out []netip.Addr
	for _, e := range x.list() {
		if a := e.addr(); a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// prefix is a CIDR; a lone address counts as the prefix that holds only it.
func (x value) prefix() netip.Prefix {
	s := strings.TrimSpace(x.str())
	if s == "" {
		return netip.Prefix{}
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked()
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen())
	}
	x.wrong("an address range such as 10.0.0.0/16")
	return netip.Prefix{}
}

func (x value) prefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, e := range x.list() {
		if p := e.prefix(); p.IsValid() {
			out = append(out, p)
		}
	}
	return out
}

// moment is a time stamp; the zero time when there is none.
func (x value) moment() time.Time {
	s := x.str()
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		x.wrong("a time such as 2026-01-15T10:00:00Z")
		return time.Time{}
	}
	return t.UTC()
}

// keys are the members of an object in a stable order.
func (x value) keys() []string {
	obj, ok := x.v.(map[string]any)
	if !ok {
		if x.v != nil {
			x.wrong("an object")
		}
		return nil
	}
	return sorted(obj)
}
