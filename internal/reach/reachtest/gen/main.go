// Command gen writes a generated cluster as manifests: gen DIR PODS REPLICAS POLICIES [SEED].
package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/podpath/podpath/internal/reach/reachtest"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 4 {
		return fmt.Errorf("usage: gen DIR PODS REPLICAS POLICIES [SEED]")
	}
	var n [4]int
	n[3] = 1
	for i, a := range args[1:] {
		v, err := strconv.Atoi(a)
		if err != nil || v < 0 || i >= len(n) {
			return fmt.Errorf("%q is not a number that is meant", a)
		}
		n[i] = v
	}
	if err := os.MkdirAll(args[0], 0o755); err != nil {
		return err
	}
	return reachtest.Write(reachtest.Cluster(uint64(n[3]), reachtest.Size{Pods: n[0], Replicas: n[1], Policies: n[2]}), args[0], n[1] > 1)
}
