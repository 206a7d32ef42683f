package parity

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"sigs.k8s.io/yaml"
)

// show writes a world as YAML, for whoever looks into a disagreement.
func (w *world) show(out io.Writer, pods []*pod) error {
	members := map[string]any{}
	for _, p := range pods {
		members[p.id()] = map[string]any{"node": p.node.Name, "address": p.addr.String(), "labels": p.labels, "ports": p.named}
	}
	type part struct {
		name string
		what any
	}
	parts := []part{{"namespaces", w.nsLabels}, {"pods", members}}
	for _, np := range w.policies {
		parts = append(parts, part{"policy " + np.Namespace + "/" + np.Name, np.Spec})
	}
	for _, svc := range w.services {
		parts = append(parts, part{"service " + svc.Namespace + "/" + svc.Name, svc.Spec})
	}
	for _, role := range slices.Sorted(maps.Keys(w.nsgs)) {
		parts = append(parts, part{"security group of " + role, w.nsgs[role]})
	}
	for _, subnet := range slices.Sorted(maps.Keys(w.routes)) {
		parts = append(parts, part{"routes of " + subnet, w.routes[subnet]})
	}
	for _, p := range parts {
		data, err := yaml.Marshal(p.what)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "# %s\n%s", p.name, data); err != nil {
			return err
		}
	}
	if len(w.nsgs["nic"]) > 0 {
		_, err := fmt.Fprintf(out, "# the NIC's group is on node %d\n", w.nicOf)
		return err
	}
	return nil
}
