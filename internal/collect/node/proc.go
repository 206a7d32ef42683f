package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// switches are the sysctls that decide about connections. Those of modules
// that are not loaded are absent.
var switches = []string{
	"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv6.conf.all.disable_ipv6",
	"net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables",
	"net.netfilter.nf_conntrack_count", "net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_buckets",
	"net.netfilter.nf_conntrack_tcp_timeout_established", "net.netfilter.nf_conntrack_tcp_timeout_time_wait",
	"net.netfilter.nf_conntrack_tcp_timeout_close_wait", "net.netfilter.nf_conntrack_tcp_timeout_syn_sent", "net.netfilter.nf_conntrack_udp_timeout", "net.netfilter.nf_conntrack_udp_timeout_stream",
	"net.netfilter.nf_conntrack_tcp_be_liberal",
	"net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "net.core.somaxconn", "net.core.netdev_max_backlog",
	"net.ipv4.tcp_syn_retries", "net.ipv4.tcp_synack_retries", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_syncookies",
	"net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_tw_reuse", "net.ipv4.tcp_max_tw_buckets", "net.ipv4.tcp_timestamps",
	"net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_mtu_probing", "net.ipv4.tcp_ecn",
	"net.ipv4.ip_no_pmtu_disc", "net.ipv4.icmp_ratelimit",
	"net.ipv4.neigh.default.gc_thresh1", "net.ipv4.neigh.default.gc_thresh2", "net.ipv4.neigh.default.gc_thresh3",
}

// perDevice are the sysctls that each interface has of its own.
var perDevice = []string{"forwarding", "rp_filter", "accept_local", "src_valid_mark", "proxy_arp"}

// maxDevices bounds how many interfaces' switches are read.
const maxDevices = 2048

func (r *reader) sysctls() {
	r.facts.Sysctls = map[string]string{}
	for _, name := range switches {
		r.sysctl(name, "proc/sys/"+strings.ReplaceAll(name, ".", "/"))
	}
	devices, err := os.ReadDir(filepath.Join(orSlash(r.root), "proc/sys/net/ipv4/conf"))
	if err != nil {
		if !os.IsNotExist(err) {
			r.gap("/proc/sys/net/ipv4/conf", err, "")
		}
		return
	}
	for _, d := range devices[:min(len(devices), maxDevices)] {
		for _, name := range perDevice {
			// The interface's name may hold dots; it is kept as it is.
			r.sysctl("net.ipv4.conf."+d.Name()+"."+name, "proc/sys/net/ipv4/conf/"+d.Name()+"/"+name)
		}
	}
}

func (r *reader) sysctl(name, path string) {
	text, err := r.file(path)
	if err != nil {
		r.gap("/"+path, err, "")
		return
	}
	if text = strings.Join(strings.Fields(text), " "); text != "" {
		r.facts.Sysctls[name] = text
	}
}

func orSlash(root string) string {
	if root == "" {
		return "/"
	}
	return root
}

// kept are the counters that tell where packets die; a node has hundreds of others.
var kept = []string{
	"IpInHdrErrors", "IpInAddrErrors", "IpForwDatagrams", "IpInDiscards", "IpInDelivers", "IpOutRequests", "IpOutDiscards", "IpOutNoRoutes",
	"IpInReceives", "IpReasmFails", "IpFragFails", "IcmpInDestUnreachs", "IcmpOutDestUnreachs", "IcmpOutRateLimitHost",
	"TcpActiveOpens", "TcpAttemptFails", "TcpEstabResets", "TcpRetransSegs", "TcpInErrs", "TcpOutRsts", "TcpCurrEstab",
	"UdpNoPorts", "UdpInErrors", "UdpRcvbufErrors", "UdpSndbufErrors",
	"TcpExtIPReversePathFilter", "TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtTCPTimeouts", "TcpExtTCPSynRetrans",
	"TcpExtTCPAbortOnTimeout", "TcpExtTCPReqQFullDrop", "TcpExtTCPReqQFullDoCookies", "TcpExtTCPBacklogDrop", "TcpExtTCPMTUPFail",
	"TcpExtTCPTimeWaitOverflow", "TcpExtPAWSEstab", "TcpExtArpFilter", "TcpExtOutOfWindowIcmps", "TcpExtTCPOrphanQueued", "TcpExtTCPMemoryPressures",
	"IpExtInNoRoutes", "IpExtInTruncatedPkts", "IpExtInCsumErrors",
	"Ip6InAddrErrors", "Ip6InNoRoutes", "Ip6OutNoRoutes", "Ip6OutForwDatagrams", "Ip6InDiscards", "Ip6InTooBigErrors",
}

func (r *reader) counters() {
	r.facts.Counters = map[string]int64{}
	for _, source := range []struct {
		path  string
		parse func(string) (map[string]int64, error)
	}{
		{"proc/net/snmp", parsePairs},
		{"proc/net/netstat", parsePairs},
		{"proc/net/snmp6", parseColumns},
		{"proc/net/stat/nf_conntrack", parseConntrack},
		{"proc/net/stat/arp_cache", parseNeighbours},
		{"proc/net/softnet_stat", parseSoftnet},
	} {
		text, err := r.file(source.path)
		if err != nil {
			r.gap("/"+source.path, err, "")
			continue
		}
		if text == "" {
			continue
		}
		values, err := source.parse(text)
		if err != nil {
			r.gap("/"+source.path, err, "")
		}
		for name, n := range values {
			r.facts.Counters[name] = n
		}
	}
}

// parsePairs reads the format of /proc/net/snmp: a line of names, then a line
// of values, both with the same word in front.
func parsePairs(text string) (map[string]int64, error) {
	out := map[string]int64{}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if len(names) == 0 || len(values) == 0 || names[0] != values[0] || !strings.HasSuffix(names[0], ":") || len(names) != len(values) {
			return out, fmt.Errorf("lines %d and %d are not names and their values", i+1, i+2)
		}
		group := strings.TrimSuffix(names[0], ":")
		for j := 1; j < len(names); j++ {
			if !slices.Contains(kept, group+names[j]) {
				continue
			}
			n, err := strconv.ParseInt(values[j], 10, 64)
			if err != nil {
				return out, fmt.Errorf("%s%s: %q is no number", group, names[j], clip(values[j]))
			}
			out[group+names[j]] = n
		}
	}
	return out, nil
}

// parseColumns reads the format of /proc/net/snmp6: a name and its value a line.
func parseColumns(text string) (map[string]int64, error) {
	out := map[string]int64{}
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) != 2 || !slices.Contains(kept, fields[0]) {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return out, fmt.Errorf("line %d: %q is no number", i+1, clip(fields[1]))
		}
		out[fields[0]] = n
	}
	return out, nil
}

// parseConntrack sums the columns of /proc/net/stat/nf_conntrack, a line a CPU,
// in hexadecimal. The number of entries is the same in every line.
func parseConntrack(text string) (map[string]int64, error) {
	wanted := map[string]string{
		"insert_failed": "ConntrackInsertFailed", "drop": "ConntrackDrop", "early_drop": "ConntrackEarlyDrop",
		"invalid": "ConntrackInvalid", "search_restart": "ConntrackSearchRestart", "icmp_error": "ConntrackIcmpError",
		"clash_resolve": "ConntrackClashResolve", "chaintoolong": "ConntrackChainTooLong",
	}
	return sumColumns(text, wanted, map[string]string{"entries": "ConntrackEntries"})
}

// parseNeighbours sums how often the neighbour table was full.
func parseNeighbours(text string) (map[string]int64, error) {
	return sumColumns(text, map[string]string{"table_fulls": "NeighbourTableFull", "unresolved_discards": "NeighbourUnresolved"}, map[string]string{"entries": "NeighbourEntries"})
}

func sumColumns(text string, summed, same map[string]string) (map[string]int64, error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	names := strings.Fields(lines[0])
	out := map[string]int64{}
	for i, line := range lines[1:] {
		values := strings.Fields(line)
		for j := range min(len(names), len(values)) {
			sum, add := summed[names[j]]
			one, once := same[names[j]]
			if !add && !once {
				continue
			}
			n, err := strconv.ParseUint(values[j], 16, 63)
			if err != nil {
				return out, fmt.Errorf("line %d: %s: %q is no hexadecimal number", i+2, names[j], clip(values[j]))
			}
			if add {
				out[sum] += int64(n)
			} else {
				out[one] = int64(n)
			}
		}
	}
	return out, nil
}

// parseSoftnet sums what the CPUs dropped and where they ran out of time.
func parseSoftnet(text string) (map[string]int64, error) {
	out := map[string]int64{}
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return out, fmt.Errorf("line %d has %d columns", i+1, len(fields))
		}
		for j, name := range []string{"", "SoftnetDropped", "SoftnetSqueezed"} {
			if name == "" {
				continue
			}
			n, err := strconv.ParseUint(fields[j], 16, 32)
			if err != nil {
				return out, fmt.Errorf("line %d: %q is no hexadecimal number", i+1, clip(fields[j]))
			}
			out[name] += int64(n)
		}
	}
	return out, nil
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// maxResolv bounds what is kept of resolv.conf.
const maxResolv = 8 << 10

func (r *reader) resolver() {
	text, err := r.file("etc/resolv.conf")
	if err != nil {
		r.gap("/etc/resolv.conf", err, "")
		return
	}
	r.facts.Resolv = text[:min(len(text), maxResolv)]
}
