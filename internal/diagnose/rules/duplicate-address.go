package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var duplicateAddress = diagnose.Rule{
	ID: "duplicate-address",
	Doc: `Two of the network have the same address

Two pods, or a pod and something else, answer for one address. On a bridge, whoever announced it last gets the packets: a while the right one
answers, a while the other, which refuses, resets what stood, or answers as somebody else. The network plugin's store of addresses was lost or
restored, two nodes have the same range, or somebody gave an address of the pods' range by hand.

While it asks again and again, podpath notes which hardware address the sender's neighbour table has for the destination (/proc/net/arp,
which everybody may read): one that goes back and forth belongs to two. The neighbour table of the node says whose other addresses lead there.
Where a router lies between, as with network plugins that give each pod a link of its own, only the API can tell: two pods with one address.

Look-alikes: a pod that was set up anew has another hardware address, and keeps it. An endpoint that is dead, or a server that is now and then
overwhelmed, has one. Addresses that move for a purpose (VRRP) move once.

Mend it by taking the address from one of the two: delete the pod, and see in the plugin's store on the node who has reserved it.

Sources: https://github.com/kubernetes/kubernetes/issues/43910, https://github.com/aws/amazon-vpc-cni-k8s/issues/711, arp_process in net/ipv4/arp.c of Linux.
`,
	Hop:           model.HopCNI,
	Covers:        []string{"cni-duplicate-ip"},
	Needs:         []string{"probe", "pod"},
	EvenIfItWorks: true,
	Run: func(p *diagnose.Pass) {
		tries := inOrder(p.Case.Tries)
		for _, pod := range served(p) {
			if c := contested(p, pod, tries); c != nil {
				reportContested(p, pod, c)
				return
			}
		}
		for _, pod := range served(p) {
			if other := namesake(p, pod); other != nil && p.FailedOnce() {
				reportNamesake(p, pod, other)
				return
			}
		}
	},
}

// contest is an address with the hardware addresses that one place had for it by turns.
type contest struct {
	addr    netip.Addr
	from    model.Ref
	vantage model.Vantage
	macs    []string
	tries   map[string][2]int // by hardware address: tries, and those that failed
	turns   int               // times that it changed
}

// fewestTurns is how often a hardware address changes before it is called two's: a
// pod that is replaced changes it once, one that is moved back twice.
const fewestTurns = 3

// contested is how two hardware addresses took turns for an address of a pod; nil: they did not.
func contested(p *diagnose.Pass, pod *model.Pod, tries []model.Try) *contest {
	for _, v := range []model.Vantage{p.Origin(), model.VantagePeer, model.VantageNode, model.VantageOtherNode} {
		c := contest{vantage: v, tries: map[string][2]int{}}
		last := ""
		for i := range tries {
			t := &tries[i]
			if t.Vantage != v || t.MAC == "" || !slices.Contains(pod.IPs, t.Address.Addr()) {
				continue
			}
			c.addr, c.from = t.Address.Addr(), t.From
			c.add(t)
			if last != "" && t.MAC != last {
				c.turns++
			}
			last = t.MAC
		}
		if c.turns >= fewestTurns {
			return &c
		}
	}
	return nil
}

func (c *contest) add(t *model.Try) {
	n := c.tries[t.MAC]
	if n[0]++; t.Result != model.OK {
		n[1]++
	}
	c.tries[t.MAC] = n
	if !slices.Contains(c.macs, t.MAC) {
		c.macs = append(c.macs, t.MAC)
	}
}

func inOrder(tries []model.Try) []model.Try {
	out := slices.Clone(tries)
	slices.SortStableFunc(out, func(a, b model.Try) int { return a.At.Compare(b.At) })
	return out
}

// namesake is another pod that runs and has an address of a pod, by the API; nil: there is none.
func namesake(p *diagnose.Pass, pod *model.Pod) *model.Pod {
	for _, ref := range sortedRefs(p.Case.World.Kube.Pods) {
		other := p.Case.World.Kube.Pods[ref]
		live := func(x *model.Pod) bool { return x.Phase == "Running" && !x.HostNetwork && !x.Deleting }
		if ref != pod.Ref() && live(other) && live(pod) && slices.ContainsFunc(other.IPs, func(a netip.Addr) bool { return slices.Contains(pod.IPs, a) }) {
			return other
		}
	}
	return nil
}

// behind says whose other addresses a hardware address has in the nodes' neighbour tables.
func behind(p *diagnose.Pass, mac string, but netip.Addr) *model.Pod {
	for _, name := range sortedKeys(p.Case.World.Nodes) {
		for _, n := range p.Case.World.Nodes[name].Neighbours {
			if !strings.EqualFold(n.MAC, mac) || n.Addr == but {
				continue
			}
			for _, ref := range sortedRefs(p.Case.World.Kube.Pods) {
				if pod := p.Case.World.Kube.Pods[ref]; !pod.HostNetwork && pod.Phase == "Running" && slices.Contains(pod.IPs, n.Addr) {
					return pod
				}
			}
		}
	}
	return nil
}

func reportContested(p *diagnose.Pass, pod *model.Pod, c *contest) {
	f := diagnose.Finding{
		Subject: pod.Ref(), Sometimes: true,
		Title:   fmt.Sprintf("Two have the address %s of pod %s/%s", c.addr, pod.Namespace, pod.Name),
		Summary: "Whoever announced it last gets the packets: a while the pod answers, a while the other.",
		Evidence: []diagnose.Evidence{
			probe(fmt.Sprintf("the neighbour table of %s had %d hardware addresses for %s, and went from one to another %d times: %s", c.from, len(c.macs), c.addr, c.turns, c.text()), c.from, pod.Ref()),
		},
	}
	var other *model.Pod
	for _, mac := range c.macs {
		if owner := behind(p, mac, c.addr); owner != nil && owner != pod {
			other = owner
			f.Evidence = append(f.Evidence, node(fmt.Sprintf("%s is that of pod %s/%s, whose own address is %s", mac, owner.Namespace, owner.Name, owner.IPs[0]), owner.Ref()))
		}
	}
	if !c.differ() { // whoever answers does so alike: two links of one pod look like this too
		f.Confidence = diagnose.Likely
	}
	f.Fix = freeFix(p, pod, other)
	p.Report(f)
}

// text is how the tries fared that met each.
func (c *contest) text() string {
	words := make([]string, len(c.macs))
	for i, mac := range c.macs {
		words[i] = fmt.Sprintf("of %d tries with %s %d failed", c.tries[mac][0], mac, c.tries[mac][1])
	}
	return strings.Join(words, ", ")
}

// differ says that it made a difference who had it.
func (c *contest) differ() bool {
	least, most := 1.0, 0.0
	for _, n := range c.tries {
		share := float64(n[1]) / float64(n[0])
		least, most = min(least, share), max(most, share)
	}
	return most-least > 0.5
}

func reportNamesake(p *diagnose.Pass, pod, other *model.Pod) {
	p.Report(diagnose.Finding{
		Subject: pod.Ref(), Sometimes: true, Confidence: diagnose.Likely,
		Title:   fmt.Sprintf("Two pods have the address %s", pod.IPs[0]),
		Summary: "Packets to it come to one of the two, and not always to the same.",
		Evidence: []diagnose.Evidence{
			kube(fmt.Sprintf("the API lists %s for pod %s/%s on node %s and for pod %s/%s on node %s", pod.IPs[0], pod.Namespace, pod.Name, pod.Node, other.Namespace, other.Name, other.Node), pod.Ref(), other.Ref()),
		},
		Fix: freeFix(p, pod, other),
	})
}

// freeFix takes the address from one of the two.
func freeFix(p *diagnose.Pass, pod, other *model.Pod) []diagnose.Command {
	out := []diagnose.Command{
		{Text: "Set the pod up anew: it gets another address", Line: diagnose.Kubectl("-n", pod.Namespace, "delete", "pod", pod.Name), Verify: again(p)},
		{Text: "See whom the network plugin gave the address to, and take away what is left of pods that are gone (where its store is host-local's)", Line: onNode(pod.Node, "grep -r . /var/lib/cni/networks/")},
	}
	if other == nil {
		return append(out, diagnose.Command{Text: "Find who else has it: a pod, a container outside of Kubernetes, or a machine that was given it by hand"})
	}
	look := diagnose.Command{Text: "See why the other has it", Line: diagnose.Kubectl("-n", other.Namespace, "exec", other.Name, "--", "ip", "address")}
	return slices.Insert(out, 1, look)
}
