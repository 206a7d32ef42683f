package policy

import (
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

func TestParseExpr(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "all()",
		"  all( ) ":                           "all()",
		"a == 'b'":                            `a in {"b"}`,
		`a!="b"`:                              `a not in {"b"}`,
		"!has( x.y/z )":                       "!has(x.y/z)",
		"!!has(x)":                            "has(x)",
		"a in {'2','1', '2'}":                 `a in {"1", "2"}`,
		"a not in {}":                         "a not in {}",
		"a == 'b' && c == 'd' || has(e)":      `((a in {"b"} && c in {"d"}) || has(e))`,
		"a == 'b' && (c == 'd' || has(e))":    `(a in {"b"} && (c in {"d"} || has(e)))`,
		"a contains 'x' && b starts with 'y'": `(a contains "x" && b starts with "y")`,
		"all == 'x'":                          `all in {"x"}`,
		"global()":                            "global()",
	} {
		e, err := parseExpr(text)
		if err != nil || e.String() != want {
			t.Errorf("%q: %v, %v; want %s", text, e, err, want)
		}
	}
	for _, text := range []string{"a", "a ==", "a == b", "a = 'b'", "a == 'b", "(a == 'b'", "a == 'b')", "has()", "has(a", "&& a", "a in 'b'", "a in {'b' 'c'}", "a in {'b',", "a starts 'x'", "ä == 'x'", "!", strings.Repeat("(", 1000), strings.Repeat("x", maxExpr+1), strings.Repeat("l", 600) + " == 'x'"} {
		if e, err := parseExpr(text); err == nil {
			t.Errorf("%.40q is %s", text, e)
		}
	}
}

func TestExprMatches(t *testing.T) {
	labels := model.Labels{"app": "web-1", "empty": ""}
	for text, want := range map[string]bool{
		"app == 'web-1'": true, "app != 'web-1'": false, "gone != 'x'": true, "gone == ''": false, "empty == ''": true, "has(empty)": true,
		"app starts with 'web'": true, "app ends with '-1'": true, "app contains 'b-'": true, "gone contains ''": false, "app not in {'web-1'}": false,
		"gone not in {'x'}": true, "global()": false, "!global()": true, "!(app == 'x' || gone == 'y')": true, "has(app) && !has(gone)": true,
		"!(gone in {'x'})": true, "!(app not in {'web-1'})": true,
	} {
		sel, err := parseSelector(text)
		if err != nil || sel.Matches(labels) != want {
			t.Errorf("%s: %v, %v", text, !want, err)
		}
	}
}

// FuzzExpr: what is parsed reads the same when it is written out and parsed
// again, and chooses the same as a selector.
func FuzzExpr(f *testing.F) {
	for _, s := range []string{"a == 'b' && !(c in {'d', \"e\"} || has(f))", "all()", "!global() || a starts with 'x'", "a not in {} && b contains ''", "((a != 'b'))"} {
		f.Add(s, "a", "b")
	}
	f.Fuzz(func(t *testing.T, text, key, value string) {
		e, err := parseExpr(text)
		if err != nil {
			return
		}
		labels := model.Labels{key: value, "a": "b"}
		if got := selectorOf(e.parts()); got.Matches(labels) != e.matches(labels) {
			t.Errorf("%s: the selector says %v", e, !e.matches(labels))
		}
		if strings.ContainsAny(text, "'\"\\") || strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
			return // Calico's strings know no escapes; the text of an expression is for people and for comparing
		}
		again, err := parseExpr(e.String())
		if err != nil || again.String() != e.String() {
			t.Errorf("%s is written %s: %v", text, e, err)
		}
	})
}
