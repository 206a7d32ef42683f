package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/podpath/podpath/internal/examine"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/report"
	"github.com/podpath/podpath/internal/snapshot"
)

func newSnapshot(s Streams) *cobra.Command {
	c := &cobra.Command{
		Use: "snapshot", Short: "Keep a case, to send it or to diagnose it again elsewhere",
		Long: "A snapshot is everything that one question read and saw, redacted as it is written (docs/snapshot.md).\n" +
			"'podpath why --snapshot FILE' gives the same report without a cluster.",
	}
	c.AddCommand(newSnapshotSave(s), newSnapshotShow(s))
	return c
}

func newSnapshotSave(s Streams) *cobra.Command {
	var (
		q    question
		a    = newAsking()
		file string
		hide bool
	)
	c := &cobra.Command{
		Use: "save FROM TO", Short: "Ask as 'why' does, and write the case to a file",
		Example: "  podpath snapshot save shop/deploy/checkout https://api.example.com -f case.podpath",
		Args:    cobra.RangeArgs(2, 4),
	}
	q.register(c)
	a.register(c)
	c.Flags().StringVarP(&file, "file", "f", "", "file to write, or - for standard output (default podpath-FROM.podpath)")
	c.Flags().BoolVar(&hide, "hide-ids", false, "take subscription ids out too; commands in the report then lack them")
	c.RunE = func(c *cobra.Command, args []string) error {
		parsed, err := q.parse(args)
		if err != nil {
			return err
		}
		if file == "" {
			file = "podpath-" + parsed.From.Name + ".podpath"
		}
		if err := canSave(file); err != nil {
			return err
		}
		got, err := a.ask(c.Context(), parsed, s)
		if err != nil {
			return err
		}
		if err := saveCase(file, got.Case, snapshot.Options{HideIDs: hide}, s.Out); err != nil {
			return err
		}
		if file != "-" {
			fmt.Fprintf(s.Err, "wrote %s; look at it with: podpath why --snapshot %s\n", file, file)
		}
		return nil
	}
	return c
}

func newSnapshotShow(s Streams) *cobra.Command {
	return &cobra.Command{
		Use: "show FILE", Short: "Say what a snapshot holds", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := loadCase(args[0], s.In)
			if err != nil {
				return err
			}
			r := report.New(c, examine.Diagnose(c))
			w := &c.World
			fmt.Fprintf(s.Out, "question      %q -> %q (%s)\nasked         %s\nworks         %s\n", c.Question.From.Raw, c.Question.To.Raw, c.Question.Protocol, c.Asked.Format("2006-01-02 15:04:05 MST"), r.Works)
			fmt.Fprintf(s.Out, "Kubernetes    %d pods, %d nodes, %d services, %d network policies\n", len(w.Kube.Pods), len(w.Kube.Nodes), len(w.Kube.Services), len(w.Kube.Policies))
			fmt.Fprintf(s.Out, "Azure         %d subnets, %d NSGs, %d route tables, %d NAT gateways, %d load balancers, %d firewalls\n",
				len(w.Azure.Subnets), len(w.Azure.NSGs), len(w.Azure.RouteTables), len(w.Azure.NATGateways), len(w.Azure.LoadBalancers), len(w.Azure.Firewalls))
			_, err = fmt.Fprintf(s.Out, "observations  %d\nnot checked   %d\n", len(c.Observations), len(r.NotChecked))
			return err
		},
	}
}

// canSave says early that a snapshot could not be written: asking takes seconds.
func canSave(file string) error {
	if file == "" || file == "-" {
		return nil
	}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		return fmt.Errorf("writing the snapshot: %s is a folder; name a file in it", file)
	}
	if _, err := os.Stat(filepath.Dir(file)); err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	return nil
}

// saveCase writes a snapshot whole or not at all: a temporary file beside it, then a rename.
func saveCase(file string, c *model.Case, o snapshot.Options, out io.Writer) (err error) {
	if file == "-" {
		return snapshot.SaveWith(out, c, o)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".podpath-*")
	if err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := snapshot.SaveWith(f, c, o); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
