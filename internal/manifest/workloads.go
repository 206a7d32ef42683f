package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// maxOrdinals is up to how many pods of a StatefulSet, whose names are known
// beforehand, are spelled out.
const maxOrdinals = 64

// pending is a workload whose pods may have to stand for themselves.
type pending struct {
	ref, owner model.Ref
	replicas   int32
	spec       *template
	labels     map[string]string
	at         string
}

func (b *builder) workload(v *workloadObject, o *object) error {
	t, replicas := &v.Spec.Template, int32(1)
	switch {
	case o.kind == "CronJob":
		t = &v.Spec.JobTemplate.Spec.Template
		if n := v.Spec.JobTemplate.Spec.Parallelism; n != nil {
			replicas = *n
		}
	case o.kind == "Job" && v.Spec.Parallelism != nil:
		replicas = *v.Spec.Parallelism
	case v.Spec.Replicas != nil:
		replicas = *v.Spec.Replicas
	}
	if replicas < 0 {
		return fmt.Errorf("spec.replicas: %d is less than none", replicas)
	}
	ref := model.NewRef(o.kind, o.meta.Namespace, o.meta.Name)
	w := &model.Workload{Ref: ref, Selector: v.Spec.Selector.Selector, Replicas: replicas, Labels: v.Metadata.Labels}
	for _, r := range v.Metadata.OwnerReferences {
		if r.Controller || len(v.Metadata.OwnerReferences) == 1 {
			w.Owner = model.NewRef(r.Kind, o.meta.Namespace, r.Name)
			b.replica[ref] = w.Owner
		}
	}
	_, again := b.w.Kube.Workloads[ref]
	if err := put(b, b.w.Kube.Workloads, ref, ref, w, o.at); err != nil || again {
		return err
	}
	p := pending{ref: ref, owner: w.Owner, replicas: replicas, spec: t, labels: t.Metadata.Labels, at: o.at}
	if o.kind == "Job" { // its controller adds these; the selectors of policies do name them
		p.labels = maps.Clone(p.labels)
		if p.labels == nil {
			p.labels = map[string]string{}
		}
		p.labels["job-name"], p.labels["batch.kubernetes.io/job-name"] = o.meta.Name, o.meta.Name
	}
	b.work = append(b.work, p)
	return p.pods(func(*model.Pod) {}) // what is wrong with it is said with its file
}

// pods are those that the controller will make, as far as they can be told.
func (p *pending) pods(each func(*model.Pod)) error {
	one := func(name string, labels map[string]string) error {
		pod := &model.Pod{Namespace: p.ref.Part(0), Name: name, Labels: labels, Owner: p.ref, Phase: "Pending"}
		if err := p.spec.Spec.into(pod); err != nil {
			return err
		}
		each(pod)
		return nil
	}
	if p.ref.Kind() != "statefulset" || p.replicas > maxOrdinals || p.replicas == 0 {
		return one(p.ref.Name(), p.labels)
	}
	for i := range p.replicas {
		labels := maps.Clone(p.labels)
		if labels == nil {
			labels = map[string]string{}
		}
		name := fmt.Sprintf("%s-%d", p.ref.Name(), i)
		labels["statefulset.kubernetes.io/pod-name"], labels["apps.kubernetes.io/pod-index"] = name, fmt.Sprint(i)
		if err := one(name, labels); err != nil {
			return err
		}
	}
	return nil
}

// finish does what takes all objects: owners up to the workload that people
// edit, workloads that have no pods of their own here, nodes that only pods name.
func (b *builder) finish() {
	top := func(ref model.Ref) model.Ref {
		for range 4 {
			owner, ok := b.replica[ref]
			if !ok {
				break
			}
			ref = owner
		}
		return ref
	}
	for ref := range maps.Clone(b.owned) {
		for r, ok := b.replica[ref]; ok; r, ok = b.replica[r] {
			if b.owned[r] {
				break
			}
			b.owned[r] = true
		}
	}
	for _, p := range b.w.Kube.Pods {
		if p.Owner != "" {
			p.Owner = b.deployment(top(p.Owner), p)
		}
	}
	for i := range b.work {
		b.stand(&b.work[i])
	}
	b.nodes()
}

// deployment guesses the Deployment of a ReplicaSet that the directory does not
// hold: its name is the Deployment's with the template's hash.
func (b *builder) deployment(owner model.Ref, p *model.Pod) model.Ref {
	hash := p.Labels["pod-template-hash"]
	if owner.Kind() != "replicaset" || hash == "" {
		return owner
	}
	name, ok := strings.CutSuffix(owner.Name(), "-"+hash)
	if !ok {
		return owner
	}
	ref := model.NewRef("deployment", p.Namespace, name)
	b.owned[ref] = true
	return ref
}

// stand lets a workload stand for its replicas. One whose pods are in the
// directory, or that another workload makes, does not.
func (b *builder) stand(w *pending) {
	if b.owned[w.ref] || w.owner != "" && b.w.Kube.Workloads[w.owner] != nil {
		return
	}
	_ = w.pods(func(p *model.Pod) { // looked at when it was read
		p.Standing = true
		for b.w.Kube.Pods[p.Ref()] != nil { // a pod, or a workload of another kind, has the name
			p.Name += "~" + w.ref.Kind()
		}
		b.w.Kube.Pods[p.Ref()] = p
	})
}

// nodes adds those that only their pods name: a pod knows its node's address.
func (b *builder) nodes() {
	b.w.Read["node"] = len(b.w.Kube.Nodes) > 0
	if b.w.Read["node"] {
		return
	}
	for name, ips := range b.hosts {
		slices.SortFunc(ips, func(x, y hostIP) int { return x.Compare(y) })
		b.w.Kube.Nodes[name] = &model.Node{Name: name, InternalIPs: ips}
	}
}
