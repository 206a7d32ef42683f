// Package enforcer makes NetworkPolicies hold in the lab: it watches the API
// server and programs nftables in every node's namespace, as a policy engine's
// node agent would. It is written from the upstream specification alone, so that
// what podpath predicts can be held against it.
package enforcer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/plan"
)

const (
	settle = 50 * time.Millisecond // changes come in swarms; a swarm is one update
	retry  = time.Second           // after a node's rules could not be loaded
)

// New prepares the enforcer of a lab.
func New(kubeconfig string, p *plan.Plan) (*Enforcer, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("network policy enforcer: %w", err)
	}
	config.UserAgent = "lab-policy-enforcer"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("network policy enforcer: %w", err)
	}
	return newEnforcer(p, client), nil
}

// Enforcer makes policies hold on every node of a lab.
type Enforcer struct {
	plan     *plan.Plan
	factory  informers.SharedInformerFactory
	changed  chan struct{}
	applied  map[string]string
	chains   map[string][]string
	reported string

	mu       sync.Mutex
	versions map[string]string
}

// Applied is what packets obey on every node: the resource version of each
// namespace ("namespace/NAME"), pod ("pod/NAMESPACE/NAME") and policy
// ("networkpolicy/NAMESPACE/NAME") that the rules were made from.
func (e *Enforcer) Applied() map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.versions
}

func newEnforcer(p *plan.Plan, client kubernetes.Interface) *Enforcer {
	return &Enforcer{
		plan: p, factory: informers.NewSharedInformerFactory(client, 0), changed: make(chan struct{}, 1),
		applied: map[string]string{}, chains: map[string][]string{},
	}
}

// Run enforces policies until ctx ends. It returns early only when it cannot start.
func (e *Enforcer) Run(ctx context.Context) error {
	note := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { e.poke() }, UpdateFunc: func(_, _ any) { e.poke() }, DeleteFunc: func(any) { e.poke() },
	}
	for _, i := range []cache.SharedIndexInformer{
		e.factory.Core().V1().Pods().Informer(), e.factory.Core().V1().Namespaces().Informer(),
		e.factory.Networking().V1().NetworkPolicies().Informer(),
	} {
		if _, err := i.AddEventHandler(note); err != nil {
			return fmt.Errorf("network policy enforcer: %w", err)
		}
	}
	e.factory.Start(ctx.Done())
	for kind, ok := range e.factory.WaitForCacheSync(ctx.Done()) {
		if !ok && ctx.Err() == nil {
			return fmt.Errorf("network policy enforcer: cannot list %s", kind)
		}
	}
	for ctx.Err() == nil {
		again := time.Hour
		if err := e.sync(ctx); err != nil {
			e.report(err)
			again = retry
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
		case <-e.changed:
			select { // let the swarm pass
			case <-ctx.Done():
			case <-time.After(settle):
			}
		}
	}
	return nil
}

func (e *Enforcer) poke() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// report says each new trouble once.
func (e *Enforcer) report(err error) {
	if text := err.Error(); text != e.reported {
		e.reported = text
		fmt.Println("network policy enforcer:", text)
	}
}

func (e *Enforcer) state() (state, error) {
	s := state{namespaces: map[string]labels.Set{}, versions: map[string]string{}}
	namespaces, err := e.factory.Core().V1().Namespaces().Lister().List(labels.Everything())
	if err != nil {
		return s, err
	}
	for _, n := range namespaces {
		s.namespaces[n.Name] = n.Labels
		s.versions["namespace/"+n.Name] = n.ResourceVersion
	}
	if s.pods, err = e.factory.Core().V1().Pods().Lister().List(labels.Everything()); err != nil {
		return s, err
	}
	if s.policies, err = e.factory.Networking().V1().NetworkPolicies().Lister().List(labels.Everything()); err != nil {
		return s, err
	}
	slices.SortFunc(s.pods, func(a, b *corev1.Pod) int { return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	slices.SortFunc(s.policies, byName)
	for _, p := range s.pods {
		s.versions["pod/"+p.Namespace+"/"+p.Name] = p.ResourceVersion
	}
	for _, p := range s.policies {
		s.versions["networkpolicy/"+p.Namespace+"/"+p.Name] = p.ResourceVersion
	}
	return s, nil
}

func byName[T interface {
	GetNamespace() string
	GetName() string
}](a, b T) int {
	return strings.Compare(a.GetNamespace()+"/"+a.GetName(), b.GetNamespace()+"/"+b.GetName())
}

// sync brings every node to what the API server says now. One node's trouble does
// not keep the others from it.
func (e *Enforcer) sync(ctx context.Context) error {
	s, err := e.state()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range e.plan.Nodes {
		errs = append(errs, e.syncNode(ctx, s, n.Name))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.versions = s.versions
	return nil
}

func (e *Enforcer) syncNode(ctx context.Context, s state, node string) error {
	t, err := s.compile(node)
	if err != nil {
		return err
	}
	text := t.Text(nil)
	if e.applied[node] == text {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := netns.Command(ctx, netns.Name(e.plan.Lab, "node-"+node), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(t.Text(e.chains[node]))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("node %s: %w\n%s", node, err, out)
	}
	e.applied[node], e.chains[node] = text, slices.Clone(t.Order)
	return nil
}
