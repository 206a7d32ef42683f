package node

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Where levels are read: what a place can tell of itself.
const (
	OfPod  = "pod"
	OfNode = "node"
)

// Bounds of one reading: those of which there are most matter.
const (
	readSockets   = 8
	readProcesses = 8
)

// Levels reads what is in use now of the pod, or of the node, in whose network
// namespace the caller is. It is cheap enough to be done again and again.
func Levels(root, of string) []model.Level {
	r := &reader{root: root, facts: &model.NodeFacts{}}
	switch of {
	case OfPod:
		return r.podLevels()
	case OfNode:
		return r.nodeLevels()
	}
	return nil
}

func (r *reader) nodeLevels() []model.Level {
	var out []model.Level
	add := func(kind, path string, parse func(string) (float64, bool)) {
		if text, err := r.file(path); err == nil && text != "" {
			if n, ok := parse(text); ok {
				out = append(out, model.Level{Kind: kind, Value: n})
			}
		}
	}
	add(model.LevelConntrack, "proc/sys/net/netfilter/nf_conntrack_count", func(text string) (float64, bool) { return level(strings.TrimSpace(text)) })
	add(model.LevelNeighbours, "proc/net/stat/arp_cache", func(text string) (float64, bool) {
		found, err := parseNeighbours(text)
		n, ok := found["NeighbourEntries"]
		return float64(n), ok && err == nil
	})
	add(model.LevelMemory, "proc/meminfo", func(text string) (float64, bool) {
		found := map[string]float64{}
		parseMemory(text, found)
		n, ok := found["memory.available"]
		return n, ok
	})
	return out
}

// podLevels counts the sockets that some process holds, without those of this
// program: what is in TIME-WAIT is nobody's, and goes by itself within a minute.
func (r *reader) podLevels() []model.Level {
	own := ownSockets(orSlash(r.root))
	sockets, _, held := r.count(func(i string) bool { return i != "0" && !own[inode(i)] })
	out := []model.Level{{Kind: model.LevelHeld, Value: float64(held)}}
	out = append(out, socketLevels(sockets)...)
	return append(out, fileLevels(r.processes())...)
}

// socketLevels are the far ends to which most sockets lead.
func socketLevels(sockets []model.SocketCount) []model.Level {
	by := map[netip.AddrPort]float64{}
	for _, s := range sockets {
		by[s.To] += float64(s.Count)
	}
	var out []model.Level
	for _, to := range slices.SortedFunc(maps.Keys(by), netip.AddrPort.Compare) {
		out = append(out, model.Level{Kind: model.LevelSockets, To: to, Value: by[to]})
	}
	return mostUsed(out, readSockets)
}

// fileLevels are the processes with most open files, of those that may be counted.
func fileLevels(processes []model.Process) []model.Level {
	var out []model.Level
	for _, p := range processes {
		if p.Files >= 0 {
			out = append(out, model.Level{Kind: model.LevelFiles, PID: p.PID, Value: float64(p.Files)})
		}
	}
	return mostUsed(out, readProcesses)
}

func mostUsed(list []model.Level, limit int) []model.Level {
	slices.SortStableFunc(list, func(a, b model.Level) int { return cmp.Compare(b.Value, a.Value) })
	return list[:min(len(list), limit)]
}
