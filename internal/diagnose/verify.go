package diagnose

import (
	"math"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

// verifyByWatch makes of "ask again" a watch where what failed comes and goes: one
// good answer shows nothing of it.
func (r *Result) verifyByWatch(c *model.Case) {
	q := &c.Question
	ask := Quote(q.From.Raw) + " " + Quote(q.To.Raw)
	if r.Persistence != string(watch.Intermittent) || r.Watched == nil || q.From.Raw == "" || q.To.Raw == "" {
		return
	}
	again := watchLine(ask, q.Beside, r.Watched, c.More)
	for _, list := range [][]Finding{r.Causes, r.Also} {
		for i := range list {
			for k := range list[i].Fix {
				v := &list[i].Fix[k].Verify
				for _, verb := range []string{"podpath why ", "podpath watch "} {
					if rest, ok := strings.CutPrefix(*v, verb+ask); ok && !strings.Contains(rest, " --for ") {
						*v = again + rest
					}
				}
			}
		}
	}
}

// usualPace is that of a watch for which no other is given, and how long it takes.
const (
	usualPace = 500 * time.Millisecond
	usualFor  = time.Minute
)

// watchLine is the watch that would show it: as long as it was watched, and until a
// rate as low as this one may be had shown, at the same pace.
func watchLine(ask string, beside []model.Endpoint, s *watch.Summary, more bool) string {
	line := "podpath watch " + ask
	for _, to := range beside {
		line += " --beside " + Quote(to.Raw)
	}
	span, pace := s.To.Sub(s.From), usualPace
	if !more && s.Rate.Of > 1 {
		pace = (span / time.Duration(s.Rate.Of-1)).Round(50 * time.Millisecond)
	}
	pace = max(pace, 50*time.Millisecond)
	length := usualFor
	if !more {
		length = span
	}
	if s.Rate.Low > 0 {
		length = max(length, time.Duration(math.Ceil(math.Log(1-watch.Confidence)/math.Log1p(-min(s.Rate.Low, 0.99))))*pace)
	}
	if s.Idle != nil && s.Idle.Ends > 0 {
		length = max(length, s.Idle.Ends+10*time.Second) // a connection is kept for nearly all of it
	}
	length = min((length + 10*time.Second - 1).Truncate(10*time.Second), time.Hour)
	line += " --for " + short(length)
	if pace != usualPace {
		line += " --every " + short(pace)
	}
	return line
}

// short is a duration as people write it: 1m30s, 2m, 200ms.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
