package rules

import (
	"fmt"
	"regexp"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
)

// counted are rules that let only so many connections be tracked: nftables' "ct
// count over" (nft(8)), iptables' connlimit (iptables-extensions(8)).
var counted = regexp.MustCompile(`ct count over (\d+)|--connlimit-above (\d+)`)

// connectionLimit says of a rule that counts connections what it means: what was
// let in before lives on, and new ones are dropped until some of those are over,
// as when the connection table itself is full. Who holds most is named.
func connectionLimit(p *diagnose.Pass, s *model.Step, f *diagnose.Finding) {
	m := counted.FindStringSubmatch(s.Filter.Text)
	if m == nil {
		return
	}
	name, limit := s.At.Name(), firstOf(m[1], m[2])
	f.Sometimes = true
	f.Title = fmt.Sprintf("Node %s tracks no more than %s connections, and drops new ones: %s", name, limit, filterText(s.Filter))
	f.Summary = "The rule counts the connections that it has let pass. While as many stand as it allows, the first packets of new ones are dropped in silence; established ones go on."
	for _, u := range resource.Kind(p.Case, resource.Conntrack) {
		if u.Of != model.NewRef("node", name) {
			continue
		}
		f.Evidence = append(f.Evidence, node(fmt.Sprintf("node %s: %.0f of %.0f entries of its whole connection table are in use", name, u.Used, u.Limit), u.Of))
		for _, w := range u.Who {
			f.Evidence = append(f.Evidence, node(fmt.Sprintf("%s holds %.0f TCP connections of node %s", w.Ref, w.Count, name), w.Ref))
		}
	}
	f.Fix[1].Text = "Raise its number, or take it away, and from what writes it; and find who opens so many connections"
}
