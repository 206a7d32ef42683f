package vantage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8slabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

// way is one way into the failing pod.
type way struct {
	via string
	run func(context.Context, *corev1.Pod) (container, error)
}

// podVantage probes from the failing pod, by the first way that is open, and
// wants the other places unless the question was answered well.
func (s *session) podVantage(ctx context.Context) (obs []model.Observation) {
	defer func() {
		if !questionOK(obs) || s.vary() {
			s.wantOthers()
		}
	}()
	if !s.wants(model.VantagePod) || s.req.Pod == nil || s.req.Via == ViaNone {
		return nil
	}
	ref := s.req.Pod.Ref()
	live, err := s.Kube.CoreV1().Pods(s.req.Pod.Namespace).Get(ctx, s.req.Pod.Name, metav1.GetOptions{})
	if err != nil {
		s.gap(s.explain("probe from "+string(ref), ref, err, "get pods in namespace "+s.req.Pod.Namespace))
		return nil
	}
	if g := s.unfit(live); g != nil {
		s.gap(*g)
		return nil
	}
	for _, w := range []way{{ViaEphemeral, s.ephemeral}, {ViaTwin, s.twin}} {
		if s.req.Via != ViaAuto && s.req.Via != w.via {
			continue
		}
		obs, err := s.enter(ctx, live, w)
		var start *startError
		switch {
		case err == nil:
			return obs
		case ctx.Err() != nil, errors.Is(err, errNoExec), errors.Is(err, errPodGone):
			return nil // no other way leads further
		case errors.As(err, &start) && start.image():
			return s.lastWay(ctx, live) // nor would a twin have the image
		}
	}
	return s.lastWay(ctx, live)
}

// lastWay is the one without the probe image.
func (s *session) lastWay(ctx context.Context, live *corev1.Pod) []model.Observation {
	if s.req.Via == ViaAuto || s.req.Via == ViaExec {
		return s.ownTools(ctx, live)
	}
	return nil
}

// questionOK says whether every address of the question answered.
func questionOK(obs []model.Observation) bool {
	some := false
	for _, o := range obs {
		if o.Purpose == probe.PurposeQuestion {
			if o.Result != model.OK {
				return false
			}
			some = true
		}
	}
	return some
}

// unfit says why nothing can be probed from a pod.
func (s *session) unfit(p *corev1.Pod) *model.Gap {
	ref := model.NewRef("pod", p.Namespace, p.Name)
	reason := ""
	switch {
	case p.DeletionTimestamp != nil:
		reason = "it is being deleted; ask about one that stays"
	case p.Spec.NodeName == "":
		reason = "it is on no node yet"
	default:
		reason = s.unfitNode(p.Spec.NodeName)
	}
	if reason == "" {
		return nil
	}
	return &model.Gap{What: "probe from " + string(ref), Ref: ref, Reason: reason}
}

// unfitNode says why no probe can run on a node; "" if one can.
func (s *session) unfitNode(name string) string {
	n := s.req.Nodes[name]
	switch {
	case n == nil:
		return "" // not read: it is tried
	case n.Labels["kubernetes.io/os"] == "windows":
		return "node " + name + " runs Windows; the probe image is for Linux"
	case n.Labels["type"] == "virtual-kubelet" || strings.HasPrefix(name, "virtual-node-"):
		return "node " + name + " is a virtual one; its pods cannot be entered"
	case !n.Ready:
		return "node " + name + " is not ready; nothing starts on it"
	}
	return ""
}

// errNoExec is a container that was reached and in which nobody may execute.
var errNoExec = errors.New("executing in containers is forbidden")

// enter opens one way and runs the plan there; after an error the next way may do.
func (s *session) enter(ctx context.Context, live *corev1.Pod, w way) ([]model.Observation, error) {
	ref := model.NewRef("pod", live.Namespace, live.Name)
	what := "probe from " + string(ref) + " by " + w.via
	c, err := w.run(ctx, live)
	var skip *skipped
	if errors.As(err, &skip) {
		s.gap(model.Gap{What: what, Ref: ref, Reason: skip.why})
		return nil, err
	}
	if err != nil {
		s.gap(s.explain(what, ref, err, wayPermission(w.via, live.Namespace)))
		return nil, err
	}
	pl := place{model.VantagePod, ref, live.Spec.NodeName, w.via}
	first := s.req.Plan.For(model.VantagePod, s.req.Facts)
	waiting, over := context.WithCancel(ctx)
	more := s.more(ctx, c, pl)
	obs, err := s.runPlan(ctx, c, first, s.hedge(waiting, more.begin))
	over()
	if err != nil && s.gone(ctx, live) {
		err = errPodGone
	}
	s.stays(c, err)
	if err != nil {
		more.skip()
		s.gap(s.failedRun(ctx, what, ref, c, err))
		if rbac(err) {
			return nil, errNoExec
		}
		return nil, err
	}
	s.keep(pl, obs)
	if w.via == ViaTwin {
		s.note("the probe of pod %s/%s was sent from %s, a pod that podpath made like it (labels, account, node, name resolution) and removes again",
			live.Namespace, live.Name, c.pod)
	}
	more.after(obs)
	if s.req.Series != nil {
		s.repeats.Go(func() {
			s.repeat(ctx, c, pl, s.req.Plan.For(model.VantagePod, s.req.Facts))
			if w.via == ViaEphemeral {
				s.readSockets(ctx) // what they did meanwhile
			}
		})
	}
	s.mu.Lock()
	c.starting, s.entered = nil, w.via == ViaEphemeral
	s.recheck = func(ctx context.Context) { s.again(ctx, c, pl) }
	s.mu.Unlock()
	return obs, nil
}

// gone says whether the pod that was entered is being deleted, or has made room for another of its name.
func (s *session) gone(ctx context.Context, live *corev1.Pod) bool {
	now, err := s.Kube.CoreV1().Pods(live.Namespace).Get(ctx, live.Name, metav1.GetOptions{})
	if err != nil {
		return apierrors.IsNotFound(err)
	}
	return now.DeletionTimestamp != nil || now.UID != live.UID
}

func wayPermission(via, namespace string) string {
	if via == ViaEphemeral {
		return "patch pods/ephemeralcontainers in namespace " + namespace
	}
	return "create pods in namespace " + namespace
}

// hedgeAfter is how long the pod's own probe may run before the other places start.
const hedgeAfter = 350 * time.Millisecond

// hedge wants the other places, and calls also, when the plan has run for a while
// without an answer: a time-out is then waited for only once.
func (s *session) hedge(ctx context.Context, also func()) func() {
	return func() {
		s.mu.Lock()
		s.begun = time.Now()
		s.mu.Unlock()
		go func() {
			t := time.NewTimer(hedgeAfter)
			defer t.Stop()
			select {
			case <-t.C:
				s.wantOthers()
				also()
			case <-ctx.Done():
			case <-s.escalate:
			}
		}()
	}
}

// failedRun explains a container that was created and gave nothing.
func (s *session) failedRun(ctx context.Context, what string, ref model.Ref, c container, err error) model.Gap {
	g := s.explain(what, ref, err, "create pods/exec in namespace "+c.namespace)
	var start *startError
	if errors.As(err, &start) && strings.HasPrefix(start.Reason, notStarted) {
		if why := s.sandboxTrouble(ctx, c.namespace, c.pod); why != "" {
			g.Reason += "; " + why
		}
	}
	return g
}

// again repeats the question alone, briefly, while the node's counters are watched.
func (s *session) again(ctx context.Context, c container, pl place) {
	plan := s.req.Plan
	plan.Targets = nil
	for _, t := range s.req.Plan.Targets {
		if t.Purpose == probe.PurposeQuestion && t.When == probe.Always {
			t.Purpose, t.MaxAddrs = probe.PurposeRecheck, 1
			t.Timeouts = probe.Timeouts{DNS: 1200 * time.Millisecond, TCP: 1200 * time.Millisecond, TLS: time.Second, HTTP: time.Second, Body: time.Second}
			plan.Targets = append(plan.Targets, t)
		}
	}
	if obs, err := s.runPlan(ctx, c, plan, nil); err == nil {
		s.keep(pl, obs)
	}
}

// skipped is a way that podpath itself does not take.
type skipped struct{ why string }

func (e *skipped) Error() string { return e.why }

// ephemeral finds or adds the probe's ephemeral container. It stays listed in
// the pod for the pod's life, so there is never a second one.
func (s *session) ephemeral(ctx context.Context, live *corev1.Pod) (container, error) {
	c := container{namespace: live.Namespace, pod: live.Name, name: containerName}
	for _, e := range live.Spec.EphemeralContainers {
		if e.Name == containerName {
			return s.reuse(ctx, live, c)
		}
	}
	if live.Status.Phase != corev1.PodRunning && live.Status.Phase != corev1.PodPending {
		return c, &skipped{"the pod has ended (" + string(live.Status.Phase) + "); only a pod like it can be used"}
	}
	s.wantNode()
	changed, err := s.addEphemeral(ctx, live)
	if err != nil {
		return c, err
	}
	c.starting, c.added = s.watchStart(ctx, changed, containerName), true
	return c, nil
}

// stays notes what is left in a pod by a container that was added to it, once it is known what became of it.
func (s *session) stays(c container, err error) {
	if !c.added || errors.Is(err, errPodGone) {
		return // nothing was added, or it went with its pod
	}
	ends := "its process ends by itself after " + s.req.EphemeralTTL.String() + " without use"
	var start *startError
	switch {
	case !errors.As(err, &start):
	case strings.HasPrefix(start.Reason, notStarted):
		ends = "it had not started after " + s.req.StartTimeout.String() + "; if it still does, " + ends
	default:
		ends = "no process of it runs (" + start.Reason + ")"
	}
	s.note("pod %s/%s now lists an ephemeral container %q, which Kubernetes cannot remove: %s, and podpath adds no second one to a pod",
		c.namespace, c.pod, c.name, ends)
}

func (s *session) reuse(ctx context.Context, live *corev1.Pod, c container) (container, error) {
	for _, st := range live.Status.EphemeralContainerStatuses {
		if st.Name != containerName {
			continue
		}
		if st.State.Running != nil {
			return c, nil
		}
		if t := st.State.Terminated; t != nil {
			if s.gone(ctx, live) { // which is why it has ended
				return c, errPodGone
			}
			return c, &skipped{fmt.Sprintf("its ephemeral container %q has ended, and podpath adds no second one to a pod", containerName)}
		}
		if w := st.State.Waiting; w != nil && failures[w.Reason] {
			return c, &skipped{fmt.Sprintf("its ephemeral container %q of an earlier run cannot start (%s), and podpath adds no second one to a pod", containerName, w.Reason)}
		}
	}
	c.starting = s.watchStart(ctx, live, containerName) // another run has just added it
	return c, nil
}

func (s *session) addEphemeral(ctx context.Context, live *corev1.Pod) (*corev1.Pod, error) {
	security := containerSecurity()
	uid := nobody
	target := s.targetContainer(live)
	if u := runAsUser(live, target); u != 0 {
		uid = u
	}
	security.RunAsUser = &uid
	e := corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name: containerName, Image: s.req.Image, ImagePullPolicy: corev1.PullPolicy(s.req.PullPolicy),
		Command: s.serve(s.req.EphemeralTTL), SecurityContext: security,
	}}
	if target != nil && running(live, target.Name) {
		// The process namespace is shared with the application, whose CA bundle can then be read.
		e.TargetContainerName = target.Name
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"ephemeralContainers": []corev1.EphemeralContainer{e}}})
	if err != nil {
		return nil, err
	}
	pods := s.Kube.CoreV1().Pods(live.Namespace)
	changed, err := pods.Patch(ctx, live.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "ephemeralcontainers")
	if rbac(err) {
		// Some roles give update and not patch.
		copied := live.DeepCopy()
		copied.Spec.EphemeralContainers = append(copied.Spec.EphemeralContainers, e)
		if updated, err := pods.UpdateEphemeralContainers(ctx, live.Name, copied, metav1.UpdateOptions{}); err == nil {
			return updated, nil
		}
	}
	return changed, err
}

// targetContainer is the container that the question is about.
func (s *session) targetContainer(p *corev1.Pod) *corev1.Container {
	want := s.req.Container
	if want == "" {
		want = p.Annotations["kubectl.kubernetes.io/default-container"]
	}
	for i := range p.Spec.Containers {
		if p.Spec.Containers[i].Name == want {
			return &p.Spec.Containers[i]
		}
	}
	if len(p.Spec.Containers) == 0 {
		return nil
	}
	return &p.Spec.Containers[0]
}

func running(p *corev1.Pod, name string) bool {
	return slices.ContainsFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.Name == name && c.State.Running != nil })
}

// runAsUser is the user that a container runs as; 0 is root or not known.
func runAsUser(p *corev1.Pod, c *corev1.Container) int64 {
	if c != nil && c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
		return *c.SecurityContext.RunAsUser
	}
	if p.Spec.SecurityContext != nil && p.Spec.SecurityContext.RunAsUser != nil {
		return *p.Spec.SecurityContext.RunAsUser
	}
	for _, st := range p.Status.ContainerStatuses {
		// The image's own user, where the runtime tells it.
		if c != nil && st.Name == c.Name && st.User != nil && st.User.Linux != nil {
			return st.User.Linux.UID
		}
	}
	return 0
}

// twin creates a pod like the failing one.
func (s *session) twin(ctx context.Context, live *corev1.Pod) (container, error) {
	c := container{namespace: live.Namespace, name: containerName}
	if name, err := s.wouldPick(ctx, live); err != nil {
		return c, err
	} else if name != "" {
		return c, &skipped{"service " + name + " publishes pods that are not ready, so it would send traffic to a pod like this one"}
	}
	s.wantOthers() // the node is read before a pod is started on it
	if s.req.Node == live.Spec.NodeName && !live.Spec.HostNetwork {
		if why := s.nodeFirst(ctx); why != "" {
			return c, &skipped{why}
		}
	}
	owner, err := s.ownerIn(ctx, live.Namespace)
	if err != nil && !denied(err) {
		return c, err
	}
	made, err := s.create(ctx, s.twinPod(live, owner))
	if err != nil {
		return c, err
	}
	c.pod = made.Name
	c.starting = s.watchStart(ctx, made, containerName)
	return c, nil
}

// wouldPick names a Service that would send traffic to a twin although it is never ready.
func (s *session) wouldPick(ctx context.Context, live *corev1.Pod) (string, error) {
	list, err := s.Kube.CoreV1().Services(live.Namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		return "", nil // who may not read Services cannot know; the readiness gate covers all but the rarest
	}
	if err != nil {
		return "", err
	}
	for _, svc := range list.Items {
		if svc.Spec.PublishNotReadyAddresses && len(svc.Spec.Selector) > 0 && k8slabels.SelectorFromSet(svc.Spec.Selector).Matches(k8slabels.Set(live.Labels)) {
			return svc.Name, nil
		}
	}
	return "", nil
}

// create makes a pod and remembers it for cleaning up.
func (s *session) create(ctx context.Context, p *corev1.Pod) (*corev1.Pod, error) {
	made, err := s.Kube.CoreV1().Pods(p.Namespace).Create(ctx, p, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.created = append(s.created, created{made.Namespace, made.Name, made.Spec.NodeName})
	s.mu.Unlock()
	return made, nil
}
