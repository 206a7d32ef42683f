package model

import (
	"net/netip"
	"strings"
)

// Inside is what was read in a pod's own network namespace, whose sockets, ports
// and queues are apart from its node's.
type Inside struct {
	Sysctls   map[string]string `json:"sysctls,omitempty"`  // net.ipv4.ip_local_port_range, net.core.somaxconn, …
	Counters  map[string]int64  `json:"counters,omitempty"` // TcpExtListenOverflows, …: when it was entered
	After     map[string]int64  `json:"after,omitempty"`    // the same after the probes; missing: not read again
	Sockets   []SocketCount     `json:"sockets,omitempty"`  // TCP, the most first
	Held      int               `json:"held,omitempty"`     // TCP sockets that a process has open: what waits to be accepted, or is over, is nobody's
	Listening []Queue           `json:"listening,omitempty"`
	Processes []Process         `json:"processes,omitempty"` // that are seen from the container that was added
	Gaps      []Gap             `json:"gaps,omitempty"`
}

// SocketCount are the TCP sockets of a network namespace towards one address and
// port, in one state. Each has a local port of its own.
type SocketCount struct {
	To    netip.AddrPort `json:"to"`
	State string         `json:"state"` // as in Connection
	Count int            `json:"count"`
	Least int            `json:"least,omitempty"` // the lowest and the highest local port among them
	Most  int            `json:"most,omitempty"`
}

// Queue is a listening TCP socket with the connections that wait to be accepted:
// the kernel drops new ones when more wait than it may hold.
type Queue struct {
	Addr    netip.Addr `json:"addr"`
	Port    uint16     `json:"port"`
	Waiting int        `json:"waiting"`
	Limit   int        `json:"limit"` // the lesser of the application's backlog and net.core.somaxconn
}

// Full says that the next connection that is made will be dropped: one more than
// the limit may wait (sk_acceptq_is_full, include/net/sock.h).
func (q *Queue) Full() bool { return q.Limit > 0 && q.Waiting > q.Limit }

// Process is a process of the application with its open files, which sockets are too.
type Process struct {
	PID   int    `json:"pid"`
	Name  string `json:"name"`
	Files int    `json:"files"` // -1: not read
	Limit int    `json:"limit"` // RLIMIT_NOFILE, the soft one; 0: not read, or none
}

// Grew is by how much a counter grew between the two readings.
func (i *Inside) Grew(counter string) int64 {
	after, ok := i.After[counter]
	if !ok {
		return 0
	}
	return max(0, after-i.Counters[counter])
}

// Busy is the share of its CPUs' time that a node spent on anything but waiting
// between the two readings, and the share that was taken from it by its host;
// ok: there were two.
func (f *NodeFacts) Busy() (busy, steal float64, ok bool) {
	total := 0.0
	for name, after := range f.LevelsAfter {
		if strings.HasPrefix(name, "cpu.") {
			total += max(0, after-f.Levels[name])
		}
	}
	if total <= 0 || len(f.Levels) == 0 {
		return 0, 0, false
	}
	moved := func(name string) float64 { return max(0, f.LevelsAfter[name]-f.Levels[name]) / total }
	return 1 - moved("cpu.idle") - moved("cpu.iowait"), moved("cpu.steal"), true
}
