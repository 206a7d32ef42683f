package netfilter

import (
	"math"
	"net/netip"
	"slices"
	"strings"
)

// nftSilent are statements that end nothing and change nothing that is looked at.
var nftSilent = []string{"counter", "log", "set", "map", "last", "flow", "ct helper", "ct timeout", "ct expectation", "secmark", "dup", "comment", "meter"}

// nftExpr reads one statement of a rule.
func nftExpr(e map[string]any) []Expr {
	if j, ok := jumpOf(e); ok {
		if j.Do == "continue" {
			return nil
		}
		return []Expr{{Kind: ExprVerdict, Jump: j}}
	}
	for _, name := range nftSilent {
		if _, ok := e[name]; ok {
			return nil
		}
	}
	for name, v := range e {
		m, _ := v.(map[string]any)
		switch name {
		case "match":
			return []Expr{nftMatch(m)}
		case "vmap":
			x := Expr{Kind: ExprVerdictMap, Left: operands(m["key"])}
			x.Set, x.SetRef = setOf(m["data"])
			return []Expr{x}
		case "mangle":
			return nftMangle(m)
		case "notrack":
			return []Expr{{Kind: ExprNoTrack}}
		case "dnat", "snat", "masquerade", "redirect":
			return []Expr{nftNAT(name, m)}
		case "xt":
			return nftXT(m)
		case "queue", "tproxy", "synproxy", "fwd":
			return []Expr{{Kind: ExprUnknownEnd}}
		}
	}
	return []Expr{{Kind: ExprUnknownMatch}} // limit, quota, connection count, and whatever comes yet
}

// nftXT is one of iptables' own extensions, which nft can only name.
func nftXT(m map[string]any) []Expr {
	name, _ := m["name"].(string)
	switch {
	case name == "comment" || m["type"] == "target" && goesOn[name]:
		return nil
	case m["type"] == "target":
		return []Expr{{Kind: ExprUnknownEnd}}
	}
	return []Expr{{Kind: ExprUnknownMatch}}
}

// jumpOf reads a verdict.
func jumpOf(e map[string]any) (Jump, bool) {
	for _, do := range []string{"accept", "drop", "return", "continue"} {
		if _, ok := e[do]; ok {
			return Jump{Do: do}, true
		}
	}
	for _, do := range []string{"jump", "goto"} {
		if m, ok := e[do].(map[string]any); ok {
			target, _ := m["target"].(string)
			return Jump{Do: do, Chain: target}, true
		}
	}
	if v, ok := e["reject"]; ok {
		with := "icmp-port-unreachable"
		if m, ok := v.(map[string]any); ok {
			kind, _ := m["type"].(string)
			what, _ := m["expr"].(string)
			if with = strings.Trim(kind+"-"+what, "-"); with == "tcp reset" {
				with = "tcp-reset"
			}
		}
		return Jump{Do: "reject", With: with}, true
	}
	return Jump{}, false
}

// operands are the parts of a key.
func operands(v any) []Operand {
	if m, ok := v.(map[string]any); ok {
		if parts, ok := m["concat"].([]any); ok {
			out := make([]Operand, 0, len(parts))
			for _, p := range parts {
				out = append(out, operand(p))
			}
			return out
		}
	}
	return []Operand{operand(v)}
}

func operand(v any) Operand {
	m, ok := v.(map[string]any)
	if list, isList := v.([]any); isList { // flags that are or-ed
		v = map[string]any{"|": list}
	}
	if bits, isMask := flagMask(v); isMask {
		return constant(number(bits))
	}
	if !ok {
		if r, ok := rangeOf(v); ok {
			return Operand{Op: "const", Range: r}
		}
		return Operand{Op: "unknown"}
	}
	for _, op := range []string{"&", "|", "^", "<<", ">>"} {
		if args, ok := m[op].([]any); ok {
			o := Operand{Op: op}
			for _, a := range args {
				o.Args = append(o.Args, operand(a))
			}
			return o
		}
	}
	if args, ok := v.(map[string]any)["map"].(map[string]any); ok {
		o := Operand{Op: "map", Args: operands(args["key"])}
		o.Set, o.Ref = setOf(args["data"])
		return o
	}
	if n, ok := m["numgen"].(map[string]any); ok {
		if mod, ok := n["mod"].(float64); ok && mod >= 1 && (n["offset"] == nil || n["offset"] == 0.0) {
			return Operand{Op: "random", Mod: uint64(mod)}
		}
	}
	if key := keyName(m); key != "" {
		return keyed(key)
	}
	return Operand{Op: "unknown"}
}

// keyName names a selector as packet.go does, or "".
func keyName(m map[string]any) string {
	word := func(kind, field string) string {
		inner, _ := m[kind].(map[string]any)
		s, _ := inner[field].(string)
		return s
	}
	switch {
	case m["payload"] != nil && word("payload", "protocol") != "":
		return word("payload", "protocol") + " " + word("payload", "field")
	case m["meta"] != nil:
		return "meta " + word("meta", "key")
	case m["ct"] != nil:
		key := word("ct", "key")
		if dir := word("ct", "dir"); dir != "" {
			key = dir + " " + strings.TrimPrefix(strings.TrimPrefix(key, "ip6 "), "ip ")
		}
		return "ct " + key
	case m["fib"] != nil:
		inner, _ := m["fib"].(map[string]any)
		list, _ := inner["flags"].([]any)
		if len(list) == 1 {
			s, _ := list[0].(string)
			return "fib " + word("fib", "result") + " " + s
		}
		if s, ok := inner["flags"].(string); ok {
			return "fib " + word("fib", "result") + " " + s
		}
	}
	return ""
}

// flagKeys hold several flags at once, so that "in" asks whether any is set.
var flagKeys = []string{"ct state", "ct status"}

func nftMatch(m map[string]any) Expr {
	op, _ := m["op"].(string)
	e := Expr{Kind: ExprMatch, Left: operands(m["left"]), Not: op == "!="}
	switch op {
	case "<", ">", "<=", ">=":
		return compared(e, op, m["right"])
	case "==", "!=", "in", "":
	default:
		return Expr{Kind: ExprUnknownMatch}
	}
	left := e.Left[0]
	if len(e.Left) == 1 && op == "in" && !slices.Contains(flagKeys, left.Key) && isNumeric(left) {
		e.Bits = true
	}
	e.Set, e.SetRef = setOf(m["right"])
	if e.Set == nil && e.SetRef == "" {
		return Expr{Kind: ExprUnknownMatch}
	}
	return e
}

func isNumeric(o Operand) bool {
	return o.Key == "tcp flags" || o.Key == "meta mark" || o.Key == "ct mark" || o.Op == "&"
}

// compared turns an inequality into an interval.
func compared(e Expr, op string, right any) Expr {
	r, ok := rangeOf(right)
	n, isNumber := numeric(r.Lo)
	if !ok || !isNumber || op == "<" && n == 0 || op == ">" && n == math.MaxUint64 {
		return Expr{Kind: ExprUnknownMatch}
	}
	switch op {
	case "<":
		r = numberRange(0, n-1)
	case "<=":
		r = numberRange(0, n)
	case ">":
		r = numberRange(n+1, math.MaxUint64)
	case ">=":
		r = numberRange(n, math.MaxUint64)
	}
	e.Set = (&Set{Elems: []Elem{{Key: []Range{r}}}}).seal()
	return e
}

// setOf reads the right side of a match or a map's data: a named set, a list, or one value.
func setOf(v any) (*Set, string) {
	if s, ok := v.(string); ok && strings.HasPrefix(s, "@") {
		return nil, s[1:]
	}
	list, ok := v.([]any) // a list of flags
	if m, isMap := v.(map[string]any); isMap {
		list, ok = m["set"].([]any)
		if m["set"] != nil && !ok {
			list, ok = []any{m["set"]}, true
		}
	}
	s := &Set{}
	if ok {
		s.fill(list)
	} else if bits, isMask := flagMask(v); isMask {
		s.Elems = []Elem{{Key: []Range{one(number(bits))}}}
	} else {
		s.Elems = []Elem{{Key: ranges(v)}}
	}
	for _, e := range s.Elems {
		if e.Key == nil {
			return nil, ""
		}
	}
	return s.seal(), ""
}

// flagMask reads flags that are or-ed: {"|": ["fin", "syn"]}.
func flagMask(v any) (uint64, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		return 0, false
	}
	args, ok := m["|"].([]any)
	if !ok {
		return 0, false
	}
	var n uint64
	for _, a := range args {
		bits, isMask := flagMask(a)
		if !isMask {
			r, ok := rangeOf(a)
			if bits, isMask = numeric(r.Lo); !ok || !isMask {
				return 0, false
			}
		}
		n |= bits
	}
	return n, true
}

// ranges reads an element: a value, a concatenation, or one with a comment or a time-out. Nil: not understood.
func ranges(v any) []Range {
	if m, ok := v.(map[string]any); ok {
		if inner, ok := m["elem"].(map[string]any); ok {
			return ranges(inner["val"])
		}
		if parts, ok := m["concat"].([]any); ok {
			var out []Range
			for _, p := range parts {
				r, ok := rangeOf(p)
				if !ok {
					return nil
				}
				out = append(out, r)
			}
			return out
		}
	}
	r, ok := rangeOf(v)
	if !ok {
		return nil
	}
	return []Range{r}
}

// rangeOf reads one value: a number, a name, an address, a prefix, an interval.
func rangeOf(v any) (Range, bool) {
	switch v := v.(type) {
	case float64:
		if v < 0 || v > 1<<53 || v != math.Trunc(v) {
			return Range{}, false
		}
		return one(number(uint64(v))), true
	case bool:
		return numberRange(0, 0), !v
	case string:
		return stringRange(v), true
	case map[string]any:
		return compound(v)
	}
	return Range{}, false
}

func stringRange(s string) Range {
	if s == "*" {
		return everything
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return one(addrBytes(a))
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return prefixRange(p)
	}
	if n, ok := protocols[s]; ok {
		return one(number(n))
	}
	if bit, ok := tcpFlagBits[strings.ToUpper(s)]; ok && s == strings.ToLower(s) {
		return one(number(bit))
	}
	return deviceRange(s, "*")
}

func compound(m map[string]any) (Range, bool) {
	if p, ok := m["prefix"].(map[string]any); ok {
		text, _ := p["addr"].(string)
		bits, _ := p["len"].(float64)
		a, err := netip.ParseAddr(text)
		if err != nil || bits < 0 || int(bits) > a.BitLen() {
			return Range{}, false
		}
		return prefixRange(netip.PrefixFrom(a, int(bits))), true
	}
	if ends, ok := m["range"].([]any); ok && len(ends) == 2 {
		lo, ok1 := rangeOf(ends[0])
		hi, ok2 := rangeOf(ends[1])
		return Range{lo.Lo, hi.Hi}, ok1 && ok2
	}
	if inner, ok := m["elem"].(map[string]any); ok {
		return rangeOf(inner["val"])
	}
	return Range{}, false
}

func nftMangle(m map[string]any) []Expr {
	key, _ := m["key"].(map[string]any)
	switch keyName(key) {
	case "meta mark":
		return []Expr{{Kind: ExprMark, Value: operand(m["value"])}}
	case "ct mark":
		return []Expr{{Kind: ExprCTMark, Value: operand(m["value"])}}
	}
	return nil // priorities, TTL, DSCP, MSS: nothing that is looked at
}

func nftNAT(do string, m map[string]any) Expr {
	n := &NAT{Do: do}
	field := func(name string) *Operand {
		if m[name] == nil {
			return nil
		}
		o := operand(m[name])
		return &o
	}
	n.Addr, n.Port = field("addr"), field("port")
	return Expr{Kind: ExprNAT, NAT: n}
}
