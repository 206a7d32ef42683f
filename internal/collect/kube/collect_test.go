package kube

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/podpath/podpath/internal/model"
)

func meta(ns, name string, more ...string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: ns, Name: name, Labels: map[string]string{}}
	for i := 0; i+1 < len(more); i += 2 {
		m.Labels[more[i]] = more[i+1]
	}
	return m
}

func owned(m metav1.ObjectMeta, kind, name string) metav1.ObjectMeta {
	yes := true
	m.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: name, Controller: &yes}}
	return m
}

func pod(m metav1.ObjectMeta, ip, node string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: m,
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "app", Image: "i"}}, DNSPolicy: corev1.DNSClusterFirst},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func selectorOf(pairs ...string) *metav1.LabelSelector {
	s := &metav1.LabelSelector{MatchLabels: map[string]string{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		s.MatchLabels[pairs[i]] = pairs[i+1]
	}
	return s
}

// cluster is a small shop: a Deployment of two pods, one of them not ready, a
// look-alike with overlapping labels, a database, and what kube-system holds.
func cluster() []runtime.Object {
	two, port := int32(2), intstr.FromInt32(5432)
	tcp := corev1.ProtocolTCP
	ready, node := true, "n1"
	portNumber, portName := int32(5432), "pg"
	return []runtime.Object{
		&corev1.Namespace{ObjectMeta: meta("", "shop", "team", "a")}, &corev1.Namespace{ObjectMeta: meta("", "kube-system")}, &corev1.Namespace{ObjectMeta: meta("", "data")},
		&corev1.Node{
			ObjectMeta: meta("", "n1"), Spec: corev1.NodeSpec{ProviderID: "azure:///x", PodCIDRs: []string{"10.244.0.0/24"}, Taints: []corev1.Taint{{Key: "k", Value: "v", Effect: "NoSchedule"}}},
			Status: corev1.NodeStatus{
				Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.4"}, {Type: corev1.NodeHostName, Address: "n1"}},
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			},
		},
		&appsv1.Deployment{ObjectMeta: meta("shop", "checkout"), Spec: appsv1.DeploymentSpec{Replicas: &two, Selector: selectorOf("app", "checkout")}},
		&appsv1.ReplicaSet{ObjectMeta: owned(meta("shop", "checkout-7f"), "Deployment", "checkout"), Spec: appsv1.ReplicaSetSpec{Selector: selectorOf("app", "checkout")}},
		pod(owned(meta("shop", "checkout-7f-aaaaa", "app", "checkout", "pod-template-hash", "7f"), "ReplicaSet", "checkout-7f"), "10.244.0.5", "n1", func(p *corev1.Pod) {
			p.Status.Conditions[0].Status = corev1.ConditionFalse
		}),
		pod(owned(meta("shop", "checkout-7f-bbbbb", "app", "checkout", "pod-template-hash", "7f"), "ReplicaSet", "checkout-7f"), "10.244.0.6", "n1", func(p *corev1.Pod) {
			c := &p.Spec.Containers[0]
			c.EnvFrom = []corev1.EnvFromSource{
				{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}},
				{Prefix: "S_", SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "vault"}}},
			}
			c.Env = []corev1.EnvVar{
				{Name: "HOST", Value: "db"},
				{Name: "URL", Value: "tcp://$(HOST):5432/$(NOBODY)/$$(HOST)"},
				{Name: "PROXY", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Key: "proxy"}}},
				{Name: "TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "vault"}, Key: "t"}}},
				{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
			}
		}),
		pod(owned(meta("shop", "checkout-canary-1", "app", "checkout"), "ReplicaSet", "canary-1"), "10.244.0.7", "n1"),
		pod(owned(meta("data", "db-0", "app", "db"), "StatefulSet", "db"), "10.244.0.8", "n1"),
		&appsv1.StatefulSet{ObjectMeta: meta("data", "db"), Spec: appsv1.StatefulSetSpec{Selector: selectorOf("app", "db")}},
		&appsv1.Deployment{ObjectMeta: meta("data", "idle"), Spec: appsv1.DeploymentSpec{Replicas: new(int32), Selector: selectorOf("app", "idle")}},
		&corev1.Service{ObjectMeta: meta("data", "db"), Spec: corev1.ServiceSpec{ClusterIP: "10.100.0.9", Selector: map[string]string{"app": "db"}, Ports: []corev1.ServicePort{{Port: 5432, TargetPort: port}}}},
		&corev1.Service{ObjectMeta: meta("shop", "checkout"), Spec: corev1.ServiceSpec{ClusterIP: "None", Selector: map[string]string{"app": "checkout"}}},
		&discoveryv1.EndpointSlice{
			ObjectMeta: meta("data", "db-x", discoveryv1.LabelServiceName, "db"), AddressType: discoveryv1.AddressTypeIPv4,
			Ports:     []discoveryv1.EndpointPort{{Name: &portName, Port: &portNumber, Protocol: &tcp}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.0.8"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, NodeName: &node, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "data", Name: "db-0"}}},
		},
		&networkingv1.NetworkPolicy{
			ObjectMeta: meta("shop", "egress"),
			Spec: networkingv1.NetworkPolicySpec{
				PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
				Egress: []networkingv1.NetworkPolicyEgressRule{{
					To:    []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}}}, {NamespaceSelector: selectorOf("team", "a")}},
					Ports: []networkingv1.NetworkPolicyPort{{Port: &port}},
				}},
			},
		},
		&corev1.ConfigMap{ObjectMeta: meta("shop", "settings"), Data: map[string]string{"proxy": "http://proxy:3128", "NO_PROXY": ".svc"}},
		&corev1.ConfigMap{ObjectMeta: meta("kube-system", "coredns"), Data: map[string]string{"Corefile": ". {}"}},
		&corev1.ConfigMap{ObjectMeta: meta("kube-system", "unrelated"), Data: map[string]string{"a": "b"}},
		&appsv1.DaemonSet{ObjectMeta: meta("kube-system", "kube-proxy")},
		&batchv1.CronJob{ObjectMeta: meta("shop", "nightly")},
		&corev1.Event{ObjectMeta: meta("shop", "e1"), InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "checkout-7f-aaaaa"}, Reason: "Unhealthy", Type: "Warning", Message: "probe failed", Count: 3},
		&corev1.Secret{ObjectMeta: meta("shop", "vault"), StringData: map[string]string{"t": "never"}},
	}
}

func ask(from, to model.Endpoint) *model.Question {
	return &model.Question{From: from, To: to, Protocol: "tcp"}
}

func TestCollect(t *testing.T) {
	cs := fake.NewClientset(cluster()...)
	var w model.World
	q := ask(model.Endpoint{Kind: "deployment", Name: "checkout"}, model.Endpoint{Kind: "url", Host: "db.data.svc.cluster.local", Port: 5432})
	from, err := Collect(t.Context(), cs, Options{Namespace: "shop", Server: "https://api"}, q, &w)
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Gaps) > 0 {
		t.Errorf("gaps: %+v", w.Gaps)
	}
	if from.Ref() != "pod/shop/checkout-7f-bbbbb" || from.Node != "n1" || from.Addr != netip.MustParseAddr("10.244.0.6") {
		t.Errorf("from %+v", from)
	}
	if want := []model.Ref{"pod/shop/checkout-7f-bbbbb", "pod/shop/checkout-7f-aaaaa"}; !slices.Equal(from.Pods, want) {
		t.Errorf("pods %v, want %v: ready first, and not the look-alike", from.Pods, want)
	}
	if !slices.Equal(from.To, []model.Ref{"service/data/db"}) {
		t.Errorf("to %v", from.To)
	}
	if q.From.Namespace != "shop" {
		t.Errorf("the namespace was not filled in: %+v", q.From)
	}
	p := from.Pod
	if p.Owner != "deployment/shop/checkout" || !p.Ready || p.Phase != "Running" {
		t.Errorf("pod %+v", p)
	}
	c := p.Containers[0]
	if want := map[string]string{
		"HOST": "db", "URL": "tcp://db:5432/$(NOBODY)/$(HOST)", "PROXY": "http://proxy:3128", "IP": "10.244.0.6", "proxy": "http://proxy:3128", "NO_PROXY": ".svc",
	}; !reflect.DeepEqual(c.Env, want) {
		t.Errorf("env %v, want %v", c.Env, want)
	}
	if want := map[string]model.Ref{"S_*": "secret/shop/vault", "TOKEN": "secret/shop/vault"}; !reflect.DeepEqual(c.EnvFrom, want) {
		t.Errorf("envFrom %v", c.EnvFrom)
	}
	for _, a := range cs.Actions() {
		if a.GetResource().Resource == "secrets" {
			t.Errorf("a Secret was read: %v", a)
		}
		if !slices.Contains([]string{"get", "list"}, a.GetVerb()) {
			t.Errorf("more than reading: %v", a)
		}
	}
	if w.Kube.Nodes["n1"].InternalIPs[0] != netip.MustParseAddr("10.0.0.4") || !w.Kube.Nodes["n1"].Ready || w.Kube.Nodes["n1"].Taints[0] != "k=v:NoSchedule" {
		t.Errorf("node %+v", w.Kube.Nodes["n1"])
	}
	policy := w.Kube.Policies["networkpolicy/shop/egress"]
	if policy == nil || policy.Ingress || !policy.Egress || len(policy.EgressRules[0].Peers) != 2 || policy.EgressRules[0].Peers[0].Except[0] != netip.MustParsePrefix("10.1.0.0/16") ||
		policy.EgressRules[0].Ports[0] != (model.PolicyPort{Protocol: "TCP", Port: "5432"}) {
		t.Errorf("policy %+v", policy)
	}
	slice := w.Kube.EndpointSlices["endpointslice/data/db-x"]
	if slice == nil || slice.Service != "db" || slice.Endpoints[0].Target != "pod/data/db-0" || !slice.Endpoints[0].Serving {
		t.Errorf("slice %+v", slice)
	}
	if s := w.Kube.Services["service/data/db"]; s == nil || s.Ports[0].TargetPort != "5432" || s.Ports[0].Protocol != "TCP" || s.Type != "ClusterIP" {
		t.Errorf("service %+v", s)
	}
	if !w.Kube.Services["service/shop/checkout"].Headless {
		t.Error("the headless Service is not known as one")
	}
	if _, ok := w.Kube.ConfigMaps["configmap/kube-system/unrelated"]; ok || w.Kube.ConfigMaps["configmap/kube-system/coredns"]["Corefile"] == "" {
		t.Errorf("config maps %v", w.Kube.ConfigMaps)
	}
	if len(w.Kube.Events) != 1 || w.Kube.Events[0].About != "pod/shop/checkout-7f-aaaaa" || w.Kube.Events[0].Count != 3 {
		t.Errorf("events %+v", w.Kube.Events)
	}
	for _, kind := range []string{"pod", "namespace", "node", "service", "endpointslice", "networkpolicy", "configmap", "daemonset", "deployment"} {
		if !w.Read[kind] {
			t.Errorf("%s is not said to be complete", kind)
		}
	}
}

// TestOwnPodsAreNobodys: a twin that a killed run left behind has the labels of
// the pod that it is like, and is no pod of the user's.
func TestOwnPodsAreNobodys(t *testing.T) {
	twin := pod(owned(meta("data", "podpath-twin-x", "app", "db", model.LabelRun, "r1", model.LabelKind, "twin"), "Job", "podpath-r1"), "10.244.0.99", "n1")
	objects := append(cluster(), twin)
	var w model.World
	q := ask(model.Endpoint{Kind: "service", Namespace: "data", Name: "db"}, model.Endpoint{Kind: "service", Namespace: "data", Name: "db", Port: 5432})
	from, err := Collect(t.Context(), fake.NewClientset(objects...), Options{}, q, &w)
	if err != nil || !slices.Equal(from.Pods, []model.Ref{"pod/data/db-0"}) {
		t.Errorf("pods %v, %v", from.Pods, err)
	}
	if w.Kube.Pods["pod/data/podpath-twin-x"] != nil {
		t.Error("podpath's own pod stands among the cluster's")
	}
	// Who names it means it.
	refs, err := Resolve(t.Context(), fake.NewClientset(objects...), &model.World{}, model.Endpoint{Kind: "pod", Namespace: "data", Name: "podpath-twin-x"}, Options{})
	if err != nil || !slices.Equal(refs, []model.Ref{"pod/data/podpath-twin-x"}) {
		t.Errorf("%v %v", refs, err)
	}
}

func TestResolve(t *testing.T) {
	for _, test := range []struct {
		name string
		e    model.Endpoint
		want string // refs, or the error's text
	}{
		{"pod", model.Endpoint{Kind: "pod", Namespace: "data", Name: "db-0"}, "pod/data/db-0"},
		{"statefulset", model.Endpoint{Kind: "statefulset", Namespace: "data", Name: "db"}, "pod/data/db-0"},
		{"service", model.Endpoint{Kind: "service", Namespace: "data", Name: "db"}, "pod/data/db-0"},
		{"replicaset", model.Endpoint{Kind: "replicaset", Namespace: "shop", Name: "checkout-7f"}, "pod/shop/checkout-7f-bbbbb pod/shop/checkout-7f-aaaaa"},
		{"node", model.Endpoint{Kind: "node", Name: "n1"}, "node/n1"},
		{"address of a pod", model.Endpoint{Kind: "ip", Addr: netip.MustParseAddr("10.244.0.8")}, "pod/data/db-0"},
		{"address of nobody", model.Endpoint{Kind: "ip", Addr: netip.MustParseAddr("10.9.9.9")}, ""},
		{"host", model.Endpoint{Kind: "host", Host: "x.example"}, ""},
		{"scaled to nothing", model.Endpoint{Kind: "deployment", Namespace: "data", Name: "idle"}, "deployment/data/idle"},
		{"bare name", model.Endpoint{Namespace: "data", Name: "db"}, "pod/data/db-0"},
		{"misspelt pod", model.Endpoint{Kind: "pod", Namespace: "data", Name: "db-1"}, "pod db-1 in namespace data does not exist; did you mean one of data/pod/db-0, data/sts/db?"},
		{"workload given as pod", model.Endpoint{Kind: "pod", Namespace: "shop", Name: "checkout"}, "pod checkout in namespace shop does not exist; did you mean shop/deploy/checkout?"},
		{"misspelt deployment", model.Endpoint{Kind: "deployment", Namespace: "shop", Name: "chekout"}, "deployment chekout in namespace shop does not exist; did you mean shop/deploy/checkout?"},
		{"in another namespace", model.Endpoint{Kind: "statefulset", Namespace: "shop", Name: "db"}, "statefulset db in namespace shop does not exist; did you mean data/sts/db?"},
		{"no such namespace", model.Endpoint{Kind: "deployment", Namespace: "shpo", Name: "checkout"}, "namespace shpo (of deployment checkout) does not exist; did you mean shop/deploy/checkout?"},
		{"misspelt node", model.Endpoint{Kind: "node", Name: "n2"}, "node n2 does not exist; did you mean node/n1?"},
		{"nothing near", model.Endpoint{Kind: "pod", Namespace: "shop", Name: "zzzzzzzz"}, "pod zzzzzzzz in namespace shop does not exist"},
	} {
		t.Run(test.name, func(t *testing.T) {
			refs, err := Resolve(t.Context(), fake.NewClientset(cluster()...), &model.World{}, test.e, Options{})
			var got []string
			for _, r := range refs {
				got = append(got, string(r))
			}
			text := strings.Join(got, " ")
			if err != nil {
				text = err.Error()
				var missing *NotFoundError
				if !errors.As(err, &missing) {
					t.Errorf("%T is no NotFoundError", err)
				}
			}
			if text != test.want && !(err != nil && strings.HasPrefix(text, test.want)) {
				t.Errorf("got  %s\nwant %s", text, test.want)
			}
		})
	}
}

func TestFromAddress(t *testing.T) {
	for address, want := range map[string]model.Ref{"10.244.0.8": "pod/data/db-0", "10.0.0.4": "node/n1"} {
		from, err := Collect(t.Context(), fake.NewClientset(cluster()...), Options{}, ask(model.Endpoint{Kind: "ip", Addr: netip.MustParseAddr(address)}, model.Endpoint{Kind: "host", Host: "x.example"}), &model.World{})
		if err != nil || from.Ref() != want {
			t.Errorf("%s is %q, want %q; %v", address, from.Ref(), want, err)
		}
	}
	for _, address := range []string{"10.9.9.9", "10.100.0.9"} { // nobody's, and a Service's
		_, err := Collect(t.Context(), fake.NewClientset(cluster()...), Options{}, ask(model.Endpoint{Kind: "ip", Addr: netip.MustParseAddr(address)}, model.Endpoint{Kind: "host", Host: "x.example"}), &model.World{})
		var missing *NotFoundError
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), "a running pod or node with the address "+address) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestAmbiguous(t *testing.T) {
	objects := append(cluster(), &appsv1.StatefulSet{ObjectMeta: meta("shop", "twin")}, &appsv1.Deployment{ObjectMeta: meta("shop", "twin")})
	_, err := Resolve(t.Context(), fake.NewClientset(objects...), &model.World{}, model.Endpoint{Namespace: "shop", Name: "twin"}, Options{})
	var ambiguous *AmbiguousError
	if !errors.As(err, &ambiguous) || !slices.Equal(ambiguous.Choices, []string{"shop/deployment/twin", "shop/statefulset/twin"}) {
		t.Errorf("%v", err)
	}
}

// A pod was told to end its grace period before it has to be gone.
func TestConvertEnding(t *testing.T) {
	told, grace := time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC), int64(30)
	p := convertPod(pod(meta("a", "p"), "", "", func(p *corev1.Pod) {
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: told.Add(30 * time.Second)}, &grace
	}))
	if p.Ending == nil || !p.Ending.Told.Equal(told) {
		t.Errorf("%+v", p.Ending)
	}
	if p := convertPod(pod(meta("a", "p"), "", "")); p.Ending != nil {
		t.Errorf("nobody told it to end: %+v", p.Ending)
	}
}

func TestConvertStates(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	p := convertPod(pod(meta("a", "p"), "", "", func(p *corev1.Pod) {
		p.Status = corev1.PodStatus{
			Phase:                 corev1.PodPending,
			InitContainerStatuses: []corev1.ContainerStatus{{Name: "init", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error"}}}},
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: "app", RestartCount: 4, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off"}},
				LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}},
			}},
		}
		p.Spec.InitContainers = []corev1.Container{{Name: "init"}, {Name: "side", RestartPolicy: &always}}
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"}}}
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}
	}))
	var kinds []string
	for _, c := range p.Containers {
		kinds = append(kinds, c.Name+":"+c.Kind+":"+c.State)
	}
	if got := strings.Join(kinds, " "); got != "init:init:terminated side:sidecar: app:: debug:ephemeral:" && got != "init:init:terminated side:sidecar: app::waiting debug:ephemeral:" {
		t.Errorf("containers %s", got)
	}
	app := p.Containers[2]
	if app.Reason != "CrashLoopBackOff" || app.LastReason != "OOMKilled" || app.LastExitCode != 137 || app.Restarts != 4 || app.Ports[0].Name != "web" {
		t.Errorf("%+v", app)
	}
	if p.Ready || p.Phase != "Pending" {
		t.Errorf("%+v", p)
	}
}

func TestPolicyTypesDefault(t *testing.T) {
	rule := networkingv1.NetworkPolicySpec{Egress: []networkingv1.NetworkPolicyEgressRule{{}}}
	if p := convertPolicy(&networkingv1.NetworkPolicy{Spec: rule}); !p.Ingress || !p.Egress {
		t.Errorf("%+v", p)
	}
	if p := convertPolicy(&networkingv1.NetworkPolicy{}); !p.Ingress || p.Egress {
		t.Errorf("%+v", p)
	}
}

// A cluster-wide list that is refused is done namespace by namespace; one that is refused there too is a gap.
func TestHalfThePermissions(t *testing.T) {
	cs := fake.NewClientset(cluster()...)
	refuse := func(verb, res, ns string) {
		cs.PrependReactor(verb, res, func(a clienttesting.Action) (bool, runtime.Object, error) {
			if ns != "*" && a.GetNamespace() != ns {
				return false, nil, nil
			}
			return true, nil, forbidden(res)
		})
	}
	refuse("list", "pods", "")
	refuse("list", "networkpolicies", "*")
	refuse("list", "nodes", "*")
	refuse("list", "namespaces", "*")
	refuse("get", "configmaps", "kube-system")
	refuse("get", "replicasets", "*")
	var w model.World
	from, err := Collect(t.Context(), cs, Options{}, ask(model.Endpoint{Kind: "deployment", Namespace: "shop", Name: "checkout"}, model.Endpoint{Kind: "host", Host: "x.example"}), &w)
	if err != nil || from.Pod == nil {
		t.Fatal(err)
	}
	permissions := map[string]bool{}
	for _, g := range w.Gaps {
		if g.Reason != "403 Forbidden" {
			t.Errorf("%+v", g)
		}
		permissions[g.Permission] = true
	}
	for _, want := range []string{
		"list networkpolicies.networking.k8s.io in namespace shop", "list networkpolicies.networking.k8s.io in namespace kube-system",
		"list nodes (cluster scope)", "get configmaps/azure-ip-masq-agent-config in namespace kube-system", "get replicasets.apps/checkout-7f in namespace shop",
	} {
		if !permissions[want] {
			t.Errorf("no gap asks for %q; there are %v", want, permissions)
		}
	}
	for kind, want := range map[string]bool{"pod": true, "networkpolicy": false, "node": false, "namespace": true, "configmap": false, "service": true} {
		if w.Read[kind] != want {
			t.Errorf("%s complete: %v", kind, w.Read[kind])
		}
	}
	if w.Kube.Nodes["n1"] == nil || w.Kube.Namespaces["shop"] == nil {
		t.Error("the pod's own node and namespace were not read one by one")
	}
	if from.Pod.Owner != "deployment/shop/checkout" {
		t.Errorf("owner %s: its name says it, without its ReplicaSet", from.Pod.Owner)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	started := time.Now()
	_, err := Collect(ctx, fake.NewClientset(cluster()...), Options{}, ask(model.Endpoint{Kind: "pod", Namespace: "data", Name: "db-0"}, model.Endpoint{}), &model.World{})
	if err == nil && ctx.Err() == nil || time.Since(started) > 20*time.Second {
		t.Errorf("%v", err)
	}
}

func TestServiceNames(t *testing.T) {
	for host, want := range map[string]string{
		"db": "service/shop/db", "db.data": "service/data/db", "db.data.svc": "service/data/db", "db.data.svc.cluster.local.": "service/data/db",
		"db-0.db.data.svc.cluster.local": "service/data/db", "api.example.org": "", "10.0.0.1": "", "": "", "::1": "",
	} {
		got := ""
		for _, r := range serviceNames(host, "shop") {
			got += string(r)
		}
		if got != want {
			t.Errorf("%q means %q, want %q", host, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"checkout", "chekcout", 1}, {"checkout", "chekout", 1}, {"abc", "cab", 2}, {"kitten", "sitting", 3}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

// TestMeant holds which pods events are read of: those asked for by name, and
// those that a Service that is asked for selects.
func TestMeant(t *testing.T) {
	pod := &model.Pod{Namespace: "shop", Name: "web-1", Labels: model.Labels{"app": "web"}}
	w := &model.World{Kube: model.Kube{Services: map[model.Ref]*model.Service{
		"service/shop/web":   {Namespace: "shop", Name: "web", Selector: model.Labels{"app": "web"}},
		"service/shop/other": {Namespace: "shop", Name: "other", Selector: model.Labels{"app": "other"}},
		"service/ops/web":    {Namespace: "ops", Name: "web", Selector: model.Labels{"app": "web"}},
		"service/shop/none":  {Namespace: "shop", Name: "none"},
	}}}
	for ref, want := range map[model.Ref]bool{
		"service/shop/web": true, "service/shop/other": false, "service/ops/web": false, "service/shop/none": false,
		"pod/shop/web-1": true, "pod/shop/web-2": false,
	} {
		if got := meant(w, []model.Ref{ref}, pod); got != want {
			t.Errorf("%s: %t", ref, got)
		}
	}
}

// What stands beside TO is read, and has to be there.
func TestCollectBeside(t *testing.T) {
	var w model.World
	q := ask(model.Endpoint{Kind: "deployment", Name: "checkout"}, model.Endpoint{Kind: "url", Host: "x.example", Port: 443})
	q.Beside = []model.Endpoint{{Kind: "host", Host: "y.example", Port: 443}, {Kind: "service", Namespace: "data", Name: "db"}, {Kind: "service", Name: "checkout"}}
	if _, err := Collect(t.Context(), fake.NewClientset(cluster()...), Options{Namespace: "shop", Server: "https://api"}, q, &w); err != nil {
		t.Fatal(err)
	}
	if w.Kube.Services["service/data/db"] == nil || q.Beside[2].Namespace != "shop" {
		t.Errorf("%+v, %v", q.Beside, w.Kube.Services)
	}
	q.Beside = []model.Endpoint{{Raw: "svc/nobody", Kind: "service", Name: "nobody"}}
	if _, err := Collect(t.Context(), fake.NewClientset(cluster()...), Options{Namespace: "shop", Server: "https://api"}, q, &w); err == nil || !strings.Contains(err.Error(), "--beside: ") {
		t.Errorf("%v", err)
	}
}
