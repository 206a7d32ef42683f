package probecmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/podpath/podpath/internal/collect/node"
	"github.com/podpath/podpath/internal/model"
)

// nodeFacts writes what the kernel of this network namespace says. With the
// caller's time (--now) it tells how far the clocks are apart, but for the time
// that the call took.
//
// With --host it reads what takes privileges too, and finds the node's files in
// that folder.
func nodeFacts(ctx context.Context, args []string, out io.Writer) error {
	root, host, asked := "/", "", time.Time{}
	if len(args) >= 2 && args[0] == "--now" {
		t, err := time.Parse(time.RFC3339Nano, args[1])
		if err != nil {
			return fmt.Errorf("--now %q: give a time such as 2026-01-02T15:04:05Z", args[1])
		}
		asked, args = t, args[2:]
	}
	if len(args) >= 2 && args[0] == "--host" {
		host, args = args[1], args[2:]
	}
	switch len(args) {
	case 0:
	case 1:
		root = args[0]
	default:
		return fmt.Errorf("node takes one folder at most, not %q", args)
	}
	var clock time.Duration
	if !asked.IsZero() {
		clock = time.Since(asked)
	}
	var facts *model.NodeFacts
	if host == "" {
		facts = node.Read(root)
	} else {
		facts = node.ReadAll(ctx, root, host)
	}
	facts.Clock = clock
	return json.NewEncoder(out).Encode(facts)
}

// listening writes which sockets wait for connections here.
func listening(out io.Writer) error {
	found, err := node.Listeners("/")
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(found)
}

// connections writes which connections there are.
func connections(out io.Writer) error {
	found, err := node.Sockets("/")
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(found)
}
