// Command podpath-lab is an AKS-like cloud on one Linux machine: `up` and `down`,
// `env` and `exec` to work in it, `inject`, `heal` and `bench` to break it and
// to judge who finds out why.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/podpath/podpath/lab/daemon"
	"github.com/podpath/podpath/lab/home"
	"github.com/podpath/podpath/lab/scenario"
)

// exitError is an error with an exit code of its own. 3: the command could not
// do its work, because of what is on this machine, or is not.
type exitError struct {
	code int
	error
}

func (e exitError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := root().ExecuteContext(ctx)
	if err == nil {
		return
	}
	var exit exitError
	if !errors.As(err, &exit) {
		exit = exitError{1, err}
	}
	if exit.error != nil && exit.Error() != "" {
		fmt.Fprintf(os.Stderr, "podpath-lab: %v\n", exit.error)
	}
	os.Exit(exit.code)
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use: "podpath-lab", Short: "an AKS-like cloud on one Linux machine",
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return exitError{3, errors.New("a lab is made of network namespaces and control groups: run it as root (sudo)")}
			}
			return nil
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return exitError{2, err} })
	cmd.AddCommand(upCommand(), downCommand(), statusCommand(), envCommand(), execCommand(), parityCommand(), daemonCommand())
	for _, c := range scenario.Commands() {
		run := c.RunE
		c.RunE = func(cmd *cobra.Command, args []string) error {
			err := run(cmd, args)
			if err == nil {
				return nil
			}
			code, told := scenario.ExitCode(err)
			if told {
				err = nil
			}
			return exitError{code, err}
		}
		cmd.AddCommand(c)
	}
	return cmd
}

// nameFlag adds --name, which every command about one lab has.
func nameFlag(cmd *cobra.Command) *string {
	name := home.DefaultName
	if v := os.Getenv("PODPATH_LAB"); v != "" {
		name = v
	}
	return cmd.Flags().String("name", name, "which lab, where several are up (default from PODPATH_LAB)")
}

func daemonCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "daemon", Short: "the process behind a lab; up starts it", Hidden: true, Args: cobra.NoArgs}
	name := nameFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		h, err := home.Of(*name)
		if err != nil {
			return err
		}
		bin, err := binDir()
		if err != nil {
			return err
		}
		return daemon.Run(cmd.Context(), h, bin)
	}
	return cmd
}

// binDir is the folder that this program was installed in, with the others it needs.
func binDir() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(self)
	if err != nil {
		return "", err
	}
	return filepath.Dir(real), nil
}
