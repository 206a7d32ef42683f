package probe

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// Run probes every target of the plan, side by side, and returns one observation
// for each address that was tried, in the plan's order. It returns when all are
// done or ctx is; what ctx cut short is there with what was seen until then.
func Run(ctx context.Context, plan Plan) []model.Observation {
	return newRunner(plan).run(ctx)
}

// runner holds what all targets of a plan share.
type runner struct {
	plan     Plan
	trust    trust
	resolv   string // paths, so that tests have their own
	hosts    string
	dnsPort  uint16 // 53, but for tests
	brief    bool   // close connections by a reset: local ports are few
	question *progress
	slots    chan struct{}
}

func newRunner(plan Plan) *runner {
	return &runner{
		plan: plan, resolv: "/etc/resolv.conf", hosts: "/etc/hosts", dnsPort: 53, brief: portsAreFew(),
		question: newProgress(), slots: make(chan struct{}, parallel),
	}
}

func (r *runner) run(ctx context.Context) []model.Observation {
	if err := r.plan.Validate(); err != nil {
		return []model.Observation{{Target: "plan", Result: model.ProbeFailed, Detail: err.Error()}}
	}
	limit := r.plan.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r.trust = findTrust(&r.plan)
	out := make([][]model.Observation, len(r.plan.Targets))
	var questions, all sync.WaitGroup
	for i := range r.plan.Targets {
		t := r.plan.Targets[i].filled(&r.plan)
		isQuestion := t.When == Always && (t.Purpose == PurposeQuestion || t.Purpose == "")
		if isQuestion {
			questions.Add(1)
		}
		all.Go(func() {
			if isQuestion {
				defer questions.Done()
			} else if !r.question.await(ctx, t.When) {
				return
			}
			select {
			case r.slots <- struct{}{}:
				defer func() { <-r.slots }()
			case <-ctx.Done():
				return
			}
			out[i] = r.target(ctx, t, isQuestion)
		})
	}
	all.Go(func() {
		questions.Wait()
		r.question.finish()
	})
	all.Wait()
	return slices.Concat(out...)
}

// target resolves and probes each address.
func (r *runner) target(ctx context.Context, t Target, isQuestion bool) []model.Observation {
	start := time.Now()
	a := &attempt{runner: r, target: t, isQuestion: isQuestion}
	a.obs = model.Observation{Target: t.Label, Purpose: t.Purpose}
	if isQuestion && a.obs.Purpose == "" {
		a.obs.Purpose = PurposeQuestion
	}
	if t.Proxy != "" {
		if err := a.useProxy(); err != nil {
			return []model.Observation{a.done(start, "proxy", model.ProbeFailed, err.Error())}
		}
	}
	addrs, failed := a.resolve(ctx)
	if failed != nil || t.Protocol == "dns" {
		if failed == nil {
			a.obs.Result = model.OK
		}
		a.obs.Took = time.Since(start)
		r.tell(a, &a.obs)
		return []model.Observation{a.obs}
	}
	if isQuestion {
		r.question.addresses(addrs)
	}
	out := make([]model.Observation, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		one := &attempt{runner: r, target: t, isQuestion: isQuestion, proxy: a.proxy, obs: a.obs}
		one.obs.Phases = slices.Clone(a.obs.Phases)
		if i > 0 {
			one.obs.Queries = nil // the same queries: told once
		}
		wg.Go(func() {
			one.connect(ctx, addr)
			one.obs.Took = time.Since(start)
			r.tell(one, &one.obs)
			out[i] = one.obs
		})
	}
	wg.Wait()
	return out
}

// tell lets the targets that wait for the question know how one of its addresses ended.
func (r *runner) tell(a *attempt, o *model.Observation) {
	if a.isQuestion {
		r.question.ended(o)
	}
}

// progress is how far the question has come, for the targets that depend on it.
type progress struct {
	mu      sync.Mutex
	since   map[underway]time.Time // with when they began
	outcome []model.Observation
	addrs   []netip.Addr
	over    bool
	changed chan struct{} // closed and replaced at every change
}

// underway is a phase of one address of the question that has not ended.
type underway struct {
	attempt *attempt
	phase   string
}

func newProgress() *progress {
	return &progress{since: map[underway]time.Time{}, changed: make(chan struct{})}
}

func (p *progress) update(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *progress) begin(u underway) {
	p.update(func() { p.since[u] = time.Now() })
}

func (p *progress) end(u underway) {
	p.update(func() { delete(p.since, u) })
}

func (p *progress) addresses(a []netip.Addr) { p.update(func() { p.addrs = a }) }

func (p *progress) ended(o *model.Observation) {
	p.update(func() { p.outcome = append(p.outcome, *o) })
}

func (p *progress) finish() { p.update(func() { p.over = true }) }

func (p *progress) firstAddr() (netip.Addr, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.outcome {
		if o := &p.outcome[i]; o.Result != model.OK && o.Result != model.NoRoute && o.Address.IsValid() && o.Proxy == "" {
			return o.Address.Addr(), true
		}
	}
	if len(p.addrs) == 0 {
		return netip.Addr{}, false
	}
	return p.addrs[0], true
}

// await returns whether the condition came true; false once it no longer can.
func (p *progress) await(ctx context.Context, w When) bool {
	if w == Always {
		return true
	}
	for {
		p.mu.Lock()
		met, again := p.met(w)
		over, changed := p.over, p.changed
		p.mu.Unlock()
		if met || over {
			return met
		}
		var timer <-chan time.Time
		if again > 0 {
			timer = time.After(again)
		}
		select {
		case <-changed:
		case <-timer:
		case <-ctx.Done():
			return false
		}
	}
}

// met judges a condition now; again says when only time could change it.
func (p *progress) met(w When) (met bool, again time.Duration) {
	if w == WhenOK {
		return p.over && len(p.outcome) > 0 && slices.ContainsFunc(p.outcome, func(o model.Observation) bool { return o.Result == model.OK }), 0
	}
	for i := range p.outcome {
		if o := &p.outcome[i]; o.Result != model.OK && matches(w, o.Failed, o.Result) {
			return true, 0
		}
	}
	for u, since := range p.since {
		if !matches(w, u.phase, model.TimedOut) {
			continue
		}
		left := HedgeAfter - time.Since(since)
		if left <= 0 {
			return true, 0
		}
		if again == 0 || left < again {
			again = left
		}
	}
	return false, again
}

func matches(w When, phase string, result model.Reason) bool {
	switch w {
	case WhenFailed:
		return true
	case WhenStall:
		return result == model.TimedOut && (phase == "tls" || phase == "http" || phase == "proxy")
	}
	return string(w) == phase
}
