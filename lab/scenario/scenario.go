// Package scenario reads scenario files (SCENARIOS.md §3), plays them on a
// running lab and takes them back, and scores what podpath says about each.
//
// One file a mechanism: parse.go reads the format, play.go does the steps and
// journal.go keeps their inverses, arm.go, kubectl.go and exec.go are the three
// ways into a lab, client.go is the lab's own eye on a symptom, score.go judges
// a report and bench.go runs the whole.
package scenario

import (
	"errors"
	"slices"
	"time"

	"github.com/podpath/podpath/lab/plan"
)

// Scenario is one fault with its truth.
type Scenario struct {
	File     string
	Name     string
	Summary  string
	Topology plan.Topology // complete
	Inject   []Step
	Settle   time.Duration
	Symptom  *Symptom
	Question Question
	Expect   Expect
}

// Step is one thing done to the lab. Exactly one of the kinds is set. Heal, when
// there is one, is what takes the step back, in place of the inverse that the
// runner would work out.
type Step struct {
	Line    int          `json:"line,omitempty"`
	ARM     *ARMStep     `json:"arm,omitempty"`
	Kubectl *KubectlStep `json:"kubectl,omitempty"`
	Exec    *ExecStep    `json:"exec,omitempty"` // node, pod and host
	Load    *LoadStep    `json:"load,omitempty"`
	Wait    *WaitStep    `json:"wait,omitempty"`
	Heal    []Step       `json:"heal,omitempty"`
}

// ARMStep is one write to Azure's resource manager.
type ARMStep struct {
	Method string         `json:"method,omitempty"` // PUT, PATCH, DELETE, POST; MERGE for GET, merge patch, PUT
	ID     string         `json:"id"`
	Body   map[string]any `json:"body,omitempty"` // the merge patch with MERGE
}

// KubectlStep is one call of kubectl.
type KubectlStep struct {
	Verb  string   `json:"verb"`            // apply, delete, patch, run
	YAML  string   `json:"yaml,omitempty"`  // of apply
	Words []string `json:"words,omitempty"` // of the others
}

// ExecStep is a shell line run in the network namespace of a node, a pod or a
// host, or (host only) a change of what that host serves.
type ExecStep struct {
	Where string         `json:"where"` // node, pod, host
	Name  string         `json:"name"`
	Run   string         `json:"run,omitempty"`
	Serve map[string]any `json:"serve,omitempty"`
}

// LoadStep holds connections open from a pod.
type LoadStep struct {
	From           string        `json:"from"`
	To             string        `json:"to"`
	Protocol       string        `json:"protocol"`
	Connections    int           `json:"connections"`
	Rate           int           `json:"rate"` // new connections a second
	Hold           time.Duration `json:"hold"`
	BytesPerSecond int           `json:"bytesPerSecond"` // on each connection
	Each           time.Duration `json:"each,omitempty"` // after which each is closed and opened anew; 0: it is kept
}

// WaitStep waits for a condition: words of kubectl wait, or "settled".
type WaitStep struct {
	Settled bool          `json:"settled,omitempty"`
	Words   []string      `json:"words,omitempty"`
	For     time.Duration `json:"for"`
}

// Symptom is what the lab's own client must see before podpath is asked.
type Symptom struct {
	From, To, Expect, Protocol, Host, Address string
}

// Question is what podpath is asked.
type Question struct {
	Verb                         string // why, watch, check, reach
	From, To                     string
	Protocol, Host, Address, Via string
	For, Every                   time.Duration
	Namespace, File              string
	Beside                       []string // other destinations of a watch
}

// Expect is the truth.
type Expect struct {
	Works       string // true, false, slow; "" not judged
	Persistence string
	Cause       string
	Causes      []string // nil: not judged
	Subject     string
	Subjects    []string
	Hop         string
	Hops        []string
	Evidence    []string
	Also        []string
	Not         []string
	NotSubjects []string
}

// filled is the truth with its templates filled in.
func (e Expect) filled(look func(kind, name, field string) (string, error)) (Expect, error) {
	var errs []error
	one := func(s *string) {
		value, err := fill(*s, look)
		errs = append(errs, err)
		*s = value
	}
	one(&e.Subject)
	for _, list := range []*[]string{&e.Subjects, &e.Evidence, &e.Also, &e.NotSubjects} {
		*list = slices.Clone(*list)
		for i := range *list {
			one(&(*list)[i])
		}
	}
	return e, errors.Join(errs...)
}

// Fault says whether the scenario names something that is to be found.
func (e Expect) Fault() bool {
	return e.Cause != "" || len(e.Causes) > 0 || e.Subject != "" || len(e.Subjects) > 0 || e.Hop != "" || len(e.Hops) > 0
}

// Healthy says whether the truth is that nothing is wrong: any finding of
// likely or more is then a false alarm.
func (e Expect) Healthy() bool {
	return !e.Fault() && len(e.Also) == 0 && len(e.Evidence) == 0 && e.Works == "true"
}
