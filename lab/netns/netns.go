// Package netns makes, lists, enters and removes the lab's named network
// namespaces. A namespace is known by its name under /run/netns, as `ip netns`
// knows it, so that people can look into a lab with the tools they have.
package netns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Dir is where named namespaces live.
const Dir = "/run/netns"

// Name is the namespace of a role ("router", "node-aks-np1-vmss000000") in a lab.
func Name(lab, role string) string { return lab + "-" + role }

// Path is the file that stands for a namespace.
func Path(name string) string { return filepath.Join(Dir, name) }

// Create makes a namespace with its loopback up. One that exists already is an error:
// it would bring links and rules nobody here has put there.
func Create(name string) error {
	if Exists(name) {
		return fmt.Errorf("network namespace %s exists already: a lab of that name is up, or was not taken down", name)
	}
	return onThread(func() error {
		h, err := netns.NewNamed(name) // moves this thread into it; onThread gives the thread up
		if err != nil {
			return fmt.Errorf("create network namespace %s (needs root): %w", name, err)
		}
		defer h.Close()
		return loopbackUp()
	})
}

// Delete removes a namespace, and with it every link whose other end is in no
// process's hands. A namespace that is not there is deleted already.
func Delete(name string) error {
	path := Path(name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete network namespace %s: %w", name, err)
	}
	return nil
}

// Exists says whether a namespace of that name is there.
func Exists(name string) bool {
	_, err := os.Lstat(Path(name))
	return err == nil
}

// List gives the names of all namespaces with a prefix ("lab-"), sorted.
func List(prefix string) ([]string, error) {
	entries, err := os.ReadDir(Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Do runs f on a thread inside the namespace. Sockets that f opens stay in the
// namespace for good; goroutines that f starts do not run in it.
func Do(name string, f func() error) error {
	return onThread(func() error {
		h, err := netns.GetFromPath(Path(name))
		if err != nil {
			return fmt.Errorf("enter network namespace %s: %w", name, err)
		}
		defer h.Close()
		if err := netns.Set(h); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", name, err)
		}
		return f()
	})
}

// onThread runs f on an operating-system thread that is thrown away afterwards:
// no other goroutine can ever find itself in the wrong namespace.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		finished := false
		defer func() {
			if !finished { // f panicked or called runtime.Goexit
				done <- fmt.Errorf("function in network namespace did not return: %v", recover())
			}
		}()
		err := f()
		finished = true
		done <- err
	}()
	return <-done
}

// Listen opens a TCP listener inside the namespace. The address must be literal.
func Listen(name, network, addr string) (l net.Listener, err error) {
	err = Do(name, func() error {
		lc := net.ListenConfig{KeepAlive: -1} // as most servers: it is for the client to keep a connection alive
		l, err = lc.Listen(context.Background(), network, addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s in %s: %w", addr, name, err)
	}
	return l, nil
}

// ListenPacket opens a UDP socket inside the namespace. The address must be literal.
func ListenPacket(name, network, addr string) (c net.PacketConn, err error) {
	err = Do(name, func() error {
		var lc net.ListenConfig
		c, err = lc.ListenPacket(context.Background(), network, addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s in %s: %w", addr, name, err)
	}
	return c, nil
}

// Dial connects from inside the namespace. The address must be literal: looking
// a name up would happen in whatever namespace the resolver's goroutine has.
func Dial(ctx context.Context, name, network, addr string) (c net.Conn, err error) {
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, fmt.Errorf("dial %s from %s: the address must be IP:port", addr, name)
	}
	err = Do(name, func() error {
		var d net.Dialer
		c, err = d.DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// Command is a command that runs inside the namespace. It goes through nsenter,
// not `ip netns exec`, which would hide the cgroup mounts behind a fresh /sys.
func Command(ctx context.Context, name string, argv ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + Path(name), "--"}, argv...)...)
}

// Sysctl sets kernel settings of the namespace: keys as sysctl(8) writes them
// ("net.ipv4.ip_forward").
func Sysctl(name string, settings map[string]string) error {
	return Do(name, func() error {
		for key, value := range settings {
			path := "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
			if err := os.WriteFile(path, []byte(value), 0); err != nil {
				return fmt.Errorf("set %s=%s in %s: %w", key, value, name, err)
			}
		}
		return nil
	})
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	return nil
}
