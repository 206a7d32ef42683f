package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	cgroupFS  = "/sys/fs/cgroup"
	cgroupTop = "podpath-lab"
)

// unified says whether this machine has cgroup v2 only, as Debian 12 boots by default.
func unified() bool {
	_, err := os.Stat(filepath.Join(cgroupFS, "cgroup.controllers"))
	return err == nil
}

// hierarchies are the mounted cgroup trees: one with v2, one per controller with v1.
func hierarchies() []string {
	if unified() {
		return []string{cgroupFS}
	}
	entries, err := os.ReadDir(cgroupFS)
	if err != nil {
		return nil
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() { // not the links that stand for joint controllers
			dirs = append(dirs, filepath.Join(cgroupFS, e.Name()))
		}
	}
	return dirs
}

func cgroupRoots() []string {
	var dirs []string
	for _, h := range hierarchies() {
		dirs = append(dirs, filepath.Join(h, cgroupTop))
	}
	return dirs
}

// processTree is the hierarchy by which the lab's processes are found again.
func processTree() string {
	if unified() {
		return cgroupFS
	}
	return filepath.Join(cgroupFS, "pids")
}

// Cgroup is the path of one of the lab's groups as the kubelet and runc take it.
func (h Home) Cgroup(name string) string { return "/" + cgroupTop + "/" + h.Lab + "/" + name }

// cgroups are the lab's group folders that exist.
func (h Home) cgroups() []string {
	var found []string
	for _, root := range cgroupRoots() {
		dir := filepath.Join(root, h.Lab)
		if _, err := os.Stat(dir); err == nil {
			found = append(found, dir)
		}
	}
	return found
}

// createCgroup makes one of the lab's groups under every controller. Another lab's
// `down` may remove the common parent between two steps; then it is made again.
func (h Home) createCgroup(name string) (err error) {
	for range 5 {
		if err = h.tryCgroup(name); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return err
}

func (h Home) tryCgroup(name string) error {
	for _, tree := range hierarchies() {
		dir := tree
		for _, part := range []string{cgroupTop, h.Lab, name} {
			if err := delegate(dir); err != nil {
				return err
			}
			dir = filepath.Join(dir, part)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make a control group (needs root and a writable %s): %w", cgroupFS, err)
			}
			if err := inheritCpuset(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// CreateNodeCgroup makes the group under which a node's kubelet puts its pods.
func (h Home) CreateNodeCgroup(node string) error { return h.createCgroup(node) }

// delegate lets child groups have the controllers that this one has (v2 only).
// A controller that cannot be passed on is one the kubelet can do without.
func delegate(dir string) error {
	if !unified() {
		return nil
	}
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(have)) {
		err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
		if err != nil && (c == "pids" || c == "memory" || c == "cpu") {
			return fmt.Errorf("pass the %s controller on below %s: %w", c, dir, err)
		}
	}
	return nil
}

// inheritCpuset fills a new v1 cpuset group in: empty, it would accept no process.
func inheritCpuset(dir string) error {
	for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(dir, f))
		if unified() || errors.Is(err, fs.ErrNotExist) || strings.TrimSpace(string(own)) != "" {
			continue
		}
		if err != nil {
			return err
		}
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(dir), f))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f), parent, 0); err != nil {
			return fmt.Errorf("fill in %s: %w", filepath.Join(dir, f), err)
		}
	}
	return nil
}

// Join moves this process, and with it every child it will have, into the lab:
// `down` ends whatever is found there.
func (h Home) Join() error {
	file := filepath.Join(processTree(), cgroupTop, h.Lab, "daemon", "cgroup.procs")
	if err := os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		return fmt.Errorf("join lab %s (is it up?): %w", h.Lab, err)
	}
	return nil
}

// processes are the ids of all processes of the lab.
func (h Home) processes() ([]int, error) {
	var pids []int
	err := filepath.WalkDir(filepath.Join(processTree(), cgroupTop, h.Lab), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
			return nil
		}
		for _, f := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return err
	})
	return pids, err
}

// killAll ends every process of the lab, those that start meanwhile too.
func (h Home) killAll(patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		pids, err := h.processes()
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if pid == os.Getpid() {
				return fmt.Errorf("this process is itself inside lab %s: run the command from outside of it", h.Lab)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("end process %d: %w", pid, err)
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v of lab %s do not end (ps -o pid,stat,wchan,args -p …)", pids, h.Lab)
		}
		pause()
	}
}

// removeCgroups removes the lab's groups, and the common parent with the last lab.
func (h Home) removeCgroups(patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for _, dir := range h.cgroups() {
		for {
			err := removeTree(dir)
			if err == nil {
				break
			}
			if time.Now().After(deadline) { // a process that is going away holds its group for a moment
				return fmt.Errorf("remove control group: %w", err)
			}
			pause()
		}
	}
	for _, root := range cgroupRoots() {
		if err := syscall.Rmdir(root); err != nil && !errors.Is(err, syscall.ENOENT) &&
			!errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.ENOTEMPTY) {
			return &fs.PathError{Op: "rmdir", Path: root, Err: err}
		}
	}
	return nil
}

// removeTree removes a group and those in it. Only folders can be removed there: their files go with them.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// pause lets the kernel get on; there is nothing to wait on for "a group is empty" in v1.
func pause() { time.Sleep(10 * time.Millisecond) }
