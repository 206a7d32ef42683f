package node

import (
	"bufio"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// maxListeners bounds what one network namespace may tell.
const maxListeners = 1000

// Listeners are the sockets of this network namespace that wait for somebody:
// TCP ones in state LISTEN (0A), UDP ones that are connected to nobody (07). See
// proc_net_tcp in the kernel's documentation.
func Listeners(root string) ([]model.Listener, error) {
	var out []model.Listener
	for _, table := range []struct{ file, protocol, state string }{
		{"tcp", "tcp", "0A"}, {"tcp6", "tcp", "0A"}, {"udp", "udp", "07"}, {"udp6", "udp", "07"},
	} {
		f, err := os.Open(filepath.Join(root, "proc/net", table.file))
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return nil, err
		}
		found, err := listeners(f, table.protocol, table.state)
		f.Close()
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	slices.SortFunc(out, func(a, b model.Listener) int {
		return netip.AddrPortFrom(a.Addr, a.Port).Compare(netip.AddrPortFrom(b.Addr, b.Port))
	})
	return slices.Compact(out), nil
}

func listeners(r io.Reader, protocol, state string) ([]model.Listener, error) {
	var out []model.Listener
	lines := bufio.NewScanner(r)
	for lines.Scan() && len(out) < maxListeners {
		words := strings.Fields(lines.Text())
		if len(words) < 4 || words[3] != state {
			continue
		}
		if addr, port, ok := hexAddrPort(words[1]); ok && port != 0 {
			out = append(out, model.Listener{Protocol: protocol, Addr: addr, Port: port})
		}
	}
	return out, lines.Err()
}

// tcpStates are the states that /proc/net/tcp counts (include/net/tcp_states.h).
var tcpStates = map[string]string{
	"01": "ESTABLISHED", "02": "SYN-SENT", "03": "SYN-RECEIVED", "04": "FIN-WAIT-1", "05": "FIN-WAIT-2", "06": "TIME-WAIT", "08": "CLOSE-WAIT", "09": "LAST-ACK", "0B": "CLOSING",
}

// maxConnections bounds what one network namespace may tell.
const maxConnections = 20_000

// Connections are the TCP sockets of this network namespace that have a far end.
func Connections(root string) ([]model.Connection, error) {
	out := []model.Connection{}
	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open(filepath.Join(root, "proc/net", table))
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() && len(out) < maxConnections {
			words := strings.Fields(lines.Text())
			if len(words) < 7 || tcpStates[words[3]] == "" {
				continue
			}
			local, port, ok1 := hexAddrPort(words[1])
			remote, far, ok2 := hexAddrPort(words[2])
			if retries, err := strconv.ParseInt(words[6], 16, 32); ok1 && ok2 && err == nil {
				out = append(out, model.Connection{Local: netip.AddrPortFrom(local, port), Remote: netip.AddrPortFrom(remote, far), State: tcpStates[words[3]], Retries: int(retries)})
			}
		}
		f.Close()
		if err := lines.Err(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// hexAddrPort reads "0100007F:1F90": words of four bytes in the machine's order,
// which is little-endian on all that Kubernetes runs on but s390x.
func hexAddrPort(text string) (netip.Addr, uint16, bool) {
	host, port, ok := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	n, perr := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || perr != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.Addr{}, 0, false
	}
	for i := 0; i < len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	addr, ok := netip.AddrFromSlice(raw)
	return addr.Unmap(), uint16(n), ok
}
