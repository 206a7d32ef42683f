package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/podpath/podpath/lab/cluster"
	"github.com/podpath/podpath/lab/daemon"
	"github.com/podpath/podpath/lab/home"
	"github.com/podpath/podpath/lab/plan"
)

func upCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "up", Short: "bring a lab up", Args: cobra.NoArgs}
	name := nameFlag(cmd)
	var file string
	var flags plan.Topology
	var quick bool
	f := cmd.Flags()
	f.StringVarP(&file, "file", "f", "", "topology or scenario file (- for standard input)")
	f.StringVar(&flags.CNI, "cni", "", "kubenet, azure-node-subnet, azure-pod-subnet, flannel-vxlan or azure-overlay (the default)")
	f.StringVar(&flags.Outbound, "outbound", "", "loadBalancer (the default), managedNATGateway, userAssignedNATGateway, userDefinedRouting or none")
	f.StringVar(&flags.Policy, "policy", "", "none (the default) or enforced")
	f.StringVar(&flags.KubeProxy, "kube-proxy", "", "nftables (the default) or iptables")
	f.IntVar(&flags.Nodes, "nodes", 0, "1 to 5 (default 2)")
	f.BoolVar(&quick, "quick", false, "do not wait for the first metrics (kubectl top), which take ten seconds more")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		h, err := home.Of(*name)
		if err != nil {
			return exitError{2, err}
		}
		if f.Changed("nodes") && (flags.Nodes < 1 || flags.Nodes > 5) {
			return exitError{2, fmt.Errorf("--nodes %d: a lab has 1 to 5 nodes", flags.Nodes)}
		}
		t, err := topology(cmd.InOrStdin(), file, flags)
		if err != nil {
			return exitError{2, err}
		}
		return up(cmd.Context(), cmd.OutOrStdout(), h, t, quick)
	}
	return cmd
}

// topology is what the file says with the flags over it, completed.
func topology(stdin io.Reader, file string, flags plan.Topology) (plan.Topology, error) {
	var from struct {
		Topology plan.Topology `yaml:"topology"`
	}
	if file != "" {
		var data []byte
		var err error
		if file == "-" {
			data, err = io.ReadAll(stdin)
		} else {
			data, err = os.ReadFile(file)
		}
		if err != nil {
			return plan.Topology{}, err
		}
		if err := readTopology(data, &from); err != nil {
			return plan.Topology{}, fmt.Errorf("%s: %w", file, err)
		}
	}
	t := from.Topology
	for _, f := range []struct{ to, value *string }{
		{&t.CNI, &flags.CNI}, {&t.Outbound, &flags.Outbound}, {&t.Policy, &flags.Policy}, {&t.KubeProxy, &flags.KubeProxy},
	} {
		if *f.value != "" {
			*f.to = *f.value
		}
	}
	if flags.Nodes != 0 {
		if len(t.Pools) > 0 {
			return t, errors.New("--nodes and a topology with pools: say how many nodes in the pools")
		}
		t.Nodes = flags.Nodes
	}
	return t.Complete()
}

// readTopology takes a topology file, or the topology of a scenario, whose other keys are not its concern.
func readTopology(data []byte, into any) error {
	var keys map[string]yaml.Node
	if err := yaml.Unmarshal(data, &keys); err != nil {
		return err
	}
	node, ok := keys["topology"]
	if !ok {
		return errors.New("no key topology (topology: {cni: azure-overlay, outbound: loadBalancer, …})")
	}
	only, err := yaml.Marshal(map[string]*yaml.Node{"topology": &node})
	if err != nil {
		return err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(only))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("topology at line %d: %w", node.Line, err)
	}
	return noZeroNodes(&node)
}

// noZeroNodes refuses a zero that is written, which a struct cannot tell from
// a number that is left to its default.
func noZeroNodes(n *yaml.Node) error {
	for i, c := range n.Content {
		key := n.Kind == yaml.MappingNode && i%2 == 0 && c.Value == "nodes"
		if key && n.Content[i+1].Value == "0" {
			return fmt.Errorf("topology at line %d: nodes: 0; a lab has 1 to 5", c.Line)
		}
		if err := noZeroNodes(c); err != nil {
			return err
		}
	}
	return nil
}

// needed are the programs that a lab runs, and the Debian packages they are in.
var needed = []struct{ program, pkg string }{
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"containerd-shim-runc-v2", "containerd"},
	{"runc", "runc"},
	{"etcd", "etcd-server"},
	{"nft", "nftables"},
	{"iptables", "iptables"},
	{"iptables-restore", "iptables"},
	{"conntrack", "conntrack"},
	{"ipset", "ipset"},
	{"ip", "iproute2"},
	{"curl", "curl"},
	{"nsenter", "util-linux"},
	{"sysctl", "procps"},
	{"ethtool", "ethtool"},
	{"tcpdump", "tcpdump"},
	{"socat", "socat"},
	{"openssl", "openssl"},
}

// check says what this machine lacks.
func check(bin string) error {
	var packages []string
	lacks := func(pkg string) {
		if !strings.Contains(strings.Join(packages, " ")+" ", pkg+" ") {
			packages = append(packages, pkg)
		}
	}
	for _, n := range needed {
		if _, err := exec.LookPath(n.program); err != nil {
			lacks(n.pkg)
		}
	}
	for _, plugin := range []string{"bridge", "ptp", "host-local", "portmap", "loopback"} {
		if _, err := os.Stat(filepath.Join("/usr/lib/cni", plugin)); err != nil {
			lacks("containernetworking-plugins")
		}
	}
	if len(packages) > 0 {
		return fmt.Errorf("this machine lacks what a lab is made of: apt-get install -y --no-install-recommends %s", strings.Join(packages, " "))
	}
	for _, program := range []string{"podpath-kube", "coredns", "app"} {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			return fmt.Errorf("%w: make build", err)
		}
	}
	return nil
}

func up(ctx context.Context, out io.Writer, h home.Home, t plan.Topology, quick bool) error {
	bin, err := binDir()
	if err != nil {
		return err
	}
	// Debian keeps half of what is needed where an unprivileged user's PATH does not look.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin"); err != nil {
		return err
	}
	if err := check(bin); err != nil {
		return exitError{3, err}
	}
	unlock, err := h.Lock()
	if err != nil {
		return exitError{3, err}
	}
	defer unlock()
	if err := vacant(ctx, out, h); err != nil {
		return err
	}
	if err := roomToWatch(t.Nodes); err != nil {
		return exitError{3, err}
	}
	fmt.Fprintf(out, "lab %s: %s, %s, policy %s, kube-proxy %s, %d nodes\n", h.Lab, t.CNI, t.Outbound, t.Policy, t.KubeProxy, t.Nodes)
	if err := h.Create(t); err != nil {
		return err
	}
	if err := spawn(h, bin); err != nil {
		return err
	}
	err = follow(ctx, out, h, quick)
	if ctx.Err() != nil {
		fmt.Fprintln(out, "interrupted: taking the lab down")
		return exitError{130, h.Down()}
	}
	return err
}

// vacant makes sure that no lab of this name is up. What a dead one left behind is cleared.
func vacant(ctx context.Context, out io.Writer, h home.Home) error {
	if !h.Exists() {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if s, err := daemon.Dial(h).Status(asking); err == nil && s.State != daemon.Failed {
		return exitError{3, fmt.Errorf("lab %s is up already (%s, %s): podpath-lab down --name %s, or give the new one another --name", h.Lab, s.State, s.Topology.Key(), h.Lab)}
	}
	fmt.Fprintf(out, "clearing what an earlier lab %s left behind\n", h.Lab)
	return h.Down()
}

// spawn starts the daemon, which outlives this command.
func spawn(h home.Home, bin string) error {
	log, err := os.OpenFile(h.Log("daemon"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(bin, "podpath-lab"), "daemon", "--name", h.Lab)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// follow prints each part as it is done, until the lab is ready or has failed.
func follow(ctx context.Context, out io.Writer, h home.Home, quick bool) error {
	client, start := daemon.Dial(h), time.Now()
	told := map[string]bool{}
	spoke := start
	for answered := start; ; {
		s, err := client.Status(ctx)
		if err == nil {
			answered = time.Now()
			for _, p := range s.Parts {
				if p.Ended > 0 && p.Error == "" && !told[p.Name] {
					told[p.Name] = true
					spoke = time.Now()
					fmt.Fprintf(out, "%6.1fs  %s\n", p.Ended, p.Name)
				}
			}
			if time.Since(spoke) > 2*time.Second {
				spoke = time.Now()
				fmt.Fprintf(out, "%6.1fs  … %s\n", time.Since(start).Seconds(), strings.Join(pending(s), ", "))
			}
		}
		switch {
		case err == nil && (s.State == daemon.Ready || quick && s.State == daemon.Usable):
			fmt.Fprintf(out, "%6.1fs  ready: eval \"$(podpath-lab env%s)\", then kubectl get pods -A\n", time.Since(start).Seconds(), nameOption(h))
			return nil
		case err == nil && s.State == daemon.Failed:
			return fmt.Errorf("lab %s did not come up: %s\nall logs: %s; podpath-lab down%s clears it away", h.Lab, s.Error, h.Path("log"), nameOption(h))
		case time.Since(answered) > 5*time.Second:
			return fmt.Errorf("the daemon of lab %s has died; %s ends with:\n%s", h.Lab, h.Log("daemon"), cluster.Tail(h.Log("daemon"), 12))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// pending are the parts that have begun and not ended.
func pending(s daemon.Status) []string {
	var names []string
	for _, p := range s.Parts {
		if p.Ended == 0 {
			names = append(names, p.Name)
		}
	}
	return names
}

func nameOption(h home.Home) string {
	if h.Lab == home.DefaultName {
		return ""
	}
	return " --name " + h.Lab
}
