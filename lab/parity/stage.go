package parity

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podpath/podpath/lab/daemon"
	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/plan"
	"github.com/podpath/podpath/lab/scenario"
)

// What every pod of the stage listens on, and a port that is closed everywhere.
var (
	tcpPorts = []int32{8080, 8081, 8082, 9090, 5432}
	udpPorts = []int32{5353, 5300}
)

const (
	closedPort  = 7777
	kubeletPort = 10250

	podCount   = 12
	ownedLabel = "podpath-lab.example/parity"
)

var namespaces = []string{"par-a", "par-b", "par-c", "par-d"}

// stage is the part of the lab that stays while worlds change: pods that listen.
type stage struct {
	lab    *scenario.Lab
	daemon *daemon.Client
	kube   kubernetes.Interface
	pods   []*pod
	azure  *azure
}

// pod is one pod of the stage. Its ports have names; the same name is another
// number elsewhere.
type pod struct {
	index           int
	namespace, name string
	node            plan.Node
	host            bool // in its node's network
	named           map[string]int32
	labels          map[string]string // in the present world

	addr netip.Addr
	uid  string
}

func (p *pod) id() string { return p.namespace + "/" + p.name }

// cast lists the pods of a stage. It is the same for every seed.
func cast(nodes []plan.Node) []*pod {
	var out []*pod
	for i := range podCount {
		p := &pod{
			index: i, namespace: namespaces[(i*5+i/4)%len(namespaces)], name: fmt.Sprintf("p%d", i), node: nodes[i%len(nodes)],
			named: map[string]int32{"http": 8080 + int32(i%3), "dns": udpPorts[i%2]},
		}
		if i%2 == 0 {
			p.named["alt"] = 9090
		}
		if i%4 == 1 {
			p.named["db"] = 5432
		}
		out = append(out, p)
	}
	return append(out, &pod{
		index: podCount, namespace: namespaces[0], name: "host", node: nodes[0], host: true, named: map[string]int32{"http": 8081, "dns": 5300},
	})
}

// object is the pod as it is created; the name of its first listener's answer is
// its own.
func (p *pod) object() *corev1.Pod {
	no, grace := false, int64(0)
	at := "" // a datagram's answer must come from the address that was asked, and a node has several
	if p.host {
		at = p.node.Addr.String()
	}
	var args []string
	for _, n := range tcpPorts {
		args = append(args, fmt.Sprintf("http://%s:%d?body=%s", at, n, p.id()))
	}
	for _, n := range udpPorts {
		args = append(args, fmt.Sprintf("udp://%s:%d", at, n))
	}
	var ports []corev1.ContainerPort
	for _, name := range []string{"http", "dns", "alt", "db"} {
		if n := p.named[name]; n != 0 {
			protocol := corev1.ProtocolTCP
			if name == "dns" {
				protocol = corev1.ProtocolUDP
			}
			ports = append(ports, corev1.ContainerPort{Name: name, ContainerPort: n, Protocol: protocol})
		}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name, Labels: map[string]string{ownedLabel: "pod"}},
		Spec: corev1.PodSpec{
			NodeName: p.node.Name, HostNetwork: p.host, AutomountServiceAccountToken: &no, EnableServiceLinks: &no, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "app", Image: "podpath-lab/app", ImagePullPolicy: corev1.PullNever, Args: args, Ports: ports,
			}},
		},
	}
}

// newStage finds the lab and puts the pods into it.
func newStage(ctx context.Context, o Options) (*stage, error) {
	lab, err := scenario.Connect(o.Lab)
	if err != nil {
		return nil, err
	}
	if lab.Plan.Topology.Policy != "enforced" {
		return nil, fmt.Errorf("lab %s enforces no policies: podpath-lab up --name %s --policy enforced --nodes 3", o.Lab, o.Lab)
	}
	config, err := clientcmd.BuildConfigFromFlags("", lab.Env("KUBECONFIG"))
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 200, 400
	s := &stage{lab: lab, daemon: daemon.Dial(lab.Home), pods: cast(lab.Plan.Nodes)}
	if s.kube, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if s.azure, err = newAzure(ctx, lab); err != nil {
		return nil, err
	}
	err = s.quickICMP()
	if err == nil {
		err = s.raise(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *stage) topology() string { return s.lab.Plan.Topology.Key() }

// raise creates what is not there, and waits until every pod is ready.
func (s *stage) raise(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for _, name := range namespaces {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := s.kube.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	for _, p := range s.pods {
		err := until(ctx, "the service account of namespace "+p.namespace, func() error {
			_, err := s.kube.CoreV1().Pods(p.namespace).Create(ctx, p.object(), metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return until(ctx, "the pods", func() error { return s.look(ctx) })
}

// limits are the kernel's bounds on its own ICMP messages, by which kube-proxy's
// rules refuse: of many refusals at once most would not be told.
var limits = map[string]string{"net.ipv4.icmp_ratelimit": "0"}

func (s *stage) quickICMP() error {
	for _, n := range s.lab.Plan.Nodes {
		if err := netns.Sysctl(s.nodeNS(n), limits); err != nil {
			return err
		}
	}
	return nil
}

// look reads the pods' addresses.
func (s *stage) look(ctx context.Context) error {
	for _, p := range s.pods {
		got, err := s.kube.CoreV1().Pods(p.namespace).Get(ctx, p.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		ready := slices.ContainsFunc(got.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		if !ready {
			return fmt.Errorf("pod %s is not ready (%s)", p.id(), got.Status.Phase)
		}
		p.uid = string(got.UID)
		if p.addr, err = netip.ParseAddr(got.Status.PodIP); err != nil {
			return fmt.Errorf("pod %s: %w", p.id(), err)
		}
	}
	return nil
}

// close takes the stage down and gives Azure its documents back.
func (s *stage) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	errs := []error{s.azure.restore(ctx)}
	for _, n := range s.lab.Plan.Nodes {
		errs = append(errs, netns.Sysctl(s.nodeNS(n), map[string]string{"net.ipv4.icmp_ratelimit": "1000"}))
	}
	for _, name := range namespaces {
		if err := s.kube.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, until(ctx, "the end of the namespaces", func() error {
		for _, name := range namespaces {
			if _, err := s.kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return errors.Join(err, fmt.Errorf("namespace %s is there", name))
			}
		}
		return nil
	}))
	return errors.Join(errs...)
}

// until asks again and again until there is no error any more.
func until(ctx context.Context, what string, ask func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := errors.New("nothing was read")
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || !strings.Contains(err.Error(), "context") {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w: %w", what, ctx.Err(), last)
		case <-tick.C:
		}
	}
}
