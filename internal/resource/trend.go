package resource

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// What makes a trend of the few readings of a series, which is far shorter than a
// metric's history: many of them, a straight line that explains nearly all of
// what moves, no step back that counts, and a rise that is worth the name. A level
// that has grown by a twentieth of its limit is foretold for twenty times as long
// as it was watched, and no longer.
const (
	fewestReadings = 8
	straight       = 0.97 // of what moves is explained by the line (R²)
	fallsBack      = 0.15 // of the rise, at most
	worthTelling   = 0.05 // of the limit
)

// How long a level has to be watched. What a process holds stays until it lets
// go; a table also holds what is over, and forgets it after a while; memory is
// given and taken in large pieces.
const (
	heldSpan   = 8 * time.Second
	tableSpan  = 30 * time.Second
	memorySpan = 3 * time.Minute

	containerSpan = 90 * time.Second
)

// forgets is after how long Linux forgets a TCP connection that is over
// (nf_conntrack_tcp_timeout_time_wait, Documentation/networking/nf_conntrack-sysctl.rst).
const forgets = 2 * time.Minute

// read are the levels of one thing that a place read during the series, in order.
func read(c *model.Case, from model.Ref, is func(*model.Level) bool) []model.Point {
	var out []model.Point
	for i := range c.Readings {
		r := &c.Readings[i]
		if r.From != from {
			continue
		}
		if j := slices.IndexFunc(r.Levels, func(l model.Level) bool { return is(&l) }); j >= 0 {
			out = append(out, model.Point{At: r.At, Value: r.Levels[j].Value})
		}
	}
	slices.SortStableFunc(out, func(a, b model.Point) int { return a.At.Compare(b.At) })
	return out
}

// kind are the levels of a kind of which a place has but one.
func kind(name string) func(*model.Level) bool {
	return func(l *model.Level) bool { return l.Kind == name }
}

// rise is the pace of readings of something with a limit, in units a minute; ok:
// they are a trend.
func rise(points []model.Point, limit float64, span time.Duration) (perMinute float64, ok bool) {
	if len(points) < fewestReadings || limit <= 0 || spanOf(points) < span {
		return 0, false
	}
	slope, explained := line(points)
	grown := slope * spanOf(points).Minutes()
	if math.IsNaN(grown) || explained < straight || grown < worthTelling*limit || !goesOn(points, slope) {
		return 0, false
	}
	high := points[0].Value
	for _, p := range points {
		if high = max(high, p.Value); high-p.Value > fallsBack*grown {
			return 0, false
		}
	}
	return slope, true
}

// lastPart is the share of the readings, at least four, that must themselves rise
// at half the pace of all of them: a line that explains nearly all of what moves
// may still have ended, as that of a pool of connections that has its size.
const lastPart, fewestLast = 4, 4

// goesOn says that a level that rose at this pace had not stopped when it was last read.
func goesOn(points []model.Point, slope float64) bool {
	newest, _ := line(points[len(points)-min(len(points), max(len(points)/lastPart, fewestLast)):])
	return newest >= slope/2
}

func spanOf(points []model.Point) time.Duration {
	return points[len(points)-1].At.Sub(points[0].At)
}

// moves says how a level moved while it was watched, and when it will be gone if
// that goes on: by its points without own, what podpath itself had added by each.
func (u *Use) moves(points []model.Point, own []float64, span time.Duration) {
	if len(points) < 2 || spanOf(points) <= 0 {
		return
	}
	text := fmt.Sprintf("read %d times within %s: ", len(points), spanOf(points).Round(time.Second))
	perMinute, ok := rise(without(points, own), u.Limit, span)
	if !ok {
		low, high := points[0].Value, points[0].Value
		for _, p := range points {
			low, high = min(low, p.Value), max(high, p.Value)
		}
		u.Says = append(u.Says, fmt.Sprintf("%sbetween %s and %s, no trend that counts for its limit", text, number(low), number(high)))
		return
	}
	text += fmt.Sprintf("it grew steadily from %s to %s", number(points[0].Value), number(points[len(points)-1].Value))
	if len(own) > 0 {
		text += fmt.Sprintf(", of which podpath's own tries made up to %s", number(own[len(own)-1]-own[0]))
	}
	u.Says = append(u.Says, text)
	u.Pace = perMinute
	if u.State != Out {
		u.State = ""
	}
	u.settle()
}

// without takes off what podpath itself had added; own may be empty.
func without(points []model.Point, own []float64) []model.Point {
	out := slices.Clone(points)
	for i := range own {
		out[i].Value -= own[i]
	}
	return out
}

// added is what podpath itself had put into a node's connection table by a moment,
// as far as the table remembers, at most: the connection and the lookups of each
// try from that node, and of other nodes the lookups, whose server may be here.
func added(c *model.Case, node string, names map[model.Vantage]int, at time.Time) float64 {
	n := 0
	for _, list := range [][]model.Try{c.Tries, c.Beside, c.Behind} {
		for i := range list {
			t := &list[i]
			if t.Node == "" || !t.At.Before(at) || at.Sub(t.At) >= forgets {
				continue
			}
			if t.Node == node {
				n++
			}
			if slices.ContainsFunc(t.Phases, func(p model.Phase) bool { return p.Name == "dns" }) {
				n += names[t.Vantage]
			}
		}
	}
	return float64(n)
}

// namesAsked is how many names one lookup of a place asks for, by its search list:
// each takes a source port, and so an entry, of its own.
func namesAsked(c *model.Case) map[model.Vantage]int {
	out := map[model.Vantage]int{}
	for i := range c.Observations {
		ob, names := &c.Observations[i], map[string]bool{}
		for _, q := range ob.Queries {
			names[q.Name] = true
		}
		out[ob.Vantage] = max(out[ob.Vantage], len(names))
	}
	return out
}

// line is the slope of points over time in units a minute, by least squares, and
// the share of what moves that it explains; NaN where nothing moves.
func line(points []model.Point) (slope, explained float64) {
	n, sx, sy := float64(len(points)), 0.0, 0.0
	x := func(i int) float64 { return points[i].At.Sub(points[0].At).Minutes() }
	for i := range points {
		sx, sy = sx+x(i), sy+points[i].Value
	}
	mx, my := sx/n, sy/n
	xx, xy, yy := 0.0, 0.0, 0.0
	for i := range points {
		dx, dy := x(i)-mx, points[i].Value-my
		xx, xy, yy = xx+dx*dx, xy+dx*dy, yy+dy*dy
	}
	return xy / xx, xy * xy / (xx * yy)
}

// newest is the last value of a level, at least what was read before.
func newest(used float64, points []model.Point) float64 {
	if len(points) == 0 {
		return used
	}
	return max(used, points[len(points)-1].Value)
}
