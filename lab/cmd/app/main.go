// Command app is the lab's one workload: a process that listens as its arguments
// say, or only idles, and the client by which the lab looks at a symptom itself.
//
//	app                                   idle until SIGTERM
//	app http://:8080?status=503 tcp://:5432 udp://:53 burn://2
//	app http://:8080 linger://6s          SIGTERM closes the listener at once; the process ends later
//	app proxy://:80?to=web.shop:80        sends requests on over connections that it keeps
//	app keep://203.0.113.10:80?every=8s   keeps a connection and uses it now and then
//	app keep://10.0.0.9:53?every=1s&protocol=udp  … one UDP socket
//	app flanneld --ip-masq                idle too: it stands for Flannel's agent
//	app get https://api.payments.example  one attempt, one JSON line
//	app dial                              the attempts of standard input, all at once
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "get" {
		os.Exit(getMain(ctx, os.Args[2:], os.Stdout, os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == "flanneld" { // whose work on a node the lab does
		<-ctx.Done()
		return
	}
	if len(os.Args) == 2 && os.Args[1] == "dial" {
		os.Exit(dialMain(ctx, os.Stdin, os.Stdout, os.Stderr))
	}
	if err := serveAll(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "app: %v\n", err)
		os.Exit(1)
	}
}
