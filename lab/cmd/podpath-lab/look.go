package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"

	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/spf13/cobra"

	"github.com/podpath/podpath/lab/daemon"
	"github.com/podpath/podpath/lab/home"
	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/plan"
)

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "how a lab is", Args: cobra.NoArgs}
	name := nameFlag(cmd)
	output := cmd.Flags().StringP("output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *output != "text" && *output != "json" {
			return exitError{2, fmt.Errorf("-o %s: text or json", *output)}
		}
		h, err := home.Of(*name)
		if err != nil {
			return exitError{2, err}
		}
		if !h.Exists() {
			return exitError{3, fmt.Errorf("no lab %s is up (podpath-lab up%s)", h.Lab, nameOption(h))}
		}
		s, err := daemon.Dial(h).Status(cmd.Context())
		if err != nil {
			return exitError{3, fmt.Errorf("%w\nwhat is left of it: podpath-lab down%s", err, nameOption(h))}
		}
		if *output == "json" {
			encoder := json.NewEncoder(cmd.OutOrStdout())
			encoder.SetIndent("", "  ")
			return encoder.Encode(s)
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "lab %s\t%s\t%s\n", s.Lab, s.State, s.Topology.Key())
		fmt.Fprintf(w, "API server\t%s\nARM\t%s\n", s.API, s.ARM)
		for _, n := range s.Nodes {
			fmt.Fprintf(w, "%s\t%s\tpods %s\tnetns %s\n", n.Name, n.Address, n.Pods, n.Network)
		}
		if s.Error != "" {
			fmt.Fprintf(w, "error\t%s\n", s.Error)
		}
		return w.Flush()
	}
	return cmd
}

func envCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "env", Short: "shell exports under which kubectl, podpath and Azure's tools find a lab", Args: cobra.NoArgs}
	name := nameFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		h, err := home.Of(*name)
		if err != nil {
			return exitError{2, err}
		}
		env, err := h.Env()
		if err != nil {
			return exitError{3, err}
		}
		for _, v := range env {
			quoted := "'" + strings.ReplaceAll(v.Value, "'", `'\''`) + "'"
			if v.Name == home.PathVar {
				quoted += `:"$PATH"`
			}
			fmt.Fprintf(cmd.OutOrStdout(), "export %s=%s\n", v.Name, quoted)
		}
		return nil
	}
	return cmd
}

func execCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "exec [HOST] -- COMMAND…", Short: "run a command on a host of a lab: the laptop, a node, fw, router, api.payments.example …",
		Example: "  podpath-lab exec -- kubectl get nodes\n  podpath-lab exec aks-np1-vmss000000 -- ip route",
	}
	name := nameFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		host, command := "laptop", args
		if dash := cmd.ArgsLenAtDash(); dash == 1 {
			host, command = args[0], args[1:]
		} else if dash != 0 {
			return exitError{2, errors.New("podpath-lab exec [HOST] -- COMMAND…")}
		}
		if len(command) == 0 {
			return exitError{2, errors.New("no command given after --")}
		}
		h, err := home.Of(*name)
		if err != nil {
			return exitError{2, err}
		}
		return onHost(cmd.Context(), h, host, command)
	}
	return cmd
}

// onHost becomes the command, on the host.
func onHost(ctx context.Context, h home.Home, host string, command []string) error {
	p, err := h.Plan()
	if err != nil {
		return exitError{3, err}
	}
	environ, err := h.Environ()
	if err != nil {
		return exitError{3, err}
	}
	if err := h.Join(); err != nil { // what it leaves running goes with the lab
		return exitError{3, err}
	}
	runtime.LockOSThread() // exec takes this thread's namespaces
	if n, ok := p.Node(host); ok {
		err = enterNode(ctx, h, n.Name)
	} else {
		err = enterHost(h, host)
	}
	if err != nil {
		return exitError{3, err}
	}
	for _, v := range environ { // the last PATH is the lab's
		if path, ok := strings.CutPrefix(v, "PATH="); ok {
			if err := os.Setenv("PATH", path); err != nil {
				return err
			}
		}
	}
	program, err := exec.LookPath(command[0])
	if err != nil {
		return exitError{127, err}
	}
	return syscall.Exec(program, command, environ)
}

// enterNode goes where the node's kubelet is: its network, mounts and host name.
func enterNode(ctx context.Context, h home.Home, node string) error {
	s, err := daemon.Dial(h).Status(ctx)
	if err != nil {
		return err
	}
	pid := s.Processes[node+"-containerd"]
	if pid == 0 {
		return fmt.Errorf("containerd of %s does not run (%s)", node, h.Log(node+"-containerd"))
	}
	for _, ns := range []struct {
		name string
		flag int
	}{{"net", unix.CLONE_NEWNET}, {"uts", unix.CLONE_NEWUTS}, {"mnt", unix.CLONE_NEWNS}} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, ns.name))
		if err != nil {
			return err
		}
		defer f.Close()
		if ns.flag == unix.CLONE_NEWNS {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return err
			}
		}
		if err := unix.Setns(int(f.Fd()), ns.flag); err != nil {
			return fmt.Errorf("enter %s of node %s: %w", ns.name, node, err)
		}
	}
	return nil
}

// enterHost goes into a host's network, with the name server that this host would have.
func enterHost(h home.Home, host string) error {
	role := host
	if !netns.Exists(netns.Name(h.Lab, role)) {
		role = "host-" + host
	}
	if host == plan.Firewall {
		role = "fw"
	}
	network := netns.Name(h.Lab, role)
	if !netns.Exists(network) {
		return fmt.Errorf("no host %q in lab %s; there are %s", host, h.Lab, strings.Join(hosts(h), ", "))
	}
	ns, err := vnetns.GetFromPath(netns.Path(network))
	if err != nil {
		return err
	}
	defer ns.Close()
	server := plan.PublicDNS
	if role == "fw" || role == "router" || role == "cp" || role == "azure-dns" {
		server = plan.AzureDNS
	}
	resolv := h.Path("resolv-" + role)
	if err := os.WriteFile(resolv, []byte("nameserver "+server.String()+"\n"), 0o644); err != nil {
		return err
	}
	if err := vnetns.Set(ns); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount(resolv, "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("give the command its resolv.conf: %w", err)
	}
	return nil
}

func hosts(h home.Home) []string {
	names, err := netns.List(netns.Name(h.Lab, ""))
	if err != nil {
		return []string{err.Error()}
	}
	for i, n := range names {
		n = strings.TrimPrefix(n, h.Lab+"-")
		n = strings.TrimPrefix(n, "host-")
		names[i] = strings.TrimPrefix(n, "node-")
	}
	return names
}
