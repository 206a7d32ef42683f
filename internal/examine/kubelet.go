package examine

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// lostExec are the words of an API server, or of its client, that did not reach a
// kubelet. Logs, exec and port-forward all go there, and so do podpath's probes.
var lostExec = regexp.MustCompile(`dialing backend|:10250|i/o timeout|[Nn]o agent available`)

const kubeletPort = 10250

// sayWhy adds to the gaps of probes that could not be sent what keeps others from
// the kubelets, where that is what configuration says: kubectl logs and exec
// do not work then either, whatever becomes of the connection that was asked about.
func sayWhy(c *model.Case, run func(model.Flow) model.Path) {
	why := ""
	for i := range c.World.Gaps {
		g := &c.World.Gaps[i]
		if !strings.HasPrefix(g.What, "probe from ") || !lostExec.MatchString(g.Reason) {
			continue
		}
		if why == "" {
			if why = kubeletsCutOff(&c.World, run); why == "" {
				return
			}
		}
		g.Reason += "; " + why
	}
}

// kubeletsCutOff says what stops connections between nodes to the kubelet, "" when
// nothing is seen to.
func kubeletsCutOff(w *model.World, run func(model.Flow) model.Path) string {
	var nodes []*model.Node
	for _, name := range slices.Sorted(maps.Keys(w.Kube.Nodes)) {
		if n := w.Kube.Nodes[name]; n != nil && len(n.InternalIPs) > 0 {
			nodes = append(nodes, n)
		}
	}
	if len(nodes) < 2 {
		return ""
	}
	from, to := nodes[0], nodes[1]
	path := run(model.Flow{
		Protocol: "tcp", From: model.NewRef("node", from.Name), Src: from.InternalIPs[0], To: model.NewRef("node", to.Name), Dst: to.InternalIPs[0], DstPort: kubeletPort,
	})
	step := path.Broken()
	if step == nil {
		return ""
	}
	return fmt.Sprintf("kubelets (TCP %d) are cut off, as kubectl logs and exec will show: %s", kubeletPort, step.Reason)
}
