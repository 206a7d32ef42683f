package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// place is where in Azure the cluster is, as far as its own nodes tell.
type place struct {
	sub        string
	nodeGroup  string   // resource group of the machines
	scaleSets  []string // lower-cased ids
	standalone bool     // some node is a machine of its own (flexible scale set, or no scale set)
	why        string   // why sub is empty, when that is worth a gap
}

// locate reads the nodes' providerIDs. Flags override what they say.
func locate(o Options, w *model.World) place {
	p := place{sub: o.Subscription}
	groups := map[string]int{}
	name := map[string]string{}
	for _, node := range sorted(w.Kube.Nodes) {
		raw, ok := strings.CutPrefix(w.Kube.Nodes[node].ProviderID, "azure://")
		if !ok {
			continue
		}
		id := ParseID(raw)
		if id.Subscription == "" || id.Group == "" {
			continue
		}
		if p.sub == "" {
			p.sub = id.Subscription
		}
		groups[strings.ToLower(id.Group)]++
		name[strings.ToLower(id.Group)] = id.Group
		switch strings.ToLower(id.Type) {
		case "microsoft.compute/virtualmachinescalesets/virtualmachines":
			set := parent(Key(raw))
			if !slices.Contains(p.scaleSets, set) {
				p.scaleSets = append(p.scaleSets, set)
			}
		case "microsoft.compute/virtualmachines":
			p.standalone = true
		}
	}
	for _, group := range sorted(groups) {
		if p.nodeGroup == "" || groups[group] > groups[strings.ToLower(p.nodeGroup)] {
			p.nodeGroup = name[group]
		}
	}
	if p.sub == "" {
		switch {
		case o.ResourceGroup != "" || o.Cluster != "":
			p.why = "the subscription is not known: no node names it; give --subscription"
		case len(w.Kube.Nodes) == 0:
			p.why = "no node could be read, and only they name the subscription; give --subscription, --resource-group and --aks-cluster"
		}
	}
	return p
}

const clusterType = "Microsoft.ContainerService/managedClusters"

// findCluster finds and reads the managed cluster. It is the first call to
// Resource Manager: when nobody answers there, it is the only one, and the
// result is false.
func (c *collector) findCluster(ctx context.Context) bool {
	sub := "/subscriptions/" + c.where.sub
	if c.o.ResourceGroup != "" && c.o.Cluster != "" {
		return c.readCluster(ctx, sub+"/resourceGroups/"+c.o.ResourceGroup+"/providers/"+clusterType+"/"+c.o.Cluster)
	}
	scope := sub
	if c.o.ResourceGroup != "" {
		scope += "/resourceGroups/" + c.o.ResourceGroup
	}
	var found value
	var names []string
	err := c.pages(ctx, scope+"/providers/"+clusterType, clusterType, nil, func(x value) error {
		names = append(names, x.get("name").str())
		group := x.props().get("nodeResourceGroup").str()
		switch {
		case c.o.Cluster != "":
			if strings.EqualFold(x.get("name").str(), c.o.Cluster) {
				found = x
			}
		case c.where.nodeGroup != "" && strings.EqualFold(group, c.where.nodeGroup):
			found = x
		}
		return nil
	})
	switch {
	case err == nil && !found.missing():
		id := found.get("id").str()
		if err := c.keep(ctx, Key(id), clusterType, found); err != nil {
			c.failed("cluster", id, clusterType, err)
		}
		c.afterCluster(ctx)
		return true
	case err == nil && c.o.Cluster != "":
		c.failed("cluster", scope, clusterType, fmt.Errorf("no cluster %q among %s", c.o.Cluster, strings.Join(names, ", ")))
		return true
	case err == nil:
		// Machines on Azure whose cluster is not AKS: everything but the cluster can still be read.
		c.gap(model.Gap{What: "managed cluster", Reason: fmt.Sprintf("no AKS cluster in %s has the node resource group %s", scopeInWords(scope), c.where.nodeGroup)})
		return true
	}
	if c.over(err, scope) {
		return false
	}
	// Not allowed to look around, or the list failed: perhaps the cluster itself can be read by the name in MC_GROUP_NAME_LOCATION.
	for _, guess := range guesses(c.where.nodeGroup) {
		if c.o.ResourceGroup != "" && !strings.EqualFold(guess[0], c.o.ResourceGroup) || c.o.Cluster != "" && !strings.EqualFold(guess[1], c.o.Cluster) {
			continue // another one was named
		}
		id := sub + "/resourceGroups/" + guess[0] + "/providers/" + clusterType + "/" + guess[1]
		x, guessed := value{}, error(nil)
		guessed = c.call(ctx, func() (err error) {
			x, err = c.arm.get(ctx, id, clusterType, nil)
			return err
		})
		if guessed == nil && strings.EqualFold(x.props().get("nodeResourceGroup").str(), c.where.nodeGroup) {
			if err := c.keep(ctx, Key(id), clusterType, x); err != nil {
				c.failed("cluster", id, clusterType, err)
			}
			c.afterCluster(ctx)
			return true
		}
	}
	c.failed("cluster", scope, clusterType, err)
	return true
}

// scopeInWords is a subscription or a resource group in words.
func scopeInWords(scope string) string {
	parts := strings.Split(strings.Trim(scope, "/"), "/")
	if len(parts) >= 4 {
		return "resource group " + parts[3]
	}
	return "subscription " + parts[1]
}

func (c *collector) readCluster(ctx context.Context, id string) bool {
	var x value
	err := c.call(ctx, func() (err error) {
		x, err = c.arm.get(ctx, id, clusterType, nil)
		return err
	})
	if err == nil {
		if group := x.props().get("nodeResourceGroup").str(); group != "" && c.where.nodeGroup == "" {
			c.where.nodeGroup = group
		}
		err = c.keep(ctx, Key(id), clusterType, x)
	}
	if err != nil {
		if c.over(err, id) {
			return false
		}
		c.failed("cluster", id, clusterType, err)
		return true
	}
	c.afterCluster(ctx)
	return true
}

// over says that after this error nothing else can be read either, and records it.
func (c *collector) over(err error, scope string) bool {
	var e *Error
	var dead *transportError
	switch {
	case errors.As(err, &dead):
		c.gap(model.Gap{What: "Azure", Reason: host(c.arm.endpoint) + ": " + dead.text})
		return true
	case errors.As(err, &e) && e.Status == http.StatusUnauthorized:
		c.gap(model.Gap{What: "Azure", Reason: reason(err), Permission: permission(err, clusterType, scope)})
		return true
	case errors.As(err, &e) && e.Status == http.StatusNotFound && strings.EqualFold(e.Code, "SubscriptionNotFound"):
		c.gap(model.Gap{What: "Azure", Reason: fmt.Sprintf("404 SubscriptionNotFound: subscription %s is not one that this credential sees; give --subscription, or log in to its tenant", c.where.sub)})
		return true
	}
	return false
}

// guesses are the (group, name) pairs that a node resource group of the form
// MC_group_name_location may stand for: any of the parts may hold underscores.
func guesses(nodeGroup string) [][2]string {
	parts := strings.Split(nodeGroup, "_")
	if len(parts) < 4 || !strings.EqualFold(parts[0], "MC") {
		return nil
	}
	middle := parts[1 : len(parts)-1]
	var out [][2]string
	for i := len(middle) - 1; i >= 1 && len(out) < 4; i-- {
		out = append(out, [2]string{strings.Join(middle[:i], "_"), strings.Join(middle[i:], "_")})
	}
	return out
}

// afterCluster reads what belongs to the cluster itself.
func (c *collector) afterCluster(ctx context.Context) {
	c.mu.Lock()
	cluster := c.w.Azure.Cluster
	c.mu.Unlock()
	if cluster == nil {
		return
	}
	if cluster.NodeResourceGroup != "" {
		c.where.nodeGroup = cluster.NodeResourceGroup
	}
	for _, pool := range cluster.AgentPools {
		if strings.EqualFold(pool.Type, "VirtualMachines") || strings.EqualFold(pool.Type, "AvailabilitySet") {
			c.where.standalone = true
		}
	}
	id := Key(cluster.ID)
	if len(cluster.AgentPools) == 0 {
		c.spawn(func() { c.listing(ctx, id+"/agentPools", clusterType+"/agentPools", nil) })
	}
	c.spawn(func() {
		const typ = clusterType + "/outboundNetworkDependenciesEndpoints"
		err := c.pages(ctx, id+"/outboundNetworkDependenciesEndpoints", typ, nil, func(x value) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.w.Azure.Required = append(c.w.Azure.Required, decodeRequired(x)...)
			return nil
		})
		if err != nil {
			c.failed("required", id+"/outboundNetworkDependenciesEndpoints", typ, err)
		}
	})
}
