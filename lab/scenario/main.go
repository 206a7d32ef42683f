package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/podpath/podpath/lab/home"
)

// Commands are the verbs of podpath-lab that play scenarios. ExitCode reads their errors.
func Commands() []*cobra.Command {
	return []*cobra.Command{injectCommand(), healCommand(), benchCommand(), holdCommand()}
}

// ExitCode is what a verb's error means to a shell: 2 for a command line that
// cannot be, 1 for what did not go well; told says that the reason is printed already.
func ExitCode(err error) (code int, told bool) {
	var usage usageError
	if errors.As(err, &usage) {
		return 2, false
	}
	return 1, errors.Is(err, errTold)
}

type usageError string

func (e usageError) Error() string { return string(e) }

// errTold is a failure whose reason has been printed.
var errTold = errors.New("failed")

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s "+format+"\n", append([]any{time.Now().Format("15:04:05")}, args...)...)
}

// lockInject keeps two processes from injecting into one lab at once. The kernel
// lets the lock go with the process. A process that is just being started holds a
// copy of every socket of its parent until it is its own program: what was let go a
// moment ago may look taken, so the lock is asked for again and again for a while.
func lockInject(lab string) (func(), error) {
	l, err := net.Listen("unix", "@podpath-lab/"+lab+"/inject")
	for end := time.Now().Add(lockWait); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
		l, err = net.Listen("unix", "@podpath-lab/"+lab+"/inject")
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("another inject, heal or bench is at work on lab %s", lab)
	}
	if err != nil {
		return nil, err
	}
	return func() { l.Close() }, nil
}

const lockWait = 3 * time.Second

func injectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "inject -f FILE", Short: "inject the fault of a scenario into a lab that is up",
		Long: "Does the steps of a scenario in order, writes down what takes each of them back, and looks whether its symptom\n" +
			"shows. What it cannot take back by itself (a shell line without heal:) is said.",
		Example: "  podpath-lab inject -f scenarios/nsg-deny-egress-internet.yaml",
	}
	f := cmd.Flags()
	name := labFlag(cmd)
	file := f.StringP("file", "f", "", "the scenario")
	look := f.Bool("symptom", true, "look whether the scenario's symptom shows")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *file == "" && len(args) == 1 {
			*file, args = args[0], nil
		}
		if *file == "" || len(args) > 0 {
			return usageError("one scenario is wanted: podpath-lab inject -f FILE [--name LAB]")
		}
		return inject(cmd.Context(), *name, *file, *look)
	}
	return cmd
}

func inject(ctx context.Context, name, file string, look bool) error {
	s, err := Read(file)
	if err != nil {
		return err
	}
	l, err := connect(name, progress)
	if err != nil {
		return err
	}
	if want, have := s.Topology.Key(), l.Plan.Topology.Key(); want != have {
		progress("mind: the scenario is written for topology %s, lab %s is %s", want, name, have)
	}
	release, err := lockInject(name)
	if err != nil {
		return err
	}
	defer release()
	j, err := openJournal(l.Home.Path())
	if err != nil {
		return err
	}
	if len(j.Entries) > 0 {
		return fmt.Errorf("%s is injected already: podpath-lab heal --name %s", cmpOr(j.Scenario, "something"), name)
	}
	if err := l.Hands.play(ctx, s, j); err != nil {
		progress("taking back what was done")
		return errors.Join(err, l.Hands.heal(context.WithoutCancel(ctx), j))
	}
	if err := pause(ctx, s.Settle); err != nil {
		return errors.Join(err, l.Hands.heal(context.WithoutCancel(ctx), j))
	}
	if s.Symptom != nil && look {
		seen, got := l.symptom(ctx, *s.Symptom)
		if !seen {
			return fmt.Errorf("injected, but the symptom is not seen: expected %s from %s to %s, got %s (podpath-lab heal --name %s takes it back)",
				s.Symptom.Expect, s.Symptom.From, s.Symptom.To, got, name)
		}
		progress("seen from %s to %s: %s", s.Symptom.From, s.Symptom.To, got)
	}
	progress("%s is injected (podpath-lab heal --name %s takes it back)", s.Name, name)
	if q := s.Question; q.From != "" {
		filled, err := l.fillQuestion(q)
		if err != nil {
			return err
		}
		progress("now ask: podpath %s %s %s", filled.Verb, filled.From, filled.To)
	}
	return nil
}

func healCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "heal", Short: "take back what inject did"}
	name := labFlag(cmd)
	wait := cmd.Flags().Bool("wait", true, "wait until the lab is healthy")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError("heal takes back all that is injected: podpath-lab heal [--name LAB]")
		}
		return heal(cmd.Context(), *name, *wait)
	}
	return cmd
}

func heal(ctx context.Context, name string, wait bool) error {
	l, err := connect(name, progress)
	if err != nil {
		return err
	}
	release, err := lockInject(name)
	if err != nil {
		return err
	}
	defer release()
	j, err := openJournal(l.Home.Path())
	if err != nil {
		return err
	}
	if len(j.Entries) == 0 {
		progress("nothing is injected in lab %s", name)
	} else {
		progress("healing %s (%d steps)", j.Scenario, len(j.Entries))
		if err := l.Hands.heal(ctx, j); err != nil {
			return err
		}
	}
	if !wait {
		return nil
	}
	if err := l.getWell(ctx, wellTime); err != nil {
		return fmt.Errorf("lab %s is not healthy: %w (podpath-lab down --name %s, and up again)", name, err, name)
	}
	if err := l.Hands.goneFirst(ctx, func(string) bool { return true }); err != nil {
		return err
	}
	progress("lab %s is healthy", name)
	return nil
}

func benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "bench DIR|FILE...", Short: "run scenarios and score what podpath says of them",
		Long: "Runs scenarios on as few labs as possible: injects each, looks at its symptom with the lab's own client, asks\n" +
			"podpath, takes the fault back, and scores the answer against the scenario's truth.",
		Example: "  podpath-lab bench scenarios --only 'nsg-*'\n  podpath-lab bench my-scenario.yaml -o json --keep",
	}
	b := &bench{out: os.Stdout, log: progress}
	f := cmd.Flags()
	f.StringVar(&b.name, "name", "", "a lab that is up, to be used for the scenarios of its topology and left up")
	f.StringVar(&b.podpath, "podpath", "", "the podpath to ask (default: the one beside podpath-lab)")
	only := f.String("only", "", "names of scenarios, with commas; * stands for anything")
	format := f.StringP("output", "o", "table", "table or json")
	f.IntVar(&b.repeat, "repeat", 1, "runs of each scenario")
	f.IntVar(&b.watched, "repeat-watched", 1, "runs of each scenario that is watched, if that is more")
	f.IntVar(&b.tries, "tries", 1, "tries of a scenario that does not pass, when all others are done; the table says how many it took")
	f.IntVar(&b.labs, "labs", 1, "labs at once: two keep two cores busy")
	f.BoolVar(&b.keep, "keep", false, "leave a lab up in which something failed")
	f.StringVar(&b.save, "save", "", "a folder for podpath's reports")
	cmd.RunE = func(cmd *cobra.Command, paths []string) error {
		switch {
		case len(paths) == 0:
			return usageError("name scenarios: podpath-lab bench DIR|FILE...")
		case *format != "table" && *format != "json":
			return usageError(fmt.Sprintf("-o %s: table or json", *format))
		case b.repeat < 1 || b.watched < 1 || b.tries < 1 || b.labs < 1:
			return usageError("--repeat, --repeat-watched, --tries and --labs are 1 or more")
		}
		return b.main(cmd.Context(), paths, *only, *format)
	}
	return cmd
}

// main runs the scenarios of paths and prints the scores.
func (b *bench) main(ctx context.Context, paths []string, only, format string) error {
	all, err := ReadAll(paths)
	if err != nil {
		return err
	}
	if all, err = choose(all, only); err != nil {
		return err
	}
	bin, err := binDir()
	if err != nil {
		return err
	}
	b.self = filepath.Join(bin, "podpath-lab")
	if b.podpath == "" {
		b.podpath = filepath.Join(bin, "podpath")
	}
	if b.podpath, err = filepath.Abs(b.podpath); err != nil {
		return err
	}
	if _, err := os.Stat(b.podpath); err != nil {
		return fmt.Errorf("no podpath to ask (make build, or --podpath PATH): %w", err)
	}
	if b.save != "" {
		if err := os.MkdirAll(b.save, 0o755); err != nil {
			return err
		}
	}
	runErr := b.run(ctx, all)
	write := writeTable
	if format == "json" {
		write = writeJSON
	}
	if err := write(b.out, b.rows); err != nil {
		return err
	}
	if runErr != nil {
		return runErr
	}
	if failed := b.failures(); len(failed) > 0 {
		if n := summarize(b.rows).NotInjected; n > 0 {
			progress("NOT INJECTED: %d scenarios count for nobody; the reasons are in the table", n)
		}
		return errTold
	}
	return nil
}

// choose keeps the scenarios whose names match one of the patterns.
func choose(all []*Scenario, only string) ([]*Scenario, error) {
	if only == "" {
		return all, nil
	}
	var out []*Scenario
	for _, pattern := range strings.Split(only, ",") {
		found := false
		for _, s := range all {
			match, err := filepath.Match(pattern, s.Name)
			if err != nil {
				return nil, usageError(fmt.Sprintf("--only %s: %v", pattern, err))
			}
			if match {
				found = true
				if !slices.Contains(out, s) {
					out = append(out, s)
				}
			}
		}
		if !found {
			return nil, usageError(fmt.Sprintf("--only %s: no scenario of that name", pattern))
		}
	}
	return out, nil
}

// labFlag adds --name, of the lab that a verb is about.
func labFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("name", defaultName(), "which lab, where several are up (default from PODPATH_LAB)")
}

// defaultName is the lab of the shell that `podpath-lab env` made, where there is one.
func defaultName() string { return cmpOr(os.Getenv("PODPATH_LAB"), home.DefaultName) }
