package probecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// socketName is the abstract socket by which the verbs of one container find
// each other. It needs no file, so that a read-only root file system will do; it
// names the mount namespace, because containers share network namespaces.
func socketName() string {
	ns, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		ns = "unknown"
	}
	return "@podpath-probe/" + ns
}

// serve idles until ttl has passed since the last renewal, it is told to stop, or ctx ends.
func serve(ctx context.Context, name string, ttl time.Duration, out io.Writer) error {
	l, err := net.Listen("unix", name)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return errors.New("already serving in this container; use `podpath-probe run`")
		}
		return err
	}
	defer l.Close()
	words := make(chan string)
	go listen(ctx, l, words)
	fmt.Fprintf(out, "podpath-probe: serving for %s; runs prolong that\n", ttl)
	timer := time.NewTimer(ttl)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			return nil
		case w := <-words:
			if w == "stop" {
				return nil
			}
			timer.Reset(ttl)
		}
	}
}

// listen reads one word from each connection of a process of the same user.
func listen(ctx context.Context, l net.Listener, words chan<- string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.SetDeadline(time.Now().Add(time.Second))
		if u, ok := c.(*net.UnixConn); ok && sameUser(u) {
			buf := make([]byte, 16)
			n, _ := c.Read(buf)
			switch w := strings.TrimSpace(string(buf[:n])); w {
			case "renew", "stop":
				select {
				case words <- w:
				case <-ctx.Done():
				}
			}
		}
		c.Close()
	}
}

// sameUser refuses the words of other users: the network namespace may be the node's.
func sameUser(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	same := false
	err = raw.Control(func(fd uintptr) {
		cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		same = err == nil && cred.Uid == uint32(os.Getuid())
	})
	return err == nil && same
}

// tell says one word to the serving process.
func tell(name, word string) error {
	c, err := net.DialTimeout("unix", name, time.Second)
	if err != nil {
		return fmt.Errorf("nobody serves in this container: %w", err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	_, err = io.WriteString(c, word)
	return err
}
