package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/podpath/podpath/internal/model"
)

// How long Azure may take where Options say nothing.
const (
	DefaultCallTimeout = 10 * time.Second // one call with its retries
	DefaultTimeout     = 20 * time.Second // everything
)

// Options say where to look and how long. The zero value finds everything from
// the environment and from the cluster's own nodes.
type Options struct {
	Cloud         string // name of a cloud; AZURE_ENVIRONMENT
	Endpoint      string // of Resource Manager, when the cloud has no name
	Subscription  string // overrides what the nodes' providerIDs say
	ResourceGroup string // of the managed cluster
	Cluster       string // name of the managed cluster

	Host     string    // private DNS zones are read when they could hold this name
	Metrics  bool      // read the source translation metrics of the last half hour
	Machines []string  // names of nodes: read the metrics of their scale sets, of the last half hour
	Fleet    bool      // those of all scale sets instead
	Advisor  bool      // read Azure Advisor's recommendations for the node resource group
	Resolved time.Time // the metrics' end; the zero time means now

	CallTimeout time.Duration // of one call with its retries; default 10 s
	Timeout     time.Duration // of everything; default 20 s

	Env        func(string) string    // default os.Getenv
	Credential azcore.TokenCredential // default: from the environment
	Transport  policy.Transporter     // default: the SDK's own
}

func (o Options) withDefaults() Options {
	if o.CallTimeout == 0 {
		o.CallTimeout = DefaultCallTimeout
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Env == nil {
		o.Env = os.Getenv
	}
	if o.Resolved.IsZero() {
		o.Resolved = time.Now()
	}
	return o
}

// collector is one run: a queue of documents to read, each at most once.
type collector struct {
	o     Options
	arm   *client
	where place
	slots chan struct{} // bounds the calls under way
	work  sync.WaitGroup

	mu      sync.Mutex // guards everything below
	w       *model.World
	asked   map[string]bool // ids that were asked for
	partial map[string]bool // kinds of which something could not be read
}

// Collect reads what Azure knows about the cluster whose nodes stand in w, and
// merges it into w. Every read that fails is a Gap. A cluster that is not on
// Azure, and does not claim to be by flags, is left alone without one.
func Collect(ctx context.Context, o Options, w *model.World) {
	o = o.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	c := &collector{
		o: o, w: w, slots: make(chan struct{}, 8),
		asked: map[string]bool{}, partial: map[string]bool{},
	}
	c.where = locate(o, w)
	if c.where.sub == "" {
		if c.where.why != "" {
			c.gap(model.Gap{What: "Azure", Reason: c.where.why})
		}
		return
	}
	if !c.connect(ctx) {
		return
	}
	w.Azure.SubscriptionID = c.where.sub
	if !c.findCluster(ctx) {
		return
	}
	c.advice(ctx)
	c.load(ctx)
	c.machines(ctx)
	c.work.Wait()
	c.unused(ctx)
	c.gateways(ctx)
	c.nextHops(ctx)
	c.gateways(ctx) // of networks that were only now found
	c.work.Wait()
	c.onNeed(ctx)
	c.work.Wait()
	c.finish()
}

// connect finds cloud and credential and gets the first token. It says whether to go on.
func (c *collector) connect(ctx context.Context) bool {
	cloud, err := findCloud(ctx, c.o)
	if err != nil {
		c.gap(model.Gap{What: "Azure", Reason: err.Error()})
		return false
	}
	c.w.Azure.Cloud = cloud.Name
	cred := c.o.Credential
	if cred == nil {
		if cred, err = credential(c.o, cloud); err != nil {
			c.gap(model.Gap{What: "Azure", Reason: err.Error(), Permission: "Reader on the cluster's resource group, its node resource group and its virtual network"})
			return false
		}
	}
	err = firstToken(ctx, c.o, cred, cloud)
	if status := unavailable(err); status != "" {
		c.gap(model.Gap{What: "Azure", Reason: "no token: " + host(cloud.Authority) + " " + status + "; that says nothing about the credential: try again later"})
		return false
	}
	if err != nil {
		c.gap(model.Gap{What: "Azure", Reason: "no token from " + host(cloud.Authority) + ": " + refusal(err), Permission: "a credential that " + host(cloud.Authority) + " accepts (az login, or AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET)"})
		return false
	}
	if c.arm, err = newClient(c.o, cloud, cred); err != nil {
		c.gap(model.Gap{What: "Azure", Reason: err.Error()})
		return false
	}
	return true
}

func host(raw string) string {
	if u, err := url.Parse(raw); err == nil && u.Host != "" {
		return u.Host
	}
	return raw
}

// spawn runs f beside everything else.
func (c *collector) spawn(f func()) {
	c.work.Add(1)
	go func() {
		defer c.work.Done()
		f()
	}()
}

// call runs f when one of the slots is free.
func (c *collector) call(ctx context.Context, f func() error) error {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("not asked: the %s for all of Azure were over", c.o.Timeout)
	}
	defer func() { <-c.slots }()
	return f()
}

// want reads one document and what it leads to, once, beside everything else.
func (c *collector) want(ctx context.Context, ids ...string) {
	for _, id := range ids {
		id = Key(id)
		typ := ParseID(id).Type
		if typ == "" {
			continue
		}
		c.mu.Lock()
		asked := c.asked[id]
		c.asked[id] = true
		c.mu.Unlock()
		if !asked {
			c.spawn(func() { c.fetch(ctx, id, typ) })
		}
	}
}

// fetch reads one document now and follows it.
func (c *collector) fetch(ctx context.Context, id, typ string) bool {
	query := url.Values{}
	if strings.HasPrefix(strings.ToLower(typ), "microsoft.compute/virtualmachines") && !strings.Contains(strings.ToLower(typ), "scalesets") {
		query.Set("$expand", "instanceView")
	}
	var x value
	err := c.call(ctx, func() (err error) {
		x, err = c.arm.get(ctx, id, typ, query)
		return err
	})
	if err == nil {
		err = c.keep(ctx, id, typ, x)
	}
	if err != nil {
		c.failed(kindOf(typ), id, typ, err)
		return false
	}
	return true
}

// keep decodes a document, puts it into the World and asks for what it refers to.
func (c *collector) keep(ctx context.Context, id, typ string, x value) error {
	if x.missing() {
		return errors.New("malformed answer: it is empty")
	}
	if x.get("id").str() == "" {
		x.get("id").wrong("the resource's id")
		return fmt.Errorf("malformed answer: %w", x.err())
	}
	// First into nowhere: a document that cannot be read wholly is a gap, and must not stand half-read where rules look.
	var nowhere model.Azure
	before := len(*x.errs)
	put(&nowhere, strings.ToLower(typ), x)
	if errs := (*x.errs)[before:]; len(errs) > 0 {
		return fmt.Errorf("malformed answer: %w", errors.Join(errs[:min(3, len(errs))]...))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	put(&c.w.Azure, strings.ToLower(typ), x)
	c.w.Azure.Found = true
	c.follow(ctx, id)
	return nil
}

// listing reads a list, keeps its elements and says whether it was complete.
func (c *collector) listing(ctx context.Context, path, typ string, query url.Values) bool {
	if err := c.tryListing(ctx, path, typ, query); err != nil {
		c.failed(kindOf(typ), path, typ, err)
		return false
	}
	return true
}

func (c *collector) tryListing(ctx context.Context, path, typ string, query url.Values) error {
	return c.pages(ctx, path, typ, query, func(x value) error {
		element := strings.ToLower(typ)
		if element == "microsoft.compute/virtualmachinescalesets/networkinterfaces" {
			element = "microsoft.compute/virtualmachinescalesets/virtualmachines/networkinterfaces"
		}
		return c.keep(ctx, x.get("id").id(), element, x)
	})
}

// pages hands on every element of a list.
func (c *collector) pages(ctx context.Context, path, typ string, query url.Values, element func(value) error) error {
	return c.call(ctx, func() error {
		return c.arm.list(ctx, path, typ, query, func(list value) error {
			for _, x := range list.list() {
				if err := element(x); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// follow asks for what the document with this id refers to. The lock is held.
func (c *collector) follow(ctx context.Context, id string) {
	az := &c.w.Azure
	c.metrics(ctx, id)
	var ids []string
	if s := az.Subnets[id]; s != nil {
		ids = append(ids, s.VNetID, s.NSGID, s.RouteTableID, s.NATGatewayID)
	}
	if n := az.NICs[id]; n != nil {
		ids = append(ids, n.NSGID)
		for _, config := range n.IPConfigs {
			ids = append(ids, config.SubnetID, config.PublicIPID)
			for _, pool := range config.BackendPools {
				ids = append(ids, parent(pool))
			}
		}
	}
	if g := az.NATGateways[id]; g != nil {
		ids = append(append(ids, g.PublicIPs...), g.Prefixes...)
	}
	if lb := az.LoadBalancers[id]; lb != nil {
		for _, f := range lb.Frontends {
			ids = append(ids, f.PublicIPID, f.PrefixID)
		}
	}
	if f := az.Firewalls[id]; f != nil {
		ids = append(append(ids, f.PolicyID), f.PublicIPs...)
	}
	if p := az.FirewallPolicies[id]; p != nil {
		ids = append(ids, p.BaseID)
		c.groups(ctx, id)
	}
	ids = append(ids, ipGroups(az, id)...)
	if p := az.Cluster; p != nil && Key(p.ID) == id {
		for _, pool := range p.AgentPools {
			ids = append(ids, pool.SubnetID, pool.PodSubnetID)
		}
		if p.LBProfile != nil {
			ids = append(ids, p.LBProfile.EffectiveIPs...)
		}
		ids = append(ids, p.NATProfileIPs...)
	}
	// The lock is held: asking happens beside.
	if len(ids) > 0 {
		c.spawn(func() { c.want(ctx, ids...) })
	}
}

// ipGroups are the IP groups that a firewall, a policy or one of its rule
// collection groups names.
func ipGroups(az *model.Azure, id string) []string {
	var groups []model.RuleGroup
	for _, of := range []string{id, parent(id)} {
		if f := az.Firewalls[of]; f != nil {
			groups = f.Groups
		}
		if p := az.FirewallPolicies[of]; p != nil {
			groups = p.Groups
		}
	}
	var ids []string
	for _, g := range groups {
		for _, c := range g.Collections {
			for _, r := range c.Rules {
				ids = append(append(ids, r.SourceGroups...), r.DestGroups...)
			}
		}
	}
	return ids
}

// groups reads a firewall policy's rule collection groups.
func (c *collector) groups(ctx context.Context, policy string) {
	key := policy + "/rulecollectiongroups"
	if c.asked[key] {
		return
	}
	c.asked[key] = true
	c.spawn(func() {
		c.listing(ctx, policy+"/ruleCollectionGroups", "Microsoft.Network/firewallPolicies/ruleCollectionGroups", nil)
	})
}

// machines reads the cluster's scale sets or machines with their interfaces,
// and the load balancers in their resource group.
func (c *collector) machines(ctx context.Context) {
	group := "/subscriptions/" + c.where.sub + "/resourceGroups/" + c.where.nodeGroup
	if c.where.nodeGroup == "" {
		c.failed("vmss", "", "", errors.New("the node resource group is not known: neither the nodes nor the cluster name it"))
		return
	}
	c.spawn(func() {
		// Public addresses first: a load balancer then finds its own among them and asks for none.
		if err := c.addresses(ctx, group); err != nil {
			var e *Error
			if !errors.As(err, &e) { // a refusal will be repeated for each address that matters
				c.failed("publicip", group, "Microsoft.Network/publicIPAddresses", err)
			}
		}
		c.listing(ctx, group+"/providers/Microsoft.Network/loadBalancers", "Microsoft.Network/loadBalancers", nil)
	})
	c.spawn(func() { c.scaleSets(ctx, group) })
	if c.where.standalone {
		c.singles(ctx, group)
	}
}

// singles reads the machines and interfaces that are resources of their own.
func (c *collector) singles(ctx context.Context, group string) {
	c.spawn(func() {
		c.listing(ctx, group+"/providers/Microsoft.Compute/virtualMachines", "Microsoft.Compute/virtualMachines", nil)
	})
	c.spawn(func() {
		c.listing(ctx, group+"/providers/Microsoft.Network/networkInterfaces", "Microsoft.Network/networkInterfaces", nil)
	})
}

func (c *collector) addresses(ctx context.Context, group string) error {
	const typ = "Microsoft.Network/publicIPAddresses"
	return c.pages(ctx, group+"/providers/"+typ, typ, nil, func(x value) error {
		id := x.get("id").id()
		c.mu.Lock()
		c.asked[id] = true
		c.mu.Unlock()
		return c.keep(ctx, id, typ, x)
	})
}

func (c *collector) scaleSets(ctx context.Context, group string) {
	const typ = "Microsoft.Compute/virtualMachineScaleSets"
	var ids []string
	flexible := false
	err := c.pages(ctx, group+"/providers/"+typ, typ, nil, func(x value) error {
		id := x.get("id").id()
		if strings.EqualFold(x.props().get("orchestrationMode").str(), "Flexible") {
			flexible = true // its machines and interfaces are resources of their own
		} else {
			ids = append(ids, id)
		}
		return c.keep(ctx, id, typ, x)
	})
	if flexible && !c.where.standalone {
		c.singles(ctx, group)
	}
	if err != nil {
		c.failed("vmss", group+"/providers/"+typ, typ, err)
		ids = c.where.scaleSets // those that the nodes name
	}
	for _, id := range ids {
		c.spawn(func() {
			c.listing(ctx, id+"/virtualMachines", typ+"/virtualMachines", url.Values{"$expand": {"instanceView"}})
		})
		c.spawn(func() { c.listing(ctx, id+"/networkInterfaces", typ+"/networkInterfaces", nil) })
	}
}

// finish says which kinds were read completely. A kind is found through others;
// where those are incomplete, so is it.
func (c *collector) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arrange()
	if !c.w.Azure.Found {
		return
	}
	if c.w.Read == nil {
		c.w.Read = map[string]bool{}
	}
	through := []struct {
		kind string
		via  []string
	}{
		{"cluster", nil},
		{"vmss", nil},
		{"nic", []string{"vmss"}},
		{"loadbalancer", nil},
		{"subnet", []string{"nic"}},
		{"vnet", []string{"subnet"}},
		{"peering", []string{"vnet"}},
		{"nsg", []string{"subnet", "nic"}},
		{"asg", []string{"nsg"}},
		{"routetable", []string{"subnet"}},
		{"natgateway", []string{"subnet"}},
		{"publicip", []string{"loadbalancer", "natgateway", "nic"}},
		{"firewall", []string{"routetable", "vnet"}},
		{"firewallpolicy", []string{"firewall"}},
		{"vnetgateway", []string{"vnet"}},
	}
	if c.o.Host != "" {
		through = append(through, struct {
			kind string
			via  []string
		}{"privatezone", []string{"vnet"}})
	}
	for kind, asked := range map[string]bool{"metric": c.o.Metrics, "advisor": c.o.Advisor} {
		if asked {
			through = append(through, struct {
				kind string
				via  []string
			}{kind, nil})
		}
	}
	for _, t := range through {
		for _, via := range t.via {
			if c.partial[via] {
				c.partial[t.kind] = true
			}
		}
		if !c.partial[t.kind] {
			c.w.Read[t.kind] = true
		}
	}
}

// arrange puts into order what came in the order of the answers, so that two
// readings of the same cloud are the same. The lock is held.
func (c *collector) arrange() {
	slices.SortStableFunc(c.w.Gaps, func(a, b model.Gap) int { return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Reason, b.Reason)) })
	az := &c.w.Azure
	for _, s := range az.VMSSs {
		slices.SortFunc(s.Instances, func(a, b model.VMSSInstance) int {
			return cmp.Or(cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID))
		})
	}
	for _, p := range az.FirewallPolicies {
		slices.SortStableFunc(p.Groups, func(a, b model.RuleGroup) int {
			return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
		})
	}
	for _, z := range az.PrivateZones {
		slices.Sort(z.Links)
	}
	slices.SortStableFunc(az.Advisor, func(a, b model.Advice) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Category, b.Category), cmp.Compare(a.Problem, b.Problem))
	})
	slices.SortStableFunc(az.Metrics, func(a, b model.Series) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Metric, b.Metric), cmp.Compare(a.Aggregate, b.Aggregate), cmp.Compare(fmt.Sprint(a.Dimension), fmt.Sprint(b.Dimension)))
	})
}

// addressesOf are the interfaces' own addresses, for telling a route to a node from one to an appliance.
func addressesOf(az *model.Azure) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for id, nic := range az.NICs {
		for _, config := range nic.IPConfigs {
			out[config.Addr] = id
		}
	}
	return out
}
