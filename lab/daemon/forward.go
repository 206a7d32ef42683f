package daemon

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/podpath/podpath/lab/netns"
)

// forward passes connections on from listeners to a service inside the lab.
// Each listener is closed when ctx ends.
func forward(ctx context.Context, dial func(context.Context) (net.Conn, error), listeners ...net.Listener) {
	for _, l := range listeners {
		context.AfterFunc(ctx, func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err != nil { // out of files, for a moment
					time.Sleep(100 * time.Millisecond)
					continue
				}
				go pass(ctx, conn, dial)
			}
		}()
	}
}

// pass copies both ways until one side has ended, then says so to the other.
func pass(ctx context.Context, client net.Conn, dial func(context.Context) (net.Conn, error)) {
	defer client.Close()
	dialing, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	server, err := dial(dialing)
	if err != nil {
		return // the client sees the connection end, as with any proxy
	}
	defer server.Close()
	done := make(chan struct{}, 2)
	half := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // how a connection ended is between the two ends
		if c, ok := to.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite() // may be closed already
		}
		done <- struct{}{}
	}
	go half(server, client)
	go half(client, server)
	<-done
	<-done
}

// onLoopback opens a free port on this machine's loopback, and the same port on
// the loopback of a network namespace, so that one URL is good in both.
func onLoopback(network string) (here, there net.Listener, err error) {
	for range 20 { // the other side may have the port that this side finds free
		if here, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, nil, err
		}
		if there, err = netns.Listen(network, "tcp", here.Addr().String()); err == nil {
			return here, there, nil
		}
		here.Close()
	}
	return nil, nil, err
}
