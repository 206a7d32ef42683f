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
		To, Protocol, Hold                string
		Connections, Rate, BytesPerSecond int
	}
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		return err
	}
	keep, err := time.ParseDuration(s.Hold)
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
	var open, failed atomic.Int64
	var tried sync.WaitGroup
	tick := time.NewTicker(max(time.Second/time.Duration(s.Rate), time.Microsecond))
	defer tick.Stop()
	for range s.Connections {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		tried.Add(1)
		go func() {
			dial := net.Dialer{Timeout: 4 * time.Second}
			conn, err := dial.DialContext(ctx, s.Protocol, s.To)
			if err != nil {
				failed.Add(1)
				tried.Done()
				return
			}
			open.Add(1)
			if s.Protocol == "udp" { // a socket alone sends nothing
				_, err = conn.Write([]byte("podpath-lab"))
			}
			tried.Done()
			if err == nil {
				pump(ctx, conn, s.BytesPerSecond)
			}
			conn.Close()
		}()
	}
	tried.Wait()
	fmt.Fprintf(out, "ready: %d open, %d failed\n", open.Load(), failed.Load())
	<-ctx.Done()
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
