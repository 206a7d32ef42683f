package rules

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
)

// toward is what the nodes that were read hold towards the question's destination.
type toward struct {
	count, over, asking, answered int
	by                            []model.Holder // one entry a holder and node, the most first
}

// towards counts them.
func towards(p *diagnose.Pass) toward {
	var t toward
	seen := p.Seen()
	if seen == nil {
		return t
	}
	for _, node := range sortedKeys(p.Case.World.Nodes) {
		for _, h := range p.Case.World.Holders(node) {
			if h.To == seen.Address && h.UDP == (seen.Failed == "udp") {
				t.count, t.over, t.asking = t.count+h.Count, t.over+h.Over, t.asking+h.Asking
				t.by = append(t.by, h)
			}
		}
	}
	t.answered = t.count - t.asking
	slices.SortStableFunc(t.by, func(a, b model.Holder) int { return cmp.Compare(b.Count, a.Count) })
	return t
}

// evidence names who holds most, and what is over or waits.
func (t toward) evidence(p *diagnose.Pass) []diagnose.Evidence {
	var out []diagnose.Evidence
	for i, h := range t.by {
		if i == 3 || h.Count < max(10, t.count/20) {
			break
		}
		text := fmt.Sprintf("%s holds %d of the %d connections to %s of the nodes that were read", h.Ref, h.Count, t.count, h.To)
		if h.Over > 0 {
			text += fmt.Sprintf(", of which %d are over and keep their port for a while", h.Over)
		}
		if h.Asking > 0 {
			text += fmt.Sprintf("; %d have no answer yet", h.Asking)
		}
		out = append(out, diagnose.Evidence{Text: text, Refs: []model.Ref{h.Ref, p.Endpoint()}, Source: "node"})
	}
	return out
}

// manyWait is from how many connections that wait for an answer they are a crowd
// and not the question's own probes.
const manyWait = 20

// crowded says that many of these connections wait for an answer beside others that got one.
func (t toward) crowded() bool { return t.asking >= manyWait && t.answered > 0 }

// reportSharedPorts names a device of that kind, in words what, that has no source port left.
func reportSharedPorts(p *diagnose.Pass, kind, resourceKind, what, summary string) {
	f, ok := sharedPorts(p, kind, resourceKind)
	if !ok {
		return
	}
	f.Title, f.Summary = fmt.Sprintf("%s %s has no source port left towards %s", what, f.Subject.Name(), p.Seen().Address), summary
	f.Fix = append(f.Fix, withAgain(p, remedyOf(p, f.Subject, resourceKind, min(len(f.Fix), 1)))...)
	p.Report(f)
}

// sharedPorts is the diagnosis of a device whose source ports all nodes behind it
// share: towards one destination it fails from everywhere behind it, now and then
// or always, while others answer and the destination answers elsewhere.
func sharedPorts(p *diagnose.Pass, kind, use string) (f diagnose.Finding, ok bool) {
	seen, path := p.Seen(), p.Question()
	if seen == nil || path == nil || !noPort(seen) || seen.Proxy != "" || !p.External() || path.Device.Kind() != kind || brokenAnywhere(p) {
		return f, false
	}
	f = diagnose.Finding{Subject: path.Device, Sometimes: luck(p)}
	others := p.Control(p.Origin(), "control:other-host")
	other := firstGood(others)
	out := exhausted(p, path.Device, use, &f)
	t := towards(p)
	crowd := t.crowded()
	elsewhere, unlike := p.Farther(model.VantageHere), noShortage(together(newLosses(p)))
	if !crowd && !out && f.Sometimes && elsewhere && !unlike {
		unreadTables(p, path.Device)
	}
	switch {
	case other == nil && (len(others) > 0 || !f.Sometimes), !crowd && !out, !out && !elsewhere, !(out && crowd) && unlike:
		return f, false // nothing answers, it may be the far side, or it is not how a shortage shows
	case out && crowd:
		f.Confidence = diagnose.Proven
	case out || f.Sometimes: // a metric is of some minutes ago, and of all destinations
		f.Confidence = diagnose.Likely
	default:
		f.Confidence = diagnose.Possible
		f.Gaps = append(f.Gaps, p.Gaps([]string{"metric"})...)
	}
	if other != nil {
		f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from %s: %s answers, so the way out works", diagnose.PlaceOf(other), other.Target), other.From))
	}
	f.Evidence = append(f.Evidence, t.evidence(p)...)
	if len(t.by) > 0 && t.by[0].Ref.Kind() == "pod" {
		f.Fix = append(f.Fix, holderFix(&t.by[0], seen.Address, t.over, t.count))
	}
	return f, true
}

// unreadTables says that other nodes, which were not read, may hold the ports that
// all of them share.
func unreadTables(p *diagnose.Pass, device model.Ref) {
	read, all := len(p.Case.World.Nodes), len(p.Case.World.Kube.Nodes)
	if read < all {
		p.Skip(model.Gap{
			What: "who holds source ports on the other nodes", Ref: device,
			Reason:     fmt.Sprintf("the connection tables of %d of %d nodes were read, and all of them share the ports of %s; Azure Monitor counts no failure yet", read, all, device),
			Permission: "podpath check --all-nodes, or podpath watch a few minutes later",
		})
	}
}

// exhausted says that Azure Monitor counted connections that failed for want of a
// port, or a device that has none left. What helps there is added.
func exhausted(p *diagnose.Pass, device model.Ref, use string, f *diagnose.Finding) bool {
	uses := outByMetric(p, device, use)
	for _, u := range uses {
		if u.Unit == "%" {
			f.Evidence = append(f.Evidence, metric(fmt.Sprintf("%.0f %% of its source ports are in use (SNATPortUtilization)", u.Used), device))
		}
		for _, s := range u.Says {
			f.Evidence = append(f.Evidence, metric(s, device))
		}
	}
	return len(uses) > 0
}

// outByMetric are a device's uses of a kind that Azure Monitor says have run out.
func outByMetric(p *diagnose.Pass, device model.Ref, use string) []resource.Use {
	return slices.DeleteFunc(resource.Kind(p.Case, use), func(u resource.Use) bool {
		return u.Of != device || u.Source != "metric" || u.State != resource.Out
	})
}

// remedyOf is what helps a device, but for the first advice, which a holder's name makes better.
func remedyOf(p *diagnose.Pass, device model.Ref, use string, known int) []diagnose.Command {
	for _, u := range resource.Kind(p.Case, use) {
		if u.Of == device && len(u.Remedy) > known {
			return u.Remedy[known:]
		}
	}
	return nil
}
