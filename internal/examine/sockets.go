package examine

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// ownConnections says what the asking pod's own connections to the destination
// do, which new ones that work (or do not) say nothing of: one that a device on
// the way has forgotten sends again and again.
func ownConnections(c *model.Case) []string {
	var notes []string
	for ref, all := range c.World.Sockets {
		for _, to := range destinations(c) {
			states, stuck := map[string]int{}, 0
			for _, s := range all {
				if s.Remote.Addr() != to.Addr() || to.Port() != 0 && s.Remote.Port() != to.Port() {
					continue
				}
				states[s.State]++
				if s.Retries > 0 {
					stuck++
				}
			}
			if c.Question.Via == "app" || stuck > 0 { // nobody asked for them otherwise
				notes = append(notes, connectionsText(ref, to, states, stuck))
			}
		}
	}
	slices.Sort(notes)
	return notes
}

func connectionsText(ref model.Ref, to netip.AddrPort, states map[string]int, stuck int) string {
	where := to.Addr().String()
	if to.Port() != 0 {
		where = to.String()
	}
	if len(states) == 0 {
		return fmt.Sprintf("%s has no connection of its own to %s at the moment", ref, where)
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(states)) {
		parts = append(parts, fmt.Sprintf("%d %s", states[name], name))
	}
	text := fmt.Sprintf("%s has connections of its own to %s: %s", ref, where, strings.Join(parts, ", "))
	if stuck > 0 {
		text += fmt.Sprintf("; %d of them sent again without an answer: what they were kept by has forgotten them, or drops them", stuck)
	}
	return text
}
