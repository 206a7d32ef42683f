package parity

import (
	"fmt"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// world is what one round has made up.
type world struct {
	nsLabels map[string]map[string]string
	policies []*networkingv1.NetworkPolicy
	services []*corev1.Service
	nsgs     map[string][]rule // by role: nodes, pods, nic
	nicOf    int               // the node whose NIC has a security group of its own
	routes   map[string][]route
	canary   string
}

func (w *world) about() string {
	rules, routes := 0, 0
	for _, list := range w.nsgs {
		rules += len(list)
	}
	for _, list := range w.routes {
		routes += len(list)
	}
	return fmt.Sprintf("%d policies, %d Services, %d NSG rules, %d routes", len(w.policies), len(w.services), rules, routes)
}

// inventor makes a world up. Two runs of the same seed in the same topology make
// the same choices, whatever addresses the pods have got: blocks of addresses are
// those of one pod, of one node's pods, or wider.
type inventor struct {
	*rand.Rand
	s *stage
	w *world
}

func (s *stage) invent(r *rand.Rand, round int) *world {
	w := &world{nsLabels: map[string]map[string]string{}, canary: fmt.Sprintf("canary-%d", round)}
	v := &inventor{r, s, w}
	v.labels()
	if v.chance(85) {
		for i := range 1 + v.IntN(9) {
			w.policies = append(w.policies, v.policy(fmt.Sprintf("np-%d", i)))
		}
	}
	for i := range 4 + v.IntN(4) {
		w.services = append(w.services, v.service(fmt.Sprintf("svc-%d-%d", round, i)))
	}
	v.network()
	return w
}

func (v *inventor) chance(percent int) bool { return v.IntN(100) < percent }

func one[T any](v *inventor, list ...T) T { return list[v.IntN(len(list))] }

// some is a part of a list, in its order, that is never empty.
func some[T any](v *inventor, list ...T) []T {
	var out []T
	for _, x := range list {
		if v.chance(40) {
			out = append(out, x)
		}
	}
	if len(out) == 0 {
		out = append(out, one(v, list...))
	}
	return out
}

// The labels that worlds are made of. A key may be missing, and a value empty.
var (
	nsKeys  = []key{{"team", []string{"x", "y", ""}}, {"env", []string{"dev", "prod"}}}
	podKeys = []key{{"app", []string{"web", "api", "db"}}, {"tier", []string{"front", "back", ""}}, {"track", []string{"stable", "canary"}}}
)

type key struct {
	name   string
	values []string
}

// labels gives namespaces and pods new ones.
func (v *inventor) labels() {
	for _, ns := range namespaces {
		v.w.nsLabels[ns] = v.labelled(nsKeys, 75)
	}
	for _, p := range v.s.pods {
		p.labels = v.labelled(podKeys, 80)
	}
}

func (v *inventor) labelled(keys []key, percent int) map[string]string {
	out := map[string]string{}
	for _, k := range keys {
		if v.chance(percent) {
			out[k.name] = one(v, k.values...)
		}
	}
	return out
}
