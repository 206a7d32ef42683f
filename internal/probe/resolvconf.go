package probe

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// resolvConf is what a resolver takes from resolv.conf(5).
type resolvConf struct {
	Servers  []netip.AddrPort
	Search   []string
	Ndots    int
	Timeout  time.Duration
	Attempts int
	Rotate   bool
	UseTCP   bool // options use-vc
	EDNS0    bool
	Single   bool // options single-request, single-request-reopen: one query at a time
	NoAAAA   bool
}

// Limits of the C library, and of what is read.
const (
	maxServers    = 3
	maxSearch     = 32
	maxConfBytes  = 64 << 10
	maxHostsBytes = 1 << 20
)

func readResolvConf(path string) (resolvConf, error) {
	f, err := os.Open(path)
	if err != nil {
		return parseResolvConf(strings.NewReader("")), err
	}
	defer f.Close()
	return parseResolvConf(f), nil
}

// parseResolvConf follows the C library: unknown lines and options are passed
// over, the last search or domain line wins, values are capped as it caps them.
func parseResolvConf(r io.Reader) resolvConf {
	c := resolvConf{Ndots: 1, Timeout: 5 * time.Second, Attempts: 2}
	sc := bufio.NewScanner(io.LimitReader(r, maxConfBytes))
	sc.Buffer(nil, maxConfBytes)
	for sc.Scan() {
		line := sc.Text()
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil && len(c.Servers) < maxServers {
				c.Servers = append(c.Servers, netip.AddrPortFrom(a.Unmap(), 53))
			}
		case "search", "domain":
			c.Search = f[1:min(len(f), maxSearch+1)]
		case "options":
			for _, o := range f[1:] {
				c.option(o)
			}
		}
	}
	if len(c.Servers) == 0 {
		c.Servers = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53)}
	}
	return c
}

func (c *resolvConf) option(o string) {
	name, value, _ := strings.Cut(o, ":")
	n, err := strconv.Atoi(value)
	switch {
	case name == "ndots" && err == nil:
		c.Ndots = min(max(n, 0), 15)
	case name == "timeout" && err == nil:
		c.Timeout = time.Duration(min(max(n, 1), 30)) * time.Second
	case name == "attempts" && err == nil:
		c.Attempts = min(max(n, 1), 5)
	case name == "rotate":
		c.Rotate = true
	case name == "use-vc":
		c.UseTCP = true
	case name == "edns0":
		c.EDNS0 = true
	case name == "single-request", name == "single-request-reopen":
		c.Single = true
	case name == "no-aaaa":
		c.NoAAAA = true
	}
}

// told is what of it goes into an observation.
func (c *resolvConf) told() *model.Resolver {
	r := &model.Resolver{Ndots: c.Ndots, From: "/etc/resolv.conf"}
	for _, s := range c.Servers {
		r.Servers = append(r.Servers, s.Addr())
	}
	for _, s := range c.Search {
		r.Search = append(r.Search, clean(s, 255))
	}
	for _, o := range []struct {
		set  bool
		name string
	}{{c.Rotate, "rotate"}, {c.UseTCP, "use-vc"}, {c.EDNS0, "edns0"}, {c.Single, "single-request"}, {c.NoAAAA, "no-aaaa"}} {
		if o.set {
			r.Options = append(r.Options, o.name)
		}
	}
	return r
}

// candidates are the names that a resolver tries for host, in order.
func (c *resolvConf) candidates(host string) []string {
	if strings.HasSuffix(host, ".") {
		return []string{host}
	}
	asIs := host + "."
	var names []string
	if strings.Count(host, ".") >= c.Ndots {
		names = append(names, asIs)
	}
	for _, s := range c.Search {
		s = strings.Trim(s, ".")
		if s == "" {
			if len(names) == 0 || names[0] != asIs {
				names = append(names, asIs)
			}
			continue
		}
		names = append(names, asIs+s+".")
	}
	for _, n := range names {
		if n == asIs {
			return names
		}
	}
	return append(names, asIs)
}

// hostsFile looks a name up in hosts(5).
func hostsFile(path, host string) []netip.Addr {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	return parseHosts(f, host)
}

func parseHosts(r io.Reader, host string) []netip.Addr {
	host = strings.TrimSuffix(host, ".")
	var out []netip.Addr
	sc := bufio.NewScanner(io.LimitReader(r, maxHostsBytes))
	sc.Buffer(nil, maxConfBytes)
	for sc.Scan() {
		line, _, _ := strings.Cut(sc.Text(), "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		a, err := netip.ParseAddr(f[0])
		if err != nil {
			continue
		}
		for _, name := range f[1:] {
			if strings.EqualFold(strings.TrimSuffix(name, "."), host) {
				out = append(out, a.Unmap())
				break
			}
		}
	}
	return out
}
