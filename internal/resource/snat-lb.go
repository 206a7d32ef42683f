package resource

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
)

// portsPerAddress are the source ports of one public address of a load balancer,
// of each protocol, which all machines of its pool share; portStep is what a
// number set by hand must be a multiple of.
// https://learn.microsoft.com/azure/load-balancer/load-balancer-outbound-connections
const (
	portsPerAddress = 64000
	portStep        = 8
)

// snatLB are the source ports that the load balancers' outbound rules give each
// node, TCP and UDP apart: all that the node uses, and what it uses towards the
// question's own destinations, since a port serves several destinations at once.
func snatLB(c *model.Case) []Use {
	var out []Use
	for _, id := range slices.Sorted(maps.Keys(c.World.Azure.LoadBalancers)) {
		lb := c.World.Azure.LoadBalancers[id]
		for i := range lb.Outbound {
			b := balancer{c: c, id: id, lb: lb, rule: &lb.Outbound[i]}
			if b.ref = model.NewRef("loadbalancer", lb.Name, b.rule.Name); onTheWay(c, b.ref) {
				out = append(out, b.uses()...)
			}
		}
	}
	return out
}

// MorePorts is what helps where an outbound rule's ports run out, by what is
// wanted of them now.
func MorePorts(c *model.Case, rule model.Ref) []diagnose.Command {
	var best *Use
	uses := Kind(c, "snat-lb")
	for i := range uses {
		if u := &uses[i]; u.Of == rule && (best == nil || u.wanted > best.wanted) {
			best = u
		}
	}
	if best != nil {
		return best.Remedy
	}
	for _, id := range slices.Sorted(maps.Keys(c.World.Azure.LoadBalancers)) {
		lb := c.World.Azure.LoadBalancers[id]
		for i := range lb.Outbound {
			if model.NewRef("loadbalancer", lb.Name, lb.Outbound[i].Name) == rule {
				return balancer{c: c, id: id, lb: lb, rule: &lb.Outbound[i], ref: rule}.remedy(0)
			}
		}
	}
	return nil
}

// balancer is one outbound rule.
type balancer struct {
	c    *model.Case
	id   string
	lb   *model.LoadBalancer
	rule *model.OutboundRule
	ref  model.Ref
}

func (b balancer) uses() []Use {
	var out []Use
	for _, node := range nodesOf(b.c) {
		for _, protocol := range []string{"tcp", "udp"} {
			if b.rule.Protocol != "" && !strings.EqualFold(b.rule.Protocol, "all") && !strings.EqualFold(b.rule.Protocol, protocol) {
				continue
			}
			if u, ok := b.whole(node, protocol); ok {
				out = append(out, u)
			}
		}
		for _, f := range asked(b.c, b.ref) {
			if u, ok := b.towards(node, f); ok {
				out = append(out, u)
			}
		}
	}
	return out
}

// ports is what the rule gives each machine of its pool.
func (b balancer) ports() float64 {
	if b.rule.AllocatedPorts > 0 {
		return float64(b.rule.AllocatedPorts)
	}
	return float64(trace.DefaultPorts(b.machines()))
}

// machines are those that share the rule's ports.
func (b balancer) machines() int { return trace.Machines(&b.c.World.Azure, b.lb, b.rule) }

// whole is what Azure Monitor says that a node uses. A node without a point is left out.
func (b balancer) whole(node, protocol string) (Use, bool) {
	used := b.find(node, "UsedSnatPorts", "Average", map[string]string{"ProtocolType": protocol})
	u := b.use(node)
	u.Name, u.Used, u.Pace = "source ports ("+upper(protocol)+") of "+node, last(used), pace(used)
	if protocol == "tcp" {
		b.failed(node, &u)
	}
	if math.IsNaN(u.Used) {
		if len(u.Says) == 0 {
			return u, false
		}
		u.Used = 0
	}
	if allocated := last(b.find(node, "AllocatedSnatPorts", "Average", map[string]string{"ProtocolType": protocol})); allocated > 0 && math.Abs(allocated-u.Limit) >= 1 {
		u.Says = append(u.Says, fmt.Sprintf("Azure Monitor's last minute has %.0f allocated, an average of the minute", allocated))
	}
	h := held(b.c, []string{node}, func(h model.Holder) bool { return outward(h) && h.UDP == (protocol == "udp") })
	u.Who = h.who
	b.finish(&u, h)
	return u, u.Used > 0 || u.State == Out || protocol == "tcp"
}

// towards is what a node's own connection table says that is held towards one destination.
func (b balancer) towards(node string, f flow) (Use, bool) {
	h := held(b.c, []string{node}, func(h model.Holder) bool { return h.To == f.to && h.UDP == f.udp })
	u := b.use(node)
	u.Name, u.Toward, u.Source = "source ports of "+node, f.String(), "node"
	u.Who, u.Used = h.who, math.Min(float64(h.count-h.asking), u.Limit)
	b.finish(&u, h)
	return u, h.read && h.count > 0
}

func (b balancer) use(string) Use {
	return Use{Kind: "snat-lb", Of: b.ref, Unit: "ports", Limit: b.ports(), Source: "metric"}
}

// finish says how it stands, and what scaling out would do.
func (b balancer) finish(u *Use, h holding) {
	if h.over > 0 {
		u.Says = append(u.Says, fmt.Sprintf("%d of %s are over, and keep their port for a while", h.over, plural(h.count, "connection", "connections")))
	}
	if h.asking > 0 {
		u.Says = append(u.Says, fmt.Sprintf("%d have no answer yet: who gets no port waits like this too", h.asking))
	}
	u.settle()
	if u.State != Room {
		u.Says = append(u.Says, b.scaling())
	}
	u.wanted = math.Max(u.Used, float64(h.count))
	u.Remedy = b.remedy(u.wanted)
}

// find are the series of one node's address.
func (b balancer) find(node, metric, aggregate string, dimensions map[string]string) []*model.Series {
	var out []*model.Series
	for _, ip := range b.c.World.Kube.Nodes[node].InternalIPs {
		all := maps.Clone(dimensions)
		all["BackendIPAddress"] = ip.String()
		out = append(out, find(b.c, want{b.id, metric, aggregate, all})...)
	}
	return out
}

// failed tells of the node's connections that got no port in the recent minutes.
func (b balancer) failed(node string, u *Use) {
	list := b.find(node, "SnatConnectionCount", "Total", map[string]string{"ConnectionState": "Failed"})
	if n, words, now := failures(b.c, "SnatConnectionCount", " for want of a port", list); n > 0 {
		u.Says = append(u.Says, words)
		if now >= few || now > 0 && u.Used >= u.Limit/2 {
			u.State = Out
		}
	}
	if text := byState("SnatConnectionCount", b.find(node, "SnatConnectionCount", "Total", map[string]string{})); text != "" {
		u.Says = append(u.Says, text)
	}
}

// scaling is what more nodes do to what each one gets.
func (b balancer) scaling() string {
	n := b.machines()
	if p := b.rule.AllocatedPorts; p > 0 {
		return fmt.Sprintf("the rule gives each machine %d ports, for at most %s; it has %d. More machines take nothing from the others", p, plural(b.addresses()*portsPerAddress/p, "machine", "machines"), n)
	}
	text := fmt.Sprintf("allocatedOutboundPorts is 0: %s get %d ports each by the default table", plural(n, "machine", "machines"), trace.DefaultPorts(n))
	if more := trace.DefaultPorts(n + 1); more < trace.DefaultPorts(n) {
		return text + fmt.Sprintf("; one more machine takes each down to %d", more)
	}
	for _, b := range trace.PortBrackets {
		if b.Machines >= n {
			return text + fmt.Sprintf("; one more changes nothing, from %d machines on each gets %d", b.Machines+1, trace.DefaultPorts(b.Machines+1))
		}
	}
	return text
}

// addresses are the public addresses of the rule, at least one.
func (b balancer) addresses() int {
	n := 0
	for _, id := range b.rule.FrontendIDs {
		for _, f := range b.lb.Frontends {
			if prefix := b.c.World.Azure.PublicIPPrefixes[strings.ToLower(f.PrefixID)]; !strings.EqualFold(f.ID, id) {
				continue
			} else if prefix != nil && prefix.Prefix.IsValid() {
				n += 1 << (prefix.Prefix.Addr().BitLen() - prefix.Prefix.Bits())
			} else {
				n++
			}
		}
	}
	return max(n, 1)
}

// remedy is what helps, with the numbers of this cluster: twice what is wanted
// now for each machine, and the addresses that this takes for all machines and
// those that an upgrade adds.
// https://learn.microsoft.com/azure/aks/load-balancer-standard#configure-the-allocated-outbound-ports
func (b balancer) remedy(wanted float64) []diagnose.Command {
	fix := []diagnose.Command{{Text: "At once: let the application keep its connections and use them again (a pool, keep-alive); restart the pods that leak them"}}
	cluster := b.c.World.Azure.Cluster
	if cluster == nil || strings.EqualFold(cluster.OutboundType, "userDefinedRouting") {
		return fix
	}
	nodes := fleet(b.c)
	ports := int(math.Max(2*wanted, 2*b.ports()))
	ports = (max(ports, 1024) + portStep - 1) / portStep * portStep
	ports = min(ports, portsPerAddress/portStep*portStep)
	addresses := max(b.addresses(), (ports*nodes+portsPerAddress-1)/portsPerAddress)
	args := []string{"--name", cluster.Name}
	own := ""
	if lp := cluster.LBProfile; lp == nil || lp.ManagedIPs > 0 || len(lp.EffectiveIPs) == 0 {
		args = append(args, "--load-balancer-managed-outbound-ip-count", fmt.Sprint(addresses))
	} else if addresses > b.addresses() {
		own = fmt.Sprintf(" (first give the cluster %d more, with --load-balancer-outbound-ips)", addresses-b.addresses())
	}
	fix = append(fix, diagnose.Command{
		Text: fmt.Sprintf("%d ports for each node: %s with %d ports each serve %s (one of them for upgrades)%s", ports, plural(addresses, "public address", "public addresses"), portsPerAddress, plural(nodes, "node", "nodes"), own),
		Line: diagnose.Az("aks update", cluster.ID, append(args, "--load-balancer-outbound-ports", fmt.Sprint(ports))...),
	})
	return append(fix, natInstead(cluster), diagnose.Command{Text: "Or reach Azure's own services by a private endpoint, which takes no source port"})
}

// natInstead leads out by a NAT gateway, which shares its ports among all nodes.
func natInstead(cluster *model.ManagedCluster) diagnose.Command {
	kind, text := "managedNATGateway", "Or go out by a NAT gateway, which shares its ports among all nodes"
	if slices.ContainsFunc(cluster.AgentPools, func(p model.AgentPool) bool { return p.SubnetID != "" }) {
		kind, text = "userAssignedNATGateway", text+": attach one to the nodes' subnets first"
	}
	return diagnose.Command{Text: text, Line: diagnose.Az("aks update", cluster.ID, "--name", cluster.Name, "--outbound-type", kind)}
}

// fleet is how many machines share an address: the pools' count, and one that an upgrade adds.
func fleet(c *model.Case) int {
	nodes := 0
	for _, pool := range c.World.Azure.Cluster.AgentPools {
		nodes += pool.Count
	}
	return max(nodes, len(c.World.Kube.Nodes), 1) + 1
}

func upper(protocol string) string { return strings.ToUpper(cmp.Or(protocol, "tcp")) }
