package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/podpath/podpath/lab/home"
)

func downCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "down", Short: "take a lab down, whatever state it is in; nothing of it stays", Args: cobra.NoArgs}
	name := nameFlag(cmd)
	all := cmd.Flags().Bool("all", false, "take every lab of this machine down")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		h, err := home.Of(*name)
		if err != nil {
			return exitError{2, err}
		}
		homes := []home.Home{h}
		if *all {
			if homes, err = home.All(); err != nil {
				return err
			}
		}
		var errs []error
		for _, h := range homes {
			errs = append(errs, down(cmd, h))
		}
		return errors.Join(errs...)
	}
	return cmd
}

func down(cmd *cobra.Command, h home.Home) error {
	unlock, err := h.Lock()
	if errors.Is(err, home.ErrBusy) {
		return exitError{3, fmt.Errorf("%w: interrupt it (an up that is interrupted takes its lab down), or wait", err)}
	}
	if err != nil {
		return err
	}
	defer unlock()
	if !h.Exists() {
		fmt.Fprintf(cmd.OutOrStdout(), "no lab %s to take down\n", h.Lab)
		return nil
	}
	start := time.Now()
	if err := h.Down(); err != nil {
		return fmt.Errorf("lab %s: %w", h.Lab, err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "lab %s is down (%.1fs)\n", h.Lab, time.Since(start).Seconds())
	return nil
}
