package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListeners(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "proc/net")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	const head = "  sl  local_address rem_address   st tx_queue rx_queue\n"
	for name, text := range map[string]string{
		"tcp":  head + "   0: 0100007F:1F90 00000000:0000 0A 0\n   1: 0A00F40A:D2F0 0AE0000A:01BB 01 0\n   2: nonsense 0 0A\n",
		"tcp6": head + "   0: 00000000000000000000000000000000:1F91 00000000000000000000000000000000:0000 0A 0\n",
		"udp":  head + "   0: 00000000:0035 00000000:0000 07 0\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Listeners(root)
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, l := range got {
		text = append(text, l.Protocol+" "+l.Addr.String())
	}
	want := []string{"udp 0.0.0.0", "tcp 127.0.0.1", "tcp ::"}
	if len(got) != 3 || text[0] != want[0] || text[1] != want[1] || text[2] != want[2] || got[1].Port != 8080 || got[2].Port != 8081 || got[0].Port != 53 {
		t.Errorf("%+v", got)
	}
}

func FuzzListeners(f *testing.F) {
	f.Add("   0: 0100007F:1F90 00000000:0000 0A 0\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, _ := listeners(strings.NewReader(text), "tcp", "0A")
		for _, l := range got {
			if !l.Addr.IsValid() || l.Port == 0 {
				t.Errorf("%+v", l)
			}
		}
	})
}
