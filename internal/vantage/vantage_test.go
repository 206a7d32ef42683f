package vantage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

// cluster is a fake one: containers run at once unless told otherwise, and the
// probe in them answers what the test says.
type cluster struct {
	*fake.Clientset
	mu      sync.Mutex
	n       int
	calls   []string          // "pod/container verb"
	waiting map[string]string // kind of pod → reason why it waits
	answer  func(c execCall, plan probe.Plan) model.Reason
	sysctls map[string]string
	mended  atomic.Bool // a pod was started on the node before its first reading
	read    atomic.Bool
	block   chan struct{} // exec waits for it when set
}

func livePod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", UID: "u1", Labels: map[string]string{"app": "web", "app.kubernetes.io/name": "theirs", "pod-template-hash": "abc"}},
		Spec:       corev1.PodSpec{NodeName: "n1", ServiceAccountName: "web", DNSPolicy: corev1.DNSClusterFirst, Containers: []corev1.Container{{Name: "app"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
			{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		}},
	}
}

func newCluster(objects ...runtime.Object) *cluster {
	c := &cluster{Clientset: fake.NewClientset(objects...), waiting: map[string]string{}}
	c.PrependReactor("create", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if o, ok := a.(clienttesting.CreateAction).GetObject().(metav1.Object); ok && o.GetName() == "" {
			c.mu.Lock()
			c.n++
			o.SetName(fmt.Sprint(o.GetGenerateName(), c.n))
			c.mu.Unlock()
		}
		if p, ok := a.(clienttesting.CreateAction).GetObject().(*corev1.Pod); ok {
			p.Status = c.status(p.Labels[labelKind])
		}
		return false, nil, nil
	})
	return c
}

func (c *cluster) status(kind string) corev1.PodStatus {
	state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	if why := c.waiting[kind]; why != "" {
		state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: why, Message: "no such image"}}
	}
	return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: containerName, State: state}}}
}

// forbid makes the API server refuse, as RBAC does or in given words.
func (c *cluster) forbid(verb, resource, words string) {
	c.PrependReactor(verb, resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
		if want, sub, ok := strings.Cut(resource, "/"); ok && (a.GetResource().Resource != want || a.GetSubresource() != sub) {
			return false, nil, nil
		}
		if words == "" {
			words = `User "u" cannot ` + verb + ` resource`
		}
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "x", errors.New(words))
	})
}

func (c *cluster) run(ctx context.Context, call execCall) error {
	verb := call.command[1]
	if call.command[0] == "sh" {
		verb = "sh"
	}
	c.mu.Lock()
	c.calls = append(c.calls, call.pod+" "+verb)
	n := int64(len(c.calls))
	c.mu.Unlock()
	if c.block != nil {
		select {
		case <-c.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	pod, err := c.CoreV1().Pods(call.namespace).Get(ctx, call.pod, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if why := c.waiting[pod.Labels[labelKind]]; why != "" {
		return errors.New("container not found")
	}
	switch verb {
	case "node":
		if !c.read.Swap(true) && slices.ContainsFunc(c.Actions(), func(a clienttesting.Action) bool {
			create, ok := a.(clienttesting.CreateAction) // updates look alike
			if !ok || a.GetVerb() != "create" {
				return false
			}
			p, ok := create.GetObject().(*corev1.Pod)
			return ok && p.Spec.NodeName == "n1" && !p.Spec.HostNetwork
		}) {
			c.mended.Store(true)
		}
		return json.NewEncoder(call.stdout).Encode(model.NodeFacts{Counters: map[string]int64{"IpInAddrErrors": n}, Sysctls: c.sysctls})
	case "inside":
		return json.NewEncoder(call.stdout).Encode(model.Inside{Counters: map[string]int64{"TcpExtListenDrops": n}, Sockets: []model.SocketCount{{Count: int(n)}}})
	case "watch":
		return c.series(call)
	case "sh":
		io.WriteString(call.stdout, "tool=none\nexit=0\n")
		return nil
	}
	io.WriteString(call.stderr, "running\n")
	var plan probe.Plan
	if err := json.Unmarshal(call.stdin, &plan); err != nil {
		return err
	}
	obs := []model.Observation{}
	for _, t := range plan.Targets {
		if t.When == probe.Always {
			r := model.OK
			if c.answer != nil {
				r = c.answer(call, plan)
			}
			obs = append(obs, model.Observation{Target: t.Label, Purpose: t.Purpose, Result: r})
		}
	}
	return json.NewEncoder(call.stdout).Encode(obs)
}

func request() Request {
	ready := func(name string) *model.Node { return &model.Node{Name: name, Ready: true} }
	return Request{
		Pod: &model.Pod{Namespace: "shop", Name: "web-1", Node: "n1"}, Nodes: map[string]*model.Node{"n1": ready("n1"), "n2": ready("n2")},
		Vantages:     []model.Vantage{model.VantagePod, model.VantagePeer, model.VantageNode, model.VantageOtherNode},
		Plan:         probe.Plan{Targets: []probe.Target{{Label: "q", Purpose: probe.PurposeQuestion, Host: "192.0.2.1", Port: 1}}},
		StartTimeout: 2 * time.Second,
	}
}

func (c *cluster) probe(t *testing.T, ctx context.Context, req Request) Result {
	t.Helper()
	s := newSession(Clients{Kube: c}, req)
	s.exec = c.run
	// The fake server does not run containers: an ephemeral one is up when it is listed.
	c.PrependReactor("patch", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() == "ephemeralcontainers" {
			go func() {
				p, err := c.CoreV1().Pods("shop").Get(context.Background(), "web-1", metav1.GetOptions{})
				if err == nil {
					p.Status.EphemeralContainerStatuses = c.status("ephemeral").ContainerStatuses
					c.CoreV1().Pods("shop").UpdateStatus(context.Background(), p, metav1.UpdateOptions{})
				}
			}()
		}
		return false, nil, nil
	})
	return s.run(ctx)
}

// left are the pods that podpath should have removed.
func (c *cluster) left(t *testing.T) []string {
	t.Helper()
	var out []string
	pods, err := c.CoreV1().Pods("").List(context.Background(), metav1.ListOptions{LabelSelector: labelRun})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		out = append(out, p.Name)
	}
	jobs, err := c.BatchV1().Jobs("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs.Items {
		out = append(out, j.Name)
	}
	return out
}

func vias(r Result) string {
	var out []string
	for _, o := range r.Observations {
		out = append(out, string(o.Vantage)+":"+o.Via)
	}
	return strings.Join(out, " ")
}

func gapsOf(r Result) string {
	var out []string
	for _, g := range r.Gaps {
		out = append(out, g.What+": "+g.Reason+" ["+g.Permission+"]")
	}
	return strings.Join(out, "\n")
}

func TestEveryPlace(t *testing.T) {
	c := newCluster(livePod())
	r := c.probe(t, context.Background(), request())
	if got := vias(r); got != "pod:ephemeral peer-pod:pod node:host-pod other-node:pod" {
		t.Errorf("%s\n%s", got, gapsOf(r))
	}
	if len(r.Gaps) > 0 || len(c.left(t)) > 0 {
		t.Errorf("gaps %s, left %v", gapsOf(r), c.left(t))
	}
	if f := r.NodeFacts["n1"]; f == nil || f.Node != "n1" || len(f.After) == 0 {
		t.Errorf("facts %+v", f)
	}
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "shop/web-1") {
		t.Errorf("notes %v", r.Notes)
	}
	p, err := c.CoreV1().Pods("shop").Get(context.Background(), "web-1", metav1.GetOptions{})
	if err != nil || len(p.Spec.EphemeralContainers) != 1 || p.Spec.EphemeralContainers[0].TargetContainerName != "app" {
		t.Errorf("%+v %v", p.Spec.EphemeralContainers, err)
	}
}

func TestEphemeralIsReused(t *testing.T) {
	c := newCluster(livePod())
	c.probe(t, context.Background(), request())
	r := c.probe(t, context.Background(), request())
	p, _ := c.CoreV1().Pods("shop").Get(context.Background(), "web-1", metav1.GetOptions{})
	if len(p.Spec.EphemeralContainers) != 1 || !strings.HasPrefix(vias(r), "pod:ephemeral") || len(r.Notes) != 0 {
		t.Errorf("%d containers, %s, %v", len(p.Spec.EphemeralContainers), vias(r), r.Notes)
	}
}

func TestEndedEphemeralGivesWayToATwin(t *testing.T) {
	p := livePod()
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: containerName}}}
	p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: containerName, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}}
	c := newCluster(p)
	r := c.probe(t, context.Background(), request())
	if !strings.HasPrefix(vias(r), "pod:twin") || !strings.Contains(gapsOf(r), "adds no second one") {
		t.Errorf("%s\n%s", vias(r), gapsOf(r))
	}
	if left := c.left(t); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestTwinIsNobodysPod(t *testing.T) {
	c := newCluster(livePod())
	c.forbid("patch", "pods/ephemeralcontainers", "")
	c.forbid("update", "pods/ephemeralcontainers", "")
	var twin *corev1.Pod
	c.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if p := a.(clienttesting.CreateAction).GetObject().(*corev1.Pod); p.Labels[labelKind] == "twin" {
			twin = p.DeepCopy()
		}
		return false, nil, nil
	})
	req := request()
	req.Vantages = req.Vantages[:1]
	r := c.probe(t, context.Background(), req)
	if vias(r) != "pod:twin" || !strings.Contains(gapsOf(r), "[patch pods/ephemeralcontainers in namespace shop]") {
		t.Fatalf("%s\n%s", vias(r), gapsOf(r))
	}
	if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, "was sent from "+twin.GenerateName) || !strings.Contains(notes, "made like it") {
		t.Errorf("notes %q", notes)
	}
	if o := twin.OwnerReferences; len(o) != 1 || o[0].Kind != "Job" || !*o[0].Controller {
		t.Errorf("owners %+v", o)
	}
	if twin.Labels["app"] != "web" || twin.Labels["app.kubernetes.io/name"] != "theirs" || len(twin.Spec.ReadinessGates) != 1 || twin.Spec.NodeName != "n1" ||
		twin.Spec.ServiceAccountName != "web" || *twin.Spec.AutomountServiceAccountToken || twin.Spec.DNSPolicy != corev1.DNSClusterFirst {
		t.Errorf("%+v", twin)
	}
}

func TestTwinIsNotMadeWhereAServiceWouldPickIt(t *testing.T) {
	c := newCluster(livePod(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "eager"}, Spec: corev1.ServiceSpec{PublishNotReadyAddresses: true, Selector: map[string]string{"app": "web"}}})
	req := request()
	req.Via, req.Vantages = ViaTwin, req.Vantages[:1]
	r := c.probe(t, context.Background(), req)
	if vias(r) != "" || !strings.Contains(gapsOf(r), "service eager") {
		t.Errorf("%s\n%s", vias(r), gapsOf(r))
	}
}

func TestRefusalsAreGaps(t *testing.T) {
	for words, want := range map[string]string{
		"": "[create pods in namespace shop]",
		`violates PodSecurity "restricted:latest": x`:  "Pod Security refuses it",
		"exceeded quota: q":                            "quota is used up",
		`admission webhook "w" denied the request: no`: "webhook refuses",
	} {
		c := newCluster(livePod())
		c.forbid("patch", "pods/ephemeralcontainers", words)
		c.forbid("update", "pods/ephemeralcontainers", words)
		c.forbid("create", "pods", words)
		r := c.probe(t, context.Background(), request())
		if !strings.Contains(gapsOf(r), want) || vias(r) != "" || len(c.left(t)) > 0 {
			t.Errorf("%q: %s\n%s\nleft %v", words, vias(r), gapsOf(r), c.left(t))
		}
		if !strings.Contains(gapsOf(r), "no shell") {
			t.Errorf("the pod's own tools were not tried: %s", gapsOf(r))
		}
	}
}

func TestPeerFallsBackToTheProbeNamespace(t *testing.T) {
	c := newCluster(livePod())
	c.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.GetNamespace() == "shop" {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "x", errors.New("violates PodSecurity"))
		}
		return false, nil, nil
	})
	r := c.probe(t, context.Background(), request())
	if got := vias(r); got != "pod:ephemeral peer-pod:pod node:host-pod other-node:pod" || len(r.Gaps) > 0 {
		t.Errorf("%s\n%s", got, gapsOf(r))
	}
}

func TestImageThatCannotBeHad(t *testing.T) {
	c := newCluster(livePod())
	c.waiting["node"], c.waiting["peer"] = "ErrImageNeverPull", "ImagePullBackOff"
	start := time.Now()
	req := request()
	req.Image = "registry.test/podpath/probe:1"
	r := c.probe(t, context.Background(), req)
	if got := vias(r); got != "pod:ephemeral other-node:pod" {
		t.Error(got)
	}
	if g := gapsOf(r); strings.Count(g, "az acr import") != 1 || strings.Count(g, "cannot have the probe image") != 2 || !strings.Contains(g, "--probe-image") {
		t.Error(g)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestSlowStartIsAGap(t *testing.T) {
	c := newCluster(livePod())
	c.waiting["node"] = "ContainerCreating"
	req := request()
	req.StartTimeout = 700 * time.Millisecond
	r := c.probe(t, context.Background(), req)
	if !strings.Contains(gapsOf(r), "not started after 700ms") || len(c.left(t)) > 0 {
		t.Error(gapsOf(r))
	}
}

func TestUnfitPlaces(t *testing.T) {
	c := newCluster(livePod())
	req := request()
	req.Nodes["n1"].Ready = false
	req.Nodes["n2"].Labels = model.Labels{"kubernetes.io/os": "windows"}
	r := c.probe(t, context.Background(), req)
	if g := gapsOf(r); vias(r) != "" || strings.Count(g, "not ready; nothing starts") != 3 || !strings.Contains(g, "no other node") {
		t.Errorf("%s\n%s", vias(r), g)
	}
}

func TestPodGone(t *testing.T) {
	r := newCluster().probe(t, context.Background(), request())
	if !strings.Contains(gapsOf(r), "deleted meanwhile") {
		t.Error(gapsOf(r))
	}
}

func TestPodDeletedWhileProbed(t *testing.T) {
	c := newCluster(livePod())
	c.answer = func(call execCall, _ probe.Plan) model.Reason {
		if call.pod == "web-1" {
			c.CoreV1().Pods("shop").Delete(context.Background(), "web-1", metav1.DeleteOptions{})
		}
		return model.OK
	}
	req := request()
	req.Vantages = req.Vantages[:1]
	s := newSession(Clients{Kube: c}, req)
	s.exec = func(ctx context.Context, call execCall) error {
		c.run(ctx, call)
		return utilexec.CodeExitError{Code: 137, Err: errors.New("killed")}
	}
	r := s.run(context.Background())
	if !strings.Contains(gapsOf(r), "deleted meanwhile") || len(r.Gaps) != 2 || len(c.left(t)) > 0 || len(r.Notes) > 0 {
		t.Errorf("%s\nleft %v, notes %q", gapsOf(r), c.left(t), r.Notes)
	}
}

func TestEphemeralThatNeverStartedGivesWayToATwin(t *testing.T) {
	p := livePod()
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: containerName}}}
	p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: containerName, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}}}}
	r := newCluster(p).probe(t, context.Background(), request())
	if !strings.HasPrefix(vias(r), "pod:twin") || !strings.Contains(gapsOf(r), "cannot start (ErrImagePull)") {
		t.Errorf("%s\n%s", vias(r), gapsOf(r))
	}
}

// TestNoteOfTheEphemeralContainer: what is said to stay is what stays.
func TestNoteOfTheEphemeralContainer(t *testing.T) {
	for _, test := range []struct{ name, waiting, says, not string }{
		{"it ran", "", "its process ends by itself after 10m0s without use", "started"},
		{"no image", "ErrImagePull", "no process of it runs (ErrImagePull)", "ends by itself"},
		{"too slow", "ContainerCreating", "it had not started after 700ms; if it still does, its process ends by itself", "no process"},
	} {
		c := newCluster(livePod())
		c.waiting["ephemeral"] = test.waiting
		if test.waiting != "" {
			c.waiting[""] = test.waiting // the pod itself has no kind
		}
		req := request()
		req.Via, req.Vantages, req.StartTimeout = ViaEphemeral, req.Vantages[:1], time.Minute
		if test.waiting == "ContainerCreating" { // the one for which the limit is waited for
			req.StartTimeout = 700 * time.Millisecond
		}
		if notes := strings.Join(c.probe(t, t.Context(), req).Notes, "\n"); !strings.Contains(notes, test.says) || strings.Contains(notes, test.not) {
			t.Errorf("%s: %q", test.name, notes)
		}
	}
}

// TestPlacesThatNoNamespaceTakes: each namespace that would have done is named.
func TestPlacesThatNoNamespaceTakes(t *testing.T) {
	c := newCluster(livePod())
	c.forbid("create", "pods", "")
	req := request()
	req.Vantages = []model.Vantage{model.VantagePeer}
	r := c.probe(t, t.Context(), req)
	if got := gapsOf(r); !strings.Contains(got, "another pod of node n1: forbidden [create pods in namespace shop or kube-system]") {
		t.Error(got)
	}
	c = newCluster(livePod())
	c.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		words := `User "u" cannot create resource`
		if a.GetNamespace() == "shop" {
			words = "violates PodSecurity"
		}
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "x", errors.New(words))
	})
	r = c.probe(t, t.Context(), req)
	if got := gapsOf(r); !strings.Contains(got, "shop: Pod Security refuses it") || !strings.Contains(got, "; kube-system: forbidden [create pods in namespace kube-system]") {
		t.Error(got)
	}
}

func TestEscalation(t *testing.T) {
	c := newCluster(livePod())
	req := request()
	req.Escalate = true
	if got := vias(c.probe(t, context.Background(), req)); got != "pod:ephemeral" {
		t.Errorf("a pod that answers: %s", got)
	}
	if left := c.left(t); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	c.ClearActions()
	if got := vias(c.probe(t, context.Background(), req)); got != "pod:ephemeral" {
		t.Errorf("again: %s", got)
	}
	if slices.ContainsFunc(c.Actions(), func(a clienttesting.Action) bool { return a.Matches("create", "pods") }) {
		t.Error("pods were created for nothing")
	}
	c = newCluster(livePod())
	c.answer = func(execCall, probe.Plan) model.Reason { return model.TimedOut }
	r := c.probe(t, context.Background(), req)
	if got := vias(r); !strings.HasSuffix(got, "pod:ephemeral peer-pod:pod node:host-pod other-node:pod") {
		t.Errorf("a pod that fails: %s", got)
	}
	c.read.Store(false)
	r = c.probe(t, context.Background(), req) // its container is there: it is over before the node is read
	if !slices.ContainsFunc(r.Observations, func(o model.Observation) bool { return o.Purpose == probe.PurposeRecheck }) {
		t.Error("the question was not asked again between the readings of the counters")
	}
}

func TestInterrupted(t *testing.T) {
	c := newCluster(livePod())
	c.block = make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan Result)
	go func() { done <- c.probe(t, ctx, request()) }()
	for {
		c.mu.Lock()
		n := len(c.calls)
		c.mu.Unlock()
		if n >= 3 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("an interrupted run goes on")
	}
	if left := c.left(t); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestSweep(t *testing.T) {
	deadline := int64(60)
	old := func(name, kind string, phase corev1.PodPhase, age time.Duration) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "x", Labels: map[string]string{labelRun: "earlier", labelKind: kind}, CreationTimestamp: metav1.NewTime(time.Now().Add(-age))},
			Spec:       corev1.PodSpec{ActiveDeadlineSeconds: &deadline}, Status: corev1.PodStatus{Phase: phase},
		}
	}
	c := newCluster(livePod(), old("done", "peer", corev1.PodFailed, time.Second), old("stuck", "peer", corev1.PodRunning, time.Hour), old("young", "peer", corev1.PodRunning, time.Second), old("foreign", "", corev1.PodFailed, time.Hour))
	c.probe(t, context.Background(), request())
	if got := strings.Join(c.left(t), " "); got != "foreign young" {
		t.Errorf("left %s", got)
	}
}

func TestWithoutJobsPodsHaveTheirDeadline(t *testing.T) {
	c := newCluster(livePod())
	c.forbid("create", "jobs", "")
	r := c.probe(t, context.Background(), request())
	if got := vias(r); got != "pod:ephemeral peer-pod:pod node:host-pod other-node:pod" || len(r.Gaps) > 0 {
		t.Errorf("%s\n%s", got, gapsOf(r))
	}
}

func TestProbeThatFails(t *testing.T) {
	c := newCluster(livePod())
	req := request()
	req.Vantages = req.Vantages[:1]
	s := newSession(Clients{Kube: c}, req)
	s.exec = func(_ context.Context, call execCall) error {
		io.WriteString(call.stderr, "podpath-probe: plan: bad\x1b\n")
		return utilexec.CodeExitError{Code: 1, Err: errors.New("exit 1")}
	}
	if g := gapsOf(s.run(context.Background())); !strings.Contains(g, "plan: bad") || strings.Contains(g, "\x1b") {
		t.Error(g)
	}
}

func TestTheNodeIsReadBeforeAPodIsStartedOnIt(t *testing.T) {
	for _, via := range []string{ViaAuto, ViaTwin} {
		c := newCluster(livePod())
		req := request()
		req.Via = via
		if r := c.probe(t, context.Background(), req); c.mended.Load() || len(r.Observations) != 4 {
			t.Errorf("%s: started before: %v; %s", via, c.mended.Load(), vias(r))
		}
		c = newCluster(livePod())
		c.sysctls = map[string]string{ipForward: "0"}
		r := c.probe(t, context.Background(), req)
		if strings.Contains(vias(r), "peer") || strings.Contains(vias(r), "twin") || !strings.Contains(gapsOf(r), "would switch that on") {
			t.Errorf("%s: a node that does not forward was mended: %s\n%s", via, vias(r), gapsOf(r))
		}
	}
}

func TestStillSending(t *testing.T) {
	hung := func(phase string, d time.Duration) []model.Observation {
		return []model.Observation{{Purpose: probe.PurposeQuestion, Failed: phase, Phases: []model.Phase{{Name: phase, Result: model.TimedOut, Duration: d}}}}
	}
	for _, c := range []struct {
		obs   []model.Observation
		after time.Duration
		want  bool
	}{
		{hung("tcp", 3300*time.Millisecond), 2 * time.Second, true},
		{hung("tcp", 3300*time.Millisecond), 2900 * time.Millisecond, false},
		{hung("tcp", 1400*time.Millisecond), 0, false},
		{hung("dns", 5*time.Second), 3 * time.Second, true},
		{hung("tls", 5*time.Second), 0, false},
		{nil, 0, false},
	} {
		if got := stillSending(c.obs, c.after); got != c.want {
			t.Errorf("%+v after %v: %v", c.obs, c.after, got)
		}
	}
}

func TestLimited(t *testing.T) {
	begun := 0
	l := &limited{max: 10, first: func() { begun++ }}
	if _, err := io.Copy(l, strings.NewReader(strings.Repeat("x", 100))); err != nil || l.Len() != 10 || begun != 1 {
		t.Errorf("%d bytes kept, begun %d times, %v", l.Len(), begun, err)
	}
}

func TestEveryPodMeetsRestrictedSecurity(t *testing.T) {
	s := newSession(Clients{}, request())
	for _, p := range []*corev1.Pod{s.peerPod("peer", "a", "n", nil), s.nodePod("a", "n", nil), s.twinPod(livePod(), nil)} {
		sc, c := p.Spec.SecurityContext, p.Spec.Containers[0].SecurityContext
		if !*sc.RunAsNonRoot || *sc.RunAsUser == 0 || sc.SeccompProfile == nil || *c.AllowPrivilegeEscalation || c.Capabilities.Drop[0] != "ALL" || !*c.ReadOnlyRootFilesystem {
			t.Errorf("%s: %+v %+v", p.GenerateName, sc, c)
		}
		if p.Spec.ActiveDeadlineSeconds == nil || p.Labels[labelRun] == "" || !strings.HasPrefix(p.GenerateName, "podpath-") || *p.Spec.AutomountServiceAccountToken {
			t.Errorf("%+v", p)
		}
	}
}

// TestExecThatHangs: an API server that never answers the exec's request holds nobody.
func TestExecThatHangs(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet { // no WebSocket here: the older way is tried
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		<-release
	}))
	defer server.Close()
	defer close(release)
	config := &rest.Config{Host: server.URL}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(Clients{Kube: client, Config: config}, Request{})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	err = s.remoteExec(ctx, execCall{namespace: "shop", pod: "web-0", container: "web", command: []string{"true"}, stdout: io.Discard, stderr: io.Discard})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 20*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

// A proxy before the API server that lets no stream through: the container runs, and nobody is told so.
func TestStreamThatCannotBeOpened(t *testing.T) {
	c := newCluster(livePod())
	c.waiting["node"] = "ContainerCreating"
	req := request()
	req.StartTimeout = 700 * time.Millisecond
	req.Vantages = []model.Vantage{model.VantageNode}
	s := newSession(Clients{Kube: c}, req)
	s.exec = func(context.Context, execCall) error {
		return errors.New("unable to upgrade connection: 502 Bad Gateway")
	}
	if g := gapsOf(s.run(context.Background())); !strings.Contains(g, "not started after 700ms: the last try to execute in it: unable to upgrade connection: 502 Bad Gateway") {
		t.Error(g)
	}
}
