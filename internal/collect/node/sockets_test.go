package node

import (
	"net"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/podpath/podpath/internal/model"
)

func TestMeasured(t *testing.T) {
	told := func(port uint16, inode uint32, timer uint8, expires uint32, info *netlink.TCPInfo) *netlink.InetDiagTCPInfoResp {
		return &netlink.InetDiagTCPInfoResp{TCPInfo: info, InetDiagMsg: &netlink.Socket{
			INode: inode, Timer: timer, Expires: expires,
			ID: netlink.SocketID{SourcePort: port, DestinationPort: 443, Source: net.IPv4(10, 244, 0, 7), Destination: net.IPv4(203, 0, 113, 10).To4()},
		}}
	}
	connection := func(port string) model.Connection {
		return model.Connection{Local: ap("10.244.0.7:" + port), Remote: ap("203.0.113.10:443"), State: "ESTABLISHED"}
	}
	info := &netlink.TCPInfo{Last_data_sent: 9000, Last_data_recv: 8000, Last_ack_recv: 2000}
	got := measured([]model.Connection{connection("1"), connection("2"), connection("3"), connection("4")}, []*netlink.InetDiagTCPInfoResp{
		told(1, 11, keepaliveTimer, 13000, info), told(2, 12, 0, 0, info), told(3, 13, 0, 0, info), nil, {},
	}, map[uint32]bool{13: true})
	want := []model.Connection{connection("1"), connection("2"), connection("4")}
	want[0].Told, want[0].Idle, want[0].Heard, want[0].KeepAlive = true, 8*time.Second, 2*time.Second, 15*time.Second
	want[1].Told, want[1].Idle, want[1].Heard = true, 8*time.Second, 2*time.Second
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// The sockets that processes of the same program hold are its own.
func TestOwnSockets(t *testing.T) {
	root := t.TempDir()
	process := func(pid, exe, fd string) {
		if err := os.MkdirAll(filepath.Join(root, "proc", pid, "fd"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(exe, filepath.Join(root, "proc", pid, "exe")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(fd, filepath.Join(root, "proc", pid, "fd", "3")); err != nil {
			t.Fatal(err)
		}
	}
	process("self", "/probe", "pipe:[1]")
	process("7", "/probe", "socket:[4242]")
	process("8", "/app", "socket:[4243]")
	if got := ownSockets(root); !reflect.DeepEqual(got, map[uint32]bool{4242: true}) {
		t.Errorf("own sockets: %v", got)
	}
	if got := ownSockets(t.TempDir()); len(got) != 0 {
		t.Errorf("without a table of processes: %v", got)
	}
}

// The kernel of the machine that runs this tells of a connection over loopback.
func TestSockets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := Sockets("/")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range got {
		if s.Local.String() == c.LocalAddr().String() {
			t.Errorf("the test's own connection is told: %+v", s)
		}
	}
}
