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

// group is the folder of a group of the lab's processes that can be ended on its own.
func (h Home) group(name string) string {
	return filepath.Join(processTree(), cgroupTop, h.Lab, "inject-"+name)
}

// StartGroup makes a group and returns the file into which a process writes its id to join.
func (h Home) StartGroup(name string) (string, error) {
	dir := h.group(name)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make a group of processes (is lab %s up?): %w", h.Lab, err)
	}
	return filepath.Join(dir, "cgroup.procs"), nil
}

// DropGroup removes a group that has no processes (any more); one that has stays.
func (h Home) DropGroup(name string) { _ = syscall.Rmdir(h.group(name)) }

// EndGroup ends the processes of a group, politely first, and removes it.
func (h Home) EndGroup(name string) error {
	dir := h.group(name)
	start := time.Now()
	for {
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		pids := strings.Fields(string(data))
		if len(pids) == 0 {
			err := syscall.Rmdir(dir)
			if err == nil || errors.Is(err, syscall.ENOENT) {
				return nil
			}
			if time.Since(start) > 10*time.Second {
				return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
			}
			pause()
			continue
		}
		signal := syscall.SIGTERM
		if time.Since(start) > 500*time.Millisecond {
			signal = syscall.SIGKILL
		}
		for _, p := range pids {
			if pid, err := strconv.Atoi(p); err == nil && pid > 1 {
				if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
					return fmt.Errorf("end process %d: %w", pid, err)
				}
			}
		}
		if time.Since(start) > 10*time.Second {
			return fmt.Errorf("processes %s of %s do not end", strings.Join(pids, " "), name)
		}
		pause()
	}
}
