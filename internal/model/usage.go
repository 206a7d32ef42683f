package model

import "time"

// Usage is what a container uses, by its kubelet and by the metrics API.
type Usage struct {
	Pod       Ref       `json:"pod"`
	Container string    `json:"container,omitempty"` // "": the pod as a whole, whose limit holds for what is added to it, too
	Before    Throttled `json:"before,omitzero"`     // when the probes began
	After     Throttled `json:"after,omitzero"`      // when they were over; zero: not read again
	CPU       float64   `json:"cpu,omitempty"`       // in cores, over the metrics API's window
	Memory    int64     `json:"memory,omitempty"`    // working set in bytes
}

// Throttled are the counters of a CPU quota: the kernel gives a cgroup its quota
// of CPU time in each period of 100 ms, and stops it for the rest of the period
// when that is used up (Documentation/scheduler/sched-bwc.rst).
type Throttled struct {
	At      time.Time     `json:"at,omitzero"` // when the kubelet looked: every ten seconds or so
	Periods int64         `json:"periods"`     // in which it wanted to run
	Stopped int64         `json:"stopped"`     // of them, those in which it was stopped
	For     time.Duration `json:"for"`         // how long, all its threads together
	OOMs    int64         `json:"ooms,omitempty"`
}

// Share is the share of the periods in which the container was stopped while the
// probes ran, where the kubelet looked again meanwhile, else since it started.
// ok: it has a quota, and wanted to run.
func (u *Usage) Share() (share float64, periods int64, lately, ok bool) {
	if n := u.After.Periods - u.Before.Periods; u.After.At.After(u.Before.At) && n >= 5 {
		return float64(max(0, u.After.Stopped-u.Before.Stopped)) / float64(n), n, true, true
	}
	last := u.Before
	if u.After.Periods > 0 {
		last = u.After
	}
	if last.Periods == 0 {
		return 0, 0, false, false
	}
	return float64(last.Stopped) / float64(last.Periods), last.Periods, false, true
}

// NodeUsage is what a node uses, by the metrics API, and what its pods write, by its kubelet.
type NodeUsage struct {
	CPU     float64         `json:"cpu"`    // in cores
	Memory  int64           `json:"memory"` // working set in bytes
	Written map[Ref]Written `json:"written,omitempty"`
	Sent    map[Ref]Written `json:"sent,omitempty"`  // over the pods' own network interfaces
	Spent   map[Ref]Spent   `json:"spent,omitempty"` // CPU time
}

// Spent is the CPU time of a pod since it started, in seconds of one CPU: when the
// kubelet looked before the probes began, and when it looked after (zero: not read again).
type Spent struct {
	Before  float64   `json:"before"`
	After   float64   `json:"after,omitempty"`
	At      time.Time `json:"at,omitzero"`
	AfterAt time.Time `json:"afterAt,omitzero"`
}

// Cores are how many CPUs it used between both; ok: the kubelet looked twice.
func (s Spent) Cores() (cores float64, ok bool) {
	if over := s.AfterAt.Sub(s.At).Seconds(); !s.At.IsZero() && over >= 1 {
		return max(0, s.After-s.Before) / over, true
	}
	return 0, false
}

// Written is what the containers of a pod have written to disks or sent, in bytes since they
// started: when the probes began, and when they were over (zero: not read again).
type Written struct {
	Before int64 `json:"before"`
	After  int64 `json:"after,omitempty"`
}
