// Command podpath follows one connection hop by hop and names the hop where it
// dies, the line of configuration that kills it, and the command that mends it.
// The same binary is installed as kubectl-podpath.
package main

import (
	"os"

	"github.com/podpath/podpath/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
