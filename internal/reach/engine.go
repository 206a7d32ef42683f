// Package reach answers who can reach whom, for all pairs at once.
//
// Pods that no rule tells apart are one unit; all addresses that no rule tells
// apart are one atom. For each set of policies that select some unit (a
// profile), the engine computes once which ports are open to which units, nodes
// and atoms; a pair's answer is what the one end's egress and the other end's
// ingress leave. Pairs are never listed unless somebody asks for them.
//
// It is pure, and reads the same neutral rules, through the same judgements, as
// the evaluator of one flow in package policy; a test holds both to the same
// answers.
package reach

import (
	"net/netip"
	"runtime"
	"slices"
	"sync"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

// Engine is a World prepared for questions about all pairs. It does not change
// after New, and may be used by several goroutines at once.
type Engine struct {
	x         *policy.Index
	looks     *looks
	atoms     *atoms
	units     []unit
	unitOf    map[*model.Pod]int32
	entries   []entry
	pods      int32 // entries below are pods'
	outside   int32 // entries from here on are atoms
	nodeEntry map[netip.Addr]int32
	byAtom    [][]int32
	unplaced  []int32
	every     []int32
	find      *lookup
	weak      map[string]weakened
	nameRep   map[int32]int32 // a unit for each set of port names
	fns       *functions
	families  [2]bool       // IPv4, IPv6: what the cluster's own addresses are of
	dead      []bool        // atoms whose addresses pods and nodes have all taken
	profiles  [2][]*profile // egress, ingress

	// Made when first asked for.
	ownerOnce, serviceOnce, backendOnce sync.Once
	byOwner                             map[model.Ref][]*model.Pod
	byVIP                               map[netip.Addr]*model.Service
	byNamespace                         map[string][]*model.Pod
	bySlice                             map[model.Ref][]*model.Pod
}

// The directions, as indices.
const (
	egress = iota
	ingress
)

// New prepares a World. Addresses and networks that will be asked about are
// named beforehand, so that nothing cuts across them.
func New(x *policy.Index, asked []netip.Prefix) *Engine {
	e := &Engine{x: x, looks: look(x.Rules()), fns: newFunctions()}
	e.atoms = newAtoms(slices.Concat(e.looks.prefixes, x.PodNets(), asked))
	e.families = families(x)
	e.classify()
	e.enter()
	e.every = make([]int32, len(e.entries))
	for i := range e.every {
		e.every[i] = int32(i)
	}
	e.find = newLookup(e)
	e.nameRep = map[int32]int32{}
	for i := range e.units {
		e.nameRep[e.units[i].nameID] = int32(i)
	}
	e.weaknesses()
	e.assign()
	e.compile()
	return e
}

func (e *Engine) everything() []int32 { return e.every }

// podOf is the pod of an entry, or nil.
func (e *Engine) podOf(n *entry) *model.Pod {
	if n.unit < 0 {
		return nil
	}
	return e.units[n.unit].rep
}

// mayBePod says whether an atom may hold pods that nobody has read.
func (e *Engine) mayBePod(n *entry) bool { return e.x.MayBePod(n.ip) }

// compile computes the profiles, on all processors.
func (e *Engine) compile() {
	type job struct {
		direction int
		p         *profile
	}
	jobs := make(chan job, 64)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			s := newScratch(len(e.entries))
			for j := range jobs {
				e.fill(j.p, j.direction, s)
			}
		})
	}
	for d := range e.profiles {
		for _, p := range e.profiles[d] {
			jobs <- job{d, p}
		}
	}
	close(jobs)
	wg.Wait()
}
