package examine

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

func TestProbesThatDieWithTheKubeletsSayWhy(t *testing.T) {
	denied := func(f model.Flow) model.Path {
		p := model.Path{Flow: f}
		if f.DstPort == 10250 && f.From == "node/n1" && f.Dst.String() == "10.1.0.5" {
			p.Steps = []model.Step{{Verdict: model.Drop, Reason: "rule NoKubelet denies it"}}
		}
		return p
	}
	open := func(f model.Flow) model.Path { return model.Path{Flow: f, Steps: []model.Step{{Verdict: model.Pass}}} }
	for _, c := range []struct {
		name, what, reason string
		run                func(model.Flow) model.Path
		want               bool
	}{
		{"a tunnel's words", "probe from pod/a/b by ephemeral", "error dialing backend: dial tcp 10.1.0.5:10250: i/o timeout", denied, true},
		{"a client's words", "probe from node n1", "read tcp 127.0.0.1:1->127.0.0.1:2: i/o timeout", denied, true},
		{"nothing denies it", "probe from node n1", "dial tcp 10.1.0.5:10250: i/o timeout", open, false},
		{"another reason", "probe from node n1", "403 Forbidden", denied, false},
		{"another gap", "managed cluster", "i/o timeout", denied, false},
	} {
		w := model.World{Gaps: []model.Gap{{What: c.what, Reason: c.reason}}}
		w.Kube.Nodes = map[string]*model.Node{
			"n1": {Name: "n1", InternalIPs: []netip.Addr{netip.MustParseAddr("10.1.0.4")}}, "n2": {Name: "n2", InternalIPs: []netip.Addr{netip.MustParseAddr("10.1.0.5")}},
		}
		cs := &model.Case{World: w}
		sayWhy(cs, c.run)
		if got := strings.Contains(cs.World.Gaps[0].Reason, "NoKubelet"); got != c.want {
			t.Errorf("%s: %s", c.name, cs.World.Gaps[0].Reason)
		}
		if cs.World.Nodes != nil || len(cs.World.Gaps) != 1 {
			t.Errorf("%s: the world changed", c.name)
		}
	}
	one := &model.Case{World: model.World{Gaps: []model.Gap{{What: "probe from node n1", Reason: "i/o timeout"}}}}
	if sayWhy(one, denied); one.World.Gaps[0].Reason != "i/o timeout" {
		t.Error("one node alone has nobody to be cut off from")
	}
}
