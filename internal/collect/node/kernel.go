package node

import (
	"bufio"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/internal/model"
)

// telling are the kernel messages that are about connections.
var telling = regexp.MustCompile(`(?i)nf_conntrack|conntrack: table full|martian|neighbou?r.*overflow|out of memory|oom-kill|killed process|possible syn flooding|nf_tables|iptables.*deprecated|link is (up|down)|transmit queue .* timed out|detected tx hang|hv_netvsc.*(error|reset)`)

const (
	maxMessages = 40
	maxMessage  = 240
)

// messages reads the kernel's ring buffer: the last messages that tell something.
func (r *reader) messages() {
	size, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err == nil {
		buf := make([]byte, min(max(size, 4<<10), maxFile))
		var n int
		if n, err = unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buf); err == nil {
			r.facts.Kernel = tellingLines(string(buf[:n]))
			return
		}
	}
	permission := ""
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		permission = "SYSLOG capability (--node-reader=full)"
	}
	r.gap("kernel messages", err, permission)
}

var logLevel = regexp.MustCompile(`^<[0-9]+>`)

func tellingLines(text string) []string {
	out := []string{}
	sc := bufio.NewScanner(strings.NewReader(text))
	sc.Buffer(nil, maxFile)
	for sc.Scan() {
		line := logLevel.ReplaceAllString(sc.Text(), "")
		if !telling.MatchString(line) {
			continue
		}
		if len(line) > maxMessage {
			line = line[:maxMessage]
		}
		out = append(out, strings.ToValidUTF8(line, "?"))
	}
	return out[max(0, len(out)-maxMessages):]
}

var neighbourStates = map[int]string{
	unix.NUD_INCOMPLETE: "incomplete", unix.NUD_REACHABLE: "reachable", unix.NUD_STALE: "stale", unix.NUD_DELAY: "delay",
	unix.NUD_PROBE: "probe", unix.NUD_FAILED: "failed", unix.NUD_PERMANENT: "permanent",
}

// maxNeighbours bounds the neighbours that are kept.
const maxNeighbours = 1024

// neighbours reads the neighbour table: a neighbour that does not answer is
// where packets wait in vain.
func (r *reader) neighbours() {
	names := map[int]string{}
	if links, err := netlink.LinkList(); err == nil {
		for _, l := range links {
			names[l.Attrs().Index] = l.Attrs().Name
		}
	}
	list, err := netlink.NeighList(0, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		r.gap("neighbour table", err, "")
		return
	}
	for _, n := range list {
		state, ok := neighbourStates[n.State]
		if a := addrOf(n.IP); ok && a.IsValid() && len(r.facts.Neighbours) < maxNeighbours {
			r.facts.Neighbours = append(r.facts.Neighbours, model.Neighbour{Addr: a, Dev: names[n.LinkIndex], State: state, MAC: n.HardwareAddr.String()})
		}
	}
}

// pressure reads how much of the time work waits, where the kernel says so (PSI).
func (r *reader) pressure() {
	for _, what := range []string{"cpu", "memory", "io"} {
		text, err := r.file("proc/pressure/" + what)
		if err != nil || text == "" {
			continue // kernels without PSI, or with it switched off
		}
		for name, share := range parsePressure(text) {
			if r.facts.Pressure == nil {
				r.facts.Pressure = map[string]float64{}
			}
			r.facts.Pressure[what+"."+name] = share
		}
	}
}

// parsePressure reads "some avg10=0.12 avg60=…".
func parsePressure(text string) map[string]float64 {
	out := map[string]float64{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "some" && fields[0] != "full" {
			continue
		}
		share, ok := strings.CutPrefix(fields[1], "avg10=")
		if f, err := strconv.ParseFloat(share, 64); ok && err == nil && f >= 0 && f <= 100 {
			out[fields[0]] = f
		}
	}
	return out
}
