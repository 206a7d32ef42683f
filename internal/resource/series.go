package resource

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// Recent is how many minutes back a failure says something about now: Azure Monitor
// gives a point a minute, two or three minutes late.
const Recent = 6

// stale is how long before the question the last point of a series may lie. A
// metric that is not written any more says nothing.
const stale = 10 * time.Minute

// Series are those of a resource and metric that have these dimensions ("": any) and say something of now.
func Series(c *model.Case, resource, metric, aggregate string, dimensions map[string]string) []*model.Series {
	return find(c, want{resource, metric, aggregate, dimensions})
}

// want names series: those of a resource and metric that have these dimensions.
type want struct {
	resource, metric, aggregate string
	dimensions                  map[string]string // "": any
}

// find gives the series; Azure writes names in any case.
func find(c *model.Case, w want) []*model.Series {
	var out []*model.Series
	for i := range c.World.Azure.Metrics {
		s := &c.World.Azure.Metrics[i]
		if strings.EqualFold(s.Resource, w.resource) && strings.EqualFold(s.Metric, w.metric) && strings.EqualFold(s.Aggregate, w.aggregate) && fits(s, w.dimensions) && fresh(c, s) {
			out = append(out, s)
		}
	}
	return out
}

func fits(s *model.Series, dimensions map[string]string) bool {
	for name, value := range dimensions {
		if value != "" && !strings.EqualFold(Dimension(s, name), value) {
			return false
		}
	}
	return true
}

func fresh(c *model.Case, s *model.Series) bool {
	return len(s.Points) > 0 && (c.Asked.IsZero() || c.Asked.Sub(s.Points[len(s.Points)-1].At) <= stale)
}

// Dimension is a series' dimension, or "".
func Dimension(s *model.Series, name string) string {
	for key, val := range s.Dimension {
		if strings.EqualFold(key, name) {
			return val
		}
	}
	return ""
}

// last is the level of the last minute, the highest of several series; NaN where there is none.
func last(list []*model.Series) float64 {
	out := math.NaN()
	for _, s := range list {
		if v := s.Points[len(s.Points)-1].Value; math.IsNaN(out) || v > out {
			out = v
		}
	}
	return out
}

// sum adds up what was counted in the recent minutes of several series.
func sum(list []*model.Series) float64 {
	n := 0.0
	for _, s := range list {
		for _, p := range s.Points[max(0, len(s.Points)-Recent):] {
			n += p.Value
		}
	}
	return n
}

// lately adds up what was counted in the last two minutes of which the resource's
// metrics tell: what failed before those is over. A missing point is no zero, so
// that the end is that of all of them.
func lately(c *model.Case, list []*model.Series) float64 {
	n := 0.0
	for _, s := range list {
		end := time.Time{}
		for i := range c.World.Azure.Metrics {
			if m := &c.World.Azure.Metrics[i]; strings.EqualFold(m.Resource, s.Resource) && len(m.Points) > 0 && m.Points[len(m.Points)-1].At.After(end) {
				end = m.Points[len(m.Points)-1].At
			}
		}
		for _, p := range s.Points {
			if p.At.After(end.Add(-2 * time.Minute)) {
				n += p.Value
			}
		}
	}
	return n
}

// few failures are no shortage by themselves: a counter is read at some moment, and
// an attempt may end without an answer for many reasons.
const few = 5

// failures is what a metric's count of failures means, in words; now: how many of them are of now.
func failures(c *model.Case, metric, why string, list []*model.Series) (failed float64, words string, now float64) {
	failed, now = sum(list), lately(c, list)
	words = fmt.Sprintf("%s: %s failed%s within the last %d minutes of data", metric, plural(int(failed), "connection", "connections"), why, Recent)
	if now == 0 {
		words += ", none in the last two: that is over"
	}
	return failed, words, now
}

// byState is what a metric counted in each state of a connection, in words; "" without data.
func byState(metric string, list []*model.Series) string {
	by := map[string]float64{}
	for _, s := range list {
		if state := Dimension(s, "ConnectionState"); state != "" {
			by[state] += sum([]*model.Series{s})
		}
	}
	var words []string
	for _, state := range slices.Sorted(maps.Keys(by)) {
		words = append(words, fmt.Sprintf("%s %s", number(by[state]), strings.ToLower(state)))
	}
	if len(words) == 0 {
		return ""
	}
	return fmt.Sprintf("%s within the last %d minutes of data: %s", metric, Recent, strings.Join(words, ", "))
}

// pace is that of the series that grows fastest, over its last quarter of an hour; 0 where none does.
func pace(list []*model.Series) float64 {
	best := 0.0
	for _, s := range list {
		if v, ok := Pace(s.Points[max(0, len(s.Points)-15):]); ok && v > best {
			best = v
		}
	}
	return best
}

// plural counts things.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(float64(n)) + " " + many
}
