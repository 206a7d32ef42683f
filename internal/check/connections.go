package check

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/diagnose/rules"
	"github.com/podpath/podpath/internal/model"
)

// connection is one that works in every healthy cluster, whatever it is for.
// What stops it is wrong by itself; the catalogue of diagnoses says what it is.
type connection struct {
	flow     model.Flow
	from, to string      // as 'podpath why' takes them
	what     string      // "mcr.microsoft.com:443"
	hops     []model.Hop // at which it must not be stopped; nil: anywhere
	optional bool        // the cluster lives without it
	maybe    bool        // that it is stopped may be meant
}

// expectation is a kind of such connections.
type expectation struct {
	group    Group
	severity Severity
	noun     string // "endpoints that AKS needs": completes "it stops 3 of the 12 …"
	list     []connection
}

// blocked is a line of configuration that stops some of them.
type blocked struct {
	step     *model.Step
	path     model.Path
	first    *connection
	whats    []string
	required bool
}

// hold traces what must work and reports each line that stops some of it, once.
func (p *Pass) hold(e *expectation) {
	byLine := map[string]*blocked{}
	var order []*blocked
	for i := range e.list {
		c := &e.list[i]
		path := p.index().Run(c.flow)
		step := c.stopped(&path)
		if step == nil {
			continue
		}
		key := string(step.Hop) + " " + string(cmp.Or(step.Decided, step.At))
		b := byLine[key]
		if b == nil {
			b = &blocked{step: step, path: path, first: c}
			byLine[key] = b
			order = append(order, b)
		}
		if !c.optional && !b.required { // what is needed makes the better example
			b.required, b.step, b.path, b.first = true, step, path, c
		}
		if !slices.Contains(b.whats, c.what) {
			b.whats = append(b.whats, c.what)
		}
	}
	for _, b := range order {
		p.Report(p.named(e, b))
	}
}

// stopped is the first step at which a connection must not be stopped and is:
// behind a hop that is not asked for, as if that one had let it pass.
func (c *connection) stopped(path *model.Path) *model.Step {
	for _, steps := range [][]model.Step{path.Steps, path.After, path.Return} {
		for i := range steps {
			s := &steps[i]
			if (s.Verdict == model.Drop || s.Verdict == model.Reject) && (c.hops == nil || slices.Contains(c.hops, s.Hop)) {
				return s
			}
		}
	}
	return nil
}

// named makes the finding: in the words of the diagnosis that knows this line,
// else in those of the step.
func (p *Pass) named(e *expectation, b *blocked) Finding {
	f := Finding{Group: e.group, Severity: e.severity, Hop: b.step.Hop, Subject: cmp.Or(b.step.Decided, b.step.At), Concerns: len(b.whats), traced: true}
	if d := p.diagnose(b); d != nil {
		f.fill(d)
	} else {
		f.Title = b.step.Title + ": " + b.step.Reason
		f.Evidence = []diagnose.Evidence{{Text: b.step.Title + ": " + b.step.Reason, Refs: []model.Ref{f.Subject}, Source: "trace"}}
		f.Fix = []diagnose.Command{do("Follow it hop by hop", "podpath why "+diagnose.Quote(b.first.from)+" "+diagnose.Quote(b.first.to))}
	}
	total := e.count()
	f.Evidence = append(f.Evidence, diagnose.Evidence{Text: fmt.Sprintf("it stops %d of the %d %s: %s", len(b.whats), total, e.noun, all(b.whats)), Source: "trace"})
	share := fmt.Sprintf("%d of the %d %s", len(b.whats), total, e.noun)
	if len(b.whats) == total {
		share = fmt.Sprintf("all %d %s", total, e.noun)
	}
	if oneFlow.MatchString(f.Title) {
		f.Title = oneFlow.ReplaceAllLiteralString(f.Title, "the way to "+share)
	} else {
		f.Title = strings.TrimSuffix(f.Title, ", which AKS needs") + " (" + share + ")"
	}
	if f.Hop == model.HopKubeProxy {
		f.Severity = min(f.Severity, Broken) // some Services, not all that the node does
	}
	if !b.required {
		f.Severity, f.Confidence = Notice, diagnose.Possible
	}
	if b.first.maybe {
		f.Confidence = diagnose.Possible
	}
	return f
}

// oneFlow is how a diagnosis writes the one packet that it was asked about.
var oneFlow = regexp.MustCompile(`\b(tcp|udp) \S+ → \S+`)

func (e *expectation) count() int {
	var seen []string
	for i := range e.list {
		if !slices.Contains(seen, e.list[i].what) {
			seen = append(seen, e.list[i].what)
		}
	}
	return len(seen)
}

// all lists words, up to a length that a person reads.
func all(words []string) string {
	const most = 12
	if len(words) <= most {
		return strings.Join(words, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
}

// fill takes over what a diagnosis says.
func (f *Finding) fill(d *diagnose.Finding) {
	f.Rule, f.Subject, f.Hop, f.Confidence = d.Rule, d.Subject, d.Hop, min(d.Confidence, diagnose.Likely)
	f.Title, f.Summary, f.Evidence, f.Fix, f.Gaps = d.Title, d.Summary, slices.Clone(d.Evidence), d.Fix, d.Gaps
}

// diagnose asks the catalogue what the line is at which a connection is stopped.
func (p *Pass) diagnose(b *blocked) *diagnose.Finding {
	c := model.Case{Version: 1, Asked: p.now, World: *p.World, Paths: []model.Path{b.path}}
	if !question(&c, b.first.from, b.first.to, b.first.flow.Protocol) {
		return nil
	}
	r := diagnose.RunWith(&c, rules.All(), p.index().Run)
	found := slices.Concat(r.Causes, r.Also)
	for _, fits := range []func(*diagnose.Finding) bool{
		func(f *diagnose.Finding) bool { return f.Hop == b.step.Hop && f.Subject == b.step.Decided },
		func(f *diagnose.Finding) bool { return f.Hop == b.step.Hop },
		func(f *diagnose.Finding) bool { return f.Explains },
	} {
		for i := range found {
			if f := &found[i]; f.Confidence >= diagnose.Likely && fits(f) {
				return f
			}
		}
	}
	return nil
}

// question fills in what a case asks.
func question(c *model.Case, from, to, protocol string) bool {
	var err, err2 error
	c.Question.From, err = model.ParseEndpoint(from, true)
	c.Question.To, err2 = model.ParseEndpoint(to, false)
	c.Question.Protocol = cmp.Or(protocol, "tcp")
	return err == nil && err2 == nil
}
