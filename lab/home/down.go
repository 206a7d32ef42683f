package home

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/lab/netns"
)

// Down takes the lab away: processes, network namespaces, mounts, files, control
// groups. It needs nothing of the lab to work, so that it also clears what a lab
// that died half way left behind. The caller holds the lock.
func (h Home) Down() error {
	if err := h.killAll(20 * time.Second); err != nil {
		return err
	}
	// From here on nothing of the lab runs; what fails now is told, but does not stop the rest.
	var errs []error
	names, err := netns.List(netns.Name(h.Lab, ""))
	errs = append(errs, err)
	for _, name := range names {
		errs = append(errs, netns.Delete(name))
	}
	errs = append(errs, unmountBelow(h.Path()))
	if errors.Join(errs...) == nil { // never delete through a mount that is still there
		errs = append(errs, os.RemoveAll(h.Path()))
	}
	errs = append(errs, h.removeCgroups(10*time.Second))
	if err := os.Remove(Root); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// unmountBelow unmounts what is mounted at or under a folder, the deepest first.
// A node's mounts are in a namespace of its own and went with its processes;
// this is for a host that shares mounts, and for what people mounted there.
func unmountBelow(dir string) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	var points []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		point := unescape(fields[4])
		if point == dir || strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	sort.Sort(sort.Reverse(sort.StringSlice(points)))
	for _, p := range points {
		if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", p, err)
		}
	}
	return nil
}

// unescape undoes the octal escapes of mountinfo (\040 for a blank).
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
