package model

import "strings"

// Ref names one object the way people write it: "pod/NS/NAME",
// "nsg/NAME/RULE", "subnet/VNET/NAME", "host/NAME-OR-IP". The kind is lower
// case; names keep their case. The empty Ref names nothing.
type Ref string

// NewRef joins a kind and the parts of a name; empty parts at the end are left out.
func NewRef(kind string, parts ...string) Ref {
	for len(parts) > 0 && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	return Ref(strings.Join(append([]string{strings.ToLower(kind)}, parts...), "/"))
}

// Kind is the part before the first slash.
func (r Ref) Kind() string {
	kind, _, _ := strings.Cut(string(r), "/")
	return kind
}

// Parts are the name's parts after the kind.
func (r Ref) Parts() []string {
	_, rest, ok := strings.Cut(string(r), "/")
	if !ok {
		return nil
	}
	return strings.Split(rest, "/")
}

// Part is the i-th part after the kind, or "" when there is none.
func (r Ref) Part(i int) string {
	parts := r.Parts()
	if i >= len(parts) {
		return ""
	}
	return parts[i]
}

// Name is the last part.
func (r Ref) Name() string {
	parts := r.Parts()
	if len(parts) == 0 {
		return ""
	}
	return parts[len(parts)-1]
}
