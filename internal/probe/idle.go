package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// searchWidth is how many connections a search keeps at a time: two rounds of
// eight tell a time-out to a sixty-fourth of the longest gap, and wait little
// longer than twice that gap, where halving would wait for it six times.
const (
	searchWidth  = 8
	searchRounds = 2
)

// gaps keeps connections silent for the gaps that were asked for, then searches.
func (s *series) gaps(ctx context.Context) {
	var more sync.WaitGroup
	defer more.Wait()
	for _, t := range s.members {
		if t.Purpose == PurposeBehind && s.keepAt != nil {
			s.holdAt(ctx, t, &more)
		}
	}
	s.hold(ctx, s.spec.Gaps())
	if s.spec.Search > 0 {
		s.search(ctx)
	}
}

// holdAt keeps connections to another target for the same gaps.
func (s *series) holdAt(ctx context.Context, t Target, all *sync.WaitGroup) {
	for _, gap := range s.spec.Gaps() {
		all.Go(func() {
			at := time.Now()
			if o := s.keepAt(ctx, t, gap); ctx.Err() == nil {
				s.outcome(&o, at, s.lag.between(at.Add(gap), time.Now()), gap)
			}
		})
	}
}

// hold keeps one connection for each gap, side by side, and says which survived.
func (s *series) hold(ctx context.Context, gaps []time.Duration) map[time.Duration]bool {
	alive := map[time.Duration]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, gap := range gaps {
		wg.Go(func() {
			at := time.Now()
			o := s.keep(ctx, gap)
			if ctx.Err() != nil {
				return
			}
			s.outcome(&o, at, s.lag.between(at.Add(gap), time.Now()), gap)
			mu.Lock()
			alive[gap] = o.Result == model.OK
			mu.Unlock()
			s.tell(Line{Progress: outcomeOf(gap, o.Result)})
		})
	}
	wg.Wait()
	return alive
}

// outcomeOf is what came of a connection that was to be silent for so long.
func outcomeOf(gap time.Duration, r model.Reason) string {
	gap = gap.Round(100 * time.Millisecond)
	if r == model.ProbeFailed {
		return fmt.Sprintf("no connection could be kept that was to be silent for %s", gap)
	}
	return fmt.Sprintf("a connection that was silent for %s: %s", gap, r)
}

// search narrows the longest gap that a connection survives.
func (s *series) search(ctx context.Context) {
	low, high := time.Duration(0), s.spec.Search
	for round := range searchRounds {
		step := (high - low) / searchWidth
		if step < 50*time.Millisecond {
			return
		}
		var gaps []time.Duration
		for i := 1; i <= searchWidth; i++ {
			if gap := low + time.Duration(i)*step; round == 0 || i < searchWidth {
				gaps = append(gaps, gap)
			}
		}
		s.tell(Line{Progress: fmt.Sprintf("keeping %d connections silent for %s to %s", len(gaps), gaps[0].Round(100*time.Millisecond), gaps[len(gaps)-1].Round(100*time.Millisecond))})
		alive := s.hold(ctx, gaps)
		if ctx.Err() != nil || len(alive) < len(gaps) {
			return
		}
		first := slices.IndexFunc(gaps, func(g time.Duration) bool { return !alive[g] })
		switch {
		case first < 0 && round == 0:
			return // nothing ends a connection within the longest gap
		case first < 0:
			low = gaps[len(gaps)-1]
		default:
			high = gaps[first]
			if first > 0 {
				low = gaps[first-1]
			}
		}
	}
}

// Whether a connection still stands is asked by TCP's own keepalive, which every
// far side answers and no application sees: three packets, a second apart.
var stillThere = net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 3}

const (
	stillThereLimit = 6 * time.Second
	lookAgain       = 100 * time.Millisecond
)

// kept opens a connection as the question would, uses it once, leaves it silent
// for gap, and says whether it still stands then.
func (r *runner) kept(ctx context.Context, t Target, gap time.Duration) model.Observation {
	start := time.Now()
	a := &attempt{runner: r, target: t}
	a.obs = model.Observation{Target: t.Label, Purpose: t.Purpose}
	if t.Proxy != "" {
		if err := a.useProxy(); err != nil {
			return a.done(start, "proxy", model.ProbeFailed, err.Error())
		}
	}
	addrs, err := a.resolve(ctx)
	if err != nil || len(addrs) == 0 || t.Protocol != "tcp" {
		return a.notKept()
	}
	_, port := a.endpoint()
	a.obs.Address = netip.AddrPortFrom(addrs[0], port)
	conn := a.dial(ctx)
	if conn == nil || a.proxy != nil && !a.throughProxy(conn) {
		return a.notKept()
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var stream net.Conn = conn
	if t.secure() {
		c, _ := a.handshake(ctx, conn)
		if c == nil {
			return a.notKept()
		}
		stream = c
	}
	// A certificate's faults are told elsewhere: the connection stands.
	a.obs.Failed, a.obs.Result, a.obs.Detail = "", "", ""
	if t.asks() {
		a.useOnce(stream)
	}
	if a.phase(PhaseIdle, func() (model.Reason, string) { return silent(stream, gap) }) {
		a.phase(PhaseReuse, func() (model.Reason, string) { return stands(conn, stream, gap) })
	}
	a.conclude()
	a.obs.Took = time.Since(start)
	return a.obs
}

// notKept is an attempt without a connection to keep: what a new connection meets
// is for the other tries to tell.
func (a *attempt) notKept() model.Observation {
	a.obs.Failed, a.obs.Result, a.obs.Detail = "keep", model.ProbeFailed, "no connection to keep"
	return a.obs
}

// useOnce sends a request that leaves the connection open; what is answered does not matter.
func (a *attempt) useOnce(stream net.Conn) {
	stream.SetDeadline(time.Now().Add(a.target.Timeouts.HTTP))
	defer stream.SetDeadline(time.Time{})
	if _, err := io.WriteString(stream, strings.Replace(a.request(), "Connection: close", "Connection: keep-alive", 1)); err != nil {
		return
	}
	answer, err := readHeader(stream, a.target.Method)
	if err != nil {
		return
	}
	defer answer.Body.Close()
	_, _, _ = readBody(stream, answer.Body, a.target.MaxBody, a.target.Timeouts.Body)
}

// The two phases of a kept connection: what ends it while nothing is sent, and
// what answers when it is used again. A device that forgot it shows in the second,
// unless it says so to both sides at once.
const (
	PhaseIdle  = "idle"
	PhaseReuse = "reuse"
)

// silent waits out the gap.
func silent(stream net.Conn, gap time.Duration) (model.Reason, string) {
	begin := time.Now()
	if err := drain(stream, begin.Add(gap)); err != nil {
		return reasonOf(err), fmt.Sprintf("after %s of silence", time.Since(begin).Round(10*time.Millisecond))
	}
	return model.OK, ""
}

// stands asks whether the far side still knows the connection: an answer to the
// keepalive says so at once, where the kernel tells when it came.
func stands(conn *wire, stream net.Conn, gap time.Duration) (model.Reason, string) {
	tcp, ok := conn.Conn.(*net.TCPConn)
	if !ok {
		return model.ProbeFailed, "no TCP connection"
	}
	begin := time.Now()
	if err := tcp.SetKeepAliveConfig(stillThere); err != nil {
		return model.ProbeFailed, err.Error()
	}
	for time.Since(begin) < stillThereLimit {
		if err := drain(stream, time.Now().Add(lookAgain)); err != nil {
			return reasonOf(err), fmt.Sprintf("after %s of silence, when it was used again", gap.Round(10*time.Millisecond))
		}
		if ago, ok := lastAck(tcp); ok && ago < time.Since(begin) {
			break
		}
	}
	return model.OK, ""
}

// drain reads until a moment; nil: the connection stood until then.
func drain(stream net.Conn, until time.Time) error {
	buf := make([]byte, 4<<10)
	for {
		stream.SetReadDeadline(until)
		_, err := stream.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
