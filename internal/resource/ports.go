package resource

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// LocalPorts is the kind of a pod's own local ports towards one destination.
const LocalPorts = "local-ports"

// localPorts are those of each pod that was entered, towards the destination to
// which it has most connections: each connection, also one in TIME-WAIT, keeps its
// port towards that destination (ip_local_port_range,
// Documentation/networking/ip-sysctl.rst).
func localPorts(c *model.Case) []Use {
	var out []Use
	for _, ref := range slices.Sorted(maps.Keys(c.World.Inside)) {
		in := c.World.Inside[ref]
		if in == nil {
			continue
		}
		if to, ok := busiest(in); ok {
			u := PortsToward(ref, in, to)
			u.moves(read(c, ref, func(l *model.Level) bool { return l.Kind == model.LevelSockets && l.To == to }), nil, heldSpan)
			out = append(out, u)
		}
	}
	return out
}

// busiest is the destination with most sockets on ports of the range.
func busiest(in *model.Inside) (best netip.AddrPort, ok bool) {
	low, high, known := portRange(in.Sysctls["net.ipv4.ip_local_port_range"])
	count := map[netip.AddrPort]int{}
	for _, s := range in.Sockets {
		if known && s.Least >= low && s.Most <= high {
			count[s.To] += s.Count
		}
	}
	for _, to := range slices.SortedFunc(maps.Keys(count), netip.AddrPort.Compare) {
		if count[to] > count[best] {
			best = to
		}
	}
	return best, count[best] > 0
}

// PortsToward is the use of a pod's local ports towards one destination.
func PortsToward(ref model.Ref, in *model.Inside, to netip.AddrPort) Use {
	u := Use{Kind: LocalPorts, Name: "local ports", Of: ref, Toward: to.String() + "/tcp", Unit: "ports", Source: "pod"}
	low, high, ok := portRange(in.Sysctls["net.ipv4.ip_local_port_range"])
	if ok {
		u.Limit = float64(high - low + 1 - reserved(in.Sysctls["net.ipv4.ip_local_reserved_ports"], low, high))
		u.Says = append(u.Says, fmt.Sprintf("net.ipv4.ip_local_port_range is %d-%d", low, high))
	}
	states := map[string]int{}
	for _, s := range in.Sockets {
		if s.To == to {
			u.Used += float64(s.Count)
			states[s.State] += s.Count
		}
	}
	u.Says = append(u.Says, "sockets towards it: "+statesText(states))
	u.Remedy = portsRemedy(ref, states)
	if u.Limit > 0 && u.Used >= u.Limit*0.98-0.5 { // the next one looks for a free port at random, and may not find the last
		u.State = Out
	}
	u.settle()
	return u
}

// portsRemedy is what helps: using connections again first, since a wider range only lasts a little longer.
func portsRemedy(ref model.Ref, states map[string]int) []diagnose.Command {
	text := "Let the application keep a few connections and use them again (a pool, keep-alive)"
	if states["TIME-WAIT"] > states["ESTABLISHED"] {
		text += ": most are over, and keep their port for a minute"
	}
	if states["CLOSE-WAIT"] > states["ESTABLISHED"] {
		text = "Let the application close its connections: the far side has closed most of them already, and they keep their port until it does"
	}
	return []diagnose.Command{
		{Text: text + "; at once: start it anew", Line: diagnose.KubectlFor(ref, "delete")},
		{Text: "For longer: a wider range in the pod's securityContext (a safe sysctl): spec.securityContext.sysctls [{name: net.ipv4.ip_local_port_range, value: \"1024 65535\"}]"},
	}
}

// statesText is "28 TIME-WAIT, 3 ESTABLISHED", the most first.
func statesText(states map[string]int) string {
	names := slices.SortedFunc(maps.Keys(states), func(a, b string) int { return cmp.Or(cmp.Compare(states[b], states[a]), strings.Compare(a, b)) })
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = fmt.Sprintf("%d %s", states[name], name)
	}
	return cmp.Or(strings.Join(parts, ", "), "none")
}

// portRange reads "32768 60999".
func portRange(text string) (low, high int, ok bool) {
	words := strings.Fields(text)
	if len(words) != 2 {
		return 0, 0, false
	}
	low, err1 := strconv.Atoi(words[0])
	high, err2 := strconv.Atoi(words[1])
	return low, high, err1 == nil && err2 == nil && low > 0 && high >= low && high < 65536
}

// reserved counts the ports of a range that "8080,9148-9150" keeps from being chosen.
func reserved(list string, low, high int) int {
	n := 0
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		a, err1 := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err1 == nil && err2 == nil {
			n += max(0, min(b, high)-max(a, low)+1)
		}
	}
	return min(n, high-low)
}
