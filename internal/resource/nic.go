package resource

import (
	"cmp"
	"fmt"
	"maps"
	"math"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// NIC is the kind of what a node's machine sends, of what its size may.
const NIC = "nic"

// nics is what each node's machine sends in a second. Azure meters what leaves a
// machine and drops or delays the rest; what it receives has no limit of its own.
// https://learn.microsoft.com/azure/virtual-network/virtual-machine-network-throughput
func nics(c *model.Case) []Use { return ofNodes(c, nicOf) }

func nicOf(c *model.Case, n *model.Node) (Use, bool) {
	u := Use{Kind: NIC, Name: "network bandwidth", Of: model.NewRef("node", n.Name), Unit: "Mbit/s", Used: math.NaN()}
	m := machineOf(c, n)
	out, in := m.series("Network Out Total", "Total"), m.series("Network In Total", "Total")
	if v := megabits(out); m.set != "" && !math.IsNaN(v) {
		u.Used, u.Source, u.Pace = v, "metric", pace(out)*8/60/1e6
		u.Says = append(u.Says, fmt.Sprintf("its machine sent %s Mbit/s%s, the most of the last minutes (Network Out Total, Network In Total)", number(round(v)), received(megabits(in))))
	}
	if own, ok := interfaceOf(c.World.Nodes[n.Name]); ok {
		u.Says = append(u.Says, own.says()...)
		if math.IsNaN(u.Used) || own.out > u.Used {
			u.Used, u.Source = own.out, "node"
		}
	}
	if math.IsNaN(u.Used) {
		return u, false
	}
	u.Used = round(u.Used)
	next := u.limit(c, n, m.set)
	if u.Limit > 0 && u.Used >= saturated/100.0*u.Limit {
		u.State = Out
	}
	u.Says = append(u.Says, sendingPods(c, n.Name)...)
	u.Remedy = nicRemedy(c, m.set, next)
	u.settle()
	return u, true
}

func round(v float64) float64 { return math.Round(v*10) / 10 }

func received(v float64) string {
	if math.IsNaN(v) {
		return ""
	}
	return fmt.Sprintf(" and received %s", number(round(v)))
}

// limit fills in what the size of the node's machine may send, or says why that is
// not known; next is a size that may send more.
func (u *Use) limit(c *model.Case, n *model.Node, set string) (next string) {
	size := n.Labels["node.kubernetes.io/instance-type"]
	if s := c.World.Azure.VMSSs[set]; s != nil {
		size = cmp.Or(s.Size, size)
	}
	if u.Limit, next = sends(size); u.Limit > 0 {
		u.Says = append(u.Says, fmt.Sprintf("a %s sends at most %s Mbit/s, over all its interfaces and to wherever; what it receives is not limited", size, number(u.Limit)))
		return next
	}
	if size == "" {
		size = "its machine, whose size was not read,"
	}
	u.Says = append(u.Says, fmt.Sprintf("what %s may send is not known here: see the size's page of https://learn.microsoft.com/azure/virtual-machines/sizes", size))
	return ""
}

// megabits is the highest of the last three minutes in megabits a second, of bytes
// that were counted in each: the last minute may not be complete. NaN: no data.
func megabits(list []*model.Series) float64 {
	most := math.NaN()
	for _, s := range list {
		for _, p := range s.Points[max(0, len(s.Points)-3):] {
			if v := p.Value * 8 / 60 / 1e6; math.IsNaN(most) || v > most {
				most = v
			}
		}
	}
	return most
}

// interfaceUse is what a node's own interface did while the probes ran.
type interfaceUse struct {
	name                        string
	out, in                     float64 // megabits a second
	dropsIn, dropsOut, failures float64 // packets
}

// interfaceOf compares the two readings of a node's interface of the default route.
func interfaceOf(facts *model.NodeFacts) (interfaceUse, bool) {
	if facts == nil {
		return interfaceUse{}, false
	}
	grew := func(name string) float64 { return max(0, facts.LevelsAfter[name]-facts.Levels[name]) }
	took := grew("uptime")
	if _, read := facts.LevelsAfter["nic.tx.bytes"]; !read || took < 1 || facts.Levels["uptime"] == 0 {
		return interfaceUse{}, false
	}
	if _, read := facts.Levels["nic.tx.bytes"]; !read {
		return interfaceUse{}, false
	}
	return interfaceUse{
		name: defaultDevice(facts), out: grew("nic.tx.bytes") * 8 / 1e6 / took, in: grew("nic.rx.bytes") * 8 / 1e6 / took,
		dropsIn: grew("nic.rx.drops"), dropsOut: grew("nic.tx.drops"), failures: grew("nic.rx.errors") + grew("nic.tx.errors"),
	}, true
}

// defaultDevice is the interface by which a node sends what has no other route.
func defaultDevice(facts *model.NodeFacts) string {
	for _, r := range facts.Routes {
		if r.Table == 254 && r.Dst.IsValid() && r.Dst.Bits() == 0 && r.Dst.Addr().Is4() && r.Dev != "" {
			return r.Dev
		}
	}
	return "the interface of its default route"
}

func (i interfaceUse) says() []string {
	out := []string{fmt.Sprintf("%s sent %s Mbit/s and received %s while the probes ran", i.name, number(round(i.out)), number(round(i.in)))}
	if i.dropsIn+i.dropsOut > 0 {
		out = append(out, fmt.Sprintf("%s dropped %.0f packets that came in and %.0f that were to leave, while the probes ran", i.name, i.dropsIn, i.dropsOut))
	}
	if i.failures > 0 {
		out = append(out, fmt.Sprintf("%s had %.0f packets with errors while the probes ran", i.name, i.failures))
	}
	return out
}

// sendingPods says which of a node's pods sent most. Pods on the node's own network
// cannot be told from it: their counters are the node's.
func sendingPods(c *model.Case, node string) []string {
	sent := maps.Clone(c.World.NodeUsage[node].Sent)
	maps.DeleteFunc(sent, func(ref model.Ref, _ model.Written) bool {
		p := c.World.Kube.Pods[ref]
		return p == nil || p.HostNetwork
	})
	return grown(sent, "sent")
}

// nicRemedy spreads what sends, or gives it larger machines.
func nicRemedy(c *model.Case, set, next string) []diagnose.Command {
	fix := []diagnose.Command{{Text: "Spread what sends most over more nodes (topologySpreadConstraints, more replicas)"}}
	p, args, ok := poolOf(c, set)
	if !ok || next == "" {
		return fix
	}
	mbps, _ := sends(next)
	return append(fix,
		diagnose.Command{Text: fmt.Sprintf("Or a pool of larger machines beside it: a %s sends up to %s Mbit/s", next, number(mbps)), Line: diagnose.Az("aks nodepool add", c.World.Azure.Cluster.ID, append(args, "--node-vm-size", next)...)},
		leave(c, p))
}
