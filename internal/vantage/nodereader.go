package vantage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/internal/model"
)

// How much is read inside a node.
const (
	ReaderFull  = "full"  // the packet filter's rules, kernel messages and files too: NET_ADMIN, NET_RAW, SYSLOG, read-only /usr and /etc
	ReaderBasic = "basic" // what takes no privilege
	ReaderNone  = "none"
)

// readerName is the container that reads: a second one, so that the probe beside
// it keeps the user and the missing capabilities that it has everywhere else.
const readerName = "podpath-reader"

// hostFolder is where the reader sees the node's files.
const hostFolder = "/host"

// readFully adds the reader to a node's pod. Its root has no capability but the
// three that the reads need (iptables-legacy asks by a raw socket), and sees of the node's files /usr (the tools that know
// its packet filter) and /etc, read-only.
func (s *session) readFully(p *corev1.Pod) {
	root, no, yes := int64(0), false, true
	reader := *p.Spec.Containers[0].DeepCopy()
	reader.Name = readerName
	reader.SecurityContext = &corev1.SecurityContext{
		RunAsUser: &root, RunAsGroup: &root, RunAsNonRoot: &no, AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN", "NET_RAW", "SYSLOG"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	reader.Resources.Limits = reader.Resources.Limits.DeepCopy()
	reader.Resources.Limits[corev1.ResourceMemory] = readerMemory
	kind := corev1.HostPathDirectory
	for _, folder := range []string{"usr", "etc"} {
		name := "host-" + folder
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{
			Name: name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/" + folder, Type: &kind}},
		})
		reader.VolumeMounts = append(reader.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: hostFolder + "/" + folder, ReadOnly: true})
	}
	p.Spec.Containers = append(p.Spec.Containers, reader)
}

// nodeEntry is a pod on a node: where to probe from, and where to read.
type nodeEntry struct {
	probe, reader container
	full          bool
}

// enterNode starts a pod on a node. Where one that may read everything is
// refused, one that needs no privilege is started, and the gap says what would
// allow the other.
func (s *session) enterNode(ctx context.Context, name string) (nodeEntry, error) {
	if s.req.NodeReader != ReaderFull {
		return s.launchNode(ctx, name, false)
	}
	e, err := s.launchNode(ctx, name, true)
	if err == nil || !denied(err) {
		return e, err
	}
	basic, basicErr := s.launchNode(ctx, name, false)
	if basicErr == nil {
		s.refusedReader(name, err)
	}
	return basic, basicErr
}

func (s *session) launchNode(ctx context.Context, name string, full bool) (nodeEntry, error) {
	var reader container
	probe, err := s.launchWith(ctx, s.req.ProbeNamespace, func(ns string, owner *metav1.OwnerReference) *corev1.Pod {
		p := s.nodePod(ns, name, owner)
		if full {
			s.readFully(p)
		}
		return p
	}, func(made *corev1.Pod) {
		if full {
			reader = container{namespace: made.Namespace, pod: made.Name, name: readerName, starting: s.watchStart(ctx, made, readerName)}
		}
	})
	if !full {
		reader = probe
	}
	return nodeEntry{probe, reader, full}, err
}

// refusedReader notes that a node's packet filter, files and messages stay unread, and why.
func (s *session) refusedReader(name string, err error) {
	ref := model.NewRef("node", name)
	g := s.explain("packet filter of "+string(ref)+" (its rules, its files and its kernel's messages)", ref, err, "create pods in namespace "+s.req.ProbeNamespace)
	g.Permission = "a pod in namespace " + s.req.ProbeNamespace + " with NET_ADMIN, NET_RAW, SYSLOG and read-only hostPath of /usr and /etc (Pod Security \"privileged\" there, or --probe-namespace); --node-reader=basic does not ask for it"
	s.gap(g)
}

// enterAndRead starts a pod on a node and reads the node. A pod with privileges
// that is admitted but does not start is given up for one without.
func (s *session) enterAndRead(ctx context.Context, name string) (nodeEntry, *model.NodeFacts, error) {
	e, err := s.enterNode(ctx, name)
	if err != nil {
		return e, nil, &launchError{err}
	}
	facts, err := s.readFacts(ctx, e)
	var start *startError
	if err == nil || !e.full || !errors.As(err, &start) || start.image() {
		return e, facts, err
	}
	s.refusedReader(name, err)
	if e, err = s.launchNode(ctx, name, false); err != nil {
		return e, nil, &launchError{err}
	}
	facts, err = s.readFacts(ctx, e)
	return e, facts, err
}

// launchError says that a pod could not even be created.
type launchError struct{ error }

func (e *launchError) Unwrap() error { return e.error }

func (s *session) readFacts(ctx context.Context, e nodeEntry) (*model.NodeFacts, error) {
	return s.readNode(ctx, e.reader, e.full)
}

// farNodes reads the nodes at the other end of the question, from which nothing is probed.
func (s *session) farNodes(ctx context.Context) {
	if s.req.NodeReader == ReaderNone || !s.wants(model.VantageNode) || len(s.req.FarNodes) == 0 || !s.awaitOthers(ctx) {
		return
	}
	var wg sync.WaitGroup
	for _, name := range s.req.FarNodes[:min(len(s.req.FarNodes), maxFarNodes)] {
		if name == s.req.Node {
			continue
		}
		wg.Go(func() { s.farNode(ctx, name) })
	}
	wg.Wait()
}

// maxFarNodes bounds how many nodes are read beside the first: each takes a pod.
const maxFarNodes = 2

func (s *session) farNode(ctx context.Context, name string) {
	ref := model.NewRef("node", name)
	what := "sysctls and routes of " + string(ref)
	if why := s.unfitNode(name); why != "" {
		s.gap(model.Gap{What: what, Ref: ref, Reason: why})
		return
	}
	e, facts, err := s.enterAndRead(ctx, name)
	var launch *launchError
	switch {
	case err != nil && s.unwanted(ctx):
		return
	case errors.As(err, &launch):
		s.gap(s.explain(what, ref, launch.error, "create pods in namespace "+s.req.ProbeNamespace+" with hostNetwork"))
		return
	case err != nil:
		s.gap(s.failedRun(ctx, what, ref, e.reader, err))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	facts.Node = name
	s.result.NodeFacts[name] = facts
}

func (s *session) readNode(ctx context.Context, c container, full bool) (*model.NodeFacts, error) {
	out, err := s.verb(ctx, c, nil, nil, func() []string {
		words := []string{"node", "--now", time.Now().UTC().Format(time.RFC3339Nano)}
		if full {
			words = append(words, "--host", hostFolder)
		}
		return words
	})
	if err != nil {
		return nil, err
	}
	facts := &model.NodeFacts{}
	if err := json.Unmarshal(out, facts); err != nil {
		if strings.Contains(err.Error(), "unexpected end") {
			err = fmt.Errorf("its answer is larger than %d MiB", maxStdout>>20)
		}
		return nil, fmt.Errorf("the probe on the node answered no facts: %w; is %s the probe image of this podpath?", err, s.req.Image)
	}
	return facts, nil
}
