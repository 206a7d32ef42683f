package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/podpath/podpath/internal/check"
	"github.com/podpath/podpath/internal/collect/kube"
	"github.com/podpath/podpath/internal/examine"
	"github.com/podpath/podpath/internal/report"
	"github.com/podpath/podpath/internal/vantage"
)

// checkFlags are the flags of 'check'.
type checkFlags struct {
	*asking
	snapshot, output, color string
}

func newCheck(s Streams) *cobra.Command {
	f := &checkFlags{asking: newAsking()}
	c := &cobra.Command{
		Use:   "check",
		Short: "What is wrong with this cluster's network, before anybody complains",
		Long: "Examines the whole cluster without a question: what AKS needs of the internet, DNS, Services that lead nowhere,\n" +
			"policies that select nothing or lock pods out of DNS, nodes and their agents, address space, source ports,\n" +
			"and what is retired. One line a finding, the most severe first; -o wide shows evidence and remedies.\n\n" +
			"Exit code: 0 nothing is likely wrong, 1 something is, 2 nothing was found but not everything could be checked,\n" +
			"3 podpath could not do its work.\n\n" +
			"podpath reads; it changes nothing of yours. With --all-nodes it creates a short-lived pod on each node, 16 at a time,\n" +
			"labelled app.kubernetes.io/managed-by=podpath; without, it creates nothing.",
		Example: "  podpath check\n  podpath check -o wide\n  podpath check -o json --no-azure\n  podpath check --all-nodes --node-reader basic\n  podpath check --snapshot case.podpath",
		Args:    cobra.NoArgs,
	}
	f.register(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		look, err := terminal(s.Out, os.Getenv, f.color)
		if err != nil {
			return err
		}
		if err := report.CheckCheckFormat(f.output); err != nil {
			return err
		}
		r, err := f.report(c.Context(), s)
		if err != nil {
			return err
		}
		if err := report.WriteCheck(s.Out, f.output, r, look); err != nil {
			return err
		}
		if r.ExitCode != 0 {
			return &Exit{Code: r.ExitCode}
		}
		return nil
	}
	return c
}

func (f *checkFlags) register(c *cobra.Command) {
	fl := c.Flags()
	f.kube.AddFlags(fl)
	fl.StringVar(&f.snapshot, "snapshot", "", "look at a case that 'podpath snapshot save' wrote; nothing is contacted")
	fl.StringVarP(&f.output, "output", "o", "", "output format: "+strings.Join(report.CheckFormats, ", "))
	fl.StringVar(&f.color, "color", "auto", "auto, always or never; NO_COLOR is obeyed")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "no progress on a terminal")
	fl.BoolVar(&f.opts.AllNodes, "all-nodes", false, "read the inside of every node too: sysctls, routes, packet filter, kernel messages; takes a pod on each, whose time --timeout does not limit")
	f.nodeFlags(fl)
	f.azureFlags(fl)
	fixed(c, "output", report.CheckFormats...)
	fixed(c, "color", "auto", "always", "never")
}

// report comes from a snapshot or a cluster.
func (f *checkFlags) report(ctx context.Context, s Streams) (*check.Report, error) {
	f.opts.Now = time.Now().UTC()
	if err := errors.Join(f.checkReader(), f.checkFlags()); err != nil {
		return nil, err
	}
	if f.opts.AllNodes && (f.snapshot != "" || f.opts.Probe.NodeReader == vantage.ReaderNone) {
		return nil, errors.New("--all-nodes reads inside nodes: leave --snapshot and --node-reader none out")
	}
	if f.snapshot != "" {
		c, err := loadCase(f.snapshot, s.In)
		if err != nil {
			return nil, err
		}
		return check.Run(&c.World, check.Options{Now: c.Asked, Notes: []string{"a snapshot holds what its own question took: the rest of the cluster is not in it"}}), nil
	}
	p := newProgress(s.Err, f.quiet)
	defer p.Stop()
	client, err := kube.Connect(f.kube)
	if err != nil {
		return nil, fmt.Errorf("%w\nOr look at a snapshot, which needs no cluster: podpath check --snapshot FILE", err)
	}
	f.opts.Config, f.opts.Kube, f.opts.Namespace, f.opts.Progress = client.Config, client.Set, client.Namespace, p.Say
	r, err := examine.Check(ctx, f.opts)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("the cluster was not read within --timeout %s: give it longer", f.opts.Timeout)
	}
	return r, err
}
