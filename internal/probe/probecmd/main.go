// Package probecmd is the command line of the probe binary. It has few verbs and
// no flags beyond what podpath itself passes: its caller is a program.
package probecmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/podpath/podpath/internal/collect/node"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

// Streams are the standard ones, so that a test has its own.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

const usage = `podpath-probe tells what connections do from where it runs.

  podpath-probe serve [--ttl 3m]   idle until nothing has been run for that long; SIGTERM ends it
  podpath-probe run                read a plan (JSON) from standard input, write observations (JSON)
  podpath-probe watch              read a plan with a series, write one line (JSON) an outcome as it comes
  podpath-probe node [--now TIME] [--host FOLDER] [ROOT]
                                   write what the kernel of this node says (JSON)
  podpath-probe listen             write which sockets of this network namespace listen (JSON)
  podpath-probe connections        write which TCP connections this network namespace has (JSON)
  podpath-probe inside              write what the kernel says of this pod's sockets, queues and processes (JSON)
  podpath-probe stop               end the serving process of this container
`

// Main runs one verb and returns the exit code: 0 done, 2 wrong use, 1 anything else.
func Main(ctx context.Context, args []string, s Streams) int {
	verb := ""
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	var err error
	switch verb {
	case "serve":
		var ttl time.Duration
		if ttl, err = parseTTL(args); err != nil {
			fmt.Fprintln(s.Err, "podpath-probe:", err)
			return 2
		}
		err = serve(ctx, socketName(), ttl, s.Out)
	case "run":
		err = run(ctx, s)
	case "watch":
		err = watch(ctx, s)
	case "node":
		err = nodeFacts(ctx, args, s.Out)
	case "listen":
		err = listening(s.Out)
	case "connections":
		err = connections(s.Out)
	case "inside":
		err = json.NewEncoder(s.Out).Encode(node.Inside("/"))
	case "stop":
		err = tell(socketName(), "stop")
	case "help", "-h", "--help":
		fmt.Fprint(s.Out, usage)
	default:
		fmt.Fprint(s.Err, usage)
		return 2
	}
	if err != nil {
		fmt.Fprintln(s.Err, "podpath-probe:", err)
		return 1
	}
	return 0
}

func parseTTL(args []string) (time.Duration, error) {
	text := "3m"
	switch {
	case len(args) == 0:
	case len(args) == 2 && args[0] == "--ttl":
		text = args[1]
	case len(args) == 1 && len(args[0]) > 6 && args[0][:6] == "--ttl=":
		text = args[0][6:]
	default:
		return 0, fmt.Errorf("serve takes --ttl DURATION and nothing else, not %q", args)
	}
	ttl, err := time.ParseDuration(text)
	if err != nil || ttl <= 0 || ttl > 24*time.Hour {
		return 0, fmt.Errorf("--ttl %q: give a duration between 1s and 24h, such as 3m", text)
	}
	return ttl, nil
}

// run reads a plan, keeps the serving process alive meanwhile, and writes what was seen.
func run(ctx context.Context, s Streams) error {
	plan, err := probe.ReadPlan(s.In)
	if err != nil {
		return err
	}
	// A serving process that cannot be told only ends at its own time.
	_ = tell(socketName(), "renew")
	fmt.Fprintln(s.Err, "podpath-probe: running") // tells the caller that the container is up
	obs := probe.Run(ctx, plan)
	if obs == nil {
		obs = []model.Observation{}
	}
	return json.NewEncoder(s.Out).Encode(obs)
}
