package vantage

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The probe image's contract: a static binary at this path, and this name for
// every container of it.
const (
	probeBinary   = "/podpath-probe"
	containerName = "podpath-probe"
	nobody        = int64(65532)
	neverReady    = "podpath.dev/never-ready"
)

// readerMemory is what the node's own tools may take to list a large rule set.
var readerMemory = resource.MustParse("256Mi")

// containerSecurity meets the restricted Pod Security Standard.
func containerSecurity() *corev1.SecurityContext {
	no, yes := false, true
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, RunAsNonRoot: &yes,
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func podSecurity(uid int64) *corev1.PodSecurityContext {
	yes := true
	if uid == 0 {
		uid = nobody
	}
	return &corev1.PodSecurityContext{
		RunAsNonRoot: &yes, RunAsUser: &uid, RunAsGroup: &uid,
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func (s *session) serve(ttl time.Duration) []string {
	return []string{probeBinary, "serve", "--ttl", ttl.String()}
}

// pod is what every probe pod has in common. It is put on its node directly: the
// scheduler would respect taints and room that the question is not about.
func (s *session) pod(kind, namespace, node string, owner *metav1.OwnerReference) *corev1.Pod {
	no, deadline, grace := false, int64((s.req.TTL+15*time.Second)/time.Second), int64(1)
	small := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")}
	most := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "podpath-" + kind + "-", Namespace: namespace, Labels: s.labels(kind),
			Annotations: map[string]string{"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"},
		},
		Spec: corev1.PodSpec{
			NodeName: node, RestartPolicy: corev1.RestartPolicyNever, ActiveDeadlineSeconds: &deadline, TerminationGracePeriodSeconds: &grace,
			AutomountServiceAccountToken: &no, EnableServiceLinks: &no, SecurityContext: podSecurity(0),
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{
				Name: containerName, Image: s.req.Image, ImagePullPolicy: corev1.PullPolicy(s.req.PullPolicy), Command: s.serve(s.req.TTL),
				SecurityContext: containerSecurity(), Resources: corev1.ResourceRequirements{Requests: small, Limits: most},
			}},
		},
	}
	if owner != nil {
		p.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	return p
}

// peerPod is an ordinary pod with nothing but our labels: no policy that selects
// the failing pod by label selects it.
func (s *session) peerPod(kind, namespace, node string, owner *metav1.OwnerReference) *corev1.Pod {
	p := s.pod(kind, namespace, node, owner)
	p.Labels["sidecar.istio.io/inject"] = "false"
	p.Annotations["linkerd.io/inject"] = "disabled"
	return p
}

// nodePod is in the node's own network namespace, with the node's resolver.
func (s *session) nodePod(namespace, node string, owner *metav1.OwnerReference) *corev1.Pod {
	p := s.peerPod("node", namespace, node, owner)
	p.Spec.HostNetwork = true
	p.Spec.DNSPolicy = corev1.DNSDefault
	return p
}

// twinPod is the failing pod as far as the network can tell: same namespace,
// labels, account, node, name resolution and runtime. Its controller is not the
// original's, so no ReplicaSet adopts it; a readiness gate that nobody opens
// keeps it out of every Service.
func (s *session) twinPod(live *corev1.Pod, owner *metav1.OwnerReference) *corev1.Pod {
	if owner == nil {
		yes, no := true, false
		owner = &metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: live.Name, UID: live.UID, Controller: &yes, BlockOwnerDeletion: &no}
	}
	p := s.pod("twin", live.Namespace, live.Spec.NodeName, owner)
	for k, v := range live.Labels {
		if k != "pod-template-hash" && k != "controller-revision-hash" {
			p.Labels[k] = v // theirs win: policies and Services may select by any of them
		}
	}
	if v, ok := live.Labels["pod-template-hash"]; ok {
		p.Labels["pod-template-hash"] = v
	}
	p.Spec.ServiceAccountName = live.Spec.ServiceAccountName
	p.Spec.ImagePullSecrets = live.Spec.ImagePullSecrets // by name; nobody reads them here
	p.Spec.DNSPolicy, p.Spec.DNSConfig, p.Spec.HostAliases = live.Spec.DNSPolicy, live.Spec.DNSConfig, live.Spec.HostAliases
	p.Spec.HostNetwork, p.Spec.RuntimeClassName = live.Spec.HostNetwork, live.Spec.RuntimeClassName
	p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: neverReady}}
	return p
}
