// Package check says what is wrong with a cluster's network before anybody
// complains: everything that rules can tell from what was read, without a
// question.
//
// It is pure: a World in, a Report out; no I/O, and no clock but the time that
// the caller gives. One file holds one mechanism. Few and true beats many: a
// finding is Likely only where the configuration leaves no other reading, and
// what was not read is listed as not checked, never as healthy.
//
// What podpath already knows about single connections is not told a second
// time: connections that work in every healthy cluster are traced (see
// connections.go), and the catalogue of diagnoses names what stops them.
package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/cni"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
)

// Group is the part of a cluster's network that a check is about.
type Group string

// The groups, in the order in which equally severe ones are shown.
const (
	DNS       Group = "DNS"
	Egress    Group = "Way out"
	Nodes     Group = "Nodes"
	Control   Group = "Control plane"
	Services  Group = "Services"
	Policies  Group = "Policies"
	Addresses Group = "Addresses"
	Ahead     Group = "Ahead" // what ends or expires
)

var groups = []Group{DNS, Egress, Nodes, Control, Services, Policies, Addresses, Ahead}

// Severity says how much of the cluster a finding concerns, if it is so.
type Severity uint8

// The severities, from the least. Notice is the zero value.
const (
	Notice Severity = iota // nothing fails of it today
	Risk                   // something will fail when the cluster grows, is upgraded, or a date comes
	Broken                 // something fails
	Outage                 // the whole cluster, or one node's pods, suffer
)

var severityNames = [...]string{"notice", "risk", "broken", "outage"}

func (s Severity) String() string {
	if int(s) < len(severityNames) {
		return severityNames[s]
	}
	return ""
}

// MarshalText writes the name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a name.
func (s *Severity) UnmarshalText(text []byte) error {
	i := slices.Index(severityNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("severity %q is none of %v", text, severityNames)
	}
	*s = Severity(i)
	return nil
}

// Finding is one thing that is wrong.
type Finding struct {
	Rule       string              `json:"rule"` // id of the check, or of the diagnosis that named it: 'podpath explain' knows both
	Group      Group               `json:"group"`
	Severity   Severity            `json:"severity"`
	Confidence diagnose.Confidence `json:"confidence"`
	Subject    model.Ref           `json:"subject"` // the thing to change
	Hop        model.Hop           `json:"hop"`
	Title      string              `json:"title"` // one sentence without a full stop
	Summary    string              `json:"summary,omitempty"`
	Evidence   []diagnose.Evidence `json:"evidence"`
	Fix        []diagnose.Command  `json:"fix"`
	Docs       string              `json:"docs,omitempty"` // where the semantic is from
	Concerns   int                 `json:"concerns,omitempty"`
	Gaps       []model.Gap         `json:"gaps,omitempty"` // what could not be read and would make it surer

	traced bool // a connection was traced and stopped
}

// Check is one question about the cluster as a whole.
type Check struct {
	ID string
	// Doc is the page on it, as of a diagnose.Rule: title, what it is, how it
	// shows, look-alikes, how to mend it.
	Doc   string
	Group Group
	Hop   model.Hop
	// Source is where the semantic is from.
	Source string
	// Needs are kinds of Ref whose lists must be complete (World.Read), else the
	// check is skipped and says so.
	Needs []string
	// Covers are ids of the catalogue of faults that this mechanism explains.
	Covers []string
	Run    func(*Pass)
}

// Title is the first line of the check's page.
func (c *Check) Title() string {
	title, _, _ := strings.Cut(strings.TrimSpace(c.Doc), "\n")
	return title
}

// Options are what a check may know beside the World.
type Options struct {
	Now   time.Time // zero: dates are not judged
	Notes []string  // what the reader has to say: what was sampled
}

// Report is what podpath answers to "check": published as docs/schema/check.json.
// Fields are only ever added within one apiVersion.
type Report struct {
	APIVersion  string          `json:"apiVersion"` // "podpath/v1"
	Kind        string          `json:"kind"`       // "Check"
	Asked       time.Time       `json:"asked,omitzero"`
	Cluster     Summary         `json:"cluster"`
	Works       string          `json:"works"`       // "false": something is likely wrong; "true": nothing is; "unknown": nothing was found, and not everything could be checked
	Persistence string          `json:"persistence"` // "persistent", "none", "unknown": configuration does not come and go
	Causes      []Finding       `json:"causes"`      // likely or more, the most severe first
	AlsoNoticed []Finding       `json:"alsoNoticed"` // possible: worth a look, and what is ahead
	NotChecked  []model.Gap     `json:"notChecked"`  // reads that failed, with what would allow them
	Skipped     []diagnose.Skip `json:"skipped,omitempty"`
	Notes       []string        `json:"notes,omitempty"`
	ExitCode    int             `json:"exitCode"`
	Timing      *Timing         `json:"timing,omitempty"` // absent when replayed from a snapshot
}

// Timing says where the time went, in milliseconds.
type Timing struct {
	TotalMillis   int64 `json:"totalMillis"`
	OwnMillis     int64 `json:"ownMillis"` // podpath's own computing
	CollectMillis int64 `json:"collectMillis"`
}

// Summary is the cluster in a line.
type Summary struct {
	Name     string `json:"name,omitempty"`
	Location string `json:"location,omitempty"`
	Version  string `json:"version,omitempty"`
	Network  string `json:"network,omitempty"` // "azure overlay, loadBalancer"
	Nodes    int    `json:"nodes"`
	Entered  int    `json:"entered,omitempty"` // nodes whose inside was read
	Pods     int    `json:"pods"`
	Services int    `json:"services"`
	Policies int    `json:"policies"`
}

// The exit codes of `podpath check`.
const (
	ExitFine    = 0 // nothing is likely wrong, and everything was checked
	ExitFound   = 1 // something is likely wrong
	ExitUnknown = 2 // nothing was found, and not everything could be checked
)

// Run asks all checks about a World.
func Run(w *model.World, o Options) *Report {
	p := newPass(w, o)
	for _, c := range All() {
		p.apply(c)
	}
	return p.report()
}

func (p *Pass) apply(c *Check) {
	p.check = c
	if gaps, applies := p.missing(c.Needs); len(gaps) > 0 || !applies {
		for _, g := range gaps {
			p.skip(g)
		}
		return
	}
	c.Run(p)
}

// rank puts the sure before the possible, then the severe before the rest.
func rank(a, b Finding) int {
	return cmp.Or(
		-cmp.Compare(min(a.Confidence, diagnose.Likely), min(b.Confidence, diagnose.Likely)), -cmp.Compare(a.Severity, b.Severity),
		cmp.Compare(slices.Index(groups, a.Group), slices.Index(groups, b.Group)),
		-cmp.Compare(a.Concerns, b.Concerns), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Subject, b.Subject),
	)
}

func (p *Pass) report() *Report {
	r := &Report{
		APIVersion: "podpath/v1", Kind: "Check", Asked: p.now, Cluster: summary(p.World), Causes: []Finding{}, AlsoNoticed: []Finding{},
		NotChecked: p.notChecked(), Skipped: p.skipped, Notes: append(slices.Clone(p.opts.Notes), p.notes...),
	}
	slices.SortStableFunc(p.findings, rank)
	for _, f := range p.findings {
		if f.Confidence >= diagnose.Likely {
			r.Causes = append(r.Causes, f)
		} else {
			r.AlsoNoticed = append(r.AlsoNoticed, f)
		}
	}
	unread := slices.ContainsFunc(r.NotChecked, func(g model.Gap) bool { return !g.Skipped })
	switch {
	case len(r.Causes) > 0:
		r.Works, r.Persistence, r.ExitCode = "false", "persistent", ExitFound
	case unread:
		r.Works, r.Persistence, r.ExitCode = "unknown", "unknown", ExitUnknown
	default:
		r.Works, r.Persistence = "true", "none"
	}
	return r
}

func summary(w *model.World) Summary {
	s := Summary{Version: w.Kube.Version, Nodes: len(w.Kube.Nodes), Entered: len(w.Nodes), Pods: len(w.Kube.Pods), Services: len(w.Kube.Services)}
	s.Policies = len(w.Kube.Policies) + len(w.Kube.AdminPolicies) + len(w.Kube.CalicoPolicies) + len(w.Kube.CiliumPolicies)
	if n := cni.Detect(w); n.Kind != cni.Unknown {
		s.Network = n.Text()
	}
	if c := w.Azure.Cluster; c != nil {
		s.Name, s.Location = c.Name, c.Location
		s.Network = strings.TrimPrefix(s.Network+", "+cmp.Or(c.OutboundType, "loadBalancer"), ", ")
	}
	return s
}

// index is the tracer's, made when first asked for.
func (p *Pass) index() *trace.Index {
	if p.idx == nil {
		p.idx = trace.Build(p.World)
	}
	return p.idx
}
