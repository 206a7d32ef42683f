package rules

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// arm, kube, node and probe make one piece of evidence from each source.
func arm(text string, refs ...model.Ref) diagnose.Evidence {
	return diagnose.Evidence{Text: text, Refs: refs, Source: "arm"}
}

func kube(text string, refs ...model.Ref) diagnose.Evidence {
	return diagnose.Evidence{Text: text, Refs: refs, Source: "kube"}
}

func node(text string, refs ...model.Ref) diagnose.Evidence {
	return diagnose.Evidence{Text: text, Refs: refs, Source: "node"}
}

func probe(text string, refs ...model.Ref) diagnose.Evidence {
	return diagnose.Evidence{Text: text, Refs: refs, Source: "probe"}
}

// again is the command that shows whether a remedy helped.
func again(p *diagnose.Pass) string {
	q := p.Case.Question
	if q.From.Raw == "" || q.To.Raw == "" {
		return ""
	}
	return "podpath why " + diagnose.Quote(q.From.Raw) + " " + diagnose.Quote(q.To.Raw)
}

// from is how a sentence names the asking side.
func from(p *diagnose.Pass) string {
	if c := p.Client(); c != "" {
		return string(c)
	}
	return p.Case.Question.From.Raw
}

// flowText is "tcp 10.244.0.7 → 198.51.100.10:443" of the packet at a step.
func flowText(f model.Flow) string {
	switch {
	case !f.Dst.IsValid(): // a name of which no address is known
		return fmt.Sprintf("%s %s → %s:%d", f.Protocol, f.Src, firstOf(f.Host, "the-internet"), f.DstPort)
	case f.DstPort == 0:
		return fmt.Sprintf("%s %s → %s", f.Protocol, f.Src, f.Dst)
	}
	return fmt.Sprintf("%s %s → %s", f.Protocol, f.Src, netip.AddrPortFrom(f.Dst, f.DstPort))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// mention is a place in a pod's specification that holds a text.
type mention struct {
	container, variable, value string
}

func (m mention) String() string {
	if m.variable == "" {
		return fmt.Sprintf("an argument of container %s: %s", m.container, redact(m.value))
	}
	return fmt.Sprintf("variable %s of container %s: %s", m.variable, m.container, redact(m.value))
}

// mentions finds where the asking pod's variables and arguments hold a text.
func mentions(p *diagnose.Pass, text string) []mention {
	pod := p.Pod()
	if pod == nil || text == "" {
		return nil
	}
	var out []mention
	for _, c := range pod.Containers {
		if c.Kind == "ephemeral" {
			continue
		}
		for _, name := range sortedKeys(c.Env) {
			if holds(c.Env[name], text) {
				out = append(out, mention{c.Name, name, c.Env[name]})
			}
		}
		for _, arg := range c.Command {
			if holds(arg, text) {
				out = append(out, mention{container: c.Name, value: arg})
			}
		}
	}
	return out
}

// holds says that value holds a host name or address as a whole: not
// api.example within myapi.example, nor 10.0.0.1 within 10.0.0.10.
func holds(value, host string) bool {
	value, host = strings.ToLower(value), strings.ToLower(host)
	inName := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.'
	}
	for i := 0; ; {
		at := strings.Index(value[i:], host)
		if at < 0 {
			return false
		}
		at += i
		end := at + len(host)
		if (at == 0 || !inName(value[at-1])) && (end == len(value) || !inName(value[end])) {
			return true
		}
		i = at + 1
	}
}

// setEnv is the command that changes a variable of a workload.
func setEnv(ref model.Ref, m mention, want string) string {
	parts := ref.Parts()
	if len(parts) != 2 || m.variable == "" || ref.Kind() == "pod" {
		return ""
	}
	return diagnose.Kubectl("-n", parts[0], "set", "env", ref.Kind()+"/"+parts[1], "--containers="+m.container, m.variable+"="+want)
}

// proxyVars are the variables that applications read a proxy from.
var proxyVars = []string{"https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"}

// proxyOf is the proxy that a pod's containers are told to use, or "".
func proxyOf(pod *model.Pod) string {
	if pod == nil {
		return ""
	}
	for _, c := range pod.Containers {
		if c.Kind == "init" || c.Kind == "ephemeral" {
			continue
		}
		for _, v := range proxyVars {
			if c.Env[v] != "" {
				return c.Env[v]
			}
		}
	}
	return ""
}

// ownProxy is the proxy that the asking container is told to use, or "".
func ownProxy(p *diagnose.Pass) string { return proxyOf(asking(p)) }

// asking is the asking pod as if the asking container were its only one.
func asking(p *diagnose.Pass) *model.Pod {
	pod := p.Pod()
	if pod == nil {
		return nil
	}
	alone := *pod
	alone.Containers = nil
	if c := pod.App(p.Case.Question.Container); c != nil {
		alone.Containers = []model.Container{*c}
	}
	return &alone
}

func lower(s string) string { return strings.ToLower(s) }

func upper(s string) string { return strings.ToUpper(s) }

// list joins words for a sentence.
func list(words []string) string {
	switch len(words) {
	case 0:
		return "none"
	case 1:
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// oneLine makes a value fit a line of evidence.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	const limit = 320
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit-1]) + "…"
	}
	return s
}

// unsurely lowers a finding whose subject may be something else that was not
// read: what happens is right, and the gaps say what would tell where.
func unsurely(p *diagnose.Pass, f *diagnose.Finding, kinds ...string) {
	if gaps := p.Gaps(kinds); len(gaps) > 0 {
		f.Gaps = append(f.Gaps, gaps...)
		if f.Confidence == 0 || f.Confidence > diagnose.Likely {
			f.Confidence = diagnose.Likely
		}
	}
}

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

// redact takes the credentials out of a URL.
func redact(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return s
	}
	authority, path, _ := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		authority = authority[at+1:]
	}
	if path != "" {
		path = "/" + path
	}
	return scheme + "://" + authority + path
}

func sortedRefs[V any](m map[model.Ref]V) []model.Ref { return slices.Sorted(maps.Keys(m)) }

func trimDot(name string) string { return strings.TrimSuffix(name, ".") }
