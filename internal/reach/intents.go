package reach

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/podpath/podpath/internal/model"
)

// Intent is a statement about connections: every pair of one of From and one of
// To, on every port that Port means, is as Expect says.
type Intent struct {
	Name     string
	From, To Side
	Port     string // a number, a range FIRST-LAST, a name of a port; "" is every port
	Protocol string // tcp, udp, sctp
	Expect   string // allow, deny; "" only asks
}

// Side is one end of an intent as it was written: a text, or selectors.
type Side struct {
	Text              string          `json:"-"`
	Namespace         string          `json:"namespace,omitempty"`
	NamespaceSelector *model.Selector `json:"namespaceSelector,omitempty"`
	PodSelector       *model.Selector `json:"podSelector,omitempty"`
}

// The limits of a file of intents.
const maxIntents = 1_000_000

// ParseIntents reads a file of intents, in YAML or JSON: a list, or an object
// that has one under "intents"; several documents are one file. The error names
// the entry, counted from one.
func ParseIntents(data []byte) (out []Intent, err error) {
	// The YAML library panics on some malformed input.
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("not readable as YAML: %v", p)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
		}
		if len(doc.Content) == 0 {
			continue
		}
		if out, err = appendIntents(out, doc.Content[0]); err != nil {
			return nil, err
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no intents in it; write a list of {from, to, port, protocol, expect}")
	}
	return out, nil
}

func appendIntents(out []Intent, n *yaml.Node) ([]Intent, error) {
	switch {
	case n.Kind == yaml.MappingNode && field(n, "intents") != nil:
		n = field(n, "intents")
	case n.Kind == yaml.MappingNode:
		n = &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{n}}
	case n.Tag == "!!null":
		return out, nil
	}
	if n.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("line %d: not a list of intents", n.Line)
	}
	if len(out)+len(n.Content) > maxIntents {
		return nil, fmt.Errorf("more than %d intents", maxIntents)
	}
	for _, item := range n.Content {
		i, err := parseIntent(item)
		if err != nil {
			return nil, fmt.Errorf("intent %d (line %d): %w", len(out)+1, item.Line, err)
		}
		out = append(out, i)
	}
	return out, nil
}

func field(n *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

func parseIntent(n *yaml.Node) (Intent, error) {
	var i Intent
	if n.Kind != yaml.MappingNode {
		return i, errors.New("not an object with from, to, port, protocol, expect")
	}
	for k := 0; k+1 < len(n.Content); k += 2 {
		key, v := n.Content[k].Value, n.Content[k+1]
		if v.Kind == yaml.AliasNode {
			v = v.Alias
		}
		var err error
		switch key {
		case "from":
			i.From, err = parseSide(v)
		case "to":
			i.To, err = parseSide(v)
		case "name", "port", "protocol", "expect":
			if v.Kind != yaml.ScalarNode {
				return i, fmt.Errorf("%s: not one word", key)
			}
			text := v.Value
			if v.Tag == "!!null" {
				text = ""
			}
			*map[string]*string{"name": &i.Name, "port": &i.Port, "protocol": &i.Protocol, "expect": &i.Expect}[key] = text
		default:
			if !strings.HasPrefix(key, "x-") { // a place for what is not podpath's
				return i, fmt.Errorf("%q is no field of an intent; they are name, from, to, port, protocol, expect (and x-…, which are passed over)", key)
			}
		}
		if err != nil {
			return i, fmt.Errorf("%s: %w", key, err)
		}
	}
	return i, i.complete()
}

// complete checks an intent and fills in its defaults.
func (i *Intent) complete() error {
	if i.From.none() {
		return errors.New("from is missing")
	}
	if i.To.none() {
		return errors.New("to is missing")
	}
	switch i.Expect = strings.ToLower(i.Expect); i.Expect {
	case "allow", "deny", "":
	default:
		return fmt.Errorf("expect: %q is neither allow nor deny", i.Expect)
	}
	i.Protocol = strings.ToLower(i.Protocol)
	if i.Protocol == "" {
		i.Protocol = "tcp"
	}
	if _, ok := ProtocolIndex(i.Protocol); !ok {
		return fmt.Errorf("protocol: %q is none of TCP, UDP, SCTP", i.Protocol)
	}
	_, err := parsePorts(i.Port)
	return err
}

func (s *Side) none() bool {
	return s.Text == "" && s.Namespace == "" && s.NamespaceSelector == nil && s.PodSelector == nil
}

func parseSide(n *yaml.Node) (Side, error) {
	var s Side
	if n.Kind == yaml.ScalarNode {
		if s.Text = n.Value; len(s.Text) > 2048 {
			return s, errors.New("longer than 2048 characters")
		}
		return s, nil
	}
	var raw struct {
		Namespace         string       `yaml:"namespace"`
		NamespaceSelector *rawSelector `yaml:"namespaceSelector"`
		PodSelector       *rawSelector `yaml:"podSelector"`
		Other             yamlRest     `yaml:",inline"`
	}
	if err := n.Decode(&raw); err != nil {
		return s, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	for key := range raw.Other {
		return s, fmt.Errorf("%q is not known; selectors are namespace, namespaceSelector, podSelector", key)
	}
	if raw.Namespace != "" && raw.NamespaceSelector != nil {
		return s, errors.New("namespace and namespaceSelector exclude each other")
	}
	s = Side{Namespace: raw.Namespace, NamespaceSelector: raw.NamespaceSelector.model(), PodSelector: raw.PodSelector.model()}
	for _, sel := range []*model.Selector{s.NamespaceSelector, s.PodSelector} {
		if err := checkSelector(sel); err != nil {
			return s, err
		}
	}
	if s.none() {
		return s, errors.New("empty; write a text, or namespace, namespaceSelector, podSelector")
	}
	return s, nil
}

type yamlRest map[string]any

type rawSelector struct {
	MatchLabels      map[string]string          `yaml:"matchLabels"`
	MatchExpressions []model.SelectorExpression `yaml:"matchExpressions"`
}

func (r *rawSelector) model() *model.Selector {
	if r == nil {
		return nil
	}
	return &model.Selector{MatchLabels: r.MatchLabels, Expressions: r.MatchExpressions}
}

func checkSelector(s *model.Selector) error {
	if s == nil {
		return nil
	}
	for _, e := range s.Expressions {
		switch {
		case e.Key == "":
			return errors.New("matchExpressions: key is missing")
		case (e.Operator == "In" || e.Operator == "NotIn") == (len(e.Values) == 0):
			return fmt.Errorf("matchExpressions: %s and its values do not fit", e.Operator)
		case e.Operator != "In" && e.Operator != "NotIn" && e.Operator != "Exists" && e.Operator != "DoesNotExist":
			return fmt.Errorf("matchExpressions: operator %q is none of In, NotIn, Exists, DoesNotExist", e.Operator)
		}
	}
	return nil
}

// String is the side as a person would write it.
func (s Side) String() string {
	if s.Text != "" {
		return s.Text
	}
	ns := "*"
	if s.Namespace != "" {
		ns = s.Namespace
	}
	if s.NamespaceSelector != nil {
		ns = "[" + selectorText(s.NamespaceSelector) + "]"
	}
	pods := selectorText(s.PodSelector)
	if pods == "" {
		pods = "*"
	}
	return ns + "/" + pods
}

// MarshalJSON gives a side back as it was written.
func (s Side) MarshalJSON() ([]byte, error) {
	if s.Text != "" {
		return json.Marshal(s.Text)
	}
	type plain Side
	return json.Marshal(plain(s))
}

// Prefixes are the networks and addresses that intents name, for New.
func Prefixes(list []Intent) []netip.Prefix {
	var out []netip.Prefix
	for i := range list {
		for _, s := range [2]string{list[i].From.Text, list[i].To.Text} {
			if p, err := netip.ParsePrefix(s); err == nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// Check checks an intent that may lack a side, and fills in its defaults.
func (i *Intent) Check() error {
	whole := *i
	for _, s := range [2]*Side{&whole.From, &whole.To} {
		if s.none() {
			s.Text = "*"
		}
	}
	if err := whole.complete(); err != nil {
		return err
	}
	i.Protocol, i.Expect = whole.Protocol, whole.Expect
	return nil
}
