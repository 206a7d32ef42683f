package scenario

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// A template stands for a value that is known only at run time:
// {{pod NS/NAME ip}}, {{node NAME ip|podCIDR}}, {{service NS/NAME ip|external}}, {{publicip NAME}}.
// Other text in double braces (CoreDNS and Go templates) is left alone.
var template = regexp.MustCompile(`\{\{\s*(pod|node|service|publicip)\s([^{}]*)\}\}`)

func templateFields(m []string) (kind, name, field string, err error) {
	words := strings.Fields(m[2])
	allowed := map[string][]string{"pod": {"ip"}, "node": {"ip", "podCIDR"}, "service": {"ip", "external"}, "publicip": {""}}[m[1]]
	want := m[1] + " NAME " + strings.Join(allowed, "|")
	if m[1] == "publicip" {
		words = append(words, "")
	}
	if len(words) != 2 {
		return "", "", "", fmt.Errorf("%s: write {{%s}}", m[0], strings.TrimSpace(want))
	}
	for _, a := range allowed {
		if words[1] == a {
			if m[1] == "pod" || m[1] == "service" {
				if !strings.Contains(words[0], "/") {
					return "", "", "", fmt.Errorf("%s: the name is NAMESPACE/NAME", m[0])
				}
			}
			return m[1], words[0], words[1], nil
		}
	}
	return "", "", "", fmt.Errorf("%s: write {{%s}}", m[0], strings.TrimSpace(want))
}

func checkTemplate(s string) error {
	if !strings.Contains(s, "{{") {
		return nil
	}
	for _, m := range template.FindAllStringSubmatch(s, -1) {
		if _, _, _, err := templateFields(m); err != nil {
			return err
		}
	}
	return nil
}

// fill replaces the templates of a string; look finds the value of one.
func fill(s string, look func(kind, name, field string) (string, error)) (string, error) {
	if !strings.Contains(s, "{{") {
		return s, nil
	}
	var errs []error
	out := template.ReplaceAllStringFunc(s, func(text string) string {
		kind, name, field, err := templateFields(template.FindStringSubmatch(text))
		if err == nil {
			var value string
			if value, err = look(kind, name, field); err == nil {
				return value
			}
			err = fmt.Errorf("%s: %w", text, err)
		}
		errs = append(errs, err)
		return text
	})
	return out, errors.Join(errs...)
}

// fillAny fills the strings in decoded JSON. It returns a copy.
func fillAny(v any, look func(kind, name, field string) (string, error)) (any, error) {
	switch v := v.(type) {
	case string:
		return fill(v, look)
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			filled, err := fillAny(item, look)
			if err != nil {
				return nil, err
			}
			key, err := fill(k, look)
			if err != nil {
				return nil, err
			}
			out[key] = filled
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			filled, err := fillAny(item, look)
			if err != nil {
				return nil, err
			}
			out[i] = filled
		}
		return out, nil
	}
	return v, nil
}

// split splits words as sh does, without expansions: quotes and backslashes only.
func split(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	started := false
	quote := rune(0)
	escaped := false
	for _, r := range s {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune("\"\\$`\n", r) {
				word.WriteByte('\\')
			}
			if r != '\n' {
				word.WriteRune(r)
			}
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, started = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, started = r, true
		case r == ' ' || r == '\t' || r == '\n' || r == '\r':
			if started {
				words = append(words, word.String())
				word.Reset()
				started = false
			}
		default:
			word.WriteRune(r)
			started = true
		}
	}
	if quote != 0 || escaped {
		return nil, fmt.Errorf("a quote or backslash at the end is open: %s", s)
	}
	if started {
		words = append(words, word.String())
	}
	return words, nil
}

// podRef names a pod, or the workload one of whose pods is meant.
type podRef struct{ Namespace, Kind, Name string }

var workloadWords = map[string]string{
	"pod": "pod", "pods": "pod", "po": "pod", "deploy": "deployment", "deployment": "deployment", "deployments": "deployment",
	"ds": "daemonset", "daemonset": "daemonset", "sts": "statefulset", "statefulset": "statefulset", "job": "job",
	"rs": "replicaset", "replicaset": "replicaset", "svc": "service", "service": "service",
}

// parsePod reads NS/NAME or NS/KIND/NAME.
func parsePod(s string) (podRef, error) {
	parts := strings.Split(s, "/")
	for _, part := range parts {
		if part == "" {
			return podRef{}, fmt.Errorf("%q: an empty part", s)
		}
	}
	switch len(parts) {
	case 2:
		return podRef{parts[0], "pod", parts[1]}, nil
	case 3:
		if kind, ok := workloadWords[strings.ToLower(parts[1])]; ok {
			return podRef{parts[0], kind, parts[2]}, nil
		}
		if kind, ok := workloadWords[strings.ToLower(parts[0])]; ok {
			return podRef{parts[1], kind, parts[2]}, nil
		}
	}
	return podRef{}, fmt.Errorf("%q: a pod is NS/NAME, a workload's pod NS/deploy/NAME", s)
}
