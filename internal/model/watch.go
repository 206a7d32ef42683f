package model

import (
	"net/netip"
	"time"
)

// Try is one attempt of a series: an Observation without its particulars, since a
// series has thousands.
type Try struct {
	At       time.Time      `json:"at"` // when it began, by the sender's clock
	Vantage  Vantage        `json:"vantage"`
	From     Ref            `json:"from,omitempty"`
	Node     string         `json:"node,omitempty"` // of the sender
	Target   string         `json:"target"`
	Purpose  string         `json:"purpose,omitempty"` // question, control:endpoint: as of an Observation
	Address  netip.AddrPort `json:"address,omitzero"`
	Resolver netip.AddrPort `json:"resolver,omitzero"` // that answered the lookup, or was asked last
	Phases   []Phase        `json:"phases,omitempty"`
	Result   Reason         `json:"result"`
	Failed   string         `json:"failed,omitempty"` // the phase
	Status   int            `json:"status,omitempty"` // of an HTTP answer that is the failure
	Took     time.Duration  `json:"took"`
	Lag      time.Duration  `json:"lag,omitempty"`  // how late the sender itself was while it ran: no fault of the network
	MAC      string         `json:"mac,omitempty"`  // hardware address that the sender's neighbour table had for Address right after; "": it has none, as where a router lies between
	Idle     time.Duration  `json:"idle,omitempty"` // over a kept connection, after so long without a byte; 0: over a new one
}

// Noise is what a prober says of itself, so that a slow prober is not taken for a slow network.
type Noise struct {
	Vantage  Vantage       `json:"vantage"`
	From     Ref           `json:"from,omitempty"`
	Node     string        `json:"node,omitempty"`
	Sent     int           `json:"sent"`
	Left     int           `json:"left,omitempty"`     // attempts that were due and not sent: too many were still under way
	LagP50   time.Duration `json:"lagP50"`             // by which its timer was late
	LagMax   time.Duration `json:"lagMax"`             //
	Held     time.Duration `json:"held,omitempty"`     // all stretches together in which it did not run though it wanted to
	Over     time.Duration `json:"over,omitempty"`     // for how long it looked
	Load     float64       `json:"load,omitempty"`     // of its node: runnable processes, over one minute
	CPUs     int           `json:"cpus,omitempty"`     // that it may use
	Pressure float64       `json:"pressure,omitempty"` // share of the last 10 s in which some process waited for a CPU, in percent
}

// StatusOf is the HTTP status that an observation failed by, or 0.
func StatusOf(o *Observation) int {
	if o.Result != HTTPStatus || o.HTTP == nil {
		return 0
	}
	return o.HTTP.Status
}

// Ending is how a pod went that was told to end before or while the question was asked.
type Ending struct {
	Told time.Time `json:"told"`          // by the API server's or the kubelet's clock, in whole seconds
	Shut time.Time `json:"shut,omitzero"` // since when it took no connection where it was asked by itself; zero: not asked, or it took all
}

// HeldShare is the share of the time in which the prober did not run though it wanted to.
func (n *Noise) HeldShare() float64 {
	if n.Over <= 0 {
		return 0
	}
	return float64(n.Held) / float64(n.Over)
}
