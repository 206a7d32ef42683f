package cli

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
	"github.com/podpath/podpath/internal/report"
)

// What comes is shown: in place on a terminal, now and then elsewhere.
func TestLiveView(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	try := func(addr string, r model.Reason) probe.Line {
		return probe.Line{Try: &model.Try{At: at, Target: "t", Address: netip.MustParseAddrPort(addr), Result: r}}
	}
	for _, tty := range []bool{false, true} {
		var out bytes.Buffer
		now := at
		l := newLiveView(Streams{Err: &out}, "", report.Options{}, false)
		l.tty, l.width, l.now = tty, 60, func() time.Time { return now }
		l.say("watching \x1b[31m")
		for i := range 60 {
			now = at.Add(time.Duration(i) * 200 * time.Millisecond)
			l.line(model.VantagePod, try("10.0.0.1:80", model.OK))
			l.line(model.VantagePeer, try("10.0.0.2:80", model.Refused))
		}
		text := out.String()
		if strings.Contains(text, "\x1b[31m") || !strings.Contains(text, "pod        10.0.0.1:80") || strings.Contains(text, "\x1b[") != tty {
			t.Errorf("terminal %v: %q", tty, text)
		}
		if draws := strings.Count(text, "watching"); tty && draws < 50 || !tty && draws != 1 {
			t.Errorf("terminal %v: drawn %d times in twelve seconds", tty, draws)
		}
		l.stop()
		before := out.Len()
		now = now.Add(time.Minute)
		if l.line(model.VantagePod, try("10.0.0.1:80", model.OK)); out.Len() != before {
			t.Error("it goes on after its end")
		}
	}
	seen := &bytes.Buffer{}
	now := at
	quiet := newLiveView(Streams{Err: seen}, "", report.Options{}, false)
	quiet.tty, quiet.width, quiet.now = true, 60, func() time.Time { return now }
	quiet.say("reading")
	end := quiet.run()
	end()
	for range 3 {
		quiet.quiet = false
		quiet.pass()
		now = now.Add(2 * time.Second)
	}
	quiet.line(model.VantagePod, try("10.0.0.1:80", model.OK))
	quiet.line(model.VantagePod, probe.Line{Progress: "keeping 8 connections silent"})
	for range 3 {
		now = now.Add(time.Minute)
		quiet.pass()
	}
	for _, want := range []string{"reading … 2s", "reading … 4s", "keeping 8 connections silent … 60s", "silent … 180s"} {
		if !strings.Contains(seen.String(), want) {
			t.Errorf("while nothing comes, %q is missing in %q", want, seen)
		}
	}
	beside := newLiveView(Streams{Err: &bytes.Buffer{}}, "", report.Options{}, false)
	beside.line(model.VantagePod, try("10.0.0.1:80", model.OK))
	other := try("10.0.0.1:80", model.Refused)
	other.Try.Target, other.Try.Purpose = "https://b.example", probe.PurposeBeside
	beside.line(model.VantagePod, other)
	if got := strings.Join(beside.text(at), "\n"); len(beside.lines) != 2 || !strings.Contains(got, "https://b.example") || !strings.Contains(got, "1 of 1 failed: refused") {
		t.Errorf("another destination has no line of its own: %q", got)
	}
	var lines bytes.Buffer
	l := newLiveView(Streams{Out: &lines, Err: &bytes.Buffer{}}, "jsonl", report.Options{}, false)
	l.line(model.VantagePod, try("10.0.0.1:80", model.OK))
	if got := lines.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"vantage":"pod"`) || !strings.Contains(got, `"result":"ok"`) {
		t.Errorf("%q", got)
	}
}
