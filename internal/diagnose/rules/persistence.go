package rules

import (
	"fmt"
	"path"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// atBoot says what a sysctl will be after a reboot, where the node's files were
// read: what is mended with sysctl -w alone comes back.
func atBoot(facts *model.NodeFacts, key, wanted string) []diagnose.Evidence {
	if facts.Persisted == nil {
		return nil
	}
	ref := model.NewRef("node", facts.Node)
	set, ok := facts.Persisted[key]
	for _, pattern := range sortedKeys(facts.Persisted) {
		if match, err := path.Match(pattern, key); !ok && err == nil && match {
			set, ok = facts.Persisted[pattern], true
		}
	}
	switch {
	case !ok:
		return []diagnose.Evidence{node(fmt.Sprintf("node %s: no file in sysctl.d sets %s; what is set by hand is lost with a reboot", facts.Node, key), ref)}
	case set.Value == wanted:
		return []diagnose.Evidence{node(fmt.Sprintf("node %s: %s sets %s = %s at boot; something has changed it since", facts.Node, set.File, key, set.Value), ref)}
	}
	return []diagnose.Evidence{node(fmt.Sprintf("node %s: %s sets %s = %s at boot: that file has to change too", facts.Node, set.File, key, set.Value), ref)}
}
