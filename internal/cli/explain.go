package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podpath/podpath/internal/check"
	"github.com/podpath/podpath/internal/cni"
	"github.com/podpath/podpath/internal/diagnose/rules"
	"github.com/podpath/podpath/internal/model"
)

// page is what there is to say about one cause.
type page struct {
	id, title, doc, source string
	hop                    model.Hop
}

// pages are those of the catalogue of diagnoses and of what 'check' asks, by id.
func pages() []page {
	var out []page
	for _, r := range rules.All() {
		out = append(out, page{id: r.ID, title: r.Title(), doc: r.Doc, hop: r.Hop})
	}
	for _, c := range check.All() {
		out = append(out, page{id: c.ID, title: c.Title(), doc: c.Doc, hop: c.Hop, source: c.Source})
	}
	slices.SortFunc(out, func(a, b page) int { return strings.Compare(a.id, b.id) })
	return out
}

func (p *page) text() string {
	text := fmt.Sprintf("%s\n\nhop: %s\n", strings.TrimSpace(p.doc), p.hop)
	if p.source != "" {
		text += "source: " + p.source + "\n"
	}
	return text
}

func newExplain(s Streams) *cobra.Command {
	return &cobra.Command{
		Use: "explain [ID]", Short: "The page on one cause; without an ID, the list of causes",
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var ids []string
			for _, p := range pages() {
				ids = append(ids, p.id+"\t"+p.title)
			}
			ids = append(ids, "cni\tNetwork plugins")
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			all := pages()
			if len(args) == 0 {
				for _, p := range all {
					fmt.Fprintf(s.Out, "%-26s %s\n", p.id, p.title)
				}
				_, err := fmt.Fprintf(s.Out, "\n%-26s %s\n", "cni", "Network plugins: how each is recognised, what it does, and what of it podpath follows")
				return err
			}
			if args[0] == "cni" {
				_, err := fmt.Fprint(s.Out, cni.Explain())
				return err
			}
			i := slices.IndexFunc(all, func(p page) bool { return p.id == args[0] })
			if i < 0 {
				return fmt.Errorf("no cause is called %q; 'podpath explain' lists them all", args[0])
			}
			_, err := fmt.Fprint(s.Out, all[i].text())
			return err
		},
	}
}
