package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// watchers is how many inotify instances a lab opens: what the control plane
// takes, and containerd, kubelet and kube-proxy of each node (counted on labs
// that were up).
func watchers(nodes int) int { return 8 + 8*nodes }

// roomToWatch says what to do where the kernel does not give root that many more
// instances: a kubelet or CoreDNS without them dies with "too many open files".
func roomToWatch(nodes int) error {
	need := watchers(nodes)
	for n := range need {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			return fmt.Errorf("a lab of %d nodes watches files by %d inotify instances, and the kernel gives %d more (%w): sysctl fs.inotify.max_user_instances=1024, or take another lab down", nodes, need, n, err)
		}
		defer unix.Close(fd)
	}
	return nil
}
