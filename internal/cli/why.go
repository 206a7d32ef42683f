package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/podpath/podpath/internal/collect/kube"
	"github.com/podpath/podpath/internal/examine"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/report"
	"github.com/podpath/podpath/internal/snapshot"
	"github.com/podpath/podpath/internal/vantage"
)

// question are the flags that say what is asked.
type question struct {
	protocol, host, address, via, container string
}

func (f *question) register(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.protocol, "protocol", "", "tcp or udp (default tcp)")
	fl.StringVar(&f.host, "host", "", "server name for TLS (SNI) and Host header, when other than TO's")
	fl.StringVar(&f.address, "address", "", "pin the destination to this address instead of asking DNS")
	fl.StringVarP(&f.container, "container", "c", "", "container of FROM whose proxy settings and certificate authorities count (default: the one that kubectl exec takes)")
	fl.StringVar(&f.via, "via", "", "'app': look at the pod's own connections to TO as well (read by the ephemeral container)")
}

// parse reads FROM and TO, each of one word or of a kind and a name.
func (f *question) parse(args []string) (model.Question, error) {
	var q model.Question
	var sides []string
	for i := 0; i < len(args); i++ {
		if _, ok := model.KindOf(args[i]); ok && i+1 < len(args) {
			sides = append(sides, args[i]+"/"+args[i+1])
			i++
			continue
		}
		sides = append(sides, args[i])
	}
	if len(sides) != 2 {
		return q, errors.New("name two sides, FROM and TO, such as shop/deploy/checkout https://api.example.com")
	}
	var err error
	if q.From, err = model.ParseEndpoint(sides[0], true); err != nil {
		return q, fmt.Errorf("FROM: %w", err)
	}
	if q.To, err = model.ParseEndpoint(sides[1], false); err != nil {
		return q, fmt.Errorf("TO: %w", err)
	}
	switch q.From.Kind {
	case "internet", "url", "host":
		return q, fmt.Errorf("FROM %q: podpath follows connections that a pod or a node opens; name one (NS/NAME, NS/deploy/NAME, node/NAME)", q.From.Raw)
	}
	if q.Protocol, err = f.transport(q.To); err != nil {
		return q, err
	}
	if f.via != "" && f.via != "app" {
		return q, fmt.Errorf("--via %q: only 'app' is known", f.via)
	}
	q.Via, q.Host, q.Container = f.via, f.host, f.container
	if q.Host != "" {
		if e, err := model.ParseEndpoint(q.Host, false); err != nil || e.Kind != "host" || e.Port != 0 {
			return q, fmt.Errorf("--host %q is not a host name", f.host)
		}
	}
	if f.address != "" {
		e, err := model.ParseEndpoint(f.address, false)
		if err != nil || e.Kind != "ip" || e.Port != 0 {
			return q, fmt.Errorf("--address %q is not an address", f.address)
		}
		q.Address = e.Addr
	}
	return q, nil
}

// transport is the protocol that was asked for, else the one that TO's scheme means.
func (f *question) transport(to model.Endpoint) (string, error) {
	asked, carries := strings.ToLower(f.protocol), model.Carries(to.Scheme)
	switch {
	case asked != "" && asked != "tcp" && asked != "udp":
		return "", fmt.Errorf("--protocol %q is neither tcp nor udp", f.protocol)
	case asked != "" && carries != "" && asked != carries:
		return "", fmt.Errorf("--protocol %s: %s:// means %s; write %s for %s", asked, to.Scheme, carries, net.JoinHostPort(to.Host, fmt.Sprint(to.Port)), asked)
	}
	return cmp.Or(asked, carries, "tcp"), nil
}

// asking are the flags that say how a live cluster is asked.
type asking struct {
	kube      *genericclioptions.ConfigFlags
	opts      examine.Options
	vantages  []string
	noProbe   bool
	allPlaces bool
	caFile    string
	quiet     bool
	probes    bool // the flags of probes are registered
}

func newAsking() *asking {
	kube := genericclioptions.NewConfigFlags(true)
	return &asking{kube: kube}
}

func (a *asking) register(c *cobra.Command) {
	fl := c.Flags()
	a.probes = true
	a.kube.AddFlags(fl)
	var places []string
	if v := os.Getenv("PODPATH_VANTAGE"); v != "" {
		places = strings.Split(v, ",")
	}
	fl.StringSliceVar(&a.vantages, "vantage", places, "places to probe from: pod, peer-pod, node, other-node, here (default all; env PODPATH_VANTAGE)")
	fl.BoolVar(&a.allPlaces, "all-vantages", false, "probe from every place even if the pod's own probe succeeds")
	fl.BoolVar(&a.noProbe, "no-probe", false, "send no probe and create nothing: judge by configuration alone")
	p := &a.opts.Probe
	fl.StringVar(&p.Via, "probe-via", vantage.ViaAuto, "how to enter the pod: auto (ephemeral, then twin, then exec), ephemeral, twin, exec, none")
	a.nodeFlags(fl)
	fl.DurationVar(&p.EphemeralTTL, "probe-ttl", vantage.DefaultEphemeralTTL, "how long the idle probe process stays in the pod, to be used again")
	fl.StringVar(&a.caFile, "ca-file", "", "PEM file of certificate authorities that the application trusts beside its own bundle")
	a.azureFlags(fl)
	fl.BoolVarP(&a.quiet, "quiet", "q", false, "no progress on a terminal")
}

// nodeFlags are those that say how a node is entered.
func (a *asking) nodeFlags(fl *pflag.FlagSet) {
	p := &a.opts.Probe
	fl.StringVar(&p.Image, "probe-image", fromEnv("PODPATH_PROBE_IMAGE", vantage.DefaultImage), "image of the probe; mirror it into your registry for clusters without internet (env PODPATH_PROBE_IMAGE)")
	fl.StringVar(&p.ProbeNamespace, "probe-namespace", fromEnv("PODPATH_PROBE_NAMESPACE", vantage.DefaultNamespace), "namespace for the probe's pods in the nodes' network (env PODPATH_PROBE_NAMESPACE)")
	fl.StringVar(&p.NodeReader, "node-reader", fromEnv("PODPATH_NODE_READER", vantage.ReaderFull), "what to read inside nodes on the way: full (packet filter, files and kernel messages too: NET_ADMIN, NET_RAW, SYSLOG, read-only /usr and /etc), basic (no privilege), none (env PODPATH_NODE_READER)")
}

// fromEnv is a variable of the environment, or a default.
func fromEnv(name, def string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return def
}

// checkFlags refuses what cannot be, before anything is contacted.
func (a *asking) checkFlags() error {
	if err := a.opts.Azure.Check(); err != nil {
		return fmt.Errorf("--azure-cloud, --azure-endpoint: %w", err)
	}
	if a.opts.Timeout < 0 {
		return fmt.Errorf("--timeout %s is less than nothing; 0 is no limit", a.opts.Timeout)
	}
	if ttl := a.opts.Probe.EphemeralTTL; a.probes && ttl < time.Second {
		return fmt.Errorf("--probe-ttl %s is too short for a probe; write one second or more (--no-probe leaves nothing behind)", ttl)
	}
	return nil
}

// checkReader refuses a reader that there is not.
func (a *asking) checkReader() error {
	if !slices.Contains([]string{vantage.ReaderFull, vantage.ReaderBasic, vantage.ReaderNone}, a.opts.Probe.NodeReader) {
		return fmt.Errorf("--node-reader %q is none of full, basic, none", a.opts.Probe.NodeReader)
	}
	return nil
}

// azureFlags are those that say where Azure is, and for how long all may take.
func (a *asking) azureFlags(fl *pflag.FlagSet) {
	fl.BoolVar(&a.opts.SkipAzure, "no-azure", false, "do not read Azure")
	az := &a.opts.Azure
	fl.StringVar(&az.Cloud, "azure-cloud", "", "name of the Azure cloud (default from AZURE_ENVIRONMENT, else the public cloud)")
	fl.StringVar(&az.Endpoint, "azure-endpoint", "", "URL of Azure Resource Manager, for clouds without a name")
	fl.StringVar(&az.Subscription, "subscription", "", "Azure subscription (default: from the nodes)")
	fl.StringVar(&az.ResourceGroup, "resource-group", "", "resource group of the managed cluster (default: found from the nodes)")
	fl.StringVar(&az.Cluster, "aks-cluster", "", "name of the managed cluster (default: found from the nodes)")
	fl.DurationVar(&a.opts.Timeout, "timeout", time.Minute, "stop reading and probing after this long, and answer by what is there; 0 is no limit")
}

// prepare turns the flags into options; nothing is sent yet.
func (a *asking) prepare() error {
	if err := a.checkFlags(); err != nil {
		return err
	}
	client, err := kube.Connect(a.kube)
	if err != nil {
		return fmt.Errorf("%w\nOr look at a snapshot, which needs no cluster: podpath why --snapshot FILE", err)
	}
	a.opts.Config, a.opts.Kube, a.opts.Namespace = client.Config, client.Set, client.Namespace
	for _, v := range a.vantages {
		place := model.Vantage(strings.TrimSpace(v))
		if !slices.Contains(vantage.AllVantages, place) {
			return fmt.Errorf("--vantage %q is none of %v", v, vantage.AllVantages)
		}
		a.opts.Probe.Vantages = append(a.opts.Probe.Vantages, place)
	}
	if !slices.Contains([]string{vantage.ViaAuto, vantage.ViaEphemeral, vantage.ViaTwin, vantage.ViaExec, vantage.ViaNone}, a.opts.Probe.Via) {
		return fmt.Errorf("--probe-via %q is none of auto, ephemeral, twin, exec, none", a.opts.Probe.Via)
	}
	if err := a.checkReader(); err != nil {
		return err
	}
	a.opts.SkipProbe = a.noProbe
	a.opts.Probe.Escalate = !a.allPlaces
	a.opts.Probe.Env = proxyEnv()
	a.opts.Now = time.Now().UTC()
	if a.caFile != "" {
		pem, err := os.ReadFile(a.caFile)
		if err != nil {
			return fmt.Errorf("--ca-file: %w", err)
		}
		a.opts.Roots = string(pem)
	}
	return nil
}

// proxyEnv is how this machine reaches the outside.
func proxyEnv() map[string]string {
	out := map[string]string{}
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"} {
		if v := os.Getenv(name); v != "" {
			out[name] = v
		}
	}
	return out
}

func (a *asking) ask(ctx context.Context, q model.Question, s Streams) (*examine.Answer, error) {
	if err := a.prepare(); err != nil {
		return nil, err
	}
	p := newProgress(s.Err, a.quiet)
	defer p.Stop()
	a.opts.Progress = p.Say
	answer, err := examine.Why(ctx, q, a.opts)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, tooLate(a.opts)
	}
	return answer, err
}

// otherwise adds what is possible without a cluster, where none can be had.
func otherwise(err error, instead string) error {
	if noConfig := (*kube.ConfigError)(nil); errors.As(err, &noConfig) {
		return fmt.Errorf("%w\nOr %s", err, instead)
	}
	return err
}

// tooLate names the limit that struck: kubectl's, of one request, or podpath's, of everything.
func tooLate(o examine.Options) error {
	if one := o.Config.Timeout; one > 0 && (o.Timeout == 0 || one < o.Timeout) {
		return fmt.Errorf("the API server did not answer a request within --request-timeout %s: give it longer, or leave it out", one)
	}
	return fmt.Errorf("no answer within --timeout %s: give it longer, or ask for less (--no-azure, --vantage pod)", o.Timeout)
}

func newWhy(s Streams) *cobra.Command {
	var (
		q       question
		a       = newAsking()
		output  string
		color   string
		file    string
		saveTo  string
		many    string
		command = &cobra.Command{
			Use:   "why FROM TO",
			Short: "Why can FROM not reach TO, or which way does it go",
			Long: "Follows a connection from a pod or node to a host, URL, address, Service or pod: what the configuration\n" +
				"says at each hop, what probes from up to five places see, and which cause explains it.\n\n" +
				"Exit code: 0 it works, 1 a cause was found, 2 it fails and no cause could be proven, 3 podpath could not do its work.\n\n" +
				"podpath reads; it changes nothing of yours. To probe, it adds one ephemeral container to the pod (which stays\n" +
				"listed there, its process ends by itself) and creates short-lived pods labelled app.kubernetes.io/managed-by=podpath.\n" +
				"--no-probe creates nothing.\n\n" +
				"-f FILE asks about many connections at once: a list of {from, to, protocol, host, address} in YAML or JSON. One\n" +
				"reading of the cluster answers all of them, by configuration alone: 0 all pass, 1 one does not, 2 of one it is not known.",
			Example: "  podpath why shop/deploy/checkout https://api.example.com\n  podpath why pod/web-0 -n shop db.example.com:5432 -o json\n" +
				"  podpath why node/aks-np1-vmss000000 mcr.microsoft.com:443\n  podpath why --snapshot case.podpath\n" +
				"  podpath why -f connections.yaml -o json",
			Args: cobra.MaximumNArgs(4), ValidArgsFunction: cobra.NoFileCompletions,
		}
	)
	q.register(command)
	a.register(command)
	command.Flags().StringVarP(&output, "output", "o", "", "output format: "+strings.Join(report.Formats, ", "))
	command.Flags().StringVar(&color, "color", "auto", "auto, always or never; NO_COLOR is obeyed")
	command.Flags().StringVar(&file, "snapshot", "", "diagnose a case that 'podpath snapshot save' wrote; nothing is contacted")
	command.Flags().StringVarP(&many, "filename", "f", "", "file of connections to follow by configuration, or - for standard input")
	command.Flags().BoolVar(&a.opts.Once, "once", false, "ask once; do not ask 24 times more, within two seconds, where the answer is good or answers vary")
	command.Flags().StringVar(&saveTo, "save", "", "also write the case as a snapshot to this file")
	fixed(command, "output", report.Formats...)
	fixed(command, "color", "auto", "always", "never")
	fixed(command, "protocol", "tcp", "udp")
	fixed(command, "probe-via", vantage.ViaAuto, vantage.ViaEphemeral, vantage.ViaTwin, vantage.ViaExec, vantage.ViaNone)
	command.RunE = func(c *cobra.Command, args []string) error {
		if many != "" {
			if len(args) > 0 || file != "" || saveTo != "" {
				return errors.New("-f holds its own questions: leave FROM and TO, --snapshot and --save out")
			}
			return whyFlows(c.Context(), many, output, a, s)
		}
		if err := report.CheckFormat(output); err != nil {
			return err
		}
		look, err := terminal(s.Out, os.Getenv, color)
		if err != nil {
			return err
		}
		r, err := answer(c.Context(), args, q, a, file, saveTo, s)
		if err != nil {
			return err
		}
		if err := report.Write(s.Out, output, r, look); err != nil {
			return err
		}
		if r.ExitCode != 0 {
			return &Exit{Code: r.ExitCode}
		}
		return nil
	}
	return command
}

// answer comes from a live cluster or from a snapshot.
func answer(ctx context.Context, args []string, q question, a *asking, file, saveTo string, s Streams) (*report.Report, error) {
	if file != "" {
		if len(args) > 0 {
			return nil, errors.New("a snapshot holds its own question: leave FROM and TO out with --snapshot")
		}
		c, err := loadCase(file, s.In)
		if err != nil {
			return nil, err
		}
		return report.New(c, examine.Diagnose(c)), nil
	}
	parsed, err := q.parse(args)
	if err != nil {
		return nil, err
	}
	if err := canSave(saveTo); err != nil {
		return nil, err
	}
	got, err := a.ask(ctx, parsed, s)
	if err != nil {
		return nil, err
	}
	if saveTo != "" {
		if err := saveCase(saveTo, got.Case, snapshot.Options{}, s.Out); err != nil {
			return nil, err
		}
	}
	return reportOf(got), nil
}

// reportOf is the report of an answer from a live cluster.
func reportOf(got *examine.Answer) *report.Report {
	r := report.New(got.Case, got.Result)
	t := got.Timing
	r.Timing = &report.Timing{
		TotalMillis: t.Total.Milliseconds(), OwnMillis: t.Own.Milliseconds(),
		CollectMillis: t.Collect.Milliseconds(), ProbeMillis: t.Probe.Milliseconds(),
	}
	return r
}

func fixed(c *cobra.Command, flag string, values ...string) {
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is registered a few lines above
	}
}

func loadCase(file string, in io.Reader) (*model.Case, error) {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	c, err := snapshot.Load(in, snapshot.Limits{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if c.Question.From.Kind == "" || c.Question.To.Kind == "" {
		return nil, fmt.Errorf("%s: snapshot: case.question: FROM or TO is empty, so there is nothing to answer", file)
	}
	return c, nil
}
