package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Notes tell a person what was passed over.
func (r *Result) Notes() []string {
	if len(r.Ignored) == 0 {
		return nil
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(r.Ignored)) {
		parts = append(parts, fmt.Sprintf("%d %s", r.Ignored[kind], kind))
	}
	if len(parts) > 12 {
		parts = append(parts[:12], fmt.Sprintf("%d more kinds", len(parts)-12))
	}
	return []string{"of kinds that connections do not depend on, and so not read: " + strings.Join(parts, ", ")}
}
