package fabric

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/nft"
)

// Apply makes the network what the documents say. It is idempotent; connection
// tracking and counters live on; a document that cannot be compiled changes nothing.
func (f *Fabric) Apply(docs []map[string]any) error {
	p, err := compile(f.plan, docs)
	if err != nil {
		return err
	}
	policy, err := compilePolicy(p.world, docs)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// Additions to the routes first, rules and filters, then what is gone: at no
	// moment is a packet without an answer.
	if err := f.load(RoleRouter, p.router); err != nil {
		return err
	}
	if err := f.loadRoutes(p.routes); err != nil {
		return err
	}
	if err := f.load(RoleInternet, p.internet); err != nil {
		return err
	}
	if err := f.load(RoleFirewall, policy.Table()); err != nil {
		return err
	}
	f.program, f.policy = p, policy
	if f.engine == nil {
		return nil // Up is under way
	}
	return f.engine.Set(f.ctx, policy)
}

// load replaces a namespace's table in one transaction, if it is to change.
func (f *Fabric) load(role string, t *nft.Table) error {
	if f.applied[role] == t.Text(nil) {
		return nil
	}
	script := t.Text(f.chains[role])
	if out, err := f.run(role, script, "nft", "-f", "-"); err != nil {
		return fmt.Errorf("program the rules of %s: %w\n%s", f.ns(role), err, out)
	}
	f.applied[role], f.chains[role] = t.Text(nil), slices.Clone(t.Order)
	return nil
}

// loadRoutes brings the router's routes and rules from what they were to what
// they shall be: new ones first, then away with those that nothing replaced.
func (f *Fabric) loadRoutes(want []string) error {
	var batch strings.Builder
	replaced := map[string]bool{}
	for _, line := range want {
		if slices.Contains(f.routes, line) {
			continue
		}
		if rest, ok := strings.CutPrefix(line, "route "); ok {
			replaced[destination(rest)] = true
			fmt.Fprintln(&batch, "route replace", rest)
		} else {
			fmt.Fprintln(&batch, "rule add", strings.TrimPrefix(line, "rule "))
		}
	}
	for _, line := range f.routes {
		if slices.Contains(want, line) {
			continue
		}
		if rest, ok := strings.CutPrefix(line, "route "); ok {
			if !replaced[destination(rest)] {
				fmt.Fprintln(&batch, "route del", rest)
			}
		} else {
			fmt.Fprintln(&batch, "rule del", strings.TrimPrefix(line, "rule "))
		}
	}
	if batch.Len() == 0 {
		return nil
	}
	if out, err := f.run(RoleRouter, batch.String(), "ip", "-force", "-batch", "-"); err != nil && !harmless(out) {
		return fmt.Errorf("program the routes of %s: %w\n%s", f.ns(RoleRouter), err, out)
	}
	f.routes = want
	return nil
}

// harmless says that ip complained only about what somebody has done to the router
// by hand: things that are there or gone already, links that are down and will get
// their routes when they come up.
func harmless(out string) bool {
	for line := range strings.Lines(out) {
		if !slices.ContainsFunc([]string{"Command failed", "File exists", "No such", "is down", "is not up"},
			func(s string) bool { return strings.Contains(line, s) }) {
			return false
		}
	}
	return true
}

// destination is what identifies a route: its prefix and its table.
func destination(route string) string {
	fields := strings.Fields(route)
	table := "main"
	if i := slices.Index(fields, "table"); i >= 0 && i+1 < len(fields) {
		table = fields[i+1]
	}
	return fields[0] + " " + table
}

func (f *Fabric) run(role, stdin string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := netns.Command(ctx, f.ns(role), argv...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = ctx.Err()
	}
	return string(out), err
}
