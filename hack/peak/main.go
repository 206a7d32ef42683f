// Command peak runs a command and tells how long it took, how much processor
// time and at most how much memory: peak NAME COMMAND… prints "NAME seconds cpu-seconds MiB".
package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: peak NAME COMMAND [ARGUMENT…]")
		os.Exit(2)
	}
	c := exec.Command(os.Args[2], os.Args[3:]...)
	c.Stderr = os.Stderr
	start := time.Now()
	if err := c.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "peak:", err)
		os.Exit(1)
	}
	took := time.Since(start)
	used, _ := c.ProcessState.SysUsage().(*syscall.Rusage)
	fmt.Printf("%s %.3f %.3f %.0f\n", os.Args[1], took.Seconds(), (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds(), float64(used.Maxrss)/1024)
}
