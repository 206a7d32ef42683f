package resource

import (
	"fmt"
	"maps"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// Files is the kind of the open files of a process, which its sockets are too.
const Files = "files"

// openFiles are those of the processes that are seen in the pods that were entered.
func openFiles(c *model.Case) []Use {
	var out []Use
	for _, ref := range slices.Sorted(maps.Keys(c.World.Inside)) {
		in := c.World.Inside[ref]
		for i := 0; in != nil && i < len(in.Processes); i++ {
			p := &in.Processes[i]
			if u, ok := FilesOf(ref, in, p); ok {
				u.moves(files(c, ref, p), nil, heldSpan)
				out = append(out, u)
			}
		}
	}
	return out
}

// files is how many a process had open while it was watched: counted, or by what it holds.
func files(c *model.Case, ref model.Ref, p *model.Process) []model.Point {
	if p.Files < 0 {
		return read(c, ref, kind(model.LevelHeld))
	}
	return read(c, ref, func(l *model.Level) bool { return l.Kind == model.LevelFiles && l.PID == p.PID })
}

// others is how many files a process that serves has open beside its sockets, at
// least: the three standard ones and the one that it waits with.
const others = 4

// FilesOf is how many files a process has open, of how many (getrlimit(2),
// RLIMIT_NOFILE). Where they may not be counted, the pod's TCP sockets that some
// process holds stand for them, if it has but one process; ok: either was read.
func FilesOf(ref model.Ref, in *model.Inside, p *model.Process) (Use, bool) {
	u := Use{
		Kind: Files, Name: "open files", Of: ref, Unit: "files", Used: float64(p.Files), Limit: float64(p.Limit), Source: "pod",
		Remedy: []diagnose.Command{
			{Text: "Start it anew; then find what does not close its connections or files", Line: diagnose.KubectlFor(ref, "delete")},
			{Text: fmt.Sprintf("Raise the limit of open files (%d now): the application's own setrlimit, or the container runtime's LimitNOFILE", p.Limit)},
		},
	}
	if p.Files < 0 {
		if len(in.Processes) != 1 {
			return u, false
		}
		u.Used = float64(in.Held + others)
		u.Says = append(u.Says, fmt.Sprintf("its files may not be counted; it holds %d TCP sockets", in.Held))
	}
	u.Says = append(u.Says, fmt.Sprintf("process %s (PID %d)", p.Name, p.PID))
	if closing := inState(in, "CLOSE-WAIT"); closing > 0 {
		u.Says = append(u.Says, fmt.Sprintf("%d of the pod's sockets are in CLOSE-WAIT: the far side has closed them, the application has not", closing))
	}
	if p.Limit > 0 && u.Used >= float64(p.Limit)-spare(p.Limit, p.Files < 0) {
		u.State = Out
	}
	u.settle()
	return u, p.Limit > 0
}

// spare is how many files short of its limit a process counts as at its end:
// some are open for a moment only, and of one that is not counted some are unknown.
func spare(limit int, estimated bool) float64 {
	if estimated {
		return max(3, float64(limit)/16)
	}
	return 1
}

func inState(in *model.Inside, state string) (n int) {
	for _, s := range in.Sockets {
		if s.State == state {
			n += s.Count
		}
	}
	return n
}
