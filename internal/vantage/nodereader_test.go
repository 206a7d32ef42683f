package vantage

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"
)

// nodePods are the pods that were created on nodes to read them.
func nodePods(c *cluster) []*corev1.Pod {
	var out []*corev1.Pod
	for _, a := range c.Actions() {
		create, ok := a.(clienttesting.CreateAction)
		if !ok {
			continue
		}
		if p, ok := create.GetObject().(*corev1.Pod); ok && strings.HasPrefix(p.GenerateName, "podpath-node-") {
			out = append(out, p)
		}
	}
	return out
}

func TestReaderHasNoMoreThanItNeeds(t *testing.T) {
	c := newCluster(livePod())
	c.probe(t, context.Background(), request())
	pods := nodePods(c)
	if len(pods) != 1 || len(pods[0].Spec.Containers) != 2 {
		t.Fatalf("%d pods: %+v", len(pods), pods)
	}
	probing, reading := pods[0].Spec.Containers[0].SecurityContext, pods[0].Spec.Containers[1]
	if len(probing.Capabilities.Add) > 0 || !*probing.RunAsNonRoot || len(pods[0].Spec.Containers[0].VolumeMounts) > 0 {
		t.Errorf("what probes has privileges: %+v", probing)
	}
	sc := reading.SecurityContext
	if len(sc.Capabilities.Add) != 3 || sc.Capabilities.Drop[0] != "ALL" || sc.Privileged != nil || *sc.AllowPrivilegeEscalation || !*sc.ReadOnlyRootFilesystem {
		t.Errorf("%+v", sc)
	}
	for _, m := range reading.VolumeMounts {
		if !m.ReadOnly {
			t.Errorf("%s can be written to", m.MountPath)
		}
	}
}

func TestBasicReaderAsksForNothing(t *testing.T) {
	c := newCluster(livePod())
	req := request()
	req.NodeReader = ReaderBasic
	c.probe(t, context.Background(), req)
	for _, p := range nodePods(c) {
		if len(p.Spec.Containers) != 1 || len(p.Spec.Volumes) > 0 {
			t.Errorf("%+v", p.Spec)
		}
	}
}

func TestRefusedReaderFallsBack(t *testing.T) {
	c := newCluster(livePod())
	c.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if p, ok := a.(clienttesting.CreateAction).GetObject().(*corev1.Pod); ok && len(p.Spec.Volumes) > 0 {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "x", errors.New("violates PodSecurity \"baseline\""))
		}
		return false, nil, nil
	})
	r := c.probe(t, context.Background(), request())
	if r.NodeFacts["n1"] == nil && len(r.NodeFacts) == 0 {
		t.Errorf("the node was not read: %s", gapsOf(r))
	}
	if g := gapsOf(r); !strings.Contains(g, "Pod Security") || !strings.Contains(g, "--node-reader=basic") {
		t.Error(g)
	}
}
