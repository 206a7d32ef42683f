package resource

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// mib is a mebibyte, in bytes.
const mib = 1 << 20

// Text is a resource with its numbers: "connection table of node/a: 12 of 65,536 entries (0 %)".
func (u *Use) Text() string {
	text := u.Name + " of " + string(u.Of)
	switch {
	case u.Toward == "":
	case u.Kind == CPU || u.Kind == Memory:
		text = u.Name + " of container " + u.Toward + " of " + string(u.Of)
	case u.Kind == Backlog:
		text += " at " + u.Toward
	default:
		text += " towards " + u.Toward
	}
	switch {
	case strings.HasPrefix(u.Unit, "%"):
		return text + ": " + number(u.Used) + " " + u.Unit
	case u.Limit > 0:
		return text + fmt.Sprintf(": %s of %s %s (%.0f %%)", number(whole(u.Used, u.Unit)), number(u.Limit), u.Unit, 100*u.Used/u.Limit)
	}
	return text + ": " + strings.TrimSpace(number(u.Used)+" "+u.Unit)
}

// Sharing is one user's line.
func (u *Use) Sharing(w Share) string {
	text := string(w.Ref) + ": " + number(w.Count)
	switch {
	case u.Kind == NodeCPU:
		text = fmt.Sprintf("%s: %.2f cores", w.Ref, w.Count)
	case u.Unit != "":
		text += " " + u.Unit
	}
	if w.Toward != "" {
		text += " towards " + w.Toward
	}
	return text
}

// whole takes the fraction from an average of things that come whole, such as ports.
func whole(v float64, unit string) float64 {
	if unit == "ports" || unit == "connections" || unit == "entries" || unit == "files" || unit == "flows" {
		return math.Round(v)
	}
	return v
}

// number writes a count with commas, a fraction with one digit.
func number(v float64) string {
	if v != float64(int64(v)) {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	s := strconv.FormatInt(int64(v), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
