package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podpath/podpath/internal/collect/kube"
	"github.com/podpath/podpath/internal/examine"
	"github.com/podpath/podpath/internal/manifest"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
	"github.com/podpath/podpath/internal/reach"
)

// reachFlags are the flags of 'reach'.
type reachFlags struct {
	*asking
	dir, snapshot, intents   string
	from, to, port, protocol string
	output, color, dialect   string
	podCIDRs                 []string
}

func newReach(s Streams) *cobra.Command {
	f := &reachFlags{asking: newAsking()}
	c := &cobra.Command{
		Use:   "reach",
		Short: "Who can reach whom, the internet, and be reached from it",
		Long: "Computes from policies who can connect to whom, for all pairs at once: of a cluster, of a directory of\n" +
			"manifests before anything is applied (--dir), or of a snapshot. Without --from, --to and -f it sums up: what is\n" +
			"open to and from the internet, and which policies and rules change nothing.\n\n" +
			"FROM and TO: NS/POD, NS/KIND/NAME, NS/svc/NAME, node/NAME, an address, a network, internet, a DNS name, or a\n" +
			"selector of pods NS/LABELS, */LABELS, [NAMESPACE-LABELS]/LABELS (shop/app=web, */*, [team=a]/*).\n\n" +
			"Exit code with -f: 0 every intent holds, 1 one does not, 2 of some it is not known, 3 podpath could not do its work.",
		Example: "  podpath reach --dir manifests/\n  podpath reach --dir manifests/ -f intents.yaml\n" +
			"  podpath reach --to shop/deploy/db\n  podpath reach --from shop/deploy/web --to shop/svc/db --port 5432 -o json",
		Args: cobra.NoArgs,
	}
	f.register(c)
	return f.run(c, s)
}

func (f *reachFlags) register(c *cobra.Command) {
	fl := c.Flags()
	f.kube.AddFlags(fl)
	fl.StringVar(&f.dir, "dir", "", "read manifests (YAML, JSON, lists) of this directory instead of a cluster")
	fl.StringVar(&f.snapshot, "snapshot", "", "look at a case that 'podpath snapshot save' wrote; nothing is contacted")
	fl.StringVarP(&f.intents, "filename", "f", "", "file of intents to hold the configuration to, or - for standard input")
	fl.StringVar(&f.from, "from", "", "who connects")
	fl.StringVar(&f.to, "to", "", "what is connected to; alone: who can reach it")
	fl.StringVar(&f.port, "port", "", "port: a number, a range 8000-8080, or a name (default every port)")
	fl.StringVar(&f.protocol, "protocol", "tcp", "tcp, udp or sctp")
	fl.StringVar(&f.dialect, "dialect", "", "whose reading of policies: upstream, npm, calico, cilium (default: told from the cluster, else upstream)")
	fl.StringSliceVar(&f.podCIDRs, "pod-cidr", nil, "networks that pods get their addresses from, where manifests do not tell")
	fl.StringVarP(&f.output, "output", "o", "", "output format: "+strings.Join(reach.Formats, ", "))
	fl.StringVar(&f.color, "color", "auto", "auto, always or never; NO_COLOR is obeyed")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "no progress on a terminal")
	f.azureFlags(fl)
	fixed(c, "output", reach.Formats...)
	fixed(c, "color", "auto", "always", "never")
	fixed(c, "protocol", reach.Protocols[:]...)
	fixed(c, "dialect", "upstream", "npm", "calico", "cilium")
}

func (f *reachFlags) run(c *cobra.Command, s Streams) *cobra.Command {
	c.RunE = func(c *cobra.Command, _ []string) error {
		look, err := terminal(s.Out, os.Getenv, f.color)
		if err != nil {
			return err
		}
		list, err := f.check(s.In)
		if err != nil {
			return err
		}
		// A short life: memory that would be collected is gone with the process anyway.
		defer debug.SetGCPercent(debug.SetGCPercent(400))
		w, notes, err := f.world(c.Context(), s)
		if err != nil {
			return err
		}
		x, err := f.index(w)
		if err != nil {
			return err
		}
		e := reach.New(x, reach.Prefixes(list))
		view, code, err := f.view(e, list, notes)
		if err != nil {
			return err
		}
		if err := reach.Write(s.Out, f.output, view, look.Color); err != nil {
			return err
		}
		if code != 0 {
			return &Exit{Code: code}
		}
		return nil
	}
	return c
}

// check reads what is asked before anything is contacted.
func (f *reachFlags) check(in io.Reader) ([]reach.Intent, error) {
	if err := reach.Write(io.Discard, f.output, &reach.Verdicts{}, false); err != nil {
		return nil, err
	}
	if f.dir != "" && f.snapshot != "" {
		return nil, errors.New("--dir and --snapshot exclude each other")
	}
	if err := f.checkFlags(); err != nil {
		return nil, err
	}
	if f.dialect != "" {
		if _, ok := policy.DialectOf(f.dialect); !ok {
			return nil, fmt.Errorf("--dialect %q is none of upstream, npm, calico, cilium", f.dialect)
		}
	}
	one := reach.Intent{From: reach.Side{Text: f.from}, To: reach.Side{Text: f.to}, Port: f.port, Protocol: f.protocol}
	switch {
	case f.intents != "" && (f.from != "" || f.to != "" || f.port != ""):
		return nil, errors.New("-f holds its own questions: leave --from, --to and --port out")
	case f.intents != "":
		return readIntents(f.intents, in)
	case f.from == "" && f.to == "" && f.port != "":
		return nil, errors.New("--port alone asks nothing: name --from, --to or both")
	case f.from == "" && f.to == "":
		return nil, nil
	}
	if err := one.Check(); err != nil {
		return nil, fmt.Errorf("--%w", err)
	}
	return []reach.Intent{one}, nil
}

// maxIntentsFile bounds a file of intents, in bytes.
const maxIntentsFile = 256 << 20

func readIntents(name string, in io.Reader) ([]reach.Intent, error) {
	data, err := readFile(name, in, maxIntentsFile)
	if err != nil {
		return nil, err
	}
	list, err := reach.ParseIntents(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return list, nil
}

// world comes from a directory, a snapshot or a cluster.
func (f *reachFlags) world(ctx context.Context, s Streams) (*model.World, []string, error) {
	p := newProgress(s.Err, f.quiet)
	defer p.Stop()
	switch {
	case f.dir != "":
		p.Say("reading " + f.dir)
		var skip []string
		if f.intents != "" && f.intents != "-" {
			skip = []string{f.intents}
		}
		r, err := manifest.Read(f.dir, manifest.Options{Namespace: f.namespace(), Skip: skip})
		if err != nil {
			return nil, nil, err
		}
		return r.World, r.Notes(), nil
	case f.snapshot != "":
		c, err := loadCase(f.snapshot, s.In)
		if err != nil {
			return nil, nil, err
		}
		return &c.World, []string{"a snapshot holds what its own question took: pods of other namespaces may be missing"}, nil
	}
	client, err := kube.Connect(f.kube)
	if err != nil {
		return nil, nil, otherwise(err, "look at manifests, which needs no cluster: podpath reach --dir DIRECTORY")
	}
	f.opts.Config, f.opts.Kube, f.opts.Namespace, f.opts.Progress = client.Config, client.Set, client.Namespace, p.Say
	w, err := examine.World(ctx, f.opts)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, nil, tooLate(f.opts)
	}
	if err == nil && len(w.Kube.Pods) == 0 && !w.Read["pod"] {
		err = noPods(w)
	}
	return w, nil, err
}

// noPods is the end where no pod could be read: of nothing nothing can be said.
func noPods(w *model.World) error {
	for _, g := range w.Gaps {
		if g.What == "pods" {
			return fmt.Errorf("the cluster's pods could not be read (%s): %s", g.Reason, cmp.Or(g.Permission, "try again"))
		}
	}
	return errors.New("the cluster's pods could not be read")
}

func (f *reachFlags) namespace() string {
	if n := f.kube.Namespace; n != nil {
		return *n
	}
	return ""
}

// index compiles the policies, in the dialect that was given or is told.
func (f *reachFlags) index(w *model.World) (*policy.Index, error) {
	for _, text := range f.podCIDRs {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--pod-cidr: %q is not a network in CIDR form, like 10.244.0.0/16", text)
		}
		w.Kube.PodCIDRs = append(w.Kube.PodCIDRs, p.Masked())
	}
	if d, ok := policy.DialectOf(f.dialect); ok {
		return policy.BuildAs(w, d), nil
	}
	return policy.Build(w), nil
}

// view answers what was asked.
func (f *reachFlags) view(e *reach.Engine, list []reach.Intent, notes []string) (reach.View, int, error) {
	switch {
	case f.intents != "":
		v := e.AskAll(list, f.namespace())
		v.Notes = append(notes, v.Notes...)
		return v, v.ExitCode(), nil
	case len(list) == 1:
		v, err := e.Look(list[0], f.namespace())
		if err != nil {
			return nil, 0, err
		}
		v.Notes = append(notes, v.Notes...)
		return v, 0, nil
	}
	v := e.Summary(f.output != "" && f.output != "table")
	v.Notes = append(notes, v.Notes...)
	return v, 0, nil
}
