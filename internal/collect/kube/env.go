package kube

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/internal/model"
)

// environment works out the variables of a pod's containers as the kubelet
// would: ConfigMaps are read, references to other variables are expanded. What
// comes from a Secret is known by its reference only; the Secret is not read.
func (r *reader) environment(ctx context.Context, ref model.Ref) {
	var pod *corev1.Pod
	err := r.call(ctx, func(ctx context.Context) (err error) {
		pod, err = r.cs.CoreV1().Pods(ref.Part(0)).Get(ctx, ref.Part(1), metav1.GetOptions{})
		return err
	})
	if err != nil {
		r.failed("get", pods, ref.Part(0), ref.Part(1), err)
		return
	}
	maps := map[string]map[string]string{}
	for _, name := range configMapsOf(pod) {
		data, err := r.configMap(ctx, pod.Namespace, name)
		if err == nil {
			maps[name] = data
		}
	}
	containers := append(append([]corev1.Container(nil), pod.Spec.InitContainers...), pod.Spec.Containers...)
	r.mu.Lock()
	defer r.mu.Unlock()
	target := r.w.Kube.Pods[ref]
	if target == nil {
		return
	}
	for i := range containers {
		for j := range target.Containers {
			if target.Containers[j].Name == containers[i].Name {
				target.Containers[j].Env, target.Containers[j].EnvFrom = environmentOf(pod, &containers[i], maps)
			}
		}
	}
}

// configMapsOf are the ConfigMaps that a pod's variables come from.
func configMapsOf(pod *corev1.Pod) []string {
	seen := map[string]bool{}
	var out []string
	add := func(name string) {
		if name != "" && !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, from := range list[i].EnvFrom {
				if from.ConfigMapRef != nil {
					add(from.ConfigMapRef.Name)
				}
			}
			for _, v := range list[i].Env {
				if v.ValueFrom != nil && v.ValueFrom.ConfigMapKeyRef != nil {
					add(v.ValueFrom.ConfigMapKeyRef.Name)
				}
			}
		}
	}
	return out
}

// configMap reads one ConfigMap; a missing one is empty, and no gap.
func (r *reader) configMap(ctx context.Context, namespace, name string) (map[string]string, error) {
	var data map[string]string
	err := r.call(ctx, func(ctx context.Context) error {
		m, err := r.cs.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			data = m.Data
		}
		return err
	})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		r.failed("get", configMaps, namespace, name, err)
	}
	return data, err
}

// environmentOf is one container's variables: those whose value is known, and where the others come from.
func environmentOf(pod *corev1.Pod, c *corev1.Container, maps map[string]map[string]string) (map[string]string, map[string]model.Ref) {
	known := map[string]string{}
	from := map[string]model.Ref{}
	for _, source := range c.EnvFrom {
		switch {
		case source.ConfigMapRef != nil:
			data, read := maps[source.ConfigMapRef.Name]
			if !read {
				from[source.Prefix+"*"] = model.NewRef("configmap", pod.Namespace, source.ConfigMapRef.Name)
			}
			for key, val := range data {
				known[source.Prefix+key] = val
			}
		case source.SecretRef != nil:
			from[source.Prefix+"*"] = model.NewRef("secret", pod.Namespace, source.SecretRef.Name)
		}
	}
	for _, v := range c.Env {
		delete(known, v.Name)
		delete(from, v.Name)
		s := v.ValueFrom
		switch {
		case s == nil:
			known[v.Name] = expand(v.Value, known)
		case s.ConfigMapKeyRef != nil:
			data, read := maps[s.ConfigMapKeyRef.Name]
			if val, ok := data[s.ConfigMapKeyRef.Key]; ok {
				known[v.Name] = val
			} else if !read {
				from[v.Name] = model.NewRef("configmap", pod.Namespace, s.ConfigMapKeyRef.Name)
			}
		case s.SecretKeyRef != nil:
			from[v.Name] = model.NewRef("secret", pod.Namespace, s.SecretKeyRef.Name)
		case s.FieldRef != nil:
			if val, ok := field(pod, s.FieldRef.FieldPath); ok {
				known[v.Name] = val
			} else {
				from[v.Name] = model.NewRef("field", s.FieldRef.FieldPath)
			}
		case s.ResourceFieldRef != nil:
			from[v.Name] = model.NewRef("resource", s.ResourceFieldRef.Resource)
		}
	}
	if len(known) == 0 {
		known = nil
	}
	if len(from) == 0 {
		from = nil
	}
	return known, from
}

// field is the value of the downward API's fields that matter to addresses.
func field(pod *corev1.Pod, path string) (string, bool) {
	switch path {
	case "metadata.name":
		return pod.Name, true
	case "metadata.namespace":
		return pod.Namespace, true
	case "spec.nodeName":
		return pod.Spec.NodeName, true
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, true
	case "status.podIP":
		return pod.Status.PodIP, true
	case "status.hostIP":
		return pod.Status.HostIP, true
	}
	if key, ok := strings.CutPrefix(path, "metadata.labels['"); ok {
		return pod.Labels[strings.TrimSuffix(key, "']")], true
	}
	return "", false
}

// expand replaces $(NAME) by the variables before it; $$ is a dollar, and a name that is not known stays.
func expand(text string, known map[string]string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		switch text[i+1] {
		case '$':
			out.WriteByte('$')
			i++
		case '(':
			name, _, ok := strings.Cut(text[i+2:], ")")
			val, found := known[name]
			if !ok || !found {
				out.WriteByte('$')
				continue
			}
			out.WriteString(val)
			i += len(name) + 2
		default:
			out.WriteByte('$')
		}
	}
	return out.String()
}
