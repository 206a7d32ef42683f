package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podpath/podpath/internal/cni"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/diagnose/rules"
)

func newExplain(s Streams) *cobra.Command {
	return &cobra.Command{
		Use: "explain [ID]", Short: "The page on one cause; without an ID, the list of causes",
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var ids []string
			for _, r := range rules.All() {
				ids = append(ids, r.ID+"\t"+r.Title())
			}
			ids = append(ids, "cni\tNetwork plugins")
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			all := rules.All()
			slices.SortFunc(all, func(a, b diagnose.Rule) int { return strings.Compare(a.ID, b.ID) })
			if len(args) == 0 {
				for _, r := range all {
					fmt.Fprintf(s.Out, "%-26s %s\n", r.ID, r.Title())
				}
				fmt.Fprintf(s.Out, "\n%-26s %s\n", "cni", "Network plugins: how each is recognised, what it does, and what of it podpath follows")
				return nil
			}
			if args[0] == "cni" {
				_, err := fmt.Fprint(s.Out, cni.Explain())
				return err
			}
			for _, r := range all {
				if r.ID == args[0] {
					_, err := fmt.Fprintf(s.Out, "%s\n\nhop: %s\n", strings.TrimSpace(r.Doc), r.Hop)
					return err
				}
			}
			return fmt.Errorf("no cause is called %q; 'podpath explain' lists them all", args[0])
		},
	}
}
