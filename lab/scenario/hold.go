package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// hold is the process of a load step: it opens connections at a rate, keeps them,
// and says "ready: N open, M failed" once each has been tried. It is started in
// the pod's namespace and ended by the step's undo, or by its own time.
func hold(spec string, out io.Writer) error {
	var s struct {
		To, Protocol, Hold, Each          string
		Connections, Rate, BytesPerSecond int
	}
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		return err
	}
	keep, err := time.ParseDuration(s.Hold)
	if err != nil {
		return err
	}
	each, err := time.ParseDuration(cmpOr(s.Each, "0s"))
	if err != nil {
		return err
	}
	if s.Rate < 1 || s.Connections < 1 {
		return fmt.Errorf("nothing to hold: %s", spec)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, keep)
	defer cancel()
	h := holding{to: s.To, protocol: s.Protocol, bytes: s.BytesPerSecond, each: each}
	tick := time.NewTicker(max(time.Second/time.Duration(s.Rate), time.Microsecond))
	defer tick.Stop()
	for range s.Connections {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		h.tried.Add(1)
		go h.run(ctx)
	}
	h.tried.Wait()
	fmt.Fprintf(out, "ready: %d open, %d failed\n", h.open.Load(), h.failed.Load())
	<-ctx.Done()
	return nil
}

// holding is what the connections of a load have in common.
type holding struct {
	to, protocol string
	bytes        int
	each         time.Duration
	open, failed atomic.Int64
	tried        sync.WaitGroup // until each was tried once
}

// run opens one connection and keeps it; one that is kept for a while only is
// closed then, and opened anew until the end.
func (h *holding) run(ctx context.Context) {
	first := sync.OnceFunc(h.tried.Done)
	for {
		err := h.once(ctx, first)
		first()
		if h.each <= 0 || ctx.Err() != nil {
			return
		}
		if err != nil { // refused at once: no storm
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

func (h *holding) once(ctx context.Context, tried func()) error {
	dial := net.Dialer{Timeout: 4 * time.Second}
	conn, err := dial.DialContext(ctx, h.protocol, h.to)
	if err != nil {
		h.failed.Add(1)
		return err
	}
	defer conn.Close()
	h.open.Add(1)
	if h.protocol == "udp" { // a socket alone sends nothing
		_, err = conn.Write([]byte("podpath-lab"))
	}
	tried()
	if err != nil {
		return err
	}
	if h.each > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, h.each)
		defer cancel()
	}
	pump(ctx, conn, h.bytes)
	return nil
}

// pump keeps a connection until the end, sending so many bytes a second on it.
func pump(ctx context.Context, conn net.Conn, bytesPerSecond int) {
	go func() {
		_, _ = io.Copy(io.Discard, conn) // what comes back is not looked at
	}()
	if bytesPerSecond <= 0 {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	chunk := make([]byte, max(bytesPerSecond/10, 1))
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, err := conn.Write(chunk); err != nil {
				<-ctx.Done()
				return
			}
		}
	}
}

// holdCommand is the process of a load step, which starts it.
func holdCommand() *cobra.Command {
	return &cobra.Command{
		Use: "hold SPEC", Hidden: true, DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("hold is started by load steps")
			}
			return hold(args[0], os.Stdout)
		},
	}
}
