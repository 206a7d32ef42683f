package node

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/internal/model"
)

// insideSwitches are the sysctls that a pod has of its own and that bound its connections.
var insideSwitches = []string{
	"net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "net.core.somaxconn", "net.ipv4.tcp_tw_reuse",
	"net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_time",
}

// Inside reads the caller's network namespace as that of a pod: its ports, its
// queues and, where the caller shares the application's process namespace, the
// open files of its processes.
func Inside(root string) *model.Inside {
	r := &reader{root: root, facts: &model.NodeFacts{}}
	r.facts.Sysctls = map[string]string{}
	for _, name := range insideSwitches {
		r.sysctl(name, "proc/sys/"+strings.ReplaceAll(name, ".", "/"))
	}
	r.counters()
	out := &model.Inside{Sysctls: r.facts.Sysctls, Counters: r.facts.Counters}
	var waiting map[netip.AddrPort]int
	out.Sockets, waiting, out.Held = r.sockets()
	out.Listening = r.queues(waiting)
	out.Processes = r.processes()
	out.Gaps = r.facts.Gaps
	return out
}

// maxSocketKinds bounds what is kept: those of whom there are most matter.
const maxSocketKinds = 256

// sockets counts the TCP sockets by far end and state, the connections that wait
// at each listener, and the sockets that processes have open.
func (r *reader) sockets() ([]model.SocketCount, map[netip.AddrPort]int, int) {
	return r.count(nil)
}

// count reads the tables of TCP sockets; only: those with such an inode alone.
func (r *reader) count(only func(inode string) bool) ([]model.SocketCount, map[netip.AddrPort]int, int) {
	c := socketCounts{kinds: map[socketKind]*model.SocketCount{}, waiting: map[netip.AddrPort]int{}, only: only}
	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open(filepath.Join(orSlash(r.root), "proc/net", table))
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6
		}
		if err == nil {
			err = c.read(f)
			f.Close()
		}
		if err != nil {
			r.gap("/proc/net/"+table+" of the pod", err, "")
		}
	}
	return c.list(), c.waiting, c.held
}

type socketKind struct {
	to    netip.AddrPort
	state string
}

type socketCounts struct {
	kinds   map[socketKind]*model.SocketCount
	waiting map[netip.AddrPort]int
	held    int
	only    func(inode string) bool // nil: every socket counts
}

// maxKinds bounds the memory of counting.
const maxKinds = 65536

// read counts the lines of /proc/net/tcp (Documentation/networking/proc_net_tcp):
// local address, far address, state, queues in hexadecimal. Of a listener the
// receive queue is the number of connections that wait to be accepted.
func (c *socketCounts) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 5 {
			continue
		}
		local, port, ok := hexAddrPort(words[1])
		if !ok {
			continue
		}
		if c.only != nil && (len(words) <= 9 || !c.only(words[9])) {
			continue
		}
		if len(words) > 9 && words[9] != "0" { // the inode: without one it is no process's
			c.held++
		}
		if words[3] == "0A" {
			_, queue, _ := strings.Cut(words[4], ":")
			if n, err := strconv.ParseUint(queue, 16, 31); err == nil {
				c.waiting[netip.AddrPortFrom(local, port)] += int(n)
			}
			continue
		}
		if remote, far, ok := hexAddrPort(words[2]); ok && tcpStates[words[3]] != "" {
			c.add(socketKind{netip.AddrPortFrom(remote, far), tcpStates[words[3]]}, int(port))
		}
	}
	return lines.Err()
}

func (c *socketCounts) add(kind socketKind, port int) {
	k := c.kinds[kind]
	if k == nil {
		if len(c.kinds) >= maxKinds {
			return
		}
		k = &model.SocketCount{To: kind.to, State: kind.state, Least: port, Most: port}
		c.kinds[kind] = k
	}
	k.Count++
	k.Least, k.Most = min(k.Least, port), max(k.Most, port)
}

func (c *socketCounts) list() []model.SocketCount {
	out := make([]model.SocketCount, 0, len(c.kinds))
	for _, k := range c.kinds {
		out = append(out, *k)
	}
	slices.SortFunc(out, func(a, b model.SocketCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), a.To.Compare(b.To), strings.Compare(a.State, b.State))
	})
	return out[:min(len(out), maxSocketKinds)]
}

// queues are the listeners with what waits at them. How many may wait is told by
// the kernel's socket diagnosis alone (ss shows it as Send-Q).
func (r *reader) queues(waiting map[netip.AddrPort]int) []model.Queue {
	limits := map[netip.AddrPort]int{}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := netlink.SocketDiagTCP(family)
		if err != nil {
			r.gap("how many connections may wait at the pod's listeners", err, "")
			break
		}
		for _, s := range sockets {
			if s != nil && s.State == unix.BPF_TCP_LISTEN {
				addr, _ := netip.AddrFromSlice(s.ID.Source)
				limits[netip.AddrPortFrom(addr.Unmap(), s.ID.SourcePort)] = int(s.WQueue)
			}
		}
	}
	return queueList(waiting, limits)
}

func queueList(waiting, limits map[netip.AddrPort]int) []model.Queue {
	var out []model.Queue
	for at, n := range waiting {
		out = append(out, model.Queue{Addr: at.Addr(), Port: at.Port(), Waiting: n, Limit: limits[at]})
	}
	slices.SortFunc(out, func(a, b model.Queue) int {
		return cmp.Or(cmp.Compare(b.Waiting, a.Waiting), netip.AddrPortFrom(a.Addr, a.Port).Compare(netip.AddrPortFrom(b.Addr, b.Port)))
	})
	return out[:min(len(out), maxListeners)]
}

// Bounds of what is looked at: a pod has few processes, a process may have many files.
const (
	maxProcesses = 64
	maxOpenFiles = 1 << 20
)

// processes are those whose open files can be counted; the probe's own are left out.
func (r *reader) processes() []model.Process {
	dirs, err := os.ReadDir(filepath.Join(orSlash(r.root), "proc"))
	if err != nil {
		r.gap("/proc of the pod", err, "")
		return nil
	}
	var out []model.Process
	hidden := error(nil)
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || len(out) == maxProcesses {
			continue
		}
		p, err := r.process(pid)
		if err != nil {
			hidden = err
		}
		if p.Name != "" && p.Name != "podpath-probe" && p.Name != "pause" {
			out = append(out, p)
		}
	}
	if hidden != nil {
		r.gap("open files of the pod's processes", hidden, "a probe that runs as the application's own user (runAsUser of the container)")
	}
	return out
}

func (r *reader) process(pid int) (model.Process, error) {
	dir := "proc/" + strconv.Itoa(pid)
	name, err := r.file(dir + "/comm")
	p := model.Process{PID: pid, Name: strings.ToValidUTF8(clip(strings.TrimSpace(name)), "?"), Files: -1}
	if err != nil || p.Name == "" {
		return p, nil //nolint:nilerr // it has ended meanwhile
	}
	if text, err := r.file(dir + "/limits"); err == nil {
		p.Limit = openFilesLimit(text)
	}
	f, err := os.Open(filepath.Join(orSlash(r.root), dir, "fd"))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return model.Process{}, nil
		}
		return p, err
	}
	defer f.Close()
	names, _ := f.Readdirnames(maxOpenFiles) // one that ends meanwhile has none
	p.Files = len(names)
	return p, nil
}

// openFilesLimit is the soft limit in a line such as "Max open files  1024  4096  files" (proc_pid_limits(5)).
func openFilesLimit(text string) int {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			if words := strings.Fields(rest); len(words) > 0 {
				n, err := strconv.Atoi(words[0])
				if err == nil {
					return n
				}
			}
		}
	}
	return 0
}
