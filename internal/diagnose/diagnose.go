// Package diagnose turns a Case (what was asked, read, predicted and observed)
// into ranked findings. A diagnosis is a value, a Rule; the catalogue lives in
// package rules.
//
// Everything here is pure: no I/O and no clock (Case.Asked is the only time),
// so the same Case gives the same findings on a laptop without a cluster.
//
// Two things keep a finding honest. A rule states what it would make a probe
// see, and explains nothing when the probe saw something else. And a rule that
// could not read what it needs is listed as skipped, with the permission that
// would let it speak; silence always means "looked, and it is not this".
package diagnose

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

// Confidence says how sure a finding is. The zero value says nothing.
type Confidence uint8

// The degrees of confidence.
const (
	NoConfidence Confidence = iota
	Possible                // the configuration could do this
	Likely                  // the configuration says so, or everything else was ruled out
	Proven                  // configuration and observation agree
)

var confidenceNames = [...]string{"", "possible", "likely", "proven"}

func (c Confidence) String() string {
	if int(c) < len(confidenceNames) {
		return confidenceNames[c]
	}
	return ""
}

// MarshalText writes the name.
func (c Confidence) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a name.
func (c *Confidence) UnmarshalText(text []byte) error {
	for i, name := range confidenceNames {
		if name == string(text) {
			*c = Confidence(i)
			return nil
		}
	}
	return fmt.Errorf("confidence %q is none of possible, likely, proven", text)
}

// Evidence is one fact that a finding rests on.
type Evidence struct {
	Text   string      `json:"text"`
	Refs   []model.Ref `json:"refs,omitempty"`   // the objects it speaks of, so that a page can link
	Source string      `json:"source,omitempty"` // where it was read: arm, kube, node, probe, trace
}

// Command is one step of a remedy. Line can be pasted: names, groups and the
// subscription are filled in, and every name is quoted for a shell. A Command
// without a Line is advice in words.
type Command struct {
	Text   string `json:"text"`
	Line   string `json:"line,omitempty"`
	Verify string `json:"verify,omitempty"` // a command that shows that it helped
}

// Finding is one thing that is wrong.
type Finding struct {
	Rule       string      `json:"rule"`
	Subject    model.Ref   `json:"subject"` // the thing to change
	Hop        model.Hop   `json:"hop"`     // where the packet that matters dies
	Confidence Confidence  `json:"confidence"`
	Title      string      `json:"title"`             // one sentence without a full stop
	Summary    string      `json:"summary,omitempty"` // what happens and why, for somebody who does not know the mechanism
	Evidence   []Evidence  `json:"evidence"`
	Fix        []Command   `json:"fix"`
	Explains   bool        `json:"explains"`            // it explains what was observed
	Sometimes  bool        `json:"sometimes,omitempty"` // it hits a share of the connections, not all
	Returns    bool        `json:"returns,omitempty"`   // it comes back with the next occasion: that it is over now is no end of it
	Gaps       []model.Gap `json:"gaps,omitempty"`      // what could not be read and would make it surer

	way     string
	step    *model.Step
	refuted bool // the probe got past the step that the prediction drops at
	later   bool // it would break the way next, were something before it mended
	rank    int
}

// Skip is a rule that could not speak, and why.
type Skip struct {
	Rule       string    `json:"rule"`
	Why        string    `json:"why"`
	Permission string    `json:"permission,omitempty"`
	Ref        model.Ref `json:"ref,omitempty"`
}

// Result is a diagnosis.
type Result struct {
	Works         string    `json:"works"`                   // true, false, slow, unknown
	Persistence   string    `json:"persistence"`             // persistent, intermittent, recovered, none, unknown
	Causes        []Finding `json:"causes"`                  // ranked, most likely first
	Also          []Finding `json:"also,omitempty"`          // wrong, but it explains nothing here
	Disagreements []Finding `json:"disagreements,omitempty"` // prediction and observation differ
	Narrowed      []string  `json:"narrowed,omitempty"`      // where the answers part, in neutral words
	RuledOut      []string  `json:"ruledOut,omitempty"`      // hops that were read and pass
	Skipped       []Skip    `json:"skipped,omitempty"`

	Watched *watch.Summary `json:"watched,omitempty"` // what a series of tries tells; nil: there was none
}

// Rule is one diagnosis.
type Rule struct {
	ID string
	// Doc is the page on this cause. Its first line is the title; then what it
	// is, how it shows, how it is told from its look-alikes, how to mend it.
	Doc string
	// Hop is where the packet dies, unless a finding says otherwise.
	Hop model.Hop
	// Covers are ids of the catalogue of faults that this mechanism explains.
	Covers []string
	// Needs are what the rule cannot speak without: kinds of Ref ("nsg"),
	// "nodefacts" (the inside of the question's node), "probe" (an answer from
	// where the question starts), or "probe:" and a vantage. When the rule reports nothing and
	// one of them is a gap of this question, it is listed as skipped.
	Needs []string
	// Under are rules of which this one is but a consequence, per flow.
	Under []string
	// Sees says whether what a probe saw is what this cause would make it see.
	// Nil: the rule itself judges observations, and its findings explain.
	Sees func(*model.Observation) bool
	// LastResort rules argue by exclusion: they speak only when no other rule
	// explains what was seen.
	LastResort bool
	// EvenIfItWorks rules speak of the asking side itself: a probe that got
	// through from its place does not make it run.
	EvenIfItWorks bool
	Run           func(*Pass)
}

// Title is the first line of the rule's page.
func (r *Rule) Title() string {
	title, _, _ := strings.Cut(strings.TrimSpace(r.Doc), "\n")
	return title
}
