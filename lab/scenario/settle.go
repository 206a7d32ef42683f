package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/podpath/podpath/lab/plan"
)

func number(v any, path ...string) int {
	f, _ := dig(v, path...).(float64)
	return int(f)
}

// deploymentMoves says what a Deployment still waits for.
func deploymentMoves(d kubeObject) error {
	want := 1
	if r, ok := dig(d, "spec", "replicas").(float64); ok {
		want = int(r)
	}
	id := "deployment " + d.namespace() + "/" + d.name()
	switch {
	case number(d, "status", "observedGeneration") < number(d, "metadata", "generation"):
		return fmt.Errorf("%s: its last change has not been taken up", id)
	case number(d, "status", "updatedReplicas") != want || number(d, "status", "replicas") != want:
		return fmt.Errorf("%s: %d of %d pods are up to date, %d in all", id, number(d, "status", "updatedReplicas"), want, number(d, "status", "replicas"))
	case number(d, "status", "availableReplicas") != want:
		return fmt.Errorf("%s: %d of %d pods are available", id, number(d, "status", "availableReplicas"), want)
	}
	return nil
}

// settled says what still moves: nodes that are not Ready, workloads that are
// not up to date and available, pods on their way out, Services whose endpoints
// are not the ready pods that they select. (The fabric needs no look: ARM
// answers a write only once packets obey it.)
func (l *Lab) settled(ctx context.Context) error {
	data, err := l.kubectl(ctx, nil, "get", "namespaces,nodes,deployments,daemonsets,statefulsets,pods,services,endpointslices", "-A", "-o", "json")
	if err != nil {
		return err
	}
	all, err := items(data)
	if err != nil {
		return err
	}
	return moving(all, len(l.Plan.Nodes))
}

func moving(all []kubeObject, nodes int) error {
	byKind := map[string][]kubeObject{}
	for _, o := range all {
		byKind[o.str("kind")] = append(byKind[o.str("kind")], o)
	}
	up := 0
	for _, n := range byKind["Node"] {
		if ready(n) {
			up++
		}
	}
	if up != nodes {
		return fmt.Errorf("%d of %d nodes are Ready", up, nodes)
	}
	for _, d := range slices.Concat(byKind["Deployment"], byKind["StatefulSet"]) {
		if d.str("kind") == "StatefulSet" {
			if number(d, "status", "readyReplicas") != number(d, "spec", "replicas") {
				return fmt.Errorf("statefulset %s/%s: not all pods are ready", d.namespace(), d.name())
			}
			continue
		}
		if err := deploymentMoves(d); err != nil {
			return err
		}
	}
	for _, d := range byKind["DaemonSet"] {
		if want := number(d, "status", "desiredNumberScheduled"); number(d, "status", "numberAvailable") != want || number(d, "status", "observedGeneration") < number(d, "metadata", "generation") {
			return fmt.Errorf("daemonset %s/%s: %d of %d pods are available", d.namespace(), d.name(), number(d, "status", "numberAvailable"), want)
		}
	}
	for _, p := range byKind["Pod"] {
		if leaving(p) {
			return fmt.Errorf("pod %s/%s is on its way out", p.namespace(), p.name())
		}
	}
	for _, ns := range byKind["Namespace"] {
		for _, o := range slices.Concat(byKind["Pod"], byKind["Service"], byKind["Deployment"]) {
			if leaving(ns) && o.namespace() == ns.name() {
				return fmt.Errorf("namespace %s is on its way out, and %s %s is still in it", ns.name(), o.str("kind"), o.name())
			}
		}
	}
	return endpointsMove(byKind["Service"], byKind["Pod"], byKind["EndpointSlice"])
}

// endpointsMove compares the ready endpoints of each Service with the ready pods that it selects.
func endpointsMove(services, pods, slicesOf []kubeObject) error {
	for _, s := range services {
		selector, _ := dig(s, "spec", "selector").(map[string]any)
		if len(selector) == 0 {
			continue
		}
		want, got := map[string]bool{}, map[string]bool{}
		for _, p := range pods {
			have, _ := p.meta()["labels"].(map[string]any)
			matches := p.namespace() == s.namespace() && ready(p)
			for k, v := range selector {
				matches = matches && have[k] == v
			}
			if ip, _ := dig(p, "status", "podIP").(string); matches && ip != "" {
				want[ip] = true
			}
		}
		for _, e := range slicesOf {
			of, _ := e.meta()["labels"].(map[string]any)
			if e.namespace() != s.namespace() || of["kubernetes.io/service-name"] != s.name() || e.str("addressType") != "IPv4" {
				continue
			}
			endpoints, _ := e["endpoints"].([]any)
			for _, ep := range endpoints {
				if dig(ep, "conditions", "ready") != true {
					continue
				}
				addrs, _ := dig(ep, "addresses").([]any)
				for _, a := range addrs {
					got[fmt.Sprint(a)] = true
				}
			}
		}
		if len(want) != len(got) {
			return fmt.Errorf("service %s/%s: %d ready pods, %d ready endpoints", s.namespace(), s.name(), len(want), len(got))
		}
		for ip := range want {
			if !got[ip] {
				return fmt.Errorf("service %s/%s: pod %s is ready, and no endpoint", s.namespace(), s.name(), ip)
			}
		}
	}
	return nil
}

// healthy says what is wrong with a lab in which nothing is injected. It lets
// every node's pods talk to a Service, to each pod of web, and to the internet.
func (l *Lab) healthy(ctx context.Context) error {
	if err := l.settled(ctx); err != nil {
		return err
	}
	data, err := l.kubectl(ctx, nil, "get", "pods", "-A", "-l", "app in (web,cart,checkout,tools)", "-o", "json")
	if err != nil {
		return err
	}
	pods, err := items(data)
	if err != nil {
		return err
	}
	clients := map[string]kubeObject{} // one a node
	var webs []string
	for _, p := range pods {
		if p.namespace() != "shop" && p.namespace() != "ops" || !ready(p) {
			continue
		}
		if node, _ := dig(p, "spec", "nodeName").(string); clients[node] == nil || labelOf(p, "app") == "checkout" {
			clients[node] = p
		}
		if ip, _ := dig(p, "status", "podIP").(string); labelOf(p, "app") == "web" {
			webs = append(webs, ip)
		}
	}
	if len(clients) == 0 {
		return errors.New("no pod of shop or ops is ready")
	}
	type look struct{ uid, who, to, want string }
	var looks []look
	for _, p := range clients {
		uid, _ := p.meta()["uid"].(string)
		who := p.namespace() + "/" + p.name()
		outside := "ok"
		if l.Plan.Topology.Outbound == plan.OutNone {
			outside = "timeout"
		}
		looks = append(looks, look{uid, who, "http://web.shop.svc.cluster.local", "ok"}, look{uid, who, "https://api.payments.example", outside})
		for _, ip := range webs {
			looks = append(looks, look{uid, who, "http://" + ip + ":8080", "ok"})
		}
	}
	errs := make([]error, len(looks))
	var group sync.WaitGroup
	gate := make(chan struct{}, 8)
	for i, k := range looks {
		group.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			at, err := l.place(ctx, "pod", "uid:"+k.uid)
			if err != nil {
				errs[i] = fmt.Errorf("%s: %w", k.who, err)
				return
			}
			seen, err := l.seeFrom(ctx, at, k.to, Symptom{}, 1)
			if err != nil {
				errs[i] = fmt.Errorf("%s: %w", k.who, err)
				return
			}
			if got := seen[0].Result; got != k.want && !(k.want == "ok" && got == "slow") {
				errs[i] = fmt.Errorf("%s to %s: %s, not %s (%s)", k.who, k.to, got, k.want, shorten(seen[0].Detail))
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func labelOf(o kubeObject, name string) string {
	m, _ := o.meta()["labels"].(map[string]any)
	s, _ := m[name].(string)
	return s
}

// getWell waits until the lab is healthy; the error says what was wrong last.
func (l *Lab) getWell(ctx context.Context, limit time.Duration) error {
	ok, last := eventually(ctx, limit, func(ctx context.Context) (bool, string) {
		err := l.healthy(ctx)
		if err != nil {
			return false, err.Error()
		}
		return true, ""
	})
	if !ok {
		return errors.New(last)
	}
	return nil
}
