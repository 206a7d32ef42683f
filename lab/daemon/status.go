package daemon

import (
	"sync"
	"time"

	"github.com/podpath/podpath/lab/plan"
)

// Part is one part of the lab on its way up.
type Part struct {
	Name    string  `json:"name"`
	Started float64 `json:"started"` // seconds after the daemon's start
	Ended   float64 `json:"ended,omitempty"`
	Error   string  `json:"error,omitempty"`
}

// States of a lab.
const (
	Starting = "starting"
	Usable   = "usable" // all is there but the first metrics
	Ready    = "ready"
	Failed   = "failed"
)

// Status is what the daemon tells of the lab.
type Status struct {
	Lab      string         `json:"lab"`
	State    string         `json:"state"`
	Error    string         `json:"error,omitempty"`
	Pid      int            `json:"pid"`
	Since    time.Time      `json:"since"`
	Topology plan.Topology  `json:"topology"`
	API      string         `json:"api,omitempty"` // on this machine's loopback
	ARM      string         `json:"arm,omitempty"`
	Nodes    []StatusOfNode `json:"nodes"`
	Parts    []Part         `json:"parts"`
	// Processes of each node and of the control plane, by name.
	Processes map[string]int `json:"processes,omitempty"`
}

// StatusOfNode is one node of the lab.
type StatusOfNode struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Network string `json:"network"` // name of its network namespace
	Pods    string `json:"pods"`    // range of its pods' addresses
}

// board is the status as it grows.
type board struct {
	mu     sync.Mutex
	start  time.Time
	status Status
}

func (b *board) seconds() float64 { return time.Since(b.start).Seconds() }

// step notes that a part begins; what it returns, that it ended.
func (b *board) step(name string) func(error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := len(b.status.Parts)
	b.status.Parts = append(b.status.Parts, Part{Name: name, Started: b.seconds()})
	return func(err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.status.Parts[i].Ended = b.seconds()
		if err != nil {
			b.status.Parts[i].Error = err.Error()
		}
	}
}

func (b *board) change(f func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.status)
}

func (b *board) read() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.status
	s.Parts = append([]Part(nil), s.Parts...)
	return s
}
