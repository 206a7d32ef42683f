// podpath-probe is the binary of the probe image: it runs inside a pod or on a
// node and reports what connections do there.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/podpath/podpath/internal/probe/probecmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := probecmd.Main(ctx, os.Args[1:], probecmd.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
