// Package parity holds podpath's predictions against packets. It makes random
// worlds (labels, NetworkPolicies, Services, security groups, route tables) in a
// lab that is up, asks podpath what would become of many connections, opens them,
// and compares. A seed makes the same worlds again.
//
// It knows podpath only as its users do: by `podpath why -f`.
package parity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// Options say how to compare.
type Options struct {
	Lab     string
	Podpath string // the program to ask
	Seed    uint64
	Flows   int           // how many connections in all
	Round   int           // this round alone; 0: as many as Flows takes
	Unknown float64       // the share of connections that podpath may not know, from 0 to 1
	Show    bool          // print the worlds
	Out     io.Writer     // of the report
	Limit   time.Duration // for one round
}

// perRound is how many connections are tried in one world.
const perRound = 250

// maxShown bounds how many disagreements of one kind are told in full.
const maxShown = 2

// ErrDisagree is what Run returns when podpath and packets did not agree.
var ErrDisagree = errors.New("podpath and packets disagree")

// Run compares. What it changed in the lab it takes back.
func Run(ctx context.Context, o Options) (err error) {
	s, err := newStage(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(context.WithoutCancel(ctx))) }()
	var sum summary
	first, last := 1, (o.Flows+perRound-1)/perRound
	if o.Round > 0 {
		first, last = o.Round, o.Round
	}
	begun := time.Now()
	for round := first; round <= last; round++ {
		n := perRound
		if o.Round == 0 {
			n = min(n, o.Flows-(round-1)*perRound)
		}
		start := time.Now()
		got, err := s.round(ctx, o, round, n)
		if err != nil {
			return fmt.Errorf("seed %d, round %d: %w", o.Seed, round, err)
		}
		sum.add(got)
		fmt.Fprintf(o.Out, "round %d: %s; %s (%.1fs)\n", round, got.about, got.line(), time.Since(start).Seconds())
		if o.Show {
			for _, d := range got.unknowns {
				fmt.Fprintf(o.Out, "unknown: %s: %s; packets: %s\n", d.flow, d.pred.Reason, d.fate.Result)
			}
		}
		for _, d := range got.disagreements {
			if sum.news(&d) {
				fmt.Fprint(o.Out, d.tell(o, round))
			}
		}
	}
	fmt.Fprintf(o.Out, "seed %d, %s: %s (%.0fs)\n", o.Seed, s.topology(), sum.line(), time.Since(begun).Seconds())
	return sum.judge(o)
}

// round makes one world and compares in it.
func (s *stage) round(ctx context.Context, o Options, round, flows int) (*summary, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Limit)
	defer cancel()
	r := rand.New(rand.NewPCG(o.Seed, uint64(round)))
	w := s.invent(r, round)
	if err := s.apply(ctx, w); err != nil {
		return nil, err
	}
	if o.Show {
		if err := w.show(o.Out, s.pods); err != nil {
			return nil, err
		}
	}
	list := s.pickFlows(r, w, flows)
	predicted, err := s.predict(ctx, o.Podpath, list)
	if err != nil {
		return nil, err
	}
	fates, err := s.send(ctx, list, predicted)
	if err != nil {
		return nil, err
	}
	sum := &summary{about: w.about()}
	for i := range list {
		sum.compare(&list[i], &predicted[i], fates[i])
	}
	return sum, nil
}
