package ruletest

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// Tries are those of one place in a series, or one over a kept connection.
type Tries struct {
	Vantage model.Vantage `json:"vantage"` // default pod
	Purpose string        `json:"purpose"` // default question
	Address string        `json:"address"` // default the question's
	Target  string        `json:"target"`  // default the question's
	Of      string        `json:"of"`      // one character a try: . works, F fails, s connects after a second, as when its first SYN was lost, w waits four seconds for the answer, h three for the TLS handshake, H too, with packets lost, L is late itself
	MACs    string        `json:"macs"`    // one character a try: whose hardware address the sender had for the address
	Millis  int           `json:"millis"`  // that HTTP answers took which are failures; default 4
	Silent  string        `json:"silent"`  // over a kept connection, after so long
	Failed  string        `json:"failed"`  // default tcp
	Result  model.Reason  `json:"result"`  // of those that fail; default timeout
}

// every is the pace of a case's series.
const every = 100 * time.Millisecond

func (s *Spec) tries(c *model.Case, dst netip.AddrPort) ([]model.Try, error) {
	var out []model.Try
	for i, spec := range s.Tries {
		t := model.Try{Vantage: cmp.Or(spec.Vantage, model.VantagePod), Purpose: cmp.Or(spec.Purpose, "question"), Address: dst, Target: cmp.Or(spec.Target, c.Question.To.Raw)}
		if t.From = places[t.Vantage]; t.Vantage == model.VantagePod {
			t.From = sender(c)
		}
		t.Node = map[model.Vantage]string{model.VantagePod: nodeName(0), model.VantagePeer: nodeName(0), model.VantageNode: nodeName(0), model.VantageOtherNode: nodeName(1)}[t.Vantage]
		var err error
		if spec.Address != "" {
			t.Address, err = netip.ParseAddrPort(spec.Address)
		}
		if err == nil && spec.Silent != "" {
			t.Idle, err = time.ParseDuration(spec.Silent)
		}
		if err != nil {
			return nil, fmt.Errorf("tries[%d]: %w", i, err)
		}
		out = append(out, spec.each(t)...)
	}
	return out, nil
}

// each is one try for each character of Of, or one alone.
func (s *Tries) each(t model.Try) []model.Try {
	bad := cmp.Or(s.Result, model.TimedOut)
	if s.Silent != "" {
		t.At, t.Result = Asked, cmp.Or(s.Result, model.OK)
		if t.Result != model.OK {
			t.Failed = cmp.Or(s.Failed, "reuse")
		}
		return []model.Try{t}
	}
	var out []model.Try
	for i, c := range s.Of {
		t.At, t.Result, t.Failed, t.Took = Asked.Add(time.Duration(i)*every), model.OK, "", 3*time.Millisecond
		if t.MAC = ""; i < len(s.MACs) {
			t.MAC = fmt.Sprintf("02:00:00:00:00:%02x", s.MACs[i]-'a'+1)
		}
		phase := model.Phase{Name: "tcp", Result: model.OK, Duration: time.Millisecond}
		t.Lag = 0
		switch c {
		case 'L':
			t.Lag = 600 * time.Millisecond
		case 'F':
			t.Result, t.Failed, t.Took = bad, cmp.Or(s.Failed, "tcp"), 3300*time.Millisecond
			if phase.Name == t.Failed {
				phase.Result, phase.Duration = bad, t.Took
			}
		case 's':
			phase.Duration = 1003 * time.Millisecond
			t.Took = phase.Duration
		}
		t.Phases = []model.Phase{phase}
		if t.Failed == "http" {
			t.Phases = append(t.Phases, model.Phase{Name: "http", Result: bad, Duration: time.Duration(cmp.Or(s.Millis, 4)) * time.Millisecond})
		}
		if c == 'h' || c == 'H' {
			shake := model.Phase{Name: "tls", Result: model.OK, Duration: 3 * time.Second}
			if c == 'H' {
				shake.Lost = 2
			}
			t.Phases, t.Took = append(t.Phases, shake), shake.Duration
		}
		if c == 'w' {
			t.Phases, t.Took = append(t.Phases, model.Phase{Name: "http", Result: model.OK, Duration: 4 * time.Second}), 4*time.Second
		}
		out = append(out, t)
	}
	return out
}
