package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/podpath/podpath/lab/parity"
)

func parityCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "parity", Short: "hold podpath's predictions in random worlds against packets", Args: cobra.NoArgs,
		Long: "Makes random worlds in a lab that is up (policies, Services, security groups, route tables), predicts connections\n" +
			"with podpath, opens them, and compares. A seed makes the same worlds again. The lab must enforce policies:\n" +
			"podpath-lab up --name parity --policy enforced --nodes 3",
	}
	name := nameFlag(cmd)
	var o parity.Options
	f := cmd.Flags()
	f.Uint64Var(&o.Seed, "seed", 0, "of the worlds and flows (default from PODPATH_SEED, else a new one each time)")
	f.IntVar(&o.Flows, "flows", 2000, "how many connections")
	f.IntVar(&o.Round, "round", 0, "one round alone, as a disagreement names it")
	f.Float64Var(&o.Unknown, "unknown", 0.15, "the share of connections that podpath may not know")
	f.BoolVar(&o.Show, "show", false, "print the worlds")
	f.StringVar(&o.Podpath, "podpath", "", "the podpath to ask (default the one beside podpath-lab)")
	f.DurationVar(&o.Limit, "limit", 2*time.Minute, "for one round")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := paritySeed(&o, f.Changed("seed"), os.Getenv("PODPATH_SEED")); err != nil {
			return exitError{2, err}
		}
		if o.Podpath == "" {
			bin, err := binDir()
			if err != nil {
				return err
			}
			o.Podpath = filepath.Join(bin, "podpath")
		}
		o.Lab, o.Out = *name, cmd.OutOrStdout()
		return parity.Run(cmd.Context(), o)
	}
	return cmd
}

// paritySeed takes the flag, else the environment, else a new seed.
func paritySeed(o *parity.Options, given bool, env string) error {
	switch {
	case given:
		return nil
	case env != "":
		n, err := strconv.ParseUint(env, 10, 64)
		if err != nil {
			return fmt.Errorf("PODPATH_SEED: %q is no number from 0 on", env)
		}
		o.Seed = n
		return nil
	}
	o.Seed = rand.Uint64N(1 << 32)
	return nil
}
