package reach

import (
	"runtime"
	"sync"

	"github.com/podpath/podpath/internal/model"
)

// Pairs are the numbers of ordered pairs of two different pods.
type Pairs struct {
	All     int64 `json:"all"`
	Open    int64 `json:"open"`    // some port is open for sure
	Wide    int64 `json:"wide"`    // every port of every protocol is
	Unknown int64 `json:"unknown"` // none is for sure, and some may be
}

// block is a rectangle of the table of all pairs: each unit of from reaches
// each entry of to on the same ports.
type block struct {
	ports    fn
	from, to []int32 // units
}

// Pairs counts pairs without listing them.
func (e *Engine) Pairs() Pairs {
	var out Pairs
	n := int64(0)
	for i := range e.units {
		n += int64(len(e.units[i].members))
	}
	out.All = n * (n - 1)
	var mu sync.Mutex
	e.blocks(func(b *block) {
		class := e.class(b.ports)
		if class == 0 {
			return
		}
		count := e.weight(b.from)*e.weight(b.to) - e.selves(b.from, b.to)
		mu.Lock()
		defer mu.Unlock()
		switch class {
		case 3:
			out.Wide += count
			fallthrough
		case 2:
			out.Open += count
		case 1:
			out.Unknown += count
		}
	})
	return out
}

// class is 3 for all ports, 2 for some, 1 for those that may be open, 0 for none.
func (e *Engine) class(f fn) int {
	if f == passes {
		return 3
	}
	class := 0
	for _, p := range e.fns.pieces(f) {
		if p.v == model.Pass {
			return 2
		}
		class = 1
	}
	return class
}

func (e *Engine) weight(units []int32) int64 {
	n := int64(0)
	for _, u := range units {
		n += int64(len(e.units[u].members))
	}
	return n
}

// selves is how many pods are on both sides, and so would be paired with themselves.
func (e *Engine) selves(a, b []int32) int64 {
	n := int64(0)
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] < b[j]:
			i++
		case a[i] > b[j]:
			j++
		default:
			n += int64(len(e.units[a[i]].members))
			i++
			j++
		}
	}
	return n
}

// blocks gives every rectangle in which something is or may be open, each pair
// of units once, from several goroutines. What a unit's pods do with
// themselves is in it as if they were two.
func (e *Engine) blocks(each func(*block)) {
	jobs := make(chan *profile, 64)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			w := walker{e: e, byProfile: make([][]int32, len(e.profiles[ingress])), byPorts: map[fn][]int32{}}
			for p := range jobs {
				w.profile(p, each)
			}
		})
	}
	for _, p := range e.profiles[egress] {
		jobs <- p
	}
	close(jobs)
	wg.Wait()
}

// walker is what one goroutine uses while it walks the blocks.
type walker struct {
	e         *Engine
	byProfile [][]int32 // of the targets at hand, by their ingress profile
	used      []int32
	byPorts   map[fn][]int32
}

// profile walks the blocks whose sources have one egress profile.
func (w *walker) profile(p *profile, each func(*block)) {
	e := w.e
	if len(p.units) == 0 {
		return
	}
	rest := e.restOf(p)
	for k := -1; k < len(p.cells); k++ {
		ports := p.rest
		if k >= 0 {
			ports = p.cells[k].fn
		}
		if ports == drops {
			continue
		}
		take := func(i int32) {
			if i >= e.pods || !e.first(i) {
				return
			}
			u := e.entries[i].unit
			f := e.units[u].sides[ingress][0]
			if len(w.byProfile[f]) == 0 {
				w.used = append(w.used, f)
			}
			w.byProfile[f] = append(w.byProfile[f], u)
		}
		if k >= 0 {
			p.cells[k].each(take)
		} else {
			rest.each(take)
		}
		for _, f := range w.used {
			w.pair(p, e.profiles[ingress][f], ports, w.byProfile[f], each)
			w.byProfile[f] = w.byProfile[f][:0]
		}
		w.used = w.used[:0]
	}
}

// restOf is a cell of the pods' entries that are in no other; empty where nothing is open to them.
func (e *Engine) restOf(p *profile) *cell {
	c := &cell{fn: p.rest}
	if p.rest == drops {
		return c
	}
	c.bits = make([]uint64, (e.pods+63)/64)
	for i := range e.pods {
		c.bits[i>>6] |= 1 << (i & 63)
	}
	for k := range p.cells {
		p.cells[k].each(func(i int32) {
			if i < e.pods {
				c.bits[i>>6] &^= 1 << (i & 63)
			}
		})
	}
	return c
}

// first says whether an entry is its unit's first: a pod with two addresses is one pod.
func (e *Engine) first(i int32) bool { return e.units[e.entries[i].unit].entries[0] == i }

// pair splits the sources by what the targets' ingress opens to them.
func (w *walker) pair(p, q *profile, ports fn, to []int32, each func(*block)) {
	e := w.e
	for _, u := range p.units {
		if f := q.at(e.units[u].entries[0]); f != drops {
			w.byPorts[f] = append(w.byPorts[f], u)
		}
	}
	for f, from := range w.byPorts {
		if joint := e.fns.both(ports, f); joint != drops {
			each(&block{ports: joint, from: from, to: to})
		}
		delete(w.byPorts, f)
	}
}
