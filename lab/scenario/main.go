package scenario

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/podpath/podpath/lab/home"
)

// Verbs are the verbs of podpath-lab that Main answers to. hold is for the
// lab's own use.
var Verbs = []string{"inject", "heal", "bench", "hold"}

// Usage is a line a verb.
const Usage = `  inject -f FILE [--name LAB]     inject a scenario's fault into a lab that is up
  heal [--name LAB]               take back what is injected
  bench [flags] DIR|FILE…         run scenarios, ask podpath, score its answers (bench -h)
`

// Main runs a verb. The exit code is 0 when all went well, 1 when something did
// not, 2 for a command line that cannot be.
func Main(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, "usage: podpath-lab VERB\n"+Usage)
		return 2
	}
	verbs := map[string]func([]string) error{"inject": injectMain, "heal": healMain, "bench": benchMain}
	if args[0] == "hold" {
		return holdMain(args[1:])
	}
	verb, ok := verbs[args[0]]
	if !ok {
		fmt.Fprintf(os.Stderr, "podpath-lab: unknown verb %q\n%s", args[0], Usage)
		return 2
	}
	err := verb(args[1:])
	var usage usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "podpath-lab %s: %v\n", args[0], err)
		return 2
	case errors.Is(err, errTold):
		return 1
	}
	fmt.Fprintf(os.Stderr, "podpath-lab %s: %v\n", args[0], err)
	return 1
}

type usageError string

func (e usageError) Error() string { return string(e) }

// errTold is a failure whose reason has been printed.
var errTold = errors.New("failed")

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s "+format+"\n", append([]any{time.Now().Format("15:04:05")}, args...)...)
}

// flags parses a verb's flags; positional arguments may stand anywhere.
func parseFlags(fs *flag.FlagSet, args []string) ([]string, error) {
	fs.SetOutput(os.Stderr)
	var rest []string
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, usageError(err.Error())
		}
		if fs.NArg() == 0 {
			return rest, nil
		}
		rest = append(rest, fs.Arg(0))
		args = fs.Args()[1:]
	}
}

func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

// lockInject keeps two processes from injecting into one lab at once. The kernel
// lets the lock go with the process.
func lockInject(lab string) (func(), error) {
	l, err := net.Listen("unix", "@podpath-lab/"+lab+"/inject")
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("another inject, heal or bench is at work on lab %s", lab)
	}
	if err != nil {
		return nil, err
	}
	return func() { l.Close() }, nil
}

func injectMain(args []string) error {
	fs := flag.NewFlagSet("inject", flag.ContinueOnError)
	name := fs.String("name", defaultName(), "the lab")
	file := fs.String("f", "", "the scenario")
	look := fs.Bool("symptom", true, "look whether the scenario's symptom shows")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if *file == "" && len(rest) == 1 {
		*file, rest = rest[0], nil
	}
	if *file == "" || len(rest) > 0 {
		return usageError("podpath-lab inject -f FILE [--name LAB]")
	}
	s, err := Read(*file)
	if err != nil {
		return err
	}
	l, err := connect(*name, progress)
	if err != nil {
		return err
	}
	if want, have := s.Topology.Key(), l.Plan.Topology.Key(); want != have {
		progress("mind: the scenario is written for topology %s, lab %s is %s", want, *name, have)
	}
	ctx, stop := interruptible()
	defer stop()
	release, err := lockInject(*name)
	if err != nil {
		return err
	}
	defer release()
	j, err := openJournal(l.Home.Path())
	if err != nil {
		return err
	}
	if len(j.Entries) > 0 {
		return fmt.Errorf("%s is injected already: podpath-lab heal --name %s", cmpOr(j.Scenario, "something"), *name)
	}
	if err := l.Hands.play(ctx, s, j); err != nil {
		progress("taking back what was done")
		return errors.Join(err, l.Hands.heal(context.WithoutCancel(ctx), j))
	}
	if err := pause(ctx, s.Settle); err != nil {
		return errors.Join(err, l.Hands.heal(context.WithoutCancel(ctx), j))
	}
	if s.Symptom != nil && *look {
		seen, got := l.symptom(ctx, *s.Symptom)
		if !seen {
			return fmt.Errorf("injected, but the symptom is not seen: expected %s from %s to %s, got %s (podpath-lab heal --name %s takes it back)",
				s.Symptom.Expect, s.Symptom.From, s.Symptom.To, got, *name)
		}
		progress("seen from %s to %s: %s", s.Symptom.From, s.Symptom.To, got)
	}
	progress("%s is injected (podpath-lab heal --name %s takes it back)", s.Name, *name)
	if q := s.Question; q.From != "" {
		filled, err := l.fillQuestion(q)
		if err != nil {
			return err
		}
		progress("now ask: podpath %s %s %s", filled.Verb, filled.From, filled.To)
	}
	return nil
}

func healMain(args []string) error {
	fs := flag.NewFlagSet("heal", flag.ContinueOnError)
	name := fs.String("name", defaultName(), "the lab")
	wait := fs.Bool("wait", true, "wait until the lab is healthy")
	rest, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usageError("podpath-lab heal [--name LAB]")
	}
	l, err := connect(*name, progress)
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	release, err := lockInject(*name)
	if err != nil {
		return err
	}
	defer release()
	j, err := openJournal(l.Home.Path())
	if err != nil {
		return err
	}
	if len(j.Entries) == 0 {
		progress("nothing is injected in lab %s", *name)
	} else {
		progress("healing %s (%d steps)", j.Scenario, len(j.Entries))
		if err := l.Hands.heal(ctx, j); err != nil {
			return err
		}
	}
	if !*wait {
		return nil
	}
	if err := l.getWell(ctx, wellTime); err != nil {
		return fmt.Errorf("lab %s is not healthy: %w (podpath-lab down --name %s, and up again)", *name, err, *name)
	}
	if err := l.Hands.goneFirst(ctx, func(string) bool { return true }); err != nil {
		return err
	}
	progress("lab %s is healthy", *name)
	return nil
}

func benchMain(args []string) error {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	b := &bench{out: os.Stdout, log: progress}
	var only, format string
	fs.StringVar(&b.name, "name", "", "a lab that is up, to be used for the scenarios of its topology and left up")
	fs.StringVar(&b.podpath, "podpath", "", "the podpath to ask (default: the one beside podpath-lab)")
	fs.StringVar(&only, "only", "", "names of scenarios, with commas; * stands for anything")
	fs.StringVar(&format, "o", "table", "table or json")
	fs.IntVar(&b.repeat, "repeat", 1, "runs of each scenario")
	fs.IntVar(&b.tries, "tries", 1, "tries of a scenario that does not pass; the table says how many it took")
	fs.BoolVar(&b.keep, "keep", false, "leave a lab up in which something failed")
	fs.StringVar(&b.save, "save", "", "a folder for podpath's reports")
	paths, err := parseFlags(fs, args)
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return usageError("podpath-lab bench [flags] DIR|FILE…")
	}
	if format != "table" && format != "json" || b.repeat < 1 {
		return usageError("-o is table or json, --repeat 1 or more")
	}
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
	ctx, stop := interruptible()
	defer stop()
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

// defaultName is the lab of the shell that `podpath-lab env` made, where there is one.
func defaultName() string { return cmpOr(os.Getenv("PODPATH_LAB"), home.DefaultName) }
