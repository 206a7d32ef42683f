package node

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

// folder is a file system with these files; a value that begins with -> is a link.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		full := filepath.Join(root, path)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		if to, link := cutLink(text); err == nil && link {
			err = os.Symlink(to, full)
		} else if err == nil {
			err = os.WriteFile(full, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func cutLink(text string) (string, bool) {
	if len(text) > 2 && text[:2] == "->" {
		return text[2:], true
	}
	return "", false
}

func TestNodeLevels(t *testing.T) {
	root := folder(t, map[string]string{
		"proc/sys/net/netfilter/nf_conntrack_count": "4711\n",
		"proc/net/stat/arp_cache":                   "entries allocs table_fulls\n0000001f 1 0\n0000001f 2 0\n",
		"proc/meminfo":                              "MemTotal: 100 kB\nMemAvailable: 40 kB\n",
	})
	got := map[string]float64{}
	for _, l := range Levels(root, OfNode) {
		got[l.Kind] = l.Value
	}
	if len(got) != 3 || got[model.LevelConntrack] != 4711 || got[model.LevelNeighbours] != 31 || got[model.LevelMemory] != 40<<10 {
		t.Errorf("%v", got)
	}
	if got := Levels(folder(t, map[string]string{"proc/sys/net/netfilter/nf_conntrack_count": "-1"}), OfNode); len(got) != 0 {
		t.Errorf("what is no number: %v", got)
	}
	if got := Levels(root, "else"); got != nil {
		t.Errorf("%v", got)
	}
}

// Of a pod only what some process holds counts, but for the prober's own.
func TestPodLevels(t *testing.T) {
	root := folder(t, map[string]string{
		"proc/net/tcp": procTCP + "   5: 0A00F40A:9C48 147100CB:01BB 01 00000000:00000000 00:00000000 00000000     0        0 4799 1 x\n",
		"proc/7/comm":  "server\n", "proc/7/limits": "Max open files            40                   40                   files\n",
		"proc/7/fd/0": "", "proc/7/fd/1": "",
		"proc/8/comm": "podpath-probe\n", "proc/8/exe": "->/probe", "proc/8/fd/9": "->socket:[4799]", "proc/self/exe": "->/probe",
	})
	got := map[string]float64{}
	for _, l := range Levels(root, OfPod) {
		got[fmt.Sprint(l.Kind, " ", l.To, " ", l.PID)] = l.Value
	}
	far := netip.MustParseAddrPort("203.0.113.20:443")
	if len(got) != 3 || got[fmt.Sprint("held ", netip.AddrPort{}, " 0")] != 3 || got[fmt.Sprint("sockets ", far, " 0")] != 2 || got[fmt.Sprint("files ", netip.AddrPort{}, " 7")] != 2 {
		t.Errorf("%v", got)
	}
}

func TestMostUsed(t *testing.T) {
	var sockets []model.SocketCount
	for i := range 20 {
		sockets = append(sockets, model.SocketCount{To: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 443), Count: i})
	}
	if got := socketLevels(sockets); len(got) != readSockets || got[0].Value != 19 {
		t.Errorf("%v", got)
	}
}
