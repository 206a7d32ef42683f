package netfilter

import (
	"encoding/json"
	"fmt"
	"strings"
)

// ParseNFT reads the output of `nft -j list ruleset` (libnftables-json(5)). A
// rule that is not understood is kept as unknown; an error means that the text
// is no such output.
func ParseNFT(text string) (*RuleSet, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("nft: %d bytes are more than the %d that are read", len(text), maxText)
	}
	var doc struct {
		Objects []map[string]json.RawMessage `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return nil, fmt.Errorf("nft: %w", err)
	}
	if doc.Objects == nil {
		return nil, fmt.Errorf("nft: no list \"nftables\" in the document")
	}
	p := &nftParser{rs: &RuleSet{}, tables: map[string]*Table{}}
	for i, o := range doc.Objects {
		for _, kind := range []string{"table", "set", "map", "chain", "rule", "element"} {
			if raw, ok := o[kind]; ok {
				if err := p.object(kind, raw); err != nil {
					return nil, fmt.Errorf("nft: object %d (%s): %w", i, kind, err)
				}
			}
		}
	}
	return p.rs, nil
}

type nftParser struct {
	rs     *RuleSet
	tables map[string]*Table
	rules  int
}

// nftObject is what tables, chains, sets and rules have.
type nftObject struct {
	Family, Table, Name, Chain string
	Handle                     int
	Type                       any
	Hook                       string
	Prio                       int
	Policy                     string
	Dev                        any
	Elem                       []any
	Expr                       []any
	Comment                    string
}

func (p *nftParser) object(kind string, raw json.RawMessage) error {
	var o nftObject
	if err := json.Unmarshal(raw, &o); err != nil {
		return err
	}
	if kind == "table" {
		p.table(o.Family, o.Name)
		return nil
	}
	t := p.table(o.Family, o.Table)
	switch kind {
	case "set", "map":
		s := &Set{Name: o.Name}
		s.fill(o.Elem)
		t.Sets[o.Name] = s.seal()
	case "element":
		if s := t.Sets[o.Name]; s != nil {
			s.fill(o.Elem)
			s.seal()
		}
	case "chain":
		chainOf(t.add(o.Name), &o)
	case "rule":
		if p.rules++; p.rules > maxRules {
			return fmt.Errorf("more than %d rules", maxRules)
		}
		c := t.add(o.Chain)
		c.Rules = append(c.Rules, nftRule(&o))
	}
	return nil
}

func (p *nftParser) table(family, name string) *Table {
	key := family + " " + name
	if t := p.tables[key]; t != nil {
		return t
	}
	t := &Table{Family: family, Name: name, Backend: BackendNative, Chains: map[string]*Chain{}, Sets: map[string]*Set{}}
	p.tables[key] = t
	p.rs.Tables = append(p.rs.Tables, t)
	return t
}

func chainOf(c *Chain, o *nftObject) {
	c.Hook, c.Priority = o.Hook, o.Prio
	c.Type, _ = o.Type.(string)
	if c.Hook == "" {
		return
	}
	c.Policy = Accept
	if o.Policy == "drop" {
		c.Policy = Drop
	}
	switch dev := o.Dev.(type) {
	case string:
		c.Devices = []string{dev}
	case []any:
		for _, d := range dev {
			c.Devices = append(c.Devices, fmt.Sprint(d))
		}
	}
}

func nftRule(o *nftObject) *Rule {
	r := &Rule{Handle: o.Handle, Comment: o.Comment}
	words := make([]string, 0, len(o.Expr)+1)
	for _, x := range o.Expr {
		e, ok := x.(map[string]any)
		if !ok {
			r.Exprs = append(r.Exprs, Expr{Kind: ExprUnknownMatch})
			continue
		}
		if w := exprText(e); w != "" {
			words = append(words, w)
		}
		if c, ok := e["counter"].(map[string]any); ok {
			if n, ok := c["packets"].(float64); ok {
				r.Packets = int64(n)
			}
		}
		r.Exprs = append(r.Exprs, nftExpr(e)...)
	}
	if r.Comment != "" {
		words = append(words, fmt.Sprintf("comment %q", r.Comment))
	}
	r.Text = strings.Join(words, " ")
	return r
}

// fill adds elements as nft writes them: a value, or a pair of key and data.
func (s *Set) fill(elems []any) {
	for _, x := range elems {
		key, data := x, any(nil)
		if pair, ok := x.([]any); ok && len(pair) == 2 {
			key, data = pair[0], pair[1]
		}
		e := Elem{Key: ranges(key)}
		if m, ok := data.(map[string]any); ok {
			if j, ok := jumpOf(m); ok {
				e.Verdict = &j
			}
		}
		if data != nil && e.Verdict == nil {
			e.Data = ranges(data)
		}
		s.Elems = append(s.Elems, e)
	}
}
