package parity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/lab/plan"
	"github.com/podpath/podpath/lab/scenario"
)

// azure writes security groups and route tables through the resource manager,
// which answers once packets obey, and remembers what was there before.
type azure struct {
	lab   *scenario.Lab
	saved []document // in the order in which they were first changed
	made  []string   // ids of what was not there
	nic   int        // the node whose NIC has a security group now; -1: none
}

type document struct {
	id  string
	doc map[string]any
}

func network(kind, name string, rest ...string) string {
	return plan.ID(plan.ResourceGroup, "Microsoft.Network/"+kind, name, rest...)
}

const nicNSG = "nsg-parity-nic"

var groups = map[string]string{"nodes": plan.NodesNSG, "pods": plan.PodsNSG, "nic": nicNSG}

// newAzure keeps the documents that worlds change, and adds those that are
// missing: a security group for a NIC, a route table for each subnet.
func newAzure(ctx context.Context, lab *scenario.Lab) (*azure, error) {
	a := &azure{lab: lab, nic: -1}
	for _, name := range []string{plan.NodesNSG, plan.PodsNSG} {
		if _, err := a.keep(ctx, network("networkSecurityGroups", name)); err != nil {
			return nil, err
		}
	}
	err := a.make(ctx, network("networkSecurityGroups", nicNSG), map[string]any{"securityRules": []any{}})
	for _, subnet := range []string{plan.NodesSubnet, plan.PodsSubnet} {
		if err == nil {
			err = a.ensureTable(ctx, subnet)
		}
	}
	if err != nil {
		return nil, errors.Join(err, a.restore(context.WithoutCancel(ctx)))
	}
	return a, nil
}

func (a *azure) do(ctx context.Context, method, id string, body any) (map[string]any, error) {
	return a.lab.Hands.ARM(ctx, method, id, body)
}

// keep reads a document, and remembers it to be put back.
func (a *azure) keep(ctx context.Context, id string) (map[string]any, error) {
	doc, err := a.do(ctx, http.MethodGet, id, nil)
	if err == nil && !slices.ContainsFunc(a.saved, func(d document) bool { return d.id == id }) {
		a.saved = append(a.saved, document{id, doc})
	}
	return doc, err
}

func (a *azure) make(ctx context.Context, id string, properties map[string]any) error {
	a.made = append(a.made, id)
	_, err := a.do(ctx, http.MethodPut, id, map[string]any{"location": plan.Location, "properties": properties})
	return err
}

func subnetID(name string) string { return network("virtualNetworks", plan.VNet, "subnets", name) }

// ensureTable gives a subnet a route table where it has none.
func (a *azure) ensureTable(ctx context.Context, subnet string) error {
	doc, err := a.keep(ctx, subnetID(subnet))
	if err != nil {
		return err
	}
	if id := tableOf(doc); id != "" {
		_, err := a.keep(ctx, id)
		return err
	}
	id := network("routeTables", "rt-parity-"+subnet)
	if err := a.make(ctx, id, map[string]any{"routes": []any{}}); err != nil {
		return err
	}
	return a.set(ctx, subnetID(subnet), "routeTable", map[string]any{"id": id})
}

func tableOf(subnet map[string]any) string {
	p, _ := subnet["properties"].(map[string]any)
	t, _ := p["routeTable"].(map[string]any)
	id, _ := t["id"].(string)
	return id
}

// set writes one property of a document.
func (a *azure) set(ctx context.Context, id, property string, value any) error {
	doc, err := a.do(ctx, http.MethodGet, id, nil)
	if err != nil {
		return err
	}
	p, ok := doc["properties"].(map[string]any)
	if !ok {
		return fmt.Errorf("%s has no properties", id)
	}
	if p[property] = value; value == nil {
		delete(p, property)
	}
	_, err = a.do(ctx, http.MethodPut, id, doc)
	return err
}

// apply makes Azure what a world says.
func (a *azure) apply(ctx context.Context, w *world) error {
	for role, name := range groups {
		if err := a.set(ctx, network("networkSecurityGroups", name), "securityRules", anyOf(w.nsgs[role])); err != nil {
			return fmt.Errorf("security group %s: %w", name, err)
		}
	}
	if err := a.applyNIC(ctx, w); err != nil {
		return fmt.Errorf("network interface: %w", err)
	}
	tables := map[string][]route{}
	var order []string
	for _, subnet := range []string{plan.NodesSubnet, plan.PodsSubnet} {
		doc, err := a.do(ctx, http.MethodGet, subnetID(subnet), nil)
		if err != nil {
			return err
		}
		id := tableOf(doc)
		if !slices.Contains(order, id) { // subnets may share a table: the nodes' routes are its own then
			order = append(order, id)
			tables[id] = w.routes[subnet]
		}
	}
	for _, id := range order {
		if err := a.set(ctx, id, "routes", a.merged(id, tables[id])); err != nil {
			return fmt.Errorf("route table %s: %w", id[strings.LastIndexByte(id, '/')+1:], err)
		}
	}
	return nil
}

func anyOf[T any](list []T) []any {
	out := []any{}
	for _, x := range list {
		out = append(out, x)
	}
	return out
}

// merged are a table's own routes and a world's; for one prefix the world's.
func (a *azure) merged(id string, more []route) []any {
	out := anyOf(more)
	for _, d := range a.saved {
		if d.id != id {
			continue
		}
		p, _ := d.doc["properties"].(map[string]any)
		own, _ := p["routes"].([]any)
		for _, r := range own {
			m, _ := r.(map[string]any)
			if !slices.ContainsFunc(more, func(o route) bool { return prefixOf(o) == prefixOf(m) }) {
				out = append(out, r)
			}
		}
	}
	return out
}

func prefixOf(r map[string]any) string {
	p, _ := r["properties"].(map[string]any)
	s, _ := p["addressPrefix"].(string)
	return s
}

// applyNIC puts the security group on the NIC of the world's node, where it has rules for it.
func (a *azure) applyNIC(ctx context.Context, w *world) error {
	want := -1
	if len(w.nsgs["nic"]) > 0 {
		want = w.nicOf
	}
	if a.nic == want {
		return nil
	}
	if a.nic >= 0 {
		if err := a.set(ctx, a.nicID(a.nic), "networkSecurityGroup", nil); err != nil {
			return err
		}
	}
	if a.nic = want; want < 0 {
		return nil
	}
	if _, err := a.keep(ctx, a.nicID(want)); err != nil {
		return err
	}
	return a.set(ctx, a.nicID(want), "networkSecurityGroup", map[string]any{"id": network("networkSecurityGroups", nicNSG)})
}

func (a *azure) nicID(node int) string {
	n := a.lab.Plan.Nodes[node]
	return plan.ID(plan.NodeGroup, "Microsoft.Compute/virtualMachineScaleSets", n.VMSS, "virtualMachines", strconv.Itoa(n.Instance), "networkInterfaces", n.VMSS)
}

// restore puts every document back and removes what was added.
func (a *azure) restore(ctx context.Context) error {
	var errs []error
	for _, d := range slices.Backward(a.saved) {
		_, err := a.do(ctx, http.MethodPut, d.id, d.doc)
		errs = append(errs, err)
	}
	for _, id := range slices.Backward(a.made) {
		_, err := a.do(ctx, http.MethodDelete, id, nil)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
