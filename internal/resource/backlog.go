package resource

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// Backlog is the kind of the queues of listening sockets.
const Backlog = "backlog"

// overflows are the counters of a network namespace that grow when a queue of a
// listener is full: of connections that stand and wait to be accepted, and of
// those of whom only the SYN came (net/ipv4/tcp_ipv4.c, tcp_input.c).
var overflows = []string{"TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtTCPReqQFullDrop"}

// backlogs are the queues of the pods that were entered.
func backlogs(c *model.Case) []Use {
	var out []Use
	for _, ref := range slices.Sorted(maps.Keys(c.World.Inside)) {
		in := c.World.Inside[ref]
		for i := 0; in != nil && i < len(in.Listening); i++ {
			if q := &in.Listening[i]; q.Limit > 0 && !q.Addr.IsLoopback() {
				out = append(out, QueueOf(ref, in, q))
			}
		}
	}
	return out
}

// QueueOf is the use of one listener's queue.
func QueueOf(ref model.Ref, in *model.Inside, q *model.Queue) Use {
	u := Use{
		Kind: Backlog, Name: "accept queue", Of: ref, Toward: netip.AddrPortFrom(q.Addr, q.Port).String() + "/tcp", Unit: "connections", Source: "pod",
		Used: float64(q.Waiting), Limit: float64(q.Limit + 1), // it is full when more wait than the backlog says
		Remedy: []diagnose.Command{
			{Text: "See what keeps the server from accepting: too few workers, a lock, no CPU, no file descriptor", Line: diagnose.Kubectl("-n", ref.Part(0), "logs", ref.Name(), "--tail=50")},
			{Text: fmt.Sprintf("Let more wait: a larger backlog of the application, and net.core.somaxconn (%s now) in the pod's securityContext.sysctls; or more replicas", orUnread(in.Sysctls["net.core.somaxconn"]))},
		},
	}
	for _, name := range overflows {
		switch n := in.Counters[name]; {
		case in.Grew(name) > 0:
			u.Says = append(u.Says, fmt.Sprintf("%s of the pod grew by %d while it was looked at, to %d", name[len("TcpExt"):], in.Grew(name), in.After[name]))
		case n > 0:
			u.Says = append(u.Says, fmt.Sprintf("%s of the pod is %d", name[len("TcpExt"):], n))
		}
	}
	if q.Full() {
		u.State = Out
	}
	u.settle()
	return u
}

// Overflowed says that a queue of the pod was full once.
func Overflowed(in *model.Inside) bool {
	return slices.ContainsFunc(overflows, func(name string) bool { return in.Counters[name] > 0 || in.Grew(name) > 0 })
}

// Overflowing says that it was so while the probes ran.
func Overflowing(in *model.Inside) bool {
	return slices.ContainsFunc(overflows, func(name string) bool { return in.Grew(name) > 0 })
}

func orUnread(text string) string {
	if text == "" {
		return "not read"
	}
	return text
}
