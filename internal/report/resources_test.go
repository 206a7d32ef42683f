package report

import (
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
	"github.com/podpath/podpath/internal/watch"
)

func TestResourcesText(t *testing.T) {
	full := resource.Use{
		Kind: "snat-lb", Name: "source ports", Of: "loadbalancer/lb/out", Toward: "192.0.2.1:443/tcp", Unit: "ports", Used: 1020, Limit: 1024, State: resource.Near, Pace: 2, Left: 2 * time.Minute,
		Who: []resource.Share{{Ref: "pod/a/b", Toward: "192.0.2.1:443", Count: 1000}}, Says: []string{"3 failed\x1b[2J"}, Remedy: []diagnose.Command{{Text: "More of them", Line: "az more"}},
	}
	room := resource.Use{Name: "connection table", Of: "node/n", Unit: "entries", Used: 12, Limit: 65536, State: resource.Room, Remedy: []diagnose.Command{{Text: "Make room"}}}
	for _, tc := range []struct {
		name       string
		r          Report
		o          Options
		holds, not []string
	}{
		{
			"what is near its end is told, with who and what helps",
			Report{Resources: []resource.Use{full, room}},
			Options{ASCII: true, Width: 200},
			[]string{"! source ports of loadbalancer/lb/out towards 192.0.2.1:443/tcp: 1,020 of 1,024 ports (100 %), +2 a minute: gone in 2m0s", "pod/a/b: 1,000 ports towards 192.0.2.1:443", "$ az more"},
			[]string{"connection table", "\x1b[2J"},
		},
		{"what has room is told in short to those who watch", Report{Resources: []resource.Use{room}, Watched: &watch.Summary{Verdict: watch.Verdict{Class: watch.Intermittent}}}, Options{ASCII: true}, []string{"+ room: connection table of node/n: 12 of 65,536 entries (0 %)"}, []string{"Make room"}},
		{"and not to others", Report{Resources: []resource.Use{room}}, Options{ASCII: true}, nil, []string{"can run out"}},
		{"a cause that says how to mend it says it once", Report{Resources: []resource.Use{full}, Causes: []diagnose.Finding{{Subject: full.Of, Fix: full.Remedy}}}, Options{ASCII: true}, []string{"1,020"}, []string{"az more"}},
		{"also where it is about another thing", Report{Resources: []resource.Use{full}, Causes: []diagnose.Finding{{Subject: "node/n", Fix: full.Remedy}}}, Options{ASCII: true}, []string{"1,020"}, []string{"az more"}},
		{"nor where it is about the same thing, as a node's that drops packets is not about its CPUs", Report{Resources: []resource.Use{full}, Causes: []diagnose.Finding{{Rule: "idle-timeout", Subject: full.Of, Fix: room.Remedy}}}, Options{ASCII: true}, []string{"az more"}, nil},
		{"but the one that is that it ran out does, in its own words", Report{Resources: []resource.Use{full}, Causes: []diagnose.Finding{{Rule: "snat-ports", Subject: full.Of, Fix: room.Remedy}}}, Options{ASCII: true}, []string{"1,020"}, []string{"az more"}},
		{"what has room says that its advice is for another day", Report{Resources: []resource.Use{room}}, Options{ASCII: true, Wide: true}, []string{"there is room; what would help if it ran short:", "> Make room"}, nil},
		{"a cause that mends something else does not", Report{Resources: []resource.Use{full}, Causes: []diagnose.Finding{{Subject: "node/n", Fix: room.Remedy}}}, Options{ASCII: true}, []string{"az more"}, nil},
	} {
		p := newPrinter(tc.o)
		p.resources(&tc.r)
		got := p.b.String()
		for _, s := range tc.holds {
			if !strings.Contains(got, s) {
				t.Errorf("%s: no %q in\n%s", tc.name, s, got)
			}
		}
		for _, s := range tc.not {
			if strings.Contains(got, s) {
				t.Errorf("%s: %q in\n%s", tc.name, s, got)
			}
		}
	}
}

// What the cause is about stands first, then what it speaks of, and last what is only on the way.
func TestRelevantFirst(t *testing.T) {
	uses := []resource.Use{{Name: "CPUs", Of: "node/n", State: resource.Out}, {Name: "files", Of: "pod/a/b", State: resource.Out}, {Name: "ports", Of: "loadbalancer/lb/out"}, {Name: "memory", Of: "node/n"}}
	causes := []diagnose.Finding{{Subject: "loadbalancer/lb/out", Evidence: []diagnose.Evidence{
		{Text: "holds most", Refs: []model.Ref{"pod/a/b"}, Source: "node"}, {Text: "got no answer", Refs: []model.Ref{"node/n"}, Source: "probe"},
	}}}
	var got []string
	for _, u := range relevantFirst(uses, causes) {
		got = append(got, u.Name)
	}
	if want := "ports files CPUs memory"; strings.Join(got, " ") != want {
		t.Errorf("%v, not %s", got, want)
	}
}

// What verifies stands after all that mends, and once; of several proofs each under its own.
func TestVerifyStandsLast(t *testing.T) {
	for _, tc := range []struct {
		name string
		fix  []diagnose.Command
		want string
	}{
		{"one in the middle", []diagnose.Command{{Text: "a"}, {Text: "b", Verify: "v"}, {Text: "c"}}, "> a|> b|> c|verify $ v"},
		{"the same under all", []diagnose.Command{{Text: "a", Verify: "v"}, {Text: "b", Verify: "v"}}, "> a|> b|verify $ v"},
		{"two kinds", []diagnose.Command{{Text: "a", Verify: "v"}, {Text: "b", Verify: "w"}, {Text: "c"}}, "> a|verify $ v|> b|verify $ w|> c"},
		{"none", []diagnose.Command{{Text: "a"}}, "> a"},
	} {
		p := newPrinter(Options{ASCII: true})
		p.commands(tc.fix)
		var got []string
		for line := range strings.Lines(p.b.String()) {
			got = append(got, strings.TrimSpace(line))
		}
		if strings.Join(got, "|") != tc.want {
			t.Errorf("%s: %q", tc.name, got)
		}
	}
}
