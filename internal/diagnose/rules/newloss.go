package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

// newLoss is how new connections to the question's address fared from one place.
type newLoss struct {
	of, lost, late, tls int // tries; that nothing answered; that were answered after a SYN was sent again; of the lost, those that stood already
}

func (l newLoss) hit() int       { return l.lost + l.late }
func (l newLoss) share() float64 { return float64(l.lost) / float64(max(l.of, 1)) }

// newLosses counts the tries over new connections, by place.
func newLosses(p *diagnose.Pass) map[model.Vantage]newLoss {
	out := map[model.Vantage]newLoss{}
	for i := range p.Case.Tries {
		t := &p.Case.Tries[i]
		if !watch.Counts(t) || t.Failed == "dns" || t.Address != p.Target() {
			continue
		}
		l := out[t.Vantage]
		l.of++
		late := slices.ContainsFunc(t.Phases, func(ph model.Phase) bool {
			return ph.Name == "tcp" && ph.Result == model.OK && ph.Waited() > 0
		})
		switch {
		case t.Result == model.TimedOut && t.Failed == "tcp":
			l.lost++
		case t.Result == model.TimedOut && (t.Failed == "tls" || t.Failed == "http"):
			l.lost, l.tls = l.lost+1, l.tls+1
		case late:
			l.late++
		}
		out[t.Vantage] = l
	}
	return out
}

// fewestTries is how often each place has to have asked to be compared.
const fewestTries = 8

// lossBehind says that every place whose way goes through the appliance loses new
// connections now and then, and one whose way does not loses none: this machine.
// What failed for a while and then did not is no loss of some among many.
func lossBehind(p *diagnose.Pass) (map[model.Vantage]newLoss, bool) {
	all := newLosses(p)
	mine, here := all[p.Origin()], all[model.VantageHere]
	if p.Changed() || !p.External() || p.Origin() == model.VantageHere || brokenAnywhere(p) || mine.of < fewestTries || mine.hit() < 3 || mine.lost == mine.of {
		return nil, false
	}
	if here.of < fewestTries || here.hit() > 0 {
		skipGaps(p, "probe:here")
		return nil, false
	}
	for _, v := range []model.Vantage{model.VantageNode, model.VantageOtherNode} {
		if l := all[v]; l.of < fewestTries || l.hit() == 0 || l.lost == l.of {
			skipGaps(p, "probe:"+string(v))
			return nil, false // one node of several is not the appliance, nor is one that never gets through
		}
	}
	return all, true
}

// skipGaps says what of these was not read, and would have let the rule speak.
func skipGaps(p *diagnose.Pass, needs ...string) {
	for _, g := range p.Gaps(needs) {
		p.Skip(g)
	}
}

// lossEvidence is a line for each place.
func lossEvidence(all map[model.Vantage]newLoss) []diagnose.Evidence {
	var out []diagnose.Evidence
	for _, v := range []model.Vantage{model.VantagePod, model.VantagePeer, model.VantageNode, model.VantageOtherNode, model.VantageHere} {
		l := all[v]
		switch {
		case l.of == 0:
		case v == model.VantageHere:
			out = append(out, probe(fmt.Sprintf("from this machine, whose way does not lead through it, all %d of %d were answered at once", l.of, l.of)))
		default:
			out = append(out, probe(fmt.Sprintf("from %s %d of %d new connections got no answer, and %d stood only after a SYN was sent again (1 s, 3 s)", placeName(v), l.lost, l.of, l.late)))
		}
	}
	return out
}

func placeName(v model.Vantage) string {
	return map[model.Vantage]string{
		model.VantagePod: "the pod", model.VantagePeer: "another pod on the same node", model.VantageNode: "the node itself", model.VantageOtherNode: "a pod on another node",
	}[v]
}

// together sums what the places behind the appliance met.
func together(all map[model.Vantage]newLoss) newLoss {
	var out newLoss
	for v, l := range all {
		if v != model.VantageHere {
			out.of, out.lost, out.late, out.tls = out.of+l.of, out.lost+l.lost, out.late+l.late, out.tls+l.tls
		}
	}
	return out
}

// perConnection says that a connection is lost as a whole or not at all: hardly
// one of those that lost a SYN got through when it was sent again. Where packets
// are dropped one by one at a rate that loses so many of them with all their SYNs
// (three within the time that a try takes), far more stand after the second.
func perConnection(l newLoss) bool { return l.lost >= 6 && l.late*6 <= l.lost }

// gotThrough says that the question's own place reached the very address that
// failed, at other times: whoever decides by address or port decides so each time.
func gotThrough(p *diagnose.Pass) bool {
	l := newLosses(p)[p.Origin()]
	return l.of-l.lost >= 3
}

// byTuple says that a connection's addresses and ports decide, each time in the same
// way: a good part is lost as a whole, and sending again from the same port does not
// help, though a connection from another port stands meanwhile. One that finds no
// source port free, or loses a packet, gets through when it is sent again about as
// often as another does at once.
func byTuple(l newLoss) bool {
	return l.lost >= 12 && l.late*12 <= l.lost && l.share() >= 0.15 && l.share() <= 0.85
}

// noShortage says that what new connections met is not that of a device whose
// source ports are used up, whatever a metric of some minutes ago says.
func noShortage(sum newLoss) bool {
	return byTuple(sum) || sum.tls >= 3 // those that stand keep their port, and lose nothing
}

// shortOfPorts says that the appliance on the way has no source port left, by its
// metrics or by the crowd that waits for one.
func shortOfPorts(p *diagnose.Pass, ref model.Ref, sum newLoss) bool {
	crowd := towards(p).crowded()
	out := len(outByMetric(p, ref, "snat-firewall")) > 0
	return crowd && out || (crowd || out) && !noShortage(sum)
}

// watchAgain is the command that shows whether what comes and goes is gone.
func watchAgain(p *diagnose.Pass) string {
	return strings.Replace(again(p), "podpath why", "podpath watch", 1)
}
