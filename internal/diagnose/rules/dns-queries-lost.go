package rules

import (
	"fmt"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

var dnsQueriesLost = diagnose.Rule{
	ID: "dns-queries-lost",
	Doc: `A node loses queries to the cluster's DNS now and then, so that lookups wait 5 s

A resolver asks for IPv4 and IPv6 addresses at once, with two packets from one socket. Two packets that the node's kernel sees for the first
time race for one entry of its connection table, and the loser is dropped without a word (the counter insert_failed): the answer to the other
one comes at once, and the resolver waits for its time-out, five seconds in the C library, before it asks again. No name fails; one
lookup in ten or twenty hangs. Anything else on the node that loses single packets to port 53 looks the same.

podpath watches the lookups of pods on this node and on another one, and compares how many had to be asked again.

Look-alikes: CoreDNS that is short of CPU, or a pod of it that is silent, makes lookups of all nodes wait. A rule of the node's packet filter that
drops is shown with its line.

Mend it with NodeLocal DNSCache or AKS LocalDNS (no translation, so no race), with "options single-request-reopen" or use-vc in the pods'
dnsConfig, or a newer kernel.

Sources: https://github.com/kubernetes/kubernetes/issues/56903, https://github.com/Azure/AKS/issues/667.
`,
	Hop:    model.HopNodeKernel,
	Covers: []string{"dns-conntrack-race-5s"},
	Under:  []string{"bridge-nf-off", "node-firewall-drops", "policy-denies", "nsg-denies", "conntrack-full"},
	Sees:   lookupLost,
	Run: func(p *diagnose.Pass) {
		lost := watch.LookupsLost(p.Case.Tries)
		here := lost[p.Origin()]
		seen := p.Seen()
		if seen == nil || !lookupLost(seen) || here.Count < fewestLost || here.Count == here.Of || p.Node() == "" || !asksClusterDNS(p) {
			return
		}
		far, ok := lost[model.VantageOtherNode]
		if !ok || far.Of < 8 {
			p.Skip(model.Gap{What: "lookups from a pod on another node", Reason: "none were watched, so the node cannot be told from CoreDNS", Permission: "podpath watch, with a pod on another node"})
			return
		}
		if watch.MoreOften(here, far) || watch.MoreOften(watch.Together(here, lost[model.VantagePeer]), far) && lost[model.VantagePeer].Count > 0 {
			reportQueriesLost(p, seen, here, far, lost[model.VantagePeer])
		}
	},
}

// fewestLost is how many lookups must have lost a query: one may get lost anywhere.
const fewestLost = 3

// lookupLost is a lookup of which a query got no answer.
func lookupLost(o *model.Observation) bool { return o.Failed == "dns" && o.Result == model.TimedOut }

func reportQueriesLost(p *diagnose.Pass, seen *model.Observation, here, far, peer watch.Rate) {
	at := model.NewRef("node", p.Node())
	f := diagnose.Finding{
		Subject: at, Confidence: diagnose.Likely, Sometimes: true,
		Title:   fmt.Sprintf("Node %s loses queries to the cluster's DNS now and then", p.Node()),
		Summary: "A lookup whose query is lost waits until the resolver asks again: 5 s with the C library. No name fails for it.",
		Evidence: []diagnose.Evidence{
			probe(fmt.Sprintf("from the pod, %d of %d lookups had to ask again; from a pod on another node %d of %d", here.Count, here.Of, far.Count, far.Of), seen.From),
		},
		Fix: []diagnose.Command{
			{Text: "Let pods ask a resolver on their own node (AKS LocalDNS, NodeLocal DNSCache): nothing is translated, and nothing races"},
			{Text: "Or let the C library ask one after the other: dnsConfig.options single-request-reopen of the pods' workloads", Line: dnsOption(p.Client()), Verify: again(p)},
			{Text: "See whether the loser of the race is what is lost: insert_failed grows", Line: onNode(p.Node(), "conntrack -S; uname -r")},
		},
	}
	if peer.Of > 0 && peer.Count > 0 {
		f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from another pod on the same node %d of %d", peer.Count, peer.Of), at))
	} else if peer.Of >= 8 && watch.MoreOften(here, peer) {
		f.Subject, f.Hop = p.Pod().Ref(), model.HopPod
		f.Title = fmt.Sprintf("%s loses queries to the cluster's DNS now and then, and other pods of its node do not", p.Pod().Ref())
	}
	f.Evidence = append(f.Evidence, pairs(p)...)
	f.Evidence = append(f.Evidence, insertFailed(p)...)
	p.ReportOn(dnsWay, f)
}

// dnsOption is the command that lets a workload's pods ask one after the other.
func dnsOption(ref model.Ref) string {
	if parts := ref.Parts(); len(parts) == 2 && ref.Kind() != "pod" {
		return diagnose.Kubectl("-n", parts[0], "patch", ref.Kind(), parts[1], "-p", `{"spec":{"template":{"spec":{"dnsConfig":{"options":[{"name":"single-request-reopen"}]}}}}}`)
	}
	return ""
}

// pairs shows queries that were lost while the other one from the same socket was answered.
func pairs(p *diagnose.Pass) []diagnose.Evidence {
	var out []diagnose.Evidence
	for _, o := range p.Asked(p.Origin()) {
		for i := range o.Queries {
			q := &o.Queries[i]
			if q.Result != model.TimedOut || len(out) > 2 {
				continue
			}
			for j := range o.Queries {
				r := &o.Queries[j]
				if r.Name == q.Name && r.Server == q.Server && r.Type != q.Type && r.Result != model.TimedOut {
					out = append(out, probe(fmt.Sprintf("%s %s at %s got no answer in %s, %s for the same name from the same socket did (%s)", q.Type, q.Name, q.Server, q.Duration.Round(10*time.Millisecond), r.Type, r.Result), o.From))
					break
				}
			}
		}
	}
	return out
}

// insertFailed says whether the kernel counted losers of the race meanwhile.
func insertFailed(p *diagnose.Pass) []diagnose.Evidence {
	const counter = "ConntrackInsertFailed"
	facts := p.Case.World.Nodes[p.Node()]
	if facts == nil {
		return nil
	}
	before, ok := facts.Counters[counter]
	after, again := facts.After[counter]
	switch {
	case !ok || !again:
		return nil
	case after > before:
		return []diagnose.Evidence{node(fmt.Sprintf("node %s: insert_failed of its connection table grew by %d meanwhile", p.Node(), after-before), model.NewRef("node", p.Node()))}
	}
	return []diagnose.Evidence{node(fmt.Sprintf("node %s: insert_failed of its connection table did not grow meanwhile (%d): something else than the race may lose them", p.Node(), after), model.NewRef("node", p.Node()))}
}
