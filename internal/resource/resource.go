// Package resource says of everything on a connection's way that can run out how
// much of it is used, of how much, by whom, how that moves, when it will be gone,
// and what helps.
//
// It is pure: a Case in, a list out; no I/O and no clock. One file holds one
// resource. Rules that name a resource as a cause take their numbers from here.
// What was not read is left out of the list (its Gap stands in the case) or, where
// only a part of it was read, is Unknown: never Room.
package resource

import (
	"cmp"
	"slices"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// State says how near its end a resource is.
type State string

// The states. A resource without a known limit has Room unless something failed for want of it.
const (
	Room    State = "room"
	Near    State = "near"    // four fifths are used, or it will be gone within the hour at its pace
	Out     State = "out"     // all is used, or something failed for want of it
	Unknown State = "unknown" // what was read does not tell
)

// Use is the use of one resource.
type Use struct {
	Kind   string             `json:"kind"`             // the file it is defined in: "conntrack", "snat-lb", …
	Name   string             `json:"name"`             // in the field's words: "connection table", "source ports"
	Of     model.Ref          `json:"of"`               // whose it is: a node, a pod, a NAT gateway
	Toward string             `json:"toward,omitempty"` // the destination, where each has a share of its own: "192.0.2.1:443/tcp"
	Unit   string             `json:"unit,omitempty"`   // "ports", "entries", "%"
	Used   float64            `json:"used"`
	Limit  float64            `json:"limit,omitempty"` // 0: none is known
	State  State              `json:"state"`
	Who    []Share            `json:"who,omitempty"`  // who uses it, the most first
	Pace   float64            `json:"pace,omitempty"` // by how many units it grows a minute; 0: it does not, or that was not seen
	Left   time.Duration      `json:"left,omitempty"` // until it is gone at this pace; 0: not in sight
	Says   []string           `json:"says,omitempty"` // what was read that tells more than the numbers: counters that grew, messages, the effect of scaling
	Source string             `json:"source"`         // what was read: node, pod, metric, kube-object, arm, metrics-api
	Remedy []diagnose.Command `json:"remedy,omitempty"`

	wanted float64 // what it would take, with those who got none
}

// Share is what one user takes.
type Share struct {
	Ref    model.Ref `json:"ref"`
	Toward string    `json:"toward,omitempty"` // to which destination, where that is known
	Count  float64   `json:"count"`
}

// kinds are the resources, in the order of the way: the pod, its node, the way out.
var kinds = []struct {
	names []string
	of    func(*model.Case) []Use
}{
	{[]string{LocalPorts}, localPorts},
	{[]string{Backlog}, backlogs},
	{[]string{Files}, openFiles},
	{[]string{CPU}, cpuQuota},
	{[]string{Memory}, memory},
	{[]string{NodeCPU, NodeMemory, Neighbours}, machine},
	{[]string{Conntrack}, conntrack},
	{[]string{"os-disk"}, osDisk},
	{[]string{VMDisk}, machineDisks},
	{[]string{NIC}, nics},
	{[]string{"flows"}, flows},
	{[]string{"snat-lb"}, snatLB},
	{[]string{"snat-natgw"}, snatNATGateway},
	{[]string{"snat-firewall"}, snatFirewall},
	{[]string{"idle-timeout"}, idleTimeout},
	{[]string{Addresses}, addresses},
}

// All lists what was read of every resource, those nearest their end first.
func All(c *model.Case) []Use {
	var out []Use
	for _, kind := range kinds {
		out = append(out, kind.of(c)...)
	}
	return ranked(out)
}

func ranked(list []Use) []Use {
	slices.SortStableFunc(list, func(a, b Use) int { return cmp.Compare(rank[b.State], rank[a.State]) })
	return list
}

var rank = map[State]int{Out: 3, Near: 2, Unknown: 1, Room: 0}

// Kind lists the uses of one kind; nothing else is computed.
func Kind(c *model.Case, name string) []Use {
	var out []Use
	for _, kind := range kinds {
		if slices.Contains(kind.names, name) {
			out = append(out, kind.of(c)...)
		}
	}
	return ranked(slices.DeleteFunc(out, func(u Use) bool { return u.Kind != name }))
}

// near is the share from which little is left, soon the time.
const (
	near = 0.8
	soon = time.Hour
)

// trending is the share from which a level that rises is expected to go on rising:
// before, a burst of anything (podpath's own tries as well) looks like the beginning of the end.
const trending = 0.25

// settle fills State and Left from the numbers, unless State says more already.
func (u *Use) settle() {
	if u.Limit > 0 && u.Pace > 0 && u.Used < u.Limit && u.Used >= trending*u.Limit {
		if minutes := (u.Limit - u.Used) / u.Pace; minutes < 7*24*60 {
			u.Left = time.Duration(minutes * float64(time.Minute)).Round(time.Second)
		}
	}
	switch {
	case u.State != "":
	case u.Limit > 0 && u.Used >= u.Limit:
		u.State = Out
	case u.Limit > 0 && u.Used >= near*u.Limit || u.Left > 0 && u.Left <= soon:
		u.State = Near
	default:
		u.State = Room
	}
}

// Pace is the slope of points over time in units a minute, by least squares; ok:
// there are at least four, over three minutes, the line explains most of what
// moves, and the newest go on with it. A level that only jitters has no pace, nor
// has one that rose and stayed.
func Pace(points []model.Point) (perMinute float64, ok bool) {
	if len(points) < 4 || points[len(points)-1].At.Sub(points[0].At) < 3*time.Minute {
		return 0, false
	}
	slope, explained := line(points)
	return slope, explained >= 0.5 && goesOn(points, slope) // NaN, where nothing moves, is not
}
