package model

import "time"

// How long a sender waits before it sends again what was lost: Linux a SYN
// (tcp_syn_retries in its ip-sysctl), podpath's own resolver a query, and the C
// library's (timeout in resolv.conf(5)).
const (
	SYNWait     = time.Second
	LookupWait  = 2 * time.Second
	LibraryWait = 5 * time.Second
)

var waits = map[string][]time.Duration{"tcp": {SYNWait}, "dns": {LookupWait, LibraryWait}}

// Waited is the wait after which a phase got through that had lost its first
// packet: it took one wait, or at most half a wait more. 0: it did not.
func (p *Phase) Waited() time.Duration {
	for _, wait := range waits[p.Name] {
		if p.Result == OK && p.Duration >= wait*98/100 && p.Duration < wait*3/2 {
			return wait
		}
	}
	return 0
}
