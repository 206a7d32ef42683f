package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/podpath/podpath/lab/home"
	"github.com/podpath/podpath/lab/plan"
)

// bench runs scenarios on as few labs as possible.
type bench struct {
	name    string // a lab that is up and may be used, and is not taken down
	podpath string
	repeat  int
	watched int // runs of each that is watched, at least
	tries   int // of a scenario that does not pass
	try     int // which one this is
	labs    int // at once
	keep    bool
	save    string // folder for podpath's reports
	out     io.Writer
	log     func(format string, args ...any)

	self string
	rows []Row
	*tally
}

// tally is what the groups share that run at the same time.
type tally struct {
	mu    sync.Mutex
	done  int
	total int
	runs  map[string]int  // how often each scenario's question was asked, for the names of its reports
	taken map[string]bool // names of labs
}

// next counts a run.
func (t *tally) next() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done++
	return fmt.Sprintf("[%d/%d]", t.done, t.total)
}

// runsOf is how often a scenario is run: what comes and goes, and what is asked for
// a while, is decided by chance too, so that once proves little.
func (b *bench) runsOf(s *Scenario) int {
	if b.try > 1 {
		return 1
	}
	if s.Question.Verb == "watch" || s.Expect.Persistence == "intermittent" {
		return max(b.repeat, b.watched)
	}
	return b.repeat
}

func (b *bench) total(all []*Scenario) int {
	n := 0
	for _, s := range all {
		n += b.runsOf(s)
	}
	return n
}

// group is the scenarios of one topology.
type group struct {
	topology  plan.Topology
	scenarios []*Scenario
}

// groups keeps the order in which topologies appear, but for the first key, which comes first.
func groups(all []*Scenario, first string) []group {
	var out []group
	for _, s := range all {
		i := slices.IndexFunc(out, func(g group) bool { return g.topology.Key() == s.Topology.Key() })
		if i < 0 {
			out = append(out, group{topology: s.Topology})
			i = len(out) - 1
		}
		out[i].scenarios = append(out[i].scenarios, s)
	}
	slices.SortStableFunc(out, func(a, b group) int {
		if a.topology.Key() == first {
			return -1
		}
		if b.topology.Key() == first {
			return 1
		}
		return 0
	})
	return out
}

func (b *bench) run(ctx context.Context, all []*Scenario) error {
	first := ""
	if b.name != "" {
		l, err := connect(b.name, b.log)
		if err != nil {
			return err
		}
		first = l.Plan.Topology.Key()
	}
	list := groups(all, first)
	b.try = 1
	b.tally = &tally{total: b.total(all), runs: map[string]int{}, taken: map[string]bool{}}
	b.log("%d scenarios on %d labs", len(all), len(list))
	parts := b.parts(list, first)
	of, errs := make([][]Row, len(parts)), make([]error, len(parts))
	var several errgroup.Group
	several.SetLimit(max(b.labs, 1))
	for i, part := range parts {
		several.Go(func() error {
			if ctx.Err() == nil {
				own := *b
				errs[i] = own.group(ctx, part, first)
				of[i] = own.rows
			}
			return nil
		})
	}
	_ = several.Wait() // each part has its own error
	rows := make([][]Row, len(list))
	for i, g := range list {
		for k, part := range parts {
			if part.topology.Key() == g.topology.Key() {
				rows[i] = append(rows[i], of[k]...)
			}
		}
	}
	for b.try = 2; b.try <= b.tries && ctx.Err() == nil; b.try++ {
		for i, g := range list {
			errs = append(errs, b.again(ctx, g, first, rows[i]))
		}
	}
	b.rows = slices.Concat(rows...)
	if ctx.Err() != nil {
		errs = append(errs, errors.New("interrupted: what was injected is taken back, what was started is down"))
	}
	return errors.Join(errs...)
}

// leastPart is how many runs a lab of their own is brought up for.
const leastPart = 20

// parts cuts groups so that several labs at once end at about the same time: the
// largest come first, and none takes more than half of a lab's share. What runs on
// the lab that was given is one part: it has only that one.
func (b *bench) parts(list []group, first string) []group {
	if b.labs < 2 {
		return list
	}
	var all []*Scenario
	for _, g := range list {
		all = append(all, g.scenarios...)
	}
	most := max(leastPart, b.total(all)/(2*b.labs))
	var out []group
	for _, g := range list {
		if g.topology.Key() == first {
			out = append(out, g)
			continue
		}
		pieces := (b.total(g.scenarios) + most - 1) / most
		for piece := range slices.Chunk(g.scenarios, (len(g.scenarios)+pieces-1)/pieces) {
			out = append(out, group{g.topology, piece})
		}
	}
	slices.SortStableFunc(out, func(x, y group) int { return b.total(y.scenarios) - b.total(x.scenarios) })
	return out
}

// again gives those of a group that did not pass another try when all is quiet: on
// one lab, with nothing beside it.
func (b *bench) again(ctx context.Context, g group, first string, rows []Row) error {
	own := *b
	own.labs, own.rows = 1, nil
	var which []int
	var list []*Scenario
	for i, r := range rows {
		if r.Pass && r.Injected {
			continue
		}
		if k := slices.IndexFunc(g.scenarios, func(s *Scenario) bool { return s.Name == r.Name }); k >= 0 {
			which, list = append(which, i), append(list, g.scenarios[k])
		}
	}
	if len(list) == 0 {
		return nil
	}
	b.tally.mu.Lock()
	b.tally.total += len(list)
	b.tally.mu.Unlock()
	b.log("%d of %s are tried again", len(list), g.topology.Key())
	err := own.group(ctx, group{g.topology, list}, first)
	for i, r := range own.rows {
		rows[which[i]] = r
	}
	return err
}

// group brings the lab of a topology up, runs its scenarios, and takes it down.
func (b *bench) group(ctx context.Context, g group, first string) error {
	key := g.topology.Key()
	name := b.name
	own := key != first
	if own {
		var err error
		if name, err = b.freeName(); err != nil {
			return err
		}
		if b.labs > 1 {
			log := b.log
			b.log = func(format string, args ...any) { log("%s: "+format, append([]any{name}, args...)...) }
		}
		// Whatever happens from here on, what was started comes down again.
		failed := len(b.failures())
		defer func() {
			if b.keep && len(b.failures()) > failed && ctx.Err() == nil {
				b.log("lab %s stays up (--keep): podpath-lab down --name %s", name, name)
				return
			}
			b.down(name)
			b.release(name)
		}()
		if err := b.up(ctx, name, g.topology); err != nil {
			b.skip(g, key, fmt.Sprintf("the lab did not come up: %v", err))
			return nil //nolint:nilerr // told in every row
		}
	}
	l, err := connect(name, b.log)
	if err != nil {
		b.skip(g, key, err.Error())
		return nil
	}
	at := &site{name: name, own: own, key: key, topology: g.topology, lab: l}
	for _, s := range g.scenarios {
		for range b.runsOf(s) {
			row := b.once(ctx, at, s)
			if ctx.Err() != nil {
				return nil // what was asked of an interrupted scenario is no result
			}
			b.rows = append(b.rows, row)
		}
	}
	return nil
}

// site is the lab that a group runs on.
type site struct {
	name     string
	own      bool // brought up here, so that it may be built anew
	key      string
	topology plan.Topology
	lab      *Lab
	well     bool // seen healthy after the last scenario
}

// once runs a scenario; the row says which try it was.
func (b *bench) once(ctx context.Context, at *site, s *Scenario) Row {
	count := b.next()
	b.log("%s %s", count, s.Name)
	row, err := b.scenario(ctx, at.lab, s, at.well)
	at.well = err == nil
	row.Name, row.Topology, row.Tries = s.Name, at.key, b.try
	if ctx.Err() != nil {
		return row
	}
	b.tell(count, row)
	if !at.well {
		b.log("lab %s is not healthy: %v", at.name, err)
		b.rebuild(ctx, at)
	}
	return row
}

// rebuild replaces a lab that did not become healthy again, if it is the bench's own.
func (b *bench) rebuild(ctx context.Context, at *site) {
	if !at.own {
		return
	}
	b.log("lab %s is built anew", at.name)
	b.down(at.name)
	if err := b.up(ctx, at.name, at.topology); err != nil {
		b.log("the lab did not come up again: %v", err)
		return
	}
	l, err := connect(at.name, b.log)
	if err != nil {
		b.log("%v", err)
		return
	}
	at.lab = l
}

func (b *bench) failures() []Row {
	return slices.DeleteFunc(slices.Clone(b.rows), func(r Row) bool { return r.Pass && r.Injected })
}

// skip notes that none of a group's scenarios could be injected.
func (b *bench) skip(g group, key, why string) {
	for _, s := range g.scenarios {
		for range b.runsOf(s) {
			row := Row{Name: s.Name, Topology: key, Expected: s.Expect.verdict(), Reasons: []string{why}}
			b.rows = append(b.rows, row)
			b.tell(b.next(), row)
		}
	}
}

func (b *bench) tell(count string, r Row) {
	line := fmt.Sprintf("%s %s: %s", count, r.Name, r.outcome())
	if r.Injected {
		line += fmt.Sprintf(" in %.1f s", r.Seconds)
	}
	if len(r.Reasons) > 0 {
		line += ": " + strings.Join(r.Reasons, "; ")
	}
	b.log("%s", line)
}

// freeName is a name for a lab that nothing on this machine has.
func (t *tally) freeName() (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := 1; i < 100; i++ {
		name := "bench"
		if i > 1 {
			name = fmt.Sprintf("bench%d", i)
		}
		h, err := home.Of(name)
		if err != nil {
			return "", err
		}
		if !h.Exists() && !t.taken[name] {
			t.taken[name] = true
			return name, nil
		}
	}
	return "", errors.New("a hundred labs named bench are up: podpath-lab down --name bench …")
}

func (t *tally) release(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.taken, name)
}

func (b *bench) up(ctx context.Context, name string, t plan.Topology) error {
	b.log("bringing up lab %s: %s", name, t.Key())
	start := time.Now()
	data, err := json.Marshal(map[string]any{"topology": t})
	if err != nil {
		return err
	}
	file, err := os.CreateTemp("", "podpath-lab-topology-*.yaml")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if _, err := file.Write(data); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, b.self, "up", "--quick", "--name", name, "-f", file.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is this process's to handle
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 20 * time.Second
	if _, err := output(cmd); err != nil {
		return err
	}
	b.log("lab %s is up after %.0f s", name, time.Since(start).Seconds())
	return nil
}

func (b *bench) down(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.self, "down", "--name", name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := output(cmd); err != nil {
		b.log("lab %s did not come down: %v (podpath-lab down --name %s)", name, err, name)
	}
}

// wellTime is how long a lab may take to get well again after an undo.
const wellTime = 100 * time.Second

// scenario plays one scenario and judges the answer. The error says that the lab
// is not healthy afterwards.
func (b *bench) scenario(ctx context.Context, l *Lab, s *Scenario, well bool) (Row, error) {
	row := Row{Expected: s.Expect.verdict(), fault: s.Expect.Fault(), healthy: s.Expect.Healthy()}
	not := func(format string, args ...any) Row {
		row.Reasons = append(row.Reasons, fmt.Sprintf(format, args...))
		return row
	}
	release, err := lockInject(l.Home.Lab)
	if err != nil {
		return not("%v", err), nil
	}
	defer release()
	j, err := openJournal(l.Home.Path())
	if err != nil {
		return not("%v", err), err
	}
	if len(j.Entries) > 0 {
		b.log("%s was left injected: healing it", j.Scenario)
		if err := l.Hands.heal(ctx, j); err != nil {
			return not("what was left injected could not be undone: %v", err), err
		}
		well = false
	}
	if !well {
		if err := l.getWell(ctx, wellTime); err != nil {
			return not("the lab was not healthy before: %v", err), err
		}
	}
	row, injected := b.ask(ctx, l, s, j, row)
	// Undo has its own time: an interrupted bench cleans up too.
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
	defer cancel()
	if err := l.Hands.heal(clean, j); err != nil {
		return row, fmt.Errorf("undo: %w", err)
	}
	if ctx.Err() != nil || (len(s.Inject) == 0 && injected) {
		return row, nil
	}
	return row, l.getWell(clean, wellTime)
}

// ask injects, looks, asks podpath and judges.
func (b *bench) ask(ctx context.Context, l *Lab, s *Scenario, j *Journal, row Row) (Row, bool) {
	not := func(format string, args ...any) (Row, bool) {
		row.Reasons = append(row.Reasons, fmt.Sprintf(format, args...))
		return row, false
	}
	if err := l.Hands.play(ctx, s, j); err != nil {
		return not("%v", err)
	}
	if err := pause(ctx, s.Settle); err != nil {
		return not("%v", err)
	}
	if s.Symptom != nil {
		seen, got := l.symptom(ctx, *s.Symptom)
		if !seen {
			return not("the symptom %s from %s to %s is not seen, but %s", s.Symptom.Expect, s.Symptom.From, s.Symptom.To, got)
		}
		b.log("  seen: %s", got)
	}
	question, err := l.fillQuestion(s.Question)
	if err != nil {
		return not("%v", err)
	}
	answer, took, err := b.question(ctx, l, s, question)
	row.Injected, row.Verb = true, question.Verb
	if err != nil {
		row.Reasons = append(row.Reasons, err.Error())
		row.Seconds = secondsOf(took)
		return row, true
	}
	owners, err := l.owners(ctx)
	if err != nil {
		b.log("  the pods' owners: %v", err)
	}
	truth, err := s.Expect.filled(l.look)
	if err != nil {
		return not("expect: %v", err)
	}
	row = judge(truth, answer, owners)
	row.Verb = question.Verb
	row.Injected, row.Seconds, row.OwnSeconds = true, secondsOf(took), float64(answer.Timing.OwnMillis)/1000
	return row, true
}

// pause waits for the settle time that a scenario asks for.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (l *Lab) fillQuestion(q Question) (Question, error) {
	var errs []error
	q.Beside = slices.Clone(q.Beside)
	words := []*string{&q.From, &q.To, &q.Host, &q.Address, &q.Namespace, &q.File}
	for i := range q.Beside {
		words = append(words, &q.Beside[i])
	}
	for _, p := range words {
		filled, err := fill(*p, l.look)
		errs = append(errs, err)
		*p = filled
	}
	return q, errors.Join(errs...)
}

// words are podpath's arguments for a question.
func (q Question) words() []string {
	words := []string{q.Verb}
	for _, w := range []string{q.From, q.To} {
		if w != "" && q.Verb != "check" {
			words = append(words, w)
		}
	}
	words = append(words, "-o", "json")
	add := func(flag, value string) {
		if value != "" {
			words = append(words, flag, value)
		}
	}
	add("--protocol", q.Protocol)
	add("--host", q.Host)
	add("--address", q.Address)
	add("--via", q.Via)
	add("--namespace", q.Namespace)
	add("--file", q.File)
	for _, other := range q.Beside {
		add("--beside", other)
	}
	if q.For > 0 {
		add("--for", q.For.String())
	}
	if q.Every > 0 {
		add("--every", q.Every.String())
	}
	return words
}

// askTime is how long podpath may take for one answer.
const askTime = 2 * time.Minute

// kept is where one run's report goes, without its ending: NAME, NAME.2, NAME.3, …; ""
// when none is kept.
func (b *bench) kept(name string) string {
	folder, err := filepath.Abs(b.save)
	if b.save == "" || err != nil {
		return ""
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.runs[name]++
	if n := b.runs[name]; n > 1 {
		name = fmt.Sprintf("%s.%d", name, n)
	}
	return filepath.Join(folder, name)
}

// question runs podpath as a user of the laptop would.
func (b *bench) question(ctx context.Context, l *Lab, s *Scenario, q Question) (report, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime+q.For)
	defer cancel()
	argv := append([]string{"exec", "--name", l.Home.Lab, "--", b.podpath}, q.words()...)
	kept := b.kept(s.Name)
	if kept != "" && q.Verb == "why" {
		argv = append(argv, "--save", kept+".podpath") // the case itself, to be diagnosed again without a lab
	}
	cmd := exec.CommandContext(ctx, b.self, argv...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if kept != "" {
		if err := os.WriteFile(kept+".json", stdout.Bytes(), 0o644); err != nil {
			b.log("  %v", err)
		}
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return report{}, took, fmt.Errorf("podpath did not run: %w", err)
	}
	if ctx.Err() != nil {
		return report{}, took, fmt.Errorf("podpath gave no answer within %s: %s", askTime+q.For, shorten(stderr.String()))
	}
	var r report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		return report{}, took, fmt.Errorf("podpath %s: exit code %d, no report (%w): %s", strings.Join(q.words(), " "), cmd.ProcessState.ExitCode(), err, shorten(stderr.String()))
	}
	r.ExitCode = cmd.ProcessState.ExitCode()
	if r.ExitCode > 2 {
		return r, took, fmt.Errorf("podpath could not do its work (exit code %d): %s", r.ExitCode, shorten(stderr.String()))
	}
	return r, took, nil
}

// owners maps each pod, ReplicaSet and Job to what made it.
func (l *Lab) owners(ctx context.Context) (owners, error) {
	data, err := l.kubectl(ctx, nil, "get", "pods,replicasets,jobs", "-A", "-o", "json")
	if err != nil {
		return nil, err
	}
	all, err := items(data)
	if err != nil {
		return nil, err
	}
	return ownersOf(all), nil
}

func ownersOf(all []kubeObject) owners {
	o := owners{}
	for _, item := range all {
		refs, _ := item.meta()["ownerReferences"].([]any)
		for _, ref := range refs {
			kind, _ := dig(ref, "kind").(string)
			name, _ := dig(ref, "name").(string)
			if dig(ref, "controller") == true && kind != "Node" {
				o[strings.ToLower(item.str("kind")+"/"+item.namespace()+"/"+item.name())] = strings.ToLower(kind + "/" + item.namespace() + "/" + name)
			}
		}
	}
	return o
}
