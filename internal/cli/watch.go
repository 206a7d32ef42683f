package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/podpath/podpath/internal/examine"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
	"github.com/podpath/podpath/internal/report"
	"github.com/podpath/podpath/internal/snapshot"
	"github.com/podpath/podpath/internal/vantage"
)

// maxTries bounds a series so that its case still fits a snapshot: there are up
// to five places, and eight endpoints beside; each further destination is one more.
const (
	maxTries = 7200
	atOnce   = 13
)

// watching are the flags that say how often is asked.
type watching struct {
	length time.Duration
	rate   float64
	every  time.Duration
	count  int
	jitter float64
	idle   []string
	search time.Duration
	beside []string
}

func (w *watching) register(c *cobra.Command) {
	fl := c.Flags()
	fl.DurationVar(&w.length, "for", time.Minute, "how long to watch")
	fl.Float64Var(&w.rate, "rate", 2, "tries a second, from each place and to each endpoint")
	fl.DurationVar(&w.every, "every", 0, "pause between tries (1s), instead of --rate")
	fl.IntVar(&w.count, "count", 0, "stop after so many tries (default: when --for is over)")
	fl.Float64Var(&w.jitter, "jitter", 0.5, "share of the pace by which a try is moved at random, so that nothing keeps pace with it")
	fl.StringArrayVar(&w.beside, "beside", nil, "another destination, of any form that TO has, tried as often from FROM to be compared with; up to 4, each with a --beside of its own")
	fl.StringSliceVar(&w.idle, "idle", nil, "keep connections, silent for each of these gaps (30s,4m), and see which survive (default: up to four from the pod, for gaps that fit into --for); none: keep none")
	fl.DurationVar(&w.search, "idle-search", 0, "also find the longest silence that a kept connection survives, up to this; takes up to twice as long")
}

// series refuses what cannot be meant, before anything is contacted.
func (w *watching) series() (*probe.Series, error) {
	if w.every < 0 {
		return nil, fmt.Errorf("--every %s is less than nothing", w.every)
	}
	if w.every > 0 {
		w.rate = 1 / w.every.Seconds()
	}
	most := maxTries * atOnce / (atOnce + len(w.beside))
	switch {
	case w.length <= 0 || w.length > probe.MaxSeries:
		return nil, fmt.Errorf("--for %s: give a duration up to %s", w.length, probe.MaxSeries)
	case !(w.rate > 0 && w.rate <= 20):
		return nil, fmt.Errorf("--rate %g: give up to 20 tries a second (--every 50ms); more would be a load test", w.rate)
	case len(w.beside) > probe.MaxBeside:
		return nil, fmt.Errorf("--beside: %d destinations; give up to %d", len(w.beside), probe.MaxBeside)
	case w.count == 0 && w.rate*w.length.Seconds() > float64(most) || w.count > most:
		return nil, fmt.Errorf("that is more than %d tries from each place%s: watch for less long, at a lower --rate, or with --count", most, w.alongside())
	case w.count < 0:
		return nil, fmt.Errorf("--count %d is less than nothing", w.count)
	case !(w.jitter >= 0 && w.jitter <= 1):
		return nil, fmt.Errorf("--jitter %g is no share between 0 and 1", w.jitter)
	case w.search < 0 || w.search > probe.MaxSeries/2:
		return nil, fmt.Errorf("--idle-search %s: give a duration up to %s", w.search, probe.MaxSeries/2)
	}
	out := &probe.Series{
		Every: time.Duration(float64(time.Second) / w.rate), For: w.length, Count: w.count, Jitter: w.jitter, Seed: rand.Uint64(), Search: w.search,
	}
	var err error
	switch {
	case len(w.idle) > 0:
		out.Idle, err = gaps(w.idle)
	case w.search == 0:
		out.Kept = fitting(out)
	}
	return out, err
}

// alongside says what else counts, where there is something.
func (w *watching) alongside() string {
	if len(w.beside) == 0 {
		return ""
	}
	return fmt.Sprintf(" with %d destinations beside", len(w.beside))
}

// others reads what --beside was given, and refuses what stands there already.
func (w *watching) others(q *model.Question) error {
	known := []string{q.To.Raw}
	for _, word := range w.beside {
		e, err := model.ParseEndpoint(word, false)
		switch {
		case err != nil:
			return fmt.Errorf("--beside: %w", err)
		case e.Kind == "internet":
			return errors.New("--beside internet: name one host of it (https://example.com)")
		case slices.Contains(known, e.Raw):
			return fmt.Errorf("--beside %q: it is watched already", e.Raw)
		}
		known, q.Beside = append(known, e.Raw), append(q.Beside, e)
	}
	return nil
}

// gaps reads what --idle was given.
func gaps(words []string) ([]time.Duration, error) {
	if len(words) == 1 && words[0] == "none" {
		return nil, nil
	}
	if len(words) > 16 {
		return nil, errors.New("--idle: give up to 16 gaps")
	}
	var out []time.Duration
	for _, word := range words {
		gap, err := time.ParseDuration(word)
		if err != nil || gap <= 0 || gap > probe.MaxSeries {
			return nil, fmt.Errorf("--idle %q: give gaps up to %s (30s,4m), or none", word, probe.MaxSeries)
		}
		out = append(out, gap)
	}
	return out, nil
}

// An answer to a connection that is used again takes up to so long to be missed;
// under the least gap a connection is hardly kept.
const (
	missed   = 4 * time.Second
	leastGap = time.Second
)

// fitting are the gaps that are tried where nobody gave any: they are over with
// the series, so that watching takes no longer for them.
func fitting(s *probe.Series) []time.Duration {
	length := s.For
	if s.Count > 0 {
		length = min(length, time.Duration(s.Count)*s.Every)
	}
	var out []time.Duration
	for _, gap := range []time.Duration{length / 8, length / 4, length / 2, length - missed} {
		if gap >= leastGap && (len(out) == 0 || gap > out[len(out)-1]) {
			out = append(out, gap)
		}
	}
	return out
}

func newWatch(s Streams) *cobra.Command {
	var (
		q       question
		w       watching
		a       = newAsking()
		output  string
		color   string
		saveTo  string
		command = &cobra.Command{
			Use:   "watch FROM TO [--beside TO2 …]",
			Short: "Is a failure persistent, intermittent or gone, and where does it live",
			Long: "Asks again and again, each time over a new connection, from up to five places and at each endpoint by itself,\n" +
				"and says how often it fails (with the interval that so many tries leave open), whether that is persistent, intermittent\n" +
				"or over, where it lives, when it changed and what happened just before. Then the same report as 'why'.\n\n" +
				"--beside names other destinations, which are tried as often from FROM: where one of all fails, it lives there; where\n" +
				"all fail alike, it is on this side of them.\n\n" +
				"Ctrl-C ends it early: what was seen until then is the answer.\n\n" +
				"Exit code: 0 it works (or has recovered), 1 a cause was found, 2 it fails and no cause could be proven, 3 podpath could not do its work.",
			Example: "  podpath watch shop/deploy/checkout https://api.example.com --for 5m\n  podpath watch shop/web-0 shop/svc/cart --rate 10 --count 500\n" +
				"  podpath watch shop/web-0 db.example.com:5432 --idle 30s,4m\n  podpath watch shop/web-0 db.example.com:5432 --idle-search 5m\n" +
				"  podpath watch shop/web-0 https://api.example.com --beside https://other.example.com --beside shop/svc/cart\n" +
				"  podpath watch shop/web-0 shop/svc/cart -o jsonl",
			Args: cobra.MaximumNArgs(4), ValidArgsFunction: cobra.NoFileCompletions,
		}
	)
	q.register(command)
	w.register(command)
	a.register(command)
	formats := append([]string{"jsonl"}, report.Formats...)
	command.Flags().StringVarP(&output, "output", "o", "", "output format: "+strings.Join(formats, ", "))
	command.Flags().StringVar(&color, "color", "auto", "auto, always or never; NO_COLOR is obeyed")
	command.Flags().StringVar(&saveTo, "save", "", "also write the case as a snapshot to this file")
	command.Flags().Lookup("timeout").Usage = "for all but the series, which takes its own time: stop after this long, and answer by what is there; 0 is no limit"
	fixed(command, "output", formats...)
	fixed(command, "beside") // names of the cluster are not completed, and files are none
	fixed(command, "color", "auto", "always", "never")
	fixed(command, "protocol", "tcp", "udp")
	fixed(command, "probe-via", vantage.ViaAuto, vantage.ViaEphemeral, vantage.ViaTwin, vantage.ViaExec, vantage.ViaNone)
	command.RunE = func(c *cobra.Command, args []string) error {
		if err := report.CheckFormat(output, "jsonl"); err != nil {
			return err
		}
		look, err := terminal(s.Out, os.Getenv, color)
		if err != nil {
			return err
		}
		if a.noProbe || a.opts.Probe.Via == vantage.ViaNone {
			return errors.New("watching is probing: leave --no-probe and --probe-via none out, or ask 'podpath why'")
		}
		if a.opts.Probe.Series, err = w.series(); err != nil {
			return err
		}
		parsed, err := q.parse(args)
		if err != nil {
			return err
		}
		if err := w.others(&parsed); err != nil {
			return err
		}
		if err := canSave(saveTo); err != nil {
			return err
		}
		view := newLiveView(s, output, look, a.quiet)
		a.opts.Probe.OnLine = view.line
		got, err := a.watch(c.Context(), parsed, view)
		if err != nil {
			return err
		}
		if saveTo != "" {
			if err := saveCase(saveTo, got.Case, snapshot.Options{}, s.Out); err != nil {
				return err
			}
		}
		return finish(s.Out, output, look, reportOf(got))
	}
	return command
}

// watch asks, and shows what comes.
func (a *asking) watch(ctx context.Context, q model.Question, view *liveView) (*examine.Answer, error) {
	if err := a.prepare(); err != nil {
		return nil, err
	}
	a.opts.Progress = view.say
	a.opts.Probe.Escalate = false
	defer view.run()()
	answer, err := examine.Why(ctx, q, a.opts)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, tooLate(a.opts)
	}
	return answer, err
}

// finish writes the report; of JSON lines it is the last.
func finish(w io.Writer, output string, look report.Options, r *report.Report) error {
	var err error
	if output == "jsonl" {
		err = json.NewEncoder(w).Encode(map[string]any{"report": r})
	} else {
		err = report.Write(w, output, r, look)
	}
	if err != nil {
		return err
	}
	if r.ExitCode != 0 {
		return &Exit{Code: r.ExitCode}
	}
	return nil
}
