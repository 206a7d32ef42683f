package resource

import (
	"maps"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// mostFlows is how many flows in one direction Azure's network keeps for a
// machine; beyond it new connections are dropped.
// https://learn.microsoft.com/azure/virtual-network/virtual-machine-network-throughput#flow-limits-and-active-connections-recommendations
const mostFlows = 500000

// flows are the flows that Azure's network keeps for each node's machine.
func flows(c *model.Case) []Use {
	var out []Use
	for _, node := range slices.Sorted(maps.Keys(c.World.Kube.Nodes)) {
		n := c.World.Kube.Nodes[node]
		if n == nil {
			continue
		}
		set, machine := model.MachineOf(n.ProviderID)
		for _, metric := range []string{"Inbound Flows", "Outbound Flows"} {
			list := find(c, want{set, metric, "Maximum", map[string]string{"VMName": machine}})
			if set == "" || len(list) == 0 {
				continue
			}
			u := Use{
				Kind: "flows", Name: lowerFirst(metric) + " of its machine", Of: model.NewRef("node", node), Unit: "flows", Used: last(list), Limit: mostFlows, Pace: pace(list), Source: "metric",
				Who:    held(c, []string{node}, func(model.Holder) bool { return true }).who,
				Remedy: []diagnose.Command{{Text: "Spread what opens so many connections over more nodes, or let it use connections again: the limit is each machine's, whatever its size"}},
			}
			u.settle()
			out = append(out, u)
		}
	}
	return out
}

func lowerFirst(s string) string { return string(s[0]|0x20) + s[1:] }
