package model

import (
	"net/netip"
	"time"
)

// Kinds of what is read again and again during a series.
const (
	LevelConntrack  = "conntrack"        // entries of the node's table of tracked connections
	LevelNeighbours = "neighbours"       // entries of the node's neighbour table
	LevelMemory     = "memory.available" // bytes that the node can still give
	LevelSockets    = "sockets"          // TCP sockets of the pod towards To that some process holds
	LevelHeld       = "held"             // TCP sockets of the pod that some process holds, whatever they lead to
	LevelFiles      = "files"            // files that process PID of the pod has open
	LevelWorkingSet = "memory.used"      // bytes that Container of the pod uses, as its limit counts them
)

// Level is how much of one thing was in use at one moment. Those of a pod are
// without the prober's own.
type Level struct {
	Kind  string         `json:"kind"`
	To    netip.AddrPort `json:"to,omitzero"`   // of sockets: the far end, as the process sees it
	PID   int            `json:"pid,omitempty"` // of files
	Value float64        `json:"value"`

	Container string `json:"container,omitempty"` // of memory.used
}

// Reading is what one place read of its levels at one moment of a series.
type Reading struct {
	At      time.Time `json:"at"` // by the reader's clock
	Vantage Vantage   `json:"vantage"`
	From    Ref       `json:"from,omitempty"` // whose levels they are
	Node    string    `json:"node,omitempty"`
	Levels  []Level   `json:"levels"`
}
