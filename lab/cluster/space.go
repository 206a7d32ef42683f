package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"

	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/lab/netns"
)

// Space is a place to start processes in: a network namespace, and for a node a
// mount and a host-name namespace too. It is held by a thread of this process
// and by the processes started in it, by nothing else: when they are gone, so
// are all of the node's mounts, however they ended.
type Space struct{ work chan func() }

// newSpace makes a space in a network namespace. The setup runs inside.
func newSpace(network string, flags int, setup func() error) (*Space, error) {
	s := &Space{make(chan func())}
	ready := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		err := enter(network, flags)
		if err == nil && setup != nil {
			err = setup()
		}
		ready <- err
		if err != nil {
			return
		}
		for f := range s.work {
			f()
		}
	}()
	return s, <-ready
}

func enter(network string, flags int) error {
	h, err := vnetns.GetFromPath(netns.Path(network))
	if err != nil {
		return fmt.Errorf("enter network namespace %s: %w", network, err)
	}
	defer h.Close()
	if err := vnetns.Set(h); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", network, err)
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("make namespaces for %s (needs root): %w", network, err)
	}
	return nil
}

// do runs f on the space's thread: a process started there is in the space.
func (s *Space) do(f func() error) error {
	done := make(chan error, 1)
	s.work <- func() { done <- f() }
	return <-done
}

// nodeFiles is what a node's own view of the file system is made of.
type nodeFiles struct {
	root   string // where the lab keeps this node's files
	home   string // the lab's folder, seen at its own path from inside too
	name   string
	resolv string // content of /etc/resolv.conf
	trust  []byte // an authority to trust beside the machine's own
	cni    map[string]string
}

// setup gives the thread's mount namespace a node's file system: the machine's
// own, with /var/lib, /var/log, /run and /etc apart. Nothing of it is seen outside.
func (n nodeFiles) setup() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// A copy of the mount of a network namespace would keep that namespace alive
	// after its lab has gone.
	if err := unmountAll(netns.Dir); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(n.name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	lib := filepath.Join(n.root, "lib")
	inside := filepath.Join(lib, strings.TrimPrefix(n.home, "/var/lib"))
	for _, dir := range []string{inside, filepath.Join(n.root, "log"), filepath.Join(lib, "kubelet"), filepath.Join(lib, "containerd")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}{
		{n.home, inside, "", unix.MS_BIND, ""},
		{lib, "/var/lib", "", unix.MS_BIND | unix.MS_REC, ""},
		{filepath.Join(n.root, "log"), "/var/log", "", unix.MS_BIND, ""},
		{"tmpfs", "/run", "tmpfs", 0, "mode=755"},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
		}
	}
	if err := n.kernelSettings(); err != nil {
		return err
	}
	if err := n.etc(); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts among the node's processes: %w", err)
	}
	return nil
}

// kernelSettings shows the kubelet the settings that it wants to find. It would
// set them, and they belong to the whole machine, not to a node of a lab.
func (n nodeFiles) kernelSettings() error {
	for name, value := range map[string]string{
		"vm/overcommit_memory": "1", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
	} {
		file := filepath.Join(n.root, filepath.Base(name))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, "/proc/sys/"+name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount over /proc/sys/%s: %w", name, err)
		}
	}
	return nil
}

const trustFile = "/etc/ssl/certs/ca-certificates.crt"

// etc lays the node's own files over the machine's /etc.
func (n nodeFiles) etc() error {
	if err := overlay("/etc", filepath.Join(n.root, "etc")); err != nil {
		return err
	}
	if err := os.MkdirAll("/etc/cni/net.d", 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob("/etc/cni/net.d/*")
	if err != nil {
		return err
	}
	for _, f := range append(old, "/etc/resolv.conf") { // often a link to what is not in a node's /run
		if err := os.RemoveAll(f); err != nil {
			return err
		}
	}
	files := map[string]string{
		"/etc/resolv.conf": n.resolv,
		"/etc/hostname":    n.name + "\n",
		"/etc/hosts":       "127.0.0.1 localhost\n127.0.1.1 " + n.name + "\n",
	}
	for name, content := range n.cni {
		files["/etc/cni/net.d/"+name] = content
	}
	roots, err := os.ReadFile(trustFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(trustFile), 0o755); err != nil {
		return err
	}
	files[trustFile] = string(roots) + string(n.trust) // containerd pulls from the lab's registry
	for path, content := range files {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return cniPlugins()
}

// overlay makes dir writable without its changes being seen elsewhere.
func overlay(dir, store string) error {
	upper, work := filepath.Join(store, "upper"), filepath.Join(store, "work")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work)
	if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
		return fmt.Errorf("lay an overlay over %s (the lab's folder must be on a file system that can hold one: ext4, xfs, btrfs): %w", dir, err)
	}
	return nil
}

// unmountAll unmounts everything below dir in the calling thread's mount namespace.
func unmountAll(dir string) error {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	var points []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			points = append(points, fields[4])
		}
	}
	sort.Sort(sort.Reverse(sort.StringSlice(points)))
	for _, p := range points {
		if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", p, err)
		}
	}
	return nil
}

// run runs a command in the space and tells what it said if it failed.
func (s *Space) run(ctx context.Context, argv ...string) error { return s.feed(ctx, "", argv...) }

// feed is run with a standard input.
func (s *Space) feed(ctx context.Context, input string, argv ...string) error {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &out
	if err := s.do(cmd.Start); err != nil {
		return fmt.Errorf("%s: %w", argv[0], err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}
