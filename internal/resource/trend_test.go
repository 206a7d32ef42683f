package resource

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// every are values that were read so often apart.
func every(d time.Duration, values ...float64) []model.Point {
	out := make([]model.Point, len(values))
	for i, v := range values {
		out[i] = model.Point{At: time.Unix(1000, 0).Add(time.Duration(i) * d), Value: v}
	}
	return out
}

// climb are values that rise by a step, with what is added to them by turns.
func climb(n int, from, step float64, jitter ...float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = from + float64(i)*step
		if len(jitter) > 0 {
			out[i] += jitter[i%len(jitter)]
		}
	}
	return out
}

func TestRise(t *testing.T) {
	for _, tc := range []struct {
		name   string
		points []model.Point
		limit  float64
		want   float64 // a minute; 0: no trend
	}{
		{"a leak", every(time.Second, climb(12, 100, 4)...), 400, 240},
		{"a leak that jitters a little", every(time.Second, climb(12, 100, 4, 0, 1, -1)...), 400, 240},
		{"too few readings", every(2*time.Second, climb(7, 100, 8)...), 400, 0},
		{"too short", every(500*time.Millisecond, climb(16, 100, 4)...), 400, 0},
		{"a level that does not move", every(time.Second, climb(12, 100, 0)...), 400, 0},
		{"one that falls", every(time.Second, climb(12, 100, -4)...), 400, 0},
		{"one that jitters", every(time.Second, climb(12, 100, 0, 0, 90, 20)...), 400, 0},
		{"one that jitters about a slow rise", every(time.Second, climb(12, 100, 2, 0, 12)...), 400, 0},
		{"a saw: it comes and goes", every(time.Second, 100, 110, 120, 130, 140, 150, 160, 100, 110, 120, 130, 140), 400, 0},
		{"a line that falls back at its end", every(time.Second, append(climb(30, 100, 4), 190)...), 400, 0},
		{"a burst, then rest", every(time.Second, 100, 100, 100, 100, 100, 100, 160, 160, 160, 160, 160, 160), 400, 0},
		{"a pool that fills, then has its size", every(time.Second, append(climb(20, 100, 4), 176, 176, 176, 176)...), 400, 0},
		{"one that fills for most of a minute", every(time.Second, append(climb(48, 100, 4), climb(12, 288, 0)...)...), 400, 0},
		{"a leak that paused for a moment at its end", every(time.Second, append(climb(22, 100, 4), 184, 184)...), 400, 234},
		{"a slow leak, a step now and then", every(time.Second, 100, 100, 104, 104, 108, 108, 112, 112, 116, 116, 120, 120, 124, 124, 128, 128), 400, 119},
		{"a rise that is not worth telling", every(time.Second, climb(12, 100, 1)...), 400, 0},
		{"no limit", every(time.Second, climb(12, 100, 4)...), 0, 0},
		{"all at one moment", every(0, climb(12, 100, 4)...), 400, 0},
		{"nonsense", every(time.Second, climb(12, math.Inf(1), 4)...), 400, 0},
	} {
		got, ok := rise(tc.points, tc.limit, heldSpan)
		if ok != (tc.want != 0) || ok && math.Abs(got-tc.want) > tc.want/20 {
			t.Errorf("%s: %g, %v; want %g", tc.name, got, ok, tc.want)
		}
	}
}

// tell is a case whose pod or node told levels, one for each second.
func tell(from model.Ref, at time.Time, values []float64, level model.Level) []model.Reading {
	out := make([]model.Reading, len(values))
	for i, v := range values {
		level.Value = v
		out[i] = model.Reading{At: at.Add(time.Duration(i) * time.Second), From: from, Levels: []model.Level{{Kind: "other", Value: 1}, level}}
	}
	return out
}

func only(t *testing.T, c *model.Case, kind string) Use {
	t.Helper()
	got := Kind(c, kind)
	if len(got) != 1 {
		t.Fatalf("%s: %+v", kind, got)
	}
	return got[0]
}

func TestLocalPortsMove(t *testing.T) {
	to, pod := netip.MustParseAddrPort("192.0.2.1:443"), model.Ref("pod/x/leaks")
	c := &model.Case{World: model.World{Inside: map[model.Ref]*model.Inside{pod: {
		Sysctls: map[string]string{"net.ipv4.ip_local_port_range": "40000 40399"},
		Sockets: []model.SocketCount{{To: to, State: "ESTABLISHED", Count: 160, Least: 40000, Most: 40399}},
	}}}}
	if u := only(t, c, LocalPorts); u.State != Room || u.Pace != 0 || u.Left != 0 {
		t.Errorf("read once: %+v", u)
	}
	c.Readings = tell(pod, time.Unix(0, 0), climb(12, 112, 4), model.Level{Kind: model.LevelSockets, To: to})
	u := only(t, c, LocalPorts)
	if u.State != Near || math.Abs(u.Pace-240) > 1 || u.Left != time.Minute || !strings.Contains(strings.Join(u.Says, "|"), "read 12 times within 11s: it grew steadily from 112 to 156") {
		t.Errorf("a leak: %+v", u)
	}
	c.World.Inside[pod].Sysctls["net.ipv4.ip_local_port_range"] = "40000 40699"
	if u := only(t, c, LocalPorts); u.State != Room || u.Left != 0 || u.Pace == 0 {
		t.Errorf("less than a quarter is used: %+v", u)
	}
	for what, other := range map[string]model.Reading{"another destination": {From: pod, Levels: []model.Level{{Kind: model.LevelSockets}}}, "another pod": {From: "pod/x/other", Levels: []model.Level{{Kind: model.LevelSockets, To: to}}}} {
		for i := range c.Readings {
			c.Readings[i].From, c.Readings[i].Levels[1].To = other.From, other.Levels[0].To
		}
		if u := only(t, c, LocalPorts); u.Pace != 0 {
			t.Errorf("%s grows: %+v", what, u)
		}
	}
	c.Readings = tell(pod, time.Unix(0, 0), climb(12, 150, 0, 0, 10, 4), model.Level{Kind: model.LevelSockets, To: to})
	if u := only(t, c, LocalPorts); u.Pace != 0 || !strings.Contains(strings.Join(u.Says, "|"), "between 150 and 160, no trend") {
		t.Errorf("it jitters: %+v", u)
	}
}

func TestOpenFilesMove(t *testing.T) {
	pod := model.Ref("pod/x/leaks")
	in := &model.Inside{Held: 60, Processes: []model.Process{{PID: 7, Name: "app", Files: 70, Limit: 200}}}
	c := &model.Case{World: model.World{Inside: map[model.Ref]*model.Inside{pod: in}}}
	c.Readings = tell(pod, time.Unix(0, 0), climb(12, 20, 5), model.Level{Kind: model.LevelFiles, PID: 7})
	if u := only(t, c, Files); u.State != Near || math.Abs(u.Pace-300) > 1 || u.Left != 26*time.Second {
		t.Errorf("counted: %+v", u)
	}
	in.Processes[0].PID = 8
	if u := only(t, c, Files); u.Pace != 0 {
		t.Errorf("another process grows: %+v", u)
	}
	in.Processes[0].Files = -1
	c.Readings = tell(pod, time.Unix(0, 0), climb(12, 20, 5), model.Level{Kind: model.LevelHeld})
	if u := only(t, c, Files); u.State != Near || math.Abs(u.Pace-300) > 1 {
		t.Errorf("by what it holds: %+v", u)
	}
	in.Processes[0].Files, in.Processes[0].PID = 199, 7
	c.Readings = tell(pod, time.Unix(0, 0), climb(12, 140, 5), model.Level{Kind: model.LevelFiles, PID: 7})
	if u := only(t, c, Files); u.State != Out || u.Pace == 0 {
		t.Errorf("at its end: %+v", u)
	}
}

// table is a case of a node's connection table that was read for so many seconds.
func table(limit string, values []float64) *model.Case {
	return &model.Case{
		World: model.World{Nodes: map[string]*model.NodeFacts{"a": {
			Node: "a", Sysctls: map[string]string{"net.netfilter.nf_conntrack_count": "300", "net.netfilter.nf_conntrack_max": limit},
		}}},
		Readings: tell("node/a", time.Unix(10_000, 0), values, model.Level{Kind: model.LevelConntrack}),
	}
}

// asks adds tries of a place, so many a second.
func asks(c *model.Case, v model.Vantage, node string, each, seconds int) {
	for i := range each * seconds {
		c.Tries = append(c.Tries, model.Try{
			At: time.Unix(10_000, 0).Add(time.Duration(i) * time.Second / time.Duration(each)), Vantage: v, Node: node,
			Phases: []model.Phase{{Name: "dns"}, {Name: "tcp"}},
		})
	}
	c.Observations = append(c.Observations, model.Observation{Vantage: v, Queries: []model.DNSQuery{{Name: "a.x.", Type: "A"}, {Name: "a.x.", Type: "AAAA"}, {Name: "a.", Type: "A"}}})
}

func TestConntrackMoves(t *testing.T) {
	c := table("1000", climb(40, 300, 6))
	u := only(t, c, Conntrack)
	if math.Abs(u.Pace-360) > 1 || u.State != Unknown || u.Used != 534 || u.Left != 0 || !strings.Contains(strings.Join(u.Says, "|"), "two minutes") {
		t.Errorf("what may be over and leave: %+v", u)
	}
	if u := only(t, table("1000", climb(40, 600, 6)), Conntrack); u.State != Near || u.Left != 0 {
		t.Errorf("little is left, whatever moves: %+v", u)
	}
	asks(c, model.VantagePod, "a", 2, 40) // of each try a connection and two names: six a second
	if u := only(t, c, Conntrack); u.Pace != 0 || u.State != Room {
		t.Errorf("podpath's own tries: %+v", u)
	}
	c = table("1000", climb(40, 300, 12))
	asks(c, model.VantagePod, "a", 2, 40)
	if u := only(t, c, Conntrack); math.Abs(u.Pace-360) > 10 || !strings.Contains(strings.Join(u.Says, "|"), "own tries made up to 234") {
		t.Errorf("both: %+v", u)
	}
	c = table("1000", climb(40, 300, 6))
	asks(c, model.VantageHere, "", 9, 40)
	if u := only(t, c, Conntrack); u.Pace == 0 {
		t.Errorf("tries of this machine, which is no node: %+v", u)
	}
	c = table("1000", climb(40, 300, 4))
	asks(c, model.VantageOtherNode, "b", 2, 40)
	if u := only(t, c, Conntrack); u.Pace != 0 {
		t.Errorf("lookups of another node, whose server may be here: %+v", u)
	}
	if u := only(t, table("1000", climb(20, 300, 12)), Conntrack); u.Pace != 0 {
		t.Errorf("too short for a table: %+v", u)
	}
	if u := only(t, table("1000", append(climb(120, 300, 3), climb(16, 657, 0)...)), Conntrack); u.Left != 0 {
		t.Errorf("it forgets as much as comes: %+v", u)
	}
	if u := only(t, table("1000", climb(152, 300, 3)), Conntrack); u.Pace == 0 || u.State != Near || u.Left == 0 || strings.Contains(strings.Join(u.Says, "|"), "two minutes") {
		t.Errorf("longer than what is over stays: %+v", u)
	}
}

// Tries of podpath that are over leave the table as well.
func TestAdded(t *testing.T) {
	c := &model.Case{}
	asks(c, model.VantagePod, "a", 1, 300)
	names := namesAsked(c)
	begin := time.Unix(10_000, 0)
	for at, want := range map[time.Duration]float64{0: 0, 10 * time.Second: 30, 2 * time.Minute: 357, 5 * time.Minute: 357} {
		if got := added(c, "a", names, begin.Add(at)); got != want {
			t.Errorf("after %s: %g, not %g", at, got, want)
		}
	}
	c.Beside, c.Behind = c.Tries[:5], c.Tries[:5]
	if got := added(c, "a", names, begin.Add(10*time.Second)); got != 60 {
		t.Errorf("with those of other destinations: %g", got)
	}
}

func TestMachineMoves(t *testing.T) {
	facts := &model.NodeFacts{
		Node: "a", Sysctls: map[string]string{"net.ipv4.neigh.default.gc_thresh3": "1024"}, Counters: map[string]int64{"NeighbourEntries": 400},
		Levels: map[string]float64{"memory.total": 1000 * mib, "memory.available": 600 * mib},
	}
	c := &model.Case{World: model.World{Nodes: map[string]*model.NodeFacts{"a": facts}}}
	c.Readings = tell("node/a", time.Unix(0, 0), climb(40, 400, 5), model.Level{Kind: model.LevelNeighbours})
	if u := only(t, c, Neighbours); u.State != Near || math.Abs(u.Pace-300) > 1 || u.Used != 595 {
		t.Errorf("neighbours: %+v", u)
	}
	c.Readings = tell("node/a", time.Unix(0, 0), climb(60, 600*mib, -2*mib), model.Level{Kind: model.LevelMemory})
	if u := only(t, c, NodeMemory); u.State != Room || u.Pace != 0 {
		t.Errorf("memory, a minute: %+v", u)
	}
	c.Readings = tell("node/a", time.Unix(0, 0), climb(200, 600*mib, -2*mib), model.Level{Kind: model.LevelMemory})
	if u := only(t, c, NodeMemory); u.State != Near || math.Abs(u.Pace-120) > 1 || u.Used != 798 {
		t.Errorf("memory, longer: %+v", u)
	}
}

// TestMemoryMoves: a container whose working set grows reaches its limit; beside it one that does not move.
func TestMemoryMoves(t *testing.T) {
	pod := &model.Pod{Namespace: "x", Name: "a", Containers: []model.Container{{Name: "leaks", MemoryLimit: 400 * mib}, {Name: "rests", MemoryLimit: 400 * mib}}}
	c := &model.Case{}
	c.World.Kube.Pods = map[model.Ref]*model.Pod{pod.Ref(): pod}
	for _, name := range []string{"leaks", "rests"} {
		c.World.Usage = append(c.World.Usage, model.Usage{Pod: pod.Ref(), Container: name, Memory: 120 * mib})
	}
	for i, p := range every(15*time.Second, climb(9, 120, 10)...) {
		c.Readings = append(c.Readings, model.Reading{At: p.At, From: pod.Ref(), Levels: []model.Level{
			{Kind: model.LevelWorkingSet, Container: "rests", Value: float64(120+i%2) * mib},
			{Kind: model.LevelWorkingSet, Container: "leaks", Value: p.Value * mib},
		}})
	}
	for _, u := range Kind(c, Memory) {
		switch {
		case u.Toward == "leaks" && (u.Used != 200 || math.Abs(u.Pace-40) > 1 || u.Left != 5*time.Minute || u.State != Near):
			t.Errorf("%+v", u)
		case u.Toward == "rests" && (u.Used != 120 || u.Pace != 0 || u.Left != 0 || u.State != Room):
			t.Errorf("%+v", u)
		}
	}
	if len(Kind(c, Memory)) != 2 {
		t.Errorf("%+v", Kind(c, Memory))
	}
}
