package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// Series says how often the question, and each endpoint by itself, is tried again.
// Every try opens a connection of its own.
type Series struct {
	Every  time.Duration `json:"every"`            // from the beginning of one try to the next
	Count  int           `json:"count,omitempty"`  // rounds; 0: until For is over
	For    time.Duration `json:"for"`              // bounds the series, whatever Count says
	Jitter float64       `json:"jitter,omitempty"` // share of Every by which a try is moved at random, so that nothing keeps pace with it
	Seed   uint64        `json:"seed,omitempty"`

	Idle   []time.Duration `json:"idle,omitempty"`   // gaps of silence on kept connections, one connection each
	Kept   []time.Duration `json:"kept,omitempty"`   // the same, from the question's own place alone
	Search time.Duration   `json:"search,omitempty"` // find the longest gap that a connection survives, up to this

	Levels string `json:"levels,omitempty"` // read again and again what is in use of this: "pod", "node"; "": of nothing
}

// Bounds of one series: what a caller may ask of a probe.
const (
	minEvery    = 20 * time.Millisecond
	MaxSeries   = time.Hour
	maxRounds   = 100_000
	maxIdle     = 16
	maxInFlight = 64
	maxSamples  = 16
	maxMembers  = 8 // the question and endpoints, of a plan
	MaxBeside   = 4 // other destinations, of a plan
)

// A series ends when its caller is gone: what a container runs does not end with
// the stream that started it. The caller sends a line every PulseEvery; after
// PulseLimit without one, or at the end of the input, nobody listens any more.
const (
	PulseEvery = 10 * time.Second
	PulseLimit = 45 * time.Second
)

// WhileListened is a context that ends with the caller's pulse on in.
func WhileListened(ctx context.Context, in io.Reader) context.Context {
	ctx, gone := context.WithCancel(ctx)
	late := time.AfterFunc(PulseLimit, gone)
	go func() {
		defer gone()
		buf := make([]byte, 64)
		for {
			if _, err := in.Read(buf); err != nil {
				return
			}
			late.Reset(PulseLimit)
		}
	}()
	return ctx
}

// Line is one piece of what a series tells, as it goes along.
type Line struct {
	Try      *model.Try         `json:"try,omitempty"`
	Sample   *model.Observation `json:"sample,omitempty"` // all that was seen at the first failure of its kind, or the first wait for a lost packet
	Noise    *model.Noise       `json:"noise,omitempty"`  // so far, every NoiseEvery, and at the end
	Reading  *model.Reading     `json:"reading,omitempty"`
	Progress string             `json:"progress,omitempty"`
}

// From is the series as a place sends it: only the question's own keeps the
// connections that are meant for it alone.
func (s *Series) From(own bool) *Series {
	if own || len(s.Kept) == 0 {
		return s
	}
	other := *s
	other.Kept = nil
	return &other
}

// Gaps are all gaps of silence.
func (s *Series) Gaps() []time.Duration { return slices.Concat(s.Idle, s.Kept) }

func (s *Series) validate() error {
	switch {
	case s.Every < minEvery:
		return fmt.Errorf("series: every %s; the shortest is %s", s.Every, minEvery)
	case s.For <= 0 || s.For > MaxSeries:
		return fmt.Errorf("series: for %s; give up to %s", s.For, MaxSeries)
	case s.Count < 0 || s.Count > maxRounds:
		return fmt.Errorf("series: count %d; give up to %d", s.Count, maxRounds)
	case s.Jitter < 0 || s.Jitter > 1:
		return fmt.Errorf("series: jitter %g is no share between 0 and 1", s.Jitter)
	case len(s.Idle)+len(s.Kept) > maxIdle:
		return fmt.Errorf("series: %d gaps; give up to %d", len(s.Idle)+len(s.Kept), maxIdle)
	case s.Search < 0 || s.Search > MaxSeries || slices.ContainsFunc(slices.Concat(s.Idle, s.Kept), func(d time.Duration) bool { return d <= 0 || d > MaxSeries }):
		return fmt.Errorf("series: gaps lie between 0 and %s", MaxSeries)
	}
	return nil
}

// members are the targets of a plan that a series repeats.
func (p *Plan) members() []Target {
	var out []Target
	for _, t := range p.Targets {
		if t.Purpose == PurposeBehind && (p.Series == nil || len(p.Series.Gaps()) == 0) {
			continue // what it does with kept connections is the question
		}
		if t.When == Always && (t.Purpose == "" || t.Purpose == PurposeBehind || t.Purpose == PurposeQuestion || t.Purpose == PurposeEndpoint) && len(out) < maxMembers {
			out = append(out, t.repeated(p))
		}
	}
	if len(out) == 0 {
		return nil // there is no question that others could stand beside
	}
	for _, t := range p.Beside {
		t.Purpose = PurposeBeside
		out = append(out, t.repeated(p))
	}
	return out
}

// repeated is a target as a series tries it.
func (t Target) repeated(p *Plan) Target {
	t = t.filled(p)
	t.MaxBody = min(t.MaxBody, 4<<10) // enough to see that it comes
	return t
}

// RunSeries tries the plan's question and endpoints again and again, and hands
// every outcome to emit as it comes, one at a time. It ends with the series, with
// ctx, or when emit returns an error; tries that are under way by then are told
// as far as they came when ctx ends.
func RunSeries(ctx context.Context, plan Plan, emit func(Line) error) error {
	if plan.Series == nil {
		return errors.New("plan: no series")
	}
	if err := plan.Validate(); err != nil {
		return err
	}
	r := newRunner(plan)
	r.trust = findTrust(&plan)
	s := &series{spec: *plan.Series, members: plan.members(), try: r.attemptOf, emit: emit, lag: newLag(), samples: map[string]bool{}}
	if len(s.members) == 0 {
		return errors.New("plan: nothing that a series could repeat")
	}
	s.keep = func(ctx context.Context, gap time.Duration) model.Observation { return r.kept(ctx, s.members[0], gap) }
	s.keepAt = r.kept
	if of := plan.Series.Levels; of != "" && plan.Look != nil {
		s.look = func() []model.Level { return plan.Look(of) }
	}
	return s.run(ctx)
}

// attemptOf is one try of a target.
func (r *runner) attemptOf(ctx context.Context, t Target) []model.Observation {
	return r.target(ctx, t, false)
}

// series is one that runs.
type series struct {
	spec    Series
	members []Target
	try     func(context.Context, Target) []model.Observation
	keep    func(context.Context, time.Duration) model.Observation
	keepAt  func(context.Context, Target, time.Duration) model.Observation
	look    func() []model.Level // nil: nothing is read
	lag     *lag

	mu      sync.Mutex // of what follows: outcomes come side by side
	emit    func(Line) error
	failed  error
	samples map[string]bool
	sent    int
	left    int
}

func (s *series) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var beat, tries sync.WaitGroup
	beating, still := context.WithCancel(context.WithoutCancel(ctx))
	beat.Go(func() { s.lag.beat(beating) })
	beat.Go(func() { s.readings(beating) })
	beat.Go(func() { s.noises(beating) })
	tries.Go(func() { s.gaps(ctx) })
	s.rounds(ctx, stop, &tries)
	tries.Wait()
	still()
	beat.Wait()
	s.noise()
	return s.failed
}

// NoiseEvery is how often a series tells how late its prober was so far: who ends
// it early hears nothing of its end.
const NoiseEvery = 2 * time.Second

func (s *series) noises(ctx context.Context) {
	for sleep(ctx, NoiseEvery) {
		s.noise()
	}
}

// noise tells how late the prober was until now.
func (s *series) noise() {
	n := s.lag.noise()
	s.mu.Lock()
	n.Sent, n.Left = s.sent, s.left
	s.mu.Unlock()
	s.tell(Line{Noise: &n})
}

// rounds starts a round of tries at each of the series' moments.
func (s *series) rounds(ctx context.Context, stop func(), tries *sync.WaitGroup) {
	r := rand.New(rand.NewPCG(s.spec.Seed, 1))
	slots := make(chan struct{}, maxInFlight)
	start := time.Now()
	for i := 0; s.spec.Count == 0 || i < s.spec.Count; i++ {
		due := start.Add(time.Duration(i) * s.spec.Every)
		if due.Sub(start) >= s.spec.For {
			return
		}
		due = due.Add(time.Duration(s.spec.Jitter * r.Float64() * float64(s.spec.Every)))
		if !sleep(ctx, time.Until(due)) {
			return
		}
		for _, t := range s.members {
			select {
			case slots <- struct{}{}:
			default:
				s.mu.Lock()
				s.left++
				s.mu.Unlock()
				continue
			}
			tries.Go(func() {
				defer func() { <-slots }()
				s.once(ctx, t)
				if s.broken() {
					stop()
				}
			})
		}
	}
}

// once is one try, told for each address that it led to.
func (s *series) once(ctx context.Context, t Target) {
	at := time.Now()
	obs := s.try(ctx, t)
	if ctx.Err() != nil {
		return // cut short: it tells nothing of the way
	}
	late := s.lag.between(at, time.Now())
	for i := range obs {
		s.outcome(&obs[i], at, late, 0)
	}
}

func (s *series) outcome(o *model.Observation, at time.Time, late, gap time.Duration) {
	try := tryOf(o, at, late)
	try.Idle = gap
	if gap == 0 && o.Took < neighbourly {
		try.MAC = hardware(o.Address.Addr())
	}
	s.mu.Lock()
	s.sent++
	kind := fmt.Sprint(o.Target, o.Address, o.Failed, o.Result)
	for i := range o.Phases {
		kind += fmt.Sprint(o.Phases[i].Waited())
	}
	fresh := (o.Result != model.OK || waited(o)) && late <= tooLate && gap == 0 && o.Purpose != PurposeBeside && !s.samples[kind] && len(s.samples) < maxSamples
	if fresh {
		s.samples[kind] = true
	}
	s.mu.Unlock()
	s.tell(Line{Try: &try})
	if fresh {
		s.tell(Line{Sample: o})
	}
}

// tooLate is from when on a try says more of its sender than of the network, as
// package watch has it.
const tooLate = 250 * time.Millisecond

// waited says that it got through after a packet was lost.
func waited(o *model.Observation) bool {
	return slices.ContainsFunc(o.Phases, func(p model.Phase) bool { return p.Waited() > 0 })
}

func (s *series) tell(l Line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = s.emit(l)
	}
}

func (s *series) broken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed != nil
}

// tryOf keeps of an observation what a series needs.
func tryOf(o *model.Observation, at time.Time, late time.Duration) model.Try {
	t := model.Try{
		At: at.UTC().Round(0), Target: o.Target, Purpose: o.Purpose, Address: o.Address, Result: o.Result, Failed: o.Failed, Status: model.StatusOf(o), Took: o.Took, Lag: late,
	}
	for _, p := range o.Phases {
		p.Detail = ""
		t.Phases = append(t.Phases, p)
	}
	if n := len(o.Queries); n > 0 {
		t.Resolver = o.Queries[n-1].Server
	}
	return t
}

// sleep waits; false: ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
