package resource

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// Conntrack is the kind of a node's table of tracked connections.
const Conntrack = "conntrack"

// conntrack is the table of tracked connections of each node that was read. The
// kernel drops the first packets of new connections when it is full
// (Documentation/networking/nf_conntrack-sysctl.rst).
func conntrack(c *model.Case) []Use {
	var out []Use
	for _, name := range slices.Sorted(maps.Keys(c.World.Nodes)) {
		facts := c.World.Nodes[name]
		if facts == nil {
			continue
		}
		used, err1 := strconv.ParseFloat(facts.Sysctls["net.netfilter.nf_conntrack_count"], 64)
		limit, err2 := strconv.ParseFloat(facts.Sysctls["net.netfilter.nf_conntrack_max"], 64)
		if err1 != nil || err2 != nil || limit <= 0 {
			continue
		}
		u := conntrackOf(&c.World, facts, used, limit)
		u.grows(c)
		out = append(out, u)
	}
	return out
}

func conntrackOf(w *model.World, facts *model.NodeFacts, used, limit float64) Use {
	u := Use{
		Kind: Conntrack, Name: "connection table", Of: model.NewRef("node", facts.Node), Unit: "entries", Used: used, Limit: limit, Source: "node", Who: heldBy(w, facts),
		Remedy: []diagnose.Command{{
			Text: "Make room (on AKS in the node pool's custom node configuration)",
			Line: diagnose.OnNode(facts.Node, fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%.0f", limit*2)),
		}},
	}
	for i := len(facts.Kernel) - 1; i >= 0; i-- {
		if strings.Contains(facts.Kernel[i], "table full") {
			u.Says = append(u.Says, "the kernel says: "+facts.Kernel[i])
			break
		}
	}
	u.Says = append(u.Says, refused(facts)...)
	if used >= 0.98*limit { // entries come and go while it is counted
		u.State = Out
	}
	u.settle()
	return u
}

// refused are the counters of entries that could not be made, where they grew while
// the probes ran (nf_conntrack_core.c).
func refused(facts *model.NodeFacts) []string {
	var out []string
	for _, of := range []struct{ counter, text string }{
		{"ConntrackInsertFailed", "%d entries lost the race with another of the same connection, and their packets were dropped (insert_failed)"},
		{"ConntrackDrop", "%d packets were dropped since no entry could be made for them (drop)"},
		{"ConntrackEarlyDrop", "%d unanswered entries gave way to new ones, since the table was full (early_drop)"},
	} {
		if n := facts.After[of.counter] - facts.Counters[of.counter]; n > 0 {
			out = append(out, fmt.Sprintf(of.text, n)+" while the probes ran")
		}
	}
	return out
}

// grows tells how the table filled while it was watched, without what podpath's own
// tries put into it.
func (u *Use) grows(c *model.Case) {
	points := read(c, u.Of, kind(model.LevelConntrack))
	if len(points) == 0 {
		return
	}
	counted := u.Used
	u.Used = newest(u.Used, points)
	if len(u.Who) > 0 && u.Used > 1.5*counted {
		u.Says = append(u.Says, fmt.Sprintf("who holds how many was counted earlier, when it had %s entries", number(counted)))
	}
	names, own := namesAsked(c), make([]float64, len(points))
	for i := range points {
		own[i] = added(c, u.Of.Name(), names, points[i].At)
	}
	u.moves(points, own, tableSpan)
	if u.Pace > 0 && spanOf(points) < sureOf {
		u.doubt()
	}
}

// sureOf is how long a table has to be watched until its end can be told: for what it
// remembers, and so much longer that its newest readings show whether it still grows.
const sureOf = forgets + forgets/4

// doubt takes back when a table will be full that was watched for less long than it
// remembers: whatever began a moment ago fills it steadily until the first of it is
// forgotten (of UDP without an answer after 30 s), and then no more.
func (u *Use) doubt() {
	u.Says = append(u.Says, "when it is full cannot be told yet: connections that are over leave the table after up to two minutes (nf_conntrack_tcp_timeout_time_wait; UDP without an answer after 30 s), and it may stay as it is then. Watch longer than that (--for 5m)")
	if u.Left = 0; u.State == Near && u.Used < near*u.Limit {
		u.State = Unknown
	}
}

// heldBy is who holds a node's connections, the three who hold most.
func heldBy(w *model.World, facts *model.NodeFacts) []Share {
	by := map[model.Ref]float64{}
	for _, h := range w.Holders(facts.Node) {
		by[h.Ref] += float64(h.Count + h.Silent)
	}
	out := make([]Share, 0, len(by))
	for _, ref := range slices.Sorted(maps.Keys(by)) {
		out = append(out, Share{Ref: ref, Count: by[ref]})
	}
	return most(out)
}

// most are the three largest shares, the largest first. Who holds nothing (only
// connections that were given up: model.HeldFlows.Silent) has no share.
func most(list []Share) []Share {
	list = slices.DeleteFunc(list, func(s Share) bool { return s.Count <= 0 })
	slices.SortStableFunc(list, func(a, b Share) int { return int(b.Count - a.Count) })
	return list[:min(3, len(list))]
}
