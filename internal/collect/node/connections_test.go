package node

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

func TestConnections(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "proc/net"), 0o755); err != nil {
		t.Fatal(err)
	}
	table := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1\n" + // listens
		"   1: 0700F40A:C350 0A0071CB:01BB 01 00000010:00000000 01:00000014 00000005     0        0 2\n" +
		"   2: 0700F40A:C351 0A0071CB:01BB 02 00000001:00000000 01:00000014 00000000     0        0 3\n" +
		"   3: broken\n"
	if err := os.WriteFile(filepath.Join(root, "proc/net/tcp"), []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Connections(root)
	if err != nil {
		t.Fatal(err)
	}
	want := []model.Connection{
		{Local: ap("10.244.0.7:50000"), Remote: ap("203.113.0.10:443"), State: "ESTABLISHED", Retries: 5},
		{Local: ap("10.244.0.7:50001"), Remote: ap("203.113.0.10:443"), State: "SYN-SENT"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got, err := Connections(t.TempDir()); err != nil || len(got) != 0 {
		t.Errorf("without a table: %v, %v", got, err)
	}
}

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
