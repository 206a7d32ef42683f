package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Hands are the ways into a lab that the player needs. connect makes real ones;
// tests make their own.
type Hands struct {
	// Kubectl runs kubectl; what it printed on standard error is in the error.
	Kubectl func(ctx context.Context, stdin []byte, words ...string) ([]byte, error)
	// ARM sends one request to the resource manager. 404 wraps errNotFound.
	ARM func(ctx context.Context, method, id string, body any) (map[string]any, error)
	// Place finds the network namespace that a node, pod or host step means.
	Place func(ctx context.Context, where, name string) (Place, error)
	// Shell runs a line by root's sh in a namespace, in a group of processes that Kill ends.
	Shell func(ctx context.Context, at Place, group, line string) error
	// Load opens the connections of a load step, in a group of processes, and returns once they stand.
	Load func(ctx context.Context, at Place, group string, l LoadStep) error
	// Kill ends a group of processes. One that is not there is no error.
	Kill func(group string) error
	// Serve makes a host behave as told and returns the handle that Unserve takes it back by.
	Serve   func(ctx context.Context, host string, spec map[string]any) (string, error)
	Unserve func(ctx context.Context, handle string) error
	// Look finds the value of a template.
	Look func(kind, name, field string) (string, error)
	// Settled says what is still moving in the lab; nil when nothing is.
	Settled func(ctx context.Context) error
	// Log tells what is being done.
	Log func(format string, args ...any)
}

// Place is a network namespace.
type Place struct {
	Netns string // a path for nsenter --net
	Pid   int    // of a process in the pod, whose resolv.conf and environment count
	UID   string // of the pod
}

// errGone is what Place wraps for a pod that no longer runs.
var errGone = errors.New("no longer there")

const stepLimit = 90 * time.Second

// play does the steps of a scenario in order, and writes down each one's inverse
// first. When a step fails, what was done so far stays in the journal.
func (h *Hands) play(ctx context.Context, s *Scenario, j *Journal) error {
	if len(j.Entries) > 0 {
		return fmt.Errorf("%s is injected already; heal it first (podpath-lab heal)", cmpOr(j.Scenario, "something"))
	}
	j.Scenario, j.File = s.Name, s.File
	for i, step := range s.Inject {
		filled, err := h.fillStep(step)
		if err != nil {
			return fmt.Errorf("%s:%d: step %d: %w", s.File, step.Line, i+1, err)
		}
		h.Log("inject %s", filled)
		if filled.stays() {
			h.Log("mind: %s:%d: step %d has no heal: healing ends the processes that it leaves running, and whatever else it changes on %s %s stays until the lab is down (write heal: into the step)",
				s.File, step.Line, i+1, filled.Exec.Where, filled.Exec.Name)
		}
		if err := h.do(ctx, filled, fmt.Sprintf("step-%d", i+1), j); err != nil {
			return fmt.Errorf("%s:%d: step %d (%s): %w", s.File, step.Line, i+1, filled, err)
		}
	}
	return nil
}

// stays says whether a step may leave something behind that nothing takes back:
// nobody but its writer knows the inverse of a shell line.
func (s Step) stays() bool { return s.Exec != nil && s.Exec.Serve == nil && len(s.Heal) == 0 }

// String is the step in a few words.
func (s Step) String() string {
	switch {
	case s.ARM != nil:
		return s.ARM.Method + " " + lastNames(s.ARM.ID)
	case s.Kubectl != nil && s.Kubectl.Verb == "apply":
		return "kubectl apply"
	case s.Kubectl != nil && s.Kubectl.Verb == "run":
		return shorten("kubectl " + strings.Join(s.Kubectl.Words, " "))
	case s.Kubectl != nil:
		return shorten("kubectl " + s.Kubectl.Verb + " " + strings.Join(s.Kubectl.Words, " "))
	case s.Exec != nil && s.Exec.Serve != nil:
		return fmt.Sprintf("%s serves %v", s.Exec.Name, s.Exec.Serve)
	case s.Exec != nil:
		return shorten(s.Exec.Where + " " + s.Exec.Name + ": " + s.Exec.Run)
	case s.Load != nil:
		return fmt.Sprintf("load of %d connections from %s to %s", s.Load.Connections, s.Load.From, s.Load.To)
	case s.Wait != nil && s.Wait.Settled:
		return "wait until settled"
	case s.Wait != nil:
		return shorten("wait " + strings.Join(s.Wait.Words, " "))
	}
	return "nothing"
}

func shorten(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 100 {
		return s[:97] + "..."
	}
	return s
}

func lastNames(id string) string {
	parts := strings.Split(strings.Trim(id, "/"), "/")
	if i := len(parts) - 2; i >= 0 {
		if i >= 2 {
			return strings.Join(parts[i-1:], "/")
		}
		return strings.Join(parts[i:], "/")
	}
	return id
}

// fillStep replaces the templates in a step and in what heals it, so that both
// speak of the same values.
func (h *Hands) fillStep(s Step) (Step, error) {
	var errs []error
	str := func(p *string) {
		filled, err := fill(*p, h.Look)
		errs = append(errs, err)
		*p = filled
	}
	obj := func(m *map[string]any) {
		if *m == nil {
			return
		}
		filled, err := fillAny(*m, h.Look)
		errs = append(errs, err)
		if err == nil {
			*m, _ = filled.(map[string]any)
		}
	}
	words := func(list *[]string) {
		out := make([]string, len(*list))
		for i, w := range *list {
			str(&w)
			out[i] = w
		}
		*list = out
	}
	out := Step{Line: s.Line}
	if s.ARM != nil {
		a := *s.ARM
		str(&a.ID)
		obj(&a.Body)
		out.ARM = &a
	}
	if s.Kubectl != nil {
		k := *s.Kubectl
		str(&k.YAML)
		words(&k.Words)
		out.Kubectl = &k
	}
	if s.Exec != nil {
		e := *s.Exec
		str(&e.Name)
		str(&e.Run)
		obj(&e.Serve)
		out.Exec = &e
	}
	if s.Load != nil {
		l := *s.Load
		str(&l.From)
		str(&l.To)
		out.Load = &l
	}
	if s.Wait != nil {
		w := *s.Wait
		words(&w.Words)
		out.Wait = &w
	}
	for _, heal := range s.Heal {
		filled, err := h.fillStep(heal)
		errs = append(errs, err)
		out.Heal = append(out.Heal, filled)
	}
	return out, errors.Join(errs...)
}

// do does one filled step, its inverse written down before.
func (h *Hands) do(ctx context.Context, s Step, group string, j *Journal) error {
	limit := stepLimit
	if s.Wait != nil {
		limit = s.Wait.For + 15*time.Second
	}
	if s.Load != nil {
		limit += time.Duration(s.Load.Connections/s.Load.Rate) * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if s.Kubectl != nil {
		if err := h.goneFirst(ctx, func(name string) bool { return strings.Contains(s.Kubectl.text(), name) }); err != nil {
			return err
		}
	}
	inv, err := h.inverse(ctx, &s, group)
	if err != nil {
		return err
	}
	inv.What = s.String()
	j.Entries = append(j.Entries, inv)
	if err := j.save(); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	entry := &j.Entries[len(j.Entries)-1]
	handle, err := h.act(ctx, s, group)
	if err != nil {
		return err
	}
	entry.Done, entry.Unserve = true, handle
	return j.save()
}

// inverse works out what takes a step back. It may note in the step which pod is meant.
func (h *Hands) inverse(ctx context.Context, s *Step, group string) (Inverse, error) {
	inv := Inverse{Heal: s.Heal}
	var err error
	switch {
	case s.Exec != nil && s.Exec.Serve == nil, s.Load != nil:
		inv.Kill = group
		if s.Exec != nil && s.Exec.Where == "pod" {
			at, err := h.Place(ctx, "pod", s.Exec.Name)
			if err != nil {
				return inv, err
			}
			s.Exec.Name = "uid:" + at.UID
			inv.Heal = nil
			for _, heal := range s.Heal { // the pod that was hurt is the one to heal
				if heal.Exec != nil && heal.Exec.Where == "pod" {
					e := *heal.Exec
					e.Name = s.Exec.Name
					heal.Exec = &e
				}
				inv.Heal = append(inv.Heal, heal)
			}
		}
	case len(s.Heal) > 0:
	case s.ARM != nil:
		err = h.armInverse(ctx, s.ARM, &inv)
	case s.Kubectl != nil && s.Kubectl.Verb == "apply":
		inv, err = h.applyInverse(ctx, s.Kubectl.YAML)
	case s.Kubectl != nil:
		inv, err = h.kubectlInverse(ctx, s.Kubectl)
	}
	return inv, err
}

// children are the documents of their own that a resource takes with it when it is deleted.
var children = map[string][]string{
	"microsoft.network/firewallpolicies": {"ruleCollectionGroups"},
	"microsoft.network/privatednszones":  {"virtualNetworkLinks", "A", "AAAA", "CNAME", "TXT"},
}

func (h *Hands) armInverse(ctx context.Context, a *ARMStep, inv *Inverse) error {
	if a.Method == http.MethodPost {
		return nil
	}
	was, err := h.ARM(ctx, http.MethodGet, a.ID, nil)
	if errors.Is(err, errNotFound) {
		if a.Method != http.MethodDelete {
			inv.ARMDelete = a.ID
		}
		return nil
	}
	if err != nil {
		return err
	}
	inv.ARMPut = []armDoc{{a.ID, was}}
	if a.Method != http.MethodDelete {
		return nil
	}
	for kind, names := range children {
		parts := strings.Split(strings.ToLower(a.ID), "/providers/")
		if segments := strings.Split(parts[len(parts)-1], "/"); len(segments) != 3 || !strings.HasPrefix(parts[len(parts)-1], kind+"/") {
			continue
		}
		for _, name := range names {
			list, err := h.ARM(ctx, http.MethodGet, a.ID+"/"+name, nil)
			if err != nil {
				continue // the lab has none of this kind
			}
			values, _ := list["value"].([]any)
			for _, v := range values {
				if doc, ok := v.(map[string]any); ok {
					if id, ok := doc["id"].(string); ok {
						inv.ARMPut = append(inv.ARMPut, armDoc{id, doc})
					}
				}
			}
		}
	}
	return nil
}

// act does the step. The handle is that of a changed host.
func (h *Hands) act(ctx context.Context, s Step, group string) (handle string, err error) {
	switch {
	case s.ARM != nil && s.ARM.Method == "MERGE":
		was, err := h.ARM(ctx, http.MethodGet, s.ARM.ID, nil)
		if err != nil {
			return "", err
		}
		_, err = h.ARM(ctx, http.MethodPut, s.ARM.ID, mergePatch(was, s.ARM.Body))
		return "", err
	case s.ARM != nil:
		var body any
		if s.ARM.Body != nil {
			body = s.ARM.Body
		}
		_, err = h.ARM(ctx, s.ARM.Method, s.ARM.ID, body)
		if s.ARM.Method == http.MethodDelete && errors.Is(err, errNotFound) {
			return "", fmt.Errorf("there is nothing to delete: %w", err)
		}
		return "", err
	case s.Kubectl != nil:
		words := append([]string{s.Kubectl.Verb}, s.Kubectl.Words...)
		var stdin []byte
		switch s.Kubectl.Verb {
		case "apply":
			words, stdin = []string{"apply", "-f", "-"}, []byte(s.Kubectl.YAML)
		case "run":
			words = s.Kubectl.Words
			if len(words) > 0 && words[0] == "kubectl" {
				words = words[1:]
			}
		}
		_, err = h.Kubectl(ctx, stdin, words...)
		return "", err
	case s.Exec != nil && s.Exec.Serve != nil:
		return h.Serve(ctx, s.Exec.Name, s.Exec.Serve)
	case s.Exec != nil:
		at, err := h.Place(ctx, s.Exec.Where, s.Exec.Name)
		if err != nil {
			return "", err
		}
		return "", h.Shell(ctx, at, group, s.Exec.Run)
	case s.Load != nil:
		at, err := h.Place(ctx, "pod", s.Load.From)
		if err != nil {
			return "", err
		}
		return "", h.Load(ctx, at, group, *s.Load)
	case s.Wait != nil:
		return "", h.wait(ctx, s.Wait)
	}
	return "", nil
}

// heal takes everything in the journal back, last first. What cannot be taken
// back stays in the journal, and the rest goes on.
func (h *Hands) heal(ctx context.Context, j *Journal) error {
	var errs []error
	var left []Inverse
	for i := len(j.Entries) - 1; i >= 0; i-- {
		inv := j.Entries[i]
		if err := h.undo(ctx, inv); err != nil && inv.Done {
			errs = append(errs, fmt.Errorf("undo %s: %w", inv.What, err))
			left = append([]Inverse{inv}, left...)
		}
		rest := Journal{Scenario: j.Scenario, File: j.File, Entries: append(append([]Inverse{}, j.Entries[:i]...), left...), path: j.path}
		if err := rest.save(); err != nil {
			errs = append(errs, err)
		}
	}
	j.Entries = left
	if len(left) == 0 {
		j.Scenario, j.File = "", ""
	}
	return errors.Join(errs...)
}

func (h *Hands) undo(ctx context.Context, inv Inverse) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var errs []error
	try := func(err error) { errs = append(errs, err) }
	if inv.Kill != "" {
		try(h.Kill(inv.Kill))
	}
	for i, step := range inv.Heal {
		_, err := h.act(ctx, step, fmt.Sprintf("heal-%d", i+1))
		if step.Exec != nil && step.Exec.Where == "pod" && errors.Is(err, errGone) {
			err = nil // the pod is gone, and with it what was done to it
		}
		if step.ARM != nil && step.ARM.Method == http.MethodDelete && errors.Is(err, errNotFound) {
			err = nil
		}
		try(err)
	}
	if inv.Unserve != "" {
		try(h.Unserve(ctx, inv.Unserve))
	}
	if inv.ARMDelete != "" {
		if _, err := h.ARM(ctx, http.MethodDelete, inv.ARMDelete, nil); !errors.Is(err, errNotFound) {
			try(err)
		}
	}
	for _, doc := range inv.ARMPut {
		_, err := h.ARM(ctx, http.MethodPut, doc.ID, doc.Body)
		try(err)
	}
	try(h.remove(ctx, inv.KubeDelete))
	try(h.restore(ctx, inv.KubeRestore))
	return errors.Join(errs...)
}

func (h *Hands) wait(ctx context.Context, w *WaitStep) error {
	if !w.Settled {
		_, err := h.Kubectl(ctx, nil, append(append([]string{"wait"}, w.Words...), "--timeout="+w.For.String())...)
		return err
	}
	return h.untilSettled(ctx, w.For)
}

// untilSettled waits until nothing moves, twice in a row: a controller that has
// not yet noticed a change looks settled.
func (h *Hands) untilSettled(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	quiet := 0
	last := errors.New("nothing was read")
	for {
		if err := h.Settled(ctx); err == nil {
			if quiet++; quiet == 2 {
				return nil
			}
		} else {
			quiet = 0
			if ctx.Err() == nil {
				last = err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not settled after %s: %w", limit, last)
		case <-time.After(400 * time.Millisecond):
		}
	}
}
