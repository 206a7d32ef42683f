package report

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

var inNamespace = regexp.MustCompile(`in namespace ([a-z0-9.-]+)`)

// fold makes one line of gaps that have one reason and take one permission,
// were it in several namespaces: whoever asks for it asks once.
func fold(gaps []model.Gap) []model.Gap {
	type group struct {
		first             model.Gap
		whats, namespaces []string
	}
	var order []*group
	byKey := map[string]*group{}
	for _, g := range gaps {
		star := func(s string) string { return inNamespace.ReplaceAllString(s, "in namespace *") }
		key := star(g.Reason) + "\x00" + star(g.Permission)
		if g.Permission == "" {
			key += "\x00" + g.What // nothing to ask for: each stands for itself
		}
		at := byKey[key]
		if at == nil {
			at = &group{first: g}
			byKey[key] = at
			order = append(order, at)
		}
		if !slices.Contains(at.whats, g.What) {
			at.whats = append(at.whats, g.What)
		}
		if m := inNamespace.FindStringSubmatch(g.Permission); m != nil && !slices.Contains(at.namespaces, m[1]) {
			at.namespaces = append(at.namespaces, m[1])
		}
	}
	out := make([]model.Gap, 0, len(order))
	for _, at := range order {
		g := at.first
		g.What = some(at.whats)
		if len(at.namespaces) > 1 {
			g.Permission = inNamespace.ReplaceAllString(g.Permission, "in namespaces "+some(at.namespaces))
		}
		out = append(out, g)
	}
	return out
}

// some names the first three of a list and counts the others.
func some(list []string) string {
	const most = 3
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}
