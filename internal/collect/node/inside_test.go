package node

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

const procTCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 4711 1 x 100 0 0 10 0
   1: 0A00F40A:9C40 147100CB:01BB 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 x
   2: 0A00F40A:9C47 147100CB:01BB 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 x
   3: 0A00F40A:9C41 147100CB:01BB 06 00000000:00000000 03:00001000 00000000     0        0 0 3 x
   4: 0A00F40A:1F90 0500F40A:D2F0 01 00000000:00000000 00:00000000 00000000     0        0 0 1 x
   nonsense
`

func TestSocketCounts(t *testing.T) {
	c := socketCounts{kinds: map[socketKind]*model.SocketCount{}, waiting: map[netip.AddrPort]int{}}
	if err := c.read(strings.NewReader(procTCP)); err != nil {
		t.Fatal(err)
	}
	far := netip.MustParseAddrPort("203.0.113.20:443")
	want := model.SocketCount{To: far, State: "ESTABLISHED", Count: 2, Least: 40000, Most: 40007}
	if got := c.list(); len(got) != 3 || got[0] != want {
		t.Errorf("%+v", got)
	}
	if c.waiting[netip.MustParseAddrPort("0.0.0.0:8080")] != 3 || c.held != 3 {
		t.Errorf("waiting %v, held %d", c.waiting, c.held)
	}
}

func TestQueueList(t *testing.T) {
	a, b := netip.MustParseAddrPort("0.0.0.0:80"), netip.MustParseAddrPort("0.0.0.0:81")
	got := queueList(map[netip.AddrPort]int{a: 1, b: 3}, map[netip.AddrPort]int{b: 2})
	if len(got) != 2 || got[0].Port != 81 || !got[0].Full() || got[1].Full() {
		t.Errorf("%+v", got)
	}
}

// TestProcesses counts the files of a process, not those of the probe.
func TestProcesses(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("proc/7/comm", "server\n")
	write("proc/7/limits", "Limit  Soft Limit  Hard Limit  Units\nMax open files            64     4096     files\n")
	for i := range 5 {
		write("proc/7/fd/"+strconv.Itoa(i), "")
	}
	write("proc/8/comm", "podpath-probe\n")
	write("proc/sys/net/core/somaxconn", "4096\n")
	got := Inside(root)
	if len(got.Processes) != 1 || got.Processes[0] != (model.Process{PID: 7, Name: "server", Files: 5, Limit: 64}) {
		t.Errorf("%+v", got.Processes)
	}
	if !maps.Equal(got.Sysctls, map[string]string{"net.core.somaxconn": "4096"}) {
		t.Errorf("%v", got.Sysctls)
	}
}

func FuzzSocketCounts(f *testing.F) {
	f.Add(procTCP)
	f.Add("Max open files            64     4096     files\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := socketCounts{kinds: map[socketKind]*model.SocketCount{}, waiting: map[netip.AddrPort]int{}}
		_ = c.read(strings.NewReader(text))
		for _, k := range c.list() {
			if k.Count < 1 || k.Least > k.Most || !k.To.IsValid() {
				t.Errorf("%+v", k)
			}
		}
		_ = openFilesLimit(text)
	})
}
