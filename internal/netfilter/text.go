package netfilter

import (
	"encoding/json"
	"fmt"
	"strings"
)

// exprText writes a statement of nft's JSON the way nft itself does, as far as
// rule sets of nodes have it; the rest stays JSON.
func exprText(e map[string]any) string {
	for name, v := range e {
		m, _ := v.(map[string]any)
		switch name {
		case "match":
			return matchText(m)
		case "accept", "drop", "return", "continue", "notrack":
			return name
		case "jump", "goto":
			return fmt.Sprintf("%s %v", name, m["target"])
		case "counter":
			return "counter"
		case "vmap":
			return valueText(m["key"]) + " vmap " + valueText(m["data"])
		case "mangle":
			return valueText(m["key"]) + " set " + valueText(m["value"])
		case "reject":
			return rejectText(m)
		case "dnat", "snat", "masquerade", "redirect":
			return natStatement(name, m)
		case "xt":
			return fmt.Sprintf("xt %v %v", m["type"], m["name"])
		case "ct count":
			if over, _ := m["inv"].(bool); over {
				return "ct count over " + valueText(m["val"])
			}
			return "ct count " + valueText(m["val"])
		case "log":
			return "log"
		}
	}
	return clip(jsonText(e))
}

func jsonText(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return string(data)
}

func matchText(m map[string]any) string {
	op, _ := m["op"].(string)
	if op == "==" || op == "in" || op == "" {
		return valueText(m["left"]) + " " + valueText(m["right"])
	}
	return valueText(m["left"]) + " " + op + " " + valueText(m["right"])
}

func rejectText(m map[string]any) string {
	kind, _ := m["type"].(string)
	if what, ok := m["expr"].(string); ok {
		return "reject with " + kind + " " + what
	}
	if kind != "" {
		return "reject with " + kind
	}
	return "reject"
}

func natStatement(name string, m map[string]any) string {
	var b strings.Builder
	b.WriteString(name)
	if m["addr"] != nil {
		b.WriteString(" to " + valueText(m["addr"]))
	}
	if m["port"] != nil {
		b.WriteString(" :" + valueText(m["port"]))
	}
	return b.String()
}

// maxTextValues bounds how many elements of a set are written out.
const maxTextValues = 8

func valueText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return fmt.Sprintf("%.0f", v)
	case []any:
		return listText(v, ", ")
	case map[string]any:
		return mapText(v)
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}

func listText(list []any, separator string) string {
	var words []string
	for i, x := range list {
		if i == maxTextValues {
			words = append(words, "…")
			break
		}
		if pair, ok := x.([]any); ok && len(pair) == 2 {
			words = append(words, valueText(pair[0])+" : "+valueText(pair[1]))
			continue
		}
		words = append(words, valueText(x))
	}
	return strings.Join(words, separator)
}

func mapText(m map[string]any) string {
	if key := keyName(m); key != "" {
		return key
	}
	if j, ok := jumpOf(m); ok {
		return strings.TrimSpace(j.Do + " " + j.Chain)
	}
	for name, x := range m {
		inner, _ := x.(map[string]any)
		list, _ := x.([]any)
		switch name {
		case "prefix":
			return fmt.Sprintf("%v/%v", inner["addr"], inner["len"])
		case "range":
			return listText(list, "-")
		case "concat":
			return listText(list, " . ")
		case "set":
			return "{ " + strings.TrimSuffix(valueText(x), " ") + " }"
		case "elem":
			return valueText(inner["val"])
		case "numgen":
			return fmt.Sprintf("numgen %v mod %v", inner["mode"], inner["mod"])
		case "map":
			return valueText(inner["key"]) + " map " + valueText(inner["data"])
		case "&", "|", "^", "<<", ">>":
			return listText(list, " "+name+" ")
		}
	}
	return clip(jsonText(m))
}
