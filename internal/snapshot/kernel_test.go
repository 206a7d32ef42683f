package snapshot

import (
	"testing"

	"github.com/podpath/podpath/internal/model"
)

func TestKernelMessagesWithoutHardwareAddresses(t *testing.T) {
	c := &model.Case{World: model.World{Nodes: map[string]*model.NodeFacts{"n": {Kernel: []string{
		"ll header: 00000000: 00 0d 3a 11 22 33 12 34 56 78 9a bc 08 00", "link 00:0d:3a:11:22:33 up", "nf_conntrack: table full, dropping packet",
	}}}}}
	out, list, err := Redact(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := out.World.Nodes["n"].Kernel
	if got[0] != "ll header: 00000000: "+Hidden || got[1] != "link "+Hidden+" up" || got[2] != "nf_conntrack: table full, dropping packet" || len(list) != 1 {
		t.Errorf("%q %q", got, list)
	}
}
