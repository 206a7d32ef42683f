// Package cluster runs the lab's Kubernetes: the real components of the control
// plane in one network namespace, and on each node, in its own, a real
// containerd, kubelet and kube-proxy. The fabric has made the namespaces before.
package cluster

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podpath/podpath/lab/home"
	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/pki"
	"github.com/podpath/podpath/lab/plan"
)

var everything = labels.Everything()

// Options say what a cluster is made from.
type Options struct {
	Home   home.Home
	Plan   *plan.Plan
	Bin    string  // folder of podpath-kube, coredns, app and podpath-probe
	CA     *pki.CA // the authority that pods trust
	Server string  // how this machine reaches the API server: https://127.0.0.1:PORT
	Logf   func(format string, args ...any)
	// Step is told when a part begins; what it returns, when it ended.
	Step func(what string) (done func(error))
}

// Cluster is a Kubernetes cluster that runs, or is coming up.
type Cluster struct {
	o      Options
	super  *Supervisor
	life   context.Context // of the lab, beyond Start
	creds  *credentials
	cp     *Space
	nodes  []*node
	images []image

	typed   kubernetes.Interface
	dynamic dynamic.Interface
}

// Start brings the cluster up and returns when all of it is ready but for its metrics.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	c := &Cluster{o: o, super: NewSupervisor(ctx, o.Home.Log)}
	if c.o.Logf == nil {
		c.o.Logf = log.Printf
	}
	c.life = ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // a process that ends is told at once, not when the wait for it has timed out
		select {
		case err := <-c.super.Failed():
			cancel(err)
		case <-ctx.Done():
		}
	}()
	err := c.start(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err == nil {
		c.super.Settle()
	}
	return c, err
}

func (c *Cluster) logf(format string, args ...any) { c.o.Logf(format, args...) }

// Kubeconfig is the administrator's, for use from this machine.
func Kubeconfig(h home.Home) string { return h.Path("kubernetes", "admin.kubeconfig") }

// Kubeconfig is the administrator's, for use from this machine.
func (c *Cluster) Kubeconfig() string { return Kubeconfig(c.o.Home) }

// SetResolvers gives every node its name servers. Pods that exist keep theirs, as on a real node.
func (c *Cluster) SetResolvers(servers []netip.Addr) error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.space.do(func() error {
			return os.WriteFile("/etc/resolv.conf", []byte(resolvConf(servers)), 0o644)
		}))
	}
	return errors.Join(errs...)
}

// HasProbe says whether the nodes have podpath's probe image.
func (c *Cluster) HasProbe() bool {
	return slices.ContainsFunc(c.images, func(i image) bool { return i.name == ProbeImage })
}

// Processes are the ids of the cluster's processes that run.
func (c *Cluster) Processes() map[string]int { return c.super.processes() }

// start runs what does not depend on each other side by side: the machine is
// small, and most of each part is waiting.
func (c *Cluster) start(ctx context.Context) error {
	if err := c.prepare(); err != nil {
		return err
	}
	apiUp, imagesMade, nodesUp := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var archive string
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return c.step("API server", func() error {
			defer close(apiUp)
			return c.startAPI(ctx)
		})
	})
	g.Go(func() (err error) {
		defer close(imagesMade)
		archive, err = writeImages(c.o.Home.Path("images"), c.images)
		return err
	})
	var nodes errgroup.Group
	for _, n := range c.nodes {
		nodes.Go(func() error {
			if err := c.step("containerd of "+n.Name, func() error { return n.startRuntime(ctx, c.super) }); err != nil {
				return err
			}
			if err := wait(ctx, imagesMade); err != nil {
				return err
			}
			if err := c.step("images on "+n.Name, func() error { return n.importImages(ctx, archive) }); err != nil {
				return err
			}
			if err := wait(ctx, apiUp); err != nil {
				return err
			}
			return c.step("node "+n.Name, func() error {
				if err := n.startKubelet(c.super); err != nil {
					return err
				}
				return c.nodeReady(ctx, n)
			})
		})
	}
	g.Go(func() error {
		err := nodes.Wait()
		if err == nil {
			close(nodesUp) // else ctx ends the wait for it
		}
		return err
	})
	after := func(what string, f func(context.Context) error, conditions ...chan struct{}) {
		g.Go(func() error {
			for _, condition := range conditions {
				if err := wait(ctx, condition); err != nil {
					return err
				}
			}
			return c.step(what, func() error { return f(ctx) })
		})
	}
	after("CoreDNS and workloads", c.workloads, apiUp)
	after("scheduler", c.startScheduler, nodesUp)
	return g.Wait()
}

func wait(ctx context.Context, condition chan struct{}) error {
	select {
	case <-condition:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Cluster) step(what string, f func() error) error {
	done := c.o.Step(what)
	err := f()
	if err != nil {
		err = fmt.Errorf("%s: %w", what, err)
	}
	done(err)
	return err
}

// prepare makes credentials, spaces and configuration; no process yet.
func (c *Cluster) prepare() (err error) {
	if c.creds, err = newCredentials(c.o.Home); err != nil {
		return err
	}
	if err := c.creds.issueControlPlane(); err != nil {
		return err
	}
	if err := c.creds.kubeconfig("admin", c.o.Server, "lab-admin", "system:masters"); err != nil {
		return err
	}
	if c.images, err = images(c.o.Bin, c.o.CA); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return err
	}
	config.QPS = -1 // the lab waits on its own machine
	if c.typed, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return err
	}
	if c.cp, err = newSpace(netns.Name(c.o.Plan.Lab, "cp"), 0, nil); err != nil {
		return err
	}
	for _, n := range c.o.Plan.Nodes {
		added := &node{Node: n, p: c.o.Plan, home: c.o.Home, bin: c.o.Bin, creds: c.creds, trust: c.o.CA}
		if err := added.prepare(); err != nil {
			return err
		}
		c.nodes = append(c.nodes, added)
	}
	return nil
}

// kube starts one of the components that are in podpath-kube.
func (c *Cluster) kube(component string, args ...string) error {
	return c.super.Start(c.cp, component, append([]string{filepath.Join(c.o.Bin, "podpath-kube"), component}, args...)...)
}

// startAPI returns when the API server is ready, the Nodes are made, and the
// controllers are started.
func (c *Cluster) startAPI(ctx context.Context) error {
	if err := c.super.Start(c.cp, "etcd", c.creds.etcd(c.o.Home.Path("etcd"))...); err != nil {
		return err
	}
	if err := c.kube("kube-apiserver", c.creds.apiServer()...); err != nil {
		return err
	}
	if err := await(ctx, patience, func() error {
		_, err := c.typed.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	}); err != nil {
		return c.withLog(err, "kube-apiserver")
	}
	if err := c.kube("kube-controller-manager", c.creds.controllerManager()...); err != nil {
		return err
	}
	var nodes []*unstructured.Unstructured
	for _, n := range c.nodes {
		nodes = append(nodes, &unstructured.Unstructured{Object: n.object()})
	}
	return create(ctx, c.dynamic, nodes)
}

func (c *Cluster) withLog(err error, process string) error {
	return fmt.Errorf("%w; %s ends with:\n%s", err, c.o.Home.Log(process), Tail(c.o.Home.Log(process), 12))
}

func (c *Cluster) nodeReady(ctx context.Context, n *node) error {
	err := await(ctx, patience, func() error {
		got, err := c.typed.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range got.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return errors.New("the node is not Ready")
	})
	if err != nil {
		return c.withLog(err, n.process("kubelet"))
	}
	if c.o.Plan.Topology.CNI == plan.Flannel {
		if err := c.reportFlannel(ctx, n); err != nil {
			return err
		}
	}
	// Healthy is said once the rules of every Service are in the kernel.
	err = await(ctx, patience, func() error {
		return n.space.run(ctx, "curl", "-sf", "-o", "/dev/null", "http://127.0.0.1:10256/healthz")
	})
	if err != nil {
		return c.withLog(err, n.process("kube-proxy"))
	}
	return nil
}

// workloads makes the objects of the world and waits until each Deployment and DaemonSet is available.
func (c *Cluster) workloads(ctx context.Context) error {
	fill := values(c.o.Plan, base64.StdEncoding.EncodeToString(c.creds.ca.PEM()))
	for _, name := range manifestsOf(c.o.Plan) {
		objects, err := render(name, fill)
		if err != nil {
			return err
		}
		// The API server makes kube-system itself, a moment after it is ready.
		if err := await(ctx, 20*time.Second, func() error { return create(ctx, c.dynamic, objects) }); err != nil {
			return err
		}
	}
	if c.o.Plan.Topology.CNI != plan.Flannel { // which masquerades by itself
		if err := c.masquerade(c.life, c.typed); err != nil { // its watch goes on when all is up
			return fmt.Errorf("ip-masq-agent: %w", err)
		}
	}
	if err := await(ctx, patience, func() error { return c.available(ctx) }); err != nil {
		return err
	}
	return c.forgetStart(ctx)
}

// manifestsOf are the files of a world's objects: AKS deploys its ip-masq-agent
// only with network plugins of its own.
func manifestsOf(p *plan.Plan) []string {
	if p.Topology.CNI == plan.Flannel {
		return []string{"system.yaml", "flannel.yaml", "workloads.yaml"}
	}
	return []string{"system.yaml", "masquerade.yaml", "workloads.yaml"}
}

// forgetStart removes the events of coming up (a probe that came before its
// server, an address that was repaired): what people find in a fresh lab should
// be what they did to it.
func (c *Cluster) forgetStart(ctx context.Context) error {
	namespaces, err := c.typed.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, ns := range namespaces.Items {
		if err := c.typed.CoreV1().Events(ns.Name).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// available says which workload is not available yet.
func (c *Cluster) available(ctx context.Context) error {
	deployments, err := c.typed.AppsV1().Deployments("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range deployments.Items {
		if d.Status.ObservedGeneration < d.Generation || d.Status.AvailableReplicas < *d.Spec.Replicas {
			if err := c.crashing(ctx); err != nil {
				return err
			}
			return fmt.Errorf("deployment %s/%s: %d of %d replicas are available", d.Namespace, d.Name, d.Status.AvailableReplicas, *d.Spec.Replicas)
		}
	}
	sets, err := c.typed.AppsV1().DaemonSets("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range sets.Items {
		if d.Status.ObservedGeneration < d.Generation || int(d.Status.NumberAvailable) < len(c.nodes) {
			return fmt.Errorf("daemonset %s/%s: %d of %d pods are available", d.Namespace, d.Name, d.Status.NumberAvailable, len(c.nodes))
		}
	}
	return nil
}

// startScheduler waits for the nodes: pods that find none would each leave an event that looks like a fault.
func (c *Cluster) startScheduler(context.Context) error {
	args, err := c.creds.scheduler()
	if err != nil {
		return err
	}
	return c.kube("kube-scheduler", args...)
}

// hopeless is an error that waiting does not mend.
type hopeless struct{ error }

// crashing says which container has been started again and again: waiting on would be in vain.
func (c *Cluster) crashing(ctx context.Context) error {
	pods, err := c.typed.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, pod := range pods.Items {
		for _, s := range pod.Status.ContainerStatuses {
			if s.RestartCount >= 3 && s.LastTerminationState.Terminated != nil {
				return hopeless{fmt.Errorf("pod %s/%s: container %s ended %d times, last with exit code %d (kubectl --kubeconfig %s logs -p)",
					pod.Namespace, pod.Name, s.Name, s.RestartCount, s.LastTerminationState.Terminated.ExitCode, c.Kubeconfig())}
			}
		}
	}
	return nil
}

// Metrics starts metrics-server and waits until `kubectl top` has an answer.
// It comes last: metrics-server reads every node and pod twice, ten seconds
// apart, before it is ready, and pods that it missed the first time cost it ten more.
func (c *Cluster) Metrics(ctx context.Context) error {
	return c.step("metrics-server", func() error { return c.metrics(ctx) })
}

func (c *Cluster) metrics(ctx context.Context) error {
	if err := c.kube("metrics-server", c.creds.metricsServer()...); err != nil {
		return err
	}
	err := await(ctx, patience, func() error {
		return c.cp.run(ctx, "curl", "-sfk", "-o", "/dev/null", fmt.Sprintf("https://127.0.0.1:%d/readyz", metricsPort))
	})
	if err != nil {
		return c.withLog(err, "metrics-server")
	}
	objects, err := render("metrics.yaml", values(c.o.Plan, base64.StdEncoding.EncodeToString(c.creds.ca.PEM())))
	if err != nil {
		return err
	}
	if err := create(ctx, c.dynamic, objects); err != nil {
		return err
	}
	return await(ctx, patience, func() error {
		_, err := c.typed.Discovery().RESTClient().Get().AbsPath("/apis/metrics.k8s.io/v1beta1/nodes").DoRaw(ctx)
		return err
	})
}

// patience is how long a part may take to come up: several times what it takes
// on an idle machine, so that a busy one brings a lab up late and not never.
const patience = 4 * time.Minute

// await asks until the answer is good, and on time-out tells the last bad one.
func await(ctx context.Context, limit time.Duration, ask func() error) error {
	deadline, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := ask()
		if errors.As(err, &hopeless{}) || err == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.Done():
			return fmt.Errorf("not within %s: %w", limit, err)
		case <-time.After(150 * time.Millisecond):
		}
	}
}
