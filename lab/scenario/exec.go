package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/podpath/podpath/lab/home"
	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/plan"
)

// Lab is a running lab as this package reaches into it.
type Lab struct {
	Home  home.Home
	Plan  *plan.Plan
	Hands Hands

	env map[string]string
	bin string // the folder of podpath-lab, app and podpath-kube
	arm *armClient
}

// connect finds a lab that is up.
func connect(name string, log func(string, ...any)) (*Lab, error) {
	h, err := home.Of(name)
	if err != nil {
		return nil, err
	}
	p, err := h.Plan()
	if err != nil {
		return nil, err
	}
	vars, err := h.Env()
	if err != nil {
		return nil, err
	}
	l := &Lab{Home: h, Plan: p, env: map[string]string{}}
	for _, v := range vars {
		l.env[v.Name] = v.Value
	}
	if l.bin, err = binDir(); err != nil {
		return nil, err
	}
	if l.arm, err = newARM(l.env); err != nil {
		return nil, err
	}
	l.Hands = Hands{
		Kubectl: l.kubectl, ARM: l.arm.Do, Place: l.place, Shell: l.shell, Load: l.load, Kill: h.EndGroup,
		Serve: l.serve, Unserve: l.unserve, Look: l.look, Settled: l.settled, Log: log,
	}
	return l, nil
}

// binDir is where podpath-lab's own binary is.
func binDir() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	return filepath.Dir(self), nil
}

func (l *Lab) environ() []string {
	env := os.Environ()
	for k, v := range l.env {
		env = append(env, k+"="+v)
	}
	return append(env, "PATH="+os.Getenv("PATH")+":"+l.bin+":/usr/sbin:/sbin")
}

// output runs a command and gives what it printed; what it complained about is in the error.
func output(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(stderr.String())
		if text == "" {
			text = strings.TrimSpace(stdout.String())
		}
		if len(text) > 600 {
			text = "…" + text[len(text)-600:]
		}
		return stdout.Bytes(), fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, text)
	}
	return stdout.Bytes(), nil
}

func (l *Lab) kubectl(ctx context.Context, stdin []byte, words ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(l.bin, "podpath-kube"), append([]string{"kubectl"}, words...)...)
	cmd.Env = l.environ()
	cmd.Stdin = bytes.NewReader(stdin)
	return output(cmd)
}

// roles are the hosts whose namespaces are not named after a node or a host of the internet.
var roles = map[string]string{
	plan.Firewall: "fw", "fw": "fw", "router": "router", "azure-dns": "azure-dns", "public-dns": "public-dns", "laptop": "laptop", "cp": "cp", "internet": "internet",
}

// place finds the namespace of a node, a host or a pod.
func (l *Lab) place(ctx context.Context, where, name string) (Place, error) {
	switch where {
	case "node":
		if _, ok := l.Plan.Node(name); !ok {
			names := []string{}
			for _, n := range l.Plan.Nodes {
				names = append(names, n.Name)
			}
			return Place{}, fmt.Errorf("no node %s in this lab, which has %s", name, strings.Join(names, ", "))
		}
		return l.named("node-" + name)
	case "host":
		if role, ok := roles[name]; ok {
			return l.named(role)
		}
		if _, ok := l.Plan.Node(name); ok {
			return l.named("node-" + name)
		}
		for _, h := range plan.Hosts {
			if h.Addr.String() == name {
				name = h.Name
			}
		}
		return l.named("host-" + name)
	}
	uid, ok := strings.CutPrefix(name, "uid:")
	if !ok {
		ref, err := parsePod(name)
		if err != nil {
			return Place{}, err
		}
		pod, err := l.pod(ctx, ref)
		if err != nil {
			return Place{}, err
		}
		uid, _ = pod.meta()["uid"].(string)
	}
	pid, err := podProcess(l.Home.Cgroup(""), uid)
	if err != nil {
		return Place{}, fmt.Errorf("pod %s: %w", name, err)
	}
	return Place{Netns: fmt.Sprintf("/proc/%d/ns/net", pid), Pid: pid, UID: uid}, nil
}

func (l *Lab) named(role string) (Place, error) {
	name := netns.Name(l.Plan.Lab, role)
	if !netns.Exists(name) {
		return Place{}, fmt.Errorf("no host %s in this lab", strings.TrimPrefix(role, "host-"))
	}
	return Place{Netns: netns.Path(name)}, nil
}

// pod finds a pod, or the best one of a workload: ready before not ready, new before old.
func (l *Lab) pod(ctx context.Context, ref podRef) (kubeObject, error) {
	if ref.Kind == "pod" {
		data, err := l.kubectl(ctx, nil, "get", "pod", ref.Name, "-n", ref.Namespace, "-o", "json")
		if err != nil {
			return nil, err
		}
		found, err := items(data)
		if err != nil || len(found) == 0 {
			return nil, errors.Join(err, errGone)
		}
		return found[0], nil
	}
	data, err := l.kubectl(ctx, nil, "get", ref.Kind, ref.Name, "-n", ref.Namespace, "-o", "json")
	if err != nil {
		return nil, err
	}
	owner, err := items(data)
	if err != nil || len(owner) == 0 {
		return nil, errors.Join(err, errGone)
	}
	selector := labels(dig(owner[0], "spec", "selector", "matchLabels"))
	if ref.Kind == "service" {
		selector = labels(dig(owner[0], "spec", "selector"))
	}
	if selector == "" {
		return nil, fmt.Errorf("%s %s/%s selects no pods by labels", ref.Kind, ref.Namespace, ref.Name)
	}
	data, err = l.kubectl(ctx, nil, "get", "pods", "-n", ref.Namespace, "-l", selector, "-o", "json")
	if err != nil {
		return nil, err
	}
	pods, err := items(data)
	if err != nil {
		return nil, err
	}
	pods = slices.DeleteFunc(pods, func(p kubeObject) bool {
		phase, _ := dig(p, "status", "phase").(string)
		return p.meta()["deletionTimestamp"] != nil || phase == "Succeeded" || phase == "Failed"
	})
	if len(pods) == 0 {
		return nil, fmt.Errorf("%s %s/%s has no pod that runs", ref.Kind, ref.Namespace, ref.Name)
	}
	slices.SortFunc(pods, func(a, b kubeObject) int {
		if ra, rb := ready(a), ready(b); ra != rb {
			if ra {
				return -1
			}
			return 1
		}
		ta, _ := a.meta()["creationTimestamp"].(string)
		tb, _ := b.meta()["creationTimestamp"].(string)
		if c := strings.Compare(tb, ta); c != 0 {
			return c
		}
		return strings.Compare(a.name(), b.name())
	})
	return pods[0], nil
}

func dig(v any, path ...string) any {
	for _, key := range path {
		switch m := v.(type) {
		case map[string]any:
			v = m[key]
		case kubeObject:
			v = m[key]
		default:
			return nil
		}
	}
	return v
}

func labels(v any) string {
	m, _ := v.(map[string]any)
	var out []string
	for k, item := range m {
		out = append(out, fmt.Sprintf("%s=%v", k, item))
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func ready(pod kubeObject) bool {
	conditions, _ := dig(pod, "status", "conditions").([]any)
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "Ready" {
			return m["status"] == "True"
		}
	}
	return false
}

// podProcess finds a process of a pod: one of its containers' where there is
// one, else the sandbox's. The kubelet names the pod's control group after its UID.
func podProcess(under, uid string) (int, error) {
	if uid == "" {
		return 0, errGone
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	sandbox := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		groups, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cgroup"))
		if err != nil || !bytes.Contains(groups, []byte("pod"+uid)) || !bytes.Contains(groups, []byte(under)) {
			continue
		}
		comm, err := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
		if err != nil {
			continue
		}
		switch name := strings.TrimSpace(string(comm)); {
		case name == "pause":
			sandbox = pid
		case !strings.HasPrefix(name, "runc"): // a starting container is not in its namespaces yet
			return pid, nil
		}
	}
	if sandbox == 0 {
		return 0, fmt.Errorf("none of its processes runs on this machine: %w", errGone)
	}
	return sandbox, nil
}

// shell runs a line by sh in a namespace. What it starts in the background stays, in its group.
func (l *Lab) shell(ctx context.Context, at Place, group, line string) error {
	cmd, log, err := l.grouped(ctx, at, group, "sh", "-c", line)
	if err != nil {
		return err
	}
	defer log.Close()
	defer l.Home.DropGroup(group)
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log.Name())
		if len(text) > 600 {
			text = append([]byte("…"), text[len(text)-600:]...)
		}
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(text)))
	}
	return nil
}

// grouped prepares a command in a namespace and a group of processes. Its output
// goes to a file: a pipe would keep the step waiting for what it leaves behind.
func (l *Lab) grouped(ctx context.Context, at Place, group string, argv ...string) (*exec.Cmd, *os.File, error) {
	procs, err := l.Home.StartGroup(group)
	if err != nil {
		return nil, nil, err
	}
	log, err := os.OpenFile(l.Home.Path("log", "inject-"+group+".log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, err
	}
	words := append([]string{"-c", `echo $$ > "$1" && shift && exec "$@"`, "sh", procs, "nsenter", "--net=" + at.Netns, "--"}, argv...)
	cmd := exec.CommandContext(ctx, "sh", words...)
	cmd.Env, cmd.Dir = l.environ(), "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, log, nil
}

// load starts the process that holds a load step's connections, and waits until
// they have been tried.
func (l *Lab) load(ctx context.Context, at Place, group string, step LoadStep) error {
	to, err := l.literal(ctx, at, step.To)
	if err != nil {
		return err
	}
	spec, err := json.Marshal(map[string]any{
		"to": to, "protocol": step.Protocol, "connections": step.Connections, "rate": step.Rate,
		"hold": step.Hold.String(), "bytesPerSecond": step.BytesPerSecond, "each": step.Each.String(),
	})
	if err != nil {
		return err
	}
	cmd, log, err := l.grouped(context.WithoutCancel(ctx), at, group, filepath.Join(l.bin, "podpath-lab"), "hold", string(spec))
	if err != nil {
		return err
	}
	defer log.Close()
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		text, err := os.ReadFile(log.Name())
		if err == nil && bytes.Contains(text, []byte("ready: ")) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the load did not come up: %w", ctx.Err())
		case err := <-done:
			if err == nil { // its own time was over before each was tried: those that cannot be opened are no error
				return nil
			}
			return fmt.Errorf("the load ended: %w: %s", err, strings.TrimSpace(string(text)))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// literal makes host:port an address that can be dialled without a resolver, as the pod would resolve it.
func (l *Lab) literal(ctx context.Context, at Place, hostport string) (string, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return "", fmt.Errorf("load.to %q: host:port is wanted", hostport)
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return hostport, nil
	}
	for _, h := range plan.Hosts {
		if h.Name == host {
			return net.JoinHostPort(h.Addr.String(), port), nil
		}
	}
	name, rest, _ := strings.Cut(host, ".")
	namespace, _, _ := strings.Cut(rest, ".")
	if namespace == "" {
		namespace = "shop"
	}
	ip, err := l.look("service", namespace+"/"+name, "ip")
	if err != nil {
		return "", fmt.Errorf("load.to %q: neither an address, nor a host of the internet, nor a Service: %w", hostport, err)
	}
	return net.JoinHostPort(ip, port), nil
}

// look finds the value of a template.
func (l *Lab) look(kind, name, field string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	value := func(v any) (string, error) {
		if s, _ := v.(string); s != "" {
			return s, nil
		}
		return "", errors.New("it has none")
	}
	switch kind {
	case "pod":
		ref, err := parsePod(name)
		if err != nil {
			return "", err
		}
		pod, err := l.pod(ctx, ref)
		if err != nil {
			return "", err
		}
		return value(dig(pod, "status", "podIP"))
	case "node":
		n, ok := l.Plan.Node(name)
		if !ok {
			return "", errors.New("no such node in this lab")
		}
		if field == "ip" {
			return n.Addr.String(), nil
		}
		return n.PodCIDR.String(), nil
	case "service":
		namespace, service, _ := strings.Cut(name, "/")
		data, err := l.kubectl(ctx, nil, "get", "service", strings.TrimPrefix(service, "svc/"), "-n", namespace, "-o", "json")
		if err != nil {
			return "", err
		}
		found, err := items(data)
		if err != nil || len(found) == 0 {
			return "", errors.Join(err, errGone)
		}
		if field == "ip" {
			return value(dig(found[0], "spec", "clusterIP"))
		}
		in, _ := dig(found[0], "status", "loadBalancer", "ingress").([]any)
		if len(in) == 0 {
			return "", errors.New("it has no external address")
		}
		return value(dig(in[0], "ip"))
	default:
		for _, group := range []string{plan.NodeGroup, plan.ResourceGroup} {
			doc, err := l.arm.Do(ctx, "GET", plan.ID(group, "Microsoft.Network/publicIPAddresses", name), nil)
			if errors.Is(err, errNotFound) {
				continue
			}
			if err != nil {
				return "", err
			}
			return value(dig(doc, "properties", "ipAddress"))
		}
		return "", errors.New("no such public IP address in either resource group")
	}
}
