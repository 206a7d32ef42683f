package rules

import (
	"fmt"
	"slices"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
)

var nodeDiskSaturated = diagnose.Rule{
	ID: "node-disk-saturated",
	Doc: `The node's OS disk does all it may, and what runs there waits for it

Azure gives a managed OS disk a quota of operations and bytes a second (a P10 of 128 GiB: 500 and 100 MB). Image pulls, logs and emptyDir volumes
use it up; then everything on the node that touches the disk stands still for seconds: the container runtime, the kubelet (PLEG is not
healthy, the node turns NotReady now and then), CoreDNS and applications that write a log line for each request. The network is fine: connections
are taken by the kernel and answered late or not at all, on this node only.

Two limits hold, and the smaller one counts: the disk's own, and what the size of the machine allows all its disks together (a Standard_D2s_v5: 3,750 operations and
85 MB a second). Azure Monitor has both (OS Disk … Consumed Percentage, VM Uncached and Cached … Consumed Percentage), Microsoft.Compute/skus the numbers of
each size. Where the machine is the limit, a larger disk changes nothing.

Look-alikes: a busy CPU shows in the node's load and in throttled containers. An application that is slow by itself is slow wherever it runs.
Lost packets make connections themselves wait one or three seconds.

Mend it by an ephemeral OS disk, a larger disk, or by moving what writes to a data disk; where the machine's size is the limit, by larger machines or by spreading what writes.

Sources: https://github.com/Azure/AKS/issues/1373, https://learn.microsoft.com/azure/virtual-machines/disks-metrics,
https://learn.microsoft.com/azure/aks/concepts-storage#default-os-disk-sizing,
https://learn.microsoft.com/azure/virtual-machines/disks-performance, https://learn.microsoft.com/azure/virtual-machines/sizes/general-purpose/dsv5-series
`,
	Hop:    model.HopNodeResource,
	Covers: []string{"node-disk-saturation"},
	Needs:  []string{"probe", "node", "vmss", "metric"},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || !stalled(seen) || brokenAnywhere(p) {
			return
		}
		nodes := stalledNodes(p, seen)
		// Where both are at their end, what the machine's size allows holds whatever the disk.
		for _, u := range slices.Concat(resource.Kind(p.Case, resource.VMDisk), resource.Kind(p.Case, "os-disk")) {
			if i := slices.Index(nodes, u.Of.Name()); i >= 0 && u.State == resource.Out {
				nodes = slices.Delete(nodes, i, i+1)
				reportDisk(p, u)
			}
		}
	},
}

func reportDisk(p *diagnose.Pass, u resource.Use) {
	subject, ref := u.Of, u.Of
	if set, _ := model.MachineOf(p.Case.World.Kube.Nodes[u.Of.Name()].ProviderID); set != "" {
		if s := p.Case.World.Azure.VMSSs[set]; s != nil {
			subject = model.NewRef("vmss", s.Name)
		}
	}
	f := diagnose.Finding{
		Subject: subject, Confidence: diagnose.Likely, Sometimes: true, Fix: u.Remedy,
		Title:   fmt.Sprintf("The OS disk of node %s does all it may, and what runs there waits for it", u.Of.Name()),
		Summary: "Requests beyond the disk's quota wait, and with them whoever writes a log line or reads a file. The node's network is fine; what answers from there does so late or not at all.",
	}
	if u.Kind == resource.VMDisk {
		f.Title = fmt.Sprintf("The disks of node %s do together all that its machine's size allows, and what runs there waits for them", u.Of.Name())
		f.Summary = "Requests beyond what the size of the machine allows its disks wait, whatever each disk could do, and with them whoever writes a log line or reads a file. A larger disk does not help. The node's network is fine; what answers from there does so late or not at all."
	}
	for _, s := range u.Says {
		f.Evidence = append(f.Evidence, metric(s, ref, subject))
	}
	if nr := p.Case.World.Kube.Nodes[u.Of.Name()]; nr != nil && !nr.Ready {
		f.Evidence = append(f.Evidence, kube(fmt.Sprintf("node %s is not ready", nr.Name), ref))
	}
	p.Report(f)
}

// stalledAfter is how long a phase takes that waits for a disk beyond its quota.
const stalledAfter = time.Second

// stalled says that somebody took seconds, or too long, to do what needs no
// packet that could be lost: to answer a lookup, a handshake, a request.
func stalled(o *model.Observation) bool {
	if diagnose.Fails(o) && (o.Result != model.TimedOut && o.Result != model.ServFail || o.Failed == "tcp" || o.Failed == "udp") {
		return false
	}
	return diagnose.Fails(o) || slices.ContainsFunc(o.Phases, func(ph model.Phase) bool { return ph.Name != "tcp" && ph.Duration >= stalledAfter })
}

// stalledNodes are the nodes on which somebody has to do something for the question:
// the asking pod's, those of the pods that answer, those of the name servers where a lookup is slow.
func stalledNodes(p *diagnose.Pass, seen *model.Observation) []string {
	nodes := []string{p.Node()}
	add := func(pod *model.Pod) {
		if pod != nil && !slices.Contains(nodes, pod.Node) {
			nodes = append(nodes, pod.Node)
		}
	}
	if path := p.Question(); path != nil {
		add(p.Case.World.Kube.Pods[path.Flow.To])
	}
	for _, o := range slices.Concat(p.Control(p.Origin(), "control:endpoint"), p.Asked(p.Origin())) {
		if stalled(o) {
			for _, pod := range p.Case.World.Kube.Pods {
				if slices.Contains(pod.IPs, o.Address.Addr()) && !pod.HostNetwork {
					add(pod)
				}
			}
		}
	}
	if ph := seen.PhaseOf("dns"); ph != nil && (ph.Result != model.OK || ph.Duration >= stalledAfter) {
		_, servers := p.NameServers()
		for _, pod := range servers {
			add(pod)
		}
	}
	return nodes
}
