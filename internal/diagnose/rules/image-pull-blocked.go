package rules

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var imagePullBlocked = diagnose.Rule{
	ID: "image-pull-blocked",
	Doc: `The node cannot reach the registry, so the pod never starts

The pod waits with ImagePullBackOff, and the kubelet's words say that the network is at fault: "i/o timeout", "connection refused", "no such host",
a TLS error. The node pulls images by itself, from its own address, past NetworkPolicies, and through the nodes' NSG, routes and
firewall. podpath follows that way and names what stops it.

Look-alikes: "not found" and "manifest unknown" mean a wrong image name; 401 and 403 mean missing rights on the registry (AcrPull). A pod that
is not scheduled never gets as far.

Mend what stops the node's way to the registry.
`,
	Hop:           model.HopPod,
	Covers:        []string{"pl-image-pull-blocked"},
	Needs:         []string{"pod", "event", "nsg", "routetable"},
	EvenIfItWorks: true,
	Run: func(p *diagnose.Pass) {
		for _, pod := range clients(p) {
			if running(pod) {
				return
			}
		}
		for _, pod := range clients(p) {
			c, waits := waitsFor(pod, pullReasons...)
			if !waits {
				continue
			}
			words := pullWords(p, pod, c)
			if networkError(words) {
				reportPull(p, pod, c, words)
				return
			}
		}
	},
}

// pullWords is what the kubelet says about a pull that failed.
func pullWords(p *diagnose.Pass, pod *model.Pod, c model.Container) string {
	words := c.Message
	for _, e := range eventsAbout(p, pod.Ref()) {
		if e.Reason == "Failed" || e.Reason == "FailedToPullImage" || strings.Contains(e.Message, "pull") {
			words += "\n" + e.Message
		}
	}
	return words
}

func networkError(words string) bool {
	if contains(words, "401 unauthorized", "403 forbidden", "manifest unknown", "not found: manifest") && !contains(words, "timeout", "refused") {
		return false
	}
	return contains(words, "i/o timeout", "timeout exceeded", "deadline exceeded", "connection refused", "connection reset", "no route to host",
		"network is unreachable", "no such host", "server misbehaving", "tls handshake", ": eof")
}

var (
	dialled  = regexp.MustCompile(`dial tcp:? \[?([0-9a-fA-F.:]+?)\]?:(\d+)`)
	lookedUp = regexp.MustCompile(`lookup ([A-Za-z0-9.-]+)`)
)

// registryOf is the registry's host of an image: "registry.example/a/b:1" → registry.example.
func registryOf(image string) string {
	host, _, ok := strings.Cut(image, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return "registry-1.docker.io"
	}
	host, _, _ = strings.Cut(host, ":")
	return host
}

func reportPull(p *diagnose.Pass, pod *model.Pod, c model.Container, words string) {
	registry := registryOf(c.Image)
	base := diagnose.Finding{
		Title:    fmt.Sprintf("Node %s cannot pull %s, so pod %s/%s never starts", pod.Node, c.Image, pod.Namespace, pod.Name),
		Summary:  "Nothing runs that could open the connection: the node does not get the image from the registry.",
		Evidence: append([]diagnose.Evidence{kube(podState(pod), pod.Ref())}, kube(fmt.Sprintf("container %s: %s", c.Name, oneLine(pullLine(words))), pod.Ref())),
	}
	step, way := nodeToRegistry(p, pod, registry, words)
	if step != nil {
		f := base
		f.Subject, f.Hop = firstRef(step.Decided, step.At), step.Hop
		f.Title = fmt.Sprintf("%s stops node %s on its way to the registry %s", f.Subject, pod.Node, registry)
		f.Summary += " " + step.Title + ": " + step.Reason + "."
		f.Fix = fixAt(p, way, step)
		p.ReportAt(way, step, f)
		return
	}
	f := base
	f.Subject, f.Confidence = model.NewRef("host", registry), diagnose.Likely
	f.Hop = model.HopEndpoint
	if contains(words, "no such host", "server misbehaving", "lookup") {
		f.Hop = model.HopDNS
	}
	f.Fix = []diagnose.Command{{Text: "Try it from the node", Line: onNode(pod.Node, "crictl pull "+diagnose.Quote(c.Image))}}
	if way.Path != nil {
		for i := range way.Path.Steps {
			if s := &way.Path.Steps[i]; s.Verdict == model.Unknown && len(s.Gaps) > 0 {
				f.Confidence = diagnose.Possible // something of one's own may stop it
				f.Gaps = append(f.Gaps, s.Gaps...)
			}
		}
	}
	p.Report(f)
}

// pullLine is the line of the kubelet's words that names the error.
func pullLine(words string) string {
	for _, line := range strings.Split(words, "\n") {
		if networkError(line) {
			return line
		}
	}
	return words
}

// nodeToRegistry traces the node's way to the registry and gives the step that breaks it.
func nodeToRegistry(p *diagnose.Pass, pod *model.Pod, registry, words string) (*model.Step, diagnose.Way) {
	flow := model.Flow{Protocol: "tcp", From: model.NewRef("node", pod.Node), DstPort: 443, Host: registry, Scheme: "https"}
	if n := p.Case.World.Kube.Nodes[pod.Node]; n != nil && len(n.InternalIPs) > 0 {
		flow.Src = n.InternalIPs[0]
	}
	if m := dialled.FindStringSubmatch(words); m != nil {
		if a, err := netip.ParseAddr(m[1]); err == nil {
			flow.Dst = a
		}
		fmt.Sscan(m[2], &flow.DstPort)
	}
	if p.Trace == nil || pod.Node == "" || lookedUp.MatchString(words) && !flow.Dst.IsValid() {
		return nil, diagnose.Way{}
	}
	path := p.Trace(flow)
	return path.Broken(), diagnose.Way{Kind: "image-pull", Path: &path}
}

func firstRef(refs ...model.Ref) model.Ref {
	for _, r := range refs {
		if r != "" {
			return r
		}
	}
	return ""
}

// fixAt is the remedy for a step that breaks another way than the question's.
func fixAt(p *diagnose.Pass, way diagnose.Way, step *model.Step) []diagnose.Command {
	if nsg, rule := p.NSG(step.Decided); rule != nil {
		return nsgFix(p, nsg, rule, step.In)
	}
	if table, route := p.Route(step.Decided); route != nil {
		return routeFix(p, table, route)
	}
	if policy := policyOf(p, step.Decided); policy != nil && step.Decided.Kind() == "firewallpolicy" {
		return allowInPolicy(p, policy, step, byName(step))
	}
	return []diagnose.Command{{Text: fmt.Sprintf("Open the node's way to the registry at %s", firstRef(step.Decided, step.At))}}
}
