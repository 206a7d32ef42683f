package fabric

import (
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/plan"
)

// links are the bytes that the router has received from and sent to each of its
// neighbours, by the name of the link.
func (f *Fabric) links() (map[string][2]uint64, error) {
	ns, err := vnetns.GetFromPath(netns.Path(f.ns(RoleRouter)))
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	list, err := h.LinkList()
	if err != nil {
		return nil, err
	}
	out := map[string][2]uint64{}
	for _, l := range list {
		if s := l.Attrs().Statistics; s != nil {
			out[l.Attrs().Name] = [2]uint64{s.RxBytes, s.TxBytes}
		}
	}
	return out, nil
}

// bytes are the machines' Network Out Total and Network In Total: what the router
// received from a node is what the node sent. The first reading is where counting begins.
func (m *meter) bytes(now time.Time, nodes []plan.Node, links map[string][2]uint64) {
	for _, n := range nodes {
		got, ok := links[nodeLink(n.Index)]
		if !ok {
			continue
		}
		set := plan.ID(plan.NodeGroup, "Microsoft.Compute/virtualMachineScaleSets", n.VMSS)
		dims := map[string]string{"VMName": fmt.Sprintf("%s_%d", n.VMSS, n.Instance)}
		for i, metric := range []string{"Network Out Total", "Network In Total"} {
			key := n.Name + "/" + metric
			before, known := m.counters[key]
			m.counters[key] = int64(got[i])
			if rise := int64(got[i]) - before; known && rise >= 0 {
				m.rise(now, set, metric, float64(rise), dims)
			}
		}
	}
}
