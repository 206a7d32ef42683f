package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
	"github.com/podpath/podpath/internal/watch"
)

var idleTimeout = diagnose.Rule{
	ID: "idle-timeout",
	Doc: `A device on the way forgets connections that are silent for a while

Whatever translates or filters by connection keeps an entry for each, and forgets it when nothing was sent for some time: a NAT gateway and a
firewall after 4 minutes unless told otherwise, an outbound rule of a load balancer after 30 as AKS sets it. The two ends know nothing of that. What is
sent next is answered with a reset, or dropped in silence: the sender then sends again and again and waits up to 15 minutes. New
connections work. So the first request after a pause fails, and what is asked often never does.

podpath watch keeps connections of its own, each silent for another gap, and asks by TCP's keepalive whether they still stand. A device
is named when it is on the way and keeps connections; the time-out that its configuration tells is shown beside the one that was found.

Look-alikes: a far side that closes kept connections itself says so (FIN), and its clients may notice. A connection that ends after a longer
silence and not after a shorter one is a time-out; one that ends now and then is something else. A workload that keeps its
connections alive is not hit at all.

Mend it by keeping connections alive more often than that (keepalive of the client, net.ipv4.tcp_keepalive_time in the pod), by closing pooled
connections earlier, or by a longer time-out of the device, with resets where it can send them.

Sources: https://learn.microsoft.com/azure/nat-gateway/nat-gateway-resource#idle-timeout-timers,
https://learn.microsoft.com/azure/load-balancer/load-balancer-tcp-reset, https://learn.microsoft.com/azure/firewall/firewall-faq
`,
	Hop:           model.HopSNAT,
	Needs:         []string{"probe"},
	Covers:        []string{"natgw-idle-timeout", "lb-idle-timeout-no-rst", "nva-idle-timeout"},
	EvenIfItWorks: true,
	Run: func(p *diagnose.Pass) {
		found := watch.IdleOf(p.Case.Tries, p.Origin())
		if found == nil || found.Ends == 0 || found.Mixed || len(found.As) == 0 {
			return
		}
		keepers := keepersOf(p)
		if len(keepers) == 0 {
			unreadKeepers(p)
			return
		}
		k := keeperThatFits(keepers, found)
		if k.ref == "" || appIsTold(p, &k, found) || keptAlive(p, found.Ends) {
			return
		}
		p.Report(idleFinding(p, &k, keepers, found))
	},
}

// keptAlive says that the workload has connections of its own there, and that none
// is hit: each is kept alive more often than that.
func keptAlive(p *diagnose.Pass, limit time.Duration) bool {
	own := ownKept(p)
	return len(own) > 0 && !slices.ContainsFunc(own, func(c model.Connection) bool { return endangered(&c, limit) })
}

// unreadKeepers says what would tell which device it was.
func unreadKeepers(p *diagnose.Pass) {
	if !p.External() {
		return
	}
	skipGaps(p, wayKinds...)
}

// wayKinds are what says which devices are on the way.
var wayKinds = []string{"subnet", "routetable", "natgateway", "loadbalancer", "firewall"}

// keeper is a device on the way that keeps an entry for each connection.
type keeper struct {
	ref    model.Ref
	hop    model.Hop
	name   string // for a sentence
	told   time.Duration
	usual  time.Duration // unless somebody changed it
	source string        // where that stands
	resets bool          // whether it answers what it has forgotten, as its configuration says
	early  bool          // and tells both sides at the time-out, not only who sends next
	own    bool          // its configuration is not what it is without anybody's doing
	read   bool
	fix    []diagnose.Command
}

// keepersOf are the devices on the way that keep connections, the nearest first.
func keepersOf(p *diagnose.Pass) []keeper {
	path := p.Question()
	if path == nil || path.Broken() != nil {
		return nil
	}
	var out []keeper
	if k, ok := applianceKeeper(p); ok {
		out = append(out, k)
	}
	switch path.Device.Kind() {
	case "natgateway":
		out = append(out, gatewayKeeper(p, path.Device))
	case "loadbalancer":
		out = append(out, balancerKeeper(p, path))
	}
	return out
}

// applianceKeeper is the firewall or other appliance that the route leads through.
// Azure Firewall's time-out is 4 minutes and no property of the resource.
func applianceKeeper(p *diagnose.Pass) (keeper, bool) {
	ref, name := applianceOnWay(p)
	if ref == "" {
		return keeper{}, false
	}
	k := keeper{ref: ref, hop: model.HopAppliance, usual: 4 * time.Minute, name: name, resets: true, early: true}
	if fw, _ := p.Firewall(); fw != nil {
		k.told, k.source, k.read = 4*time.Minute, "Azure Firewall's own, which only support can raise", true
	}
	k.fix = []diagnose.Command{{Text: "Or raise the appliance's time-out for this traffic, where it can be (Azure Firewall: by a support request)"}}
	return k, true
}

func gatewayKeeper(p *diagnose.Pass, ref model.Ref) keeper {
	k := keeper{ref: ref, hop: model.HopNATGW, usual: 4 * time.Minute, name: "NAT gateway " + ref.Name(), resets: true}
	for _, id := range sortedKeys(p.Case.World.Azure.NATGateways) {
		g := p.Case.World.Azure.NATGateways[id]
		if !strings.EqualFold(g.Name, ref.Name()) || g.IdleMinutes == 0 {
			continue
		}
		k.told, k.source, k.read = time.Duration(g.IdleMinutes)*time.Minute, fmt.Sprintf("idleTimeoutInMinutes is %d", g.IdleMinutes), true
		k.fix = []diagnose.Command{{
			Text: "Or let the NAT gateway wait longer (up to 120 minutes); a port that is kept is one that nobody else has",
			Line: diagnose.Az("network nat gateway update", g.ID, "--name", g.Name, "--idle-timeout", "30"),
		}}
		if c := resource.ManagedBy(p.Case, g); c != nil {
			k.fix[0].Line = diagnose.Az("aks update", c.ID, "--name", c.Name, "--nat-gateway-idle-timeout", "30")
		}
	}
	return k
}

// aksIdle is what AKS sets in its load balancer's outbound rule, with resets.
const aksIdle = 30

func balancerKeeper(p *diagnose.Pass, path *model.Path) keeper {
	k := keeper{ref: path.Device, hop: model.HopSNAT, early: true, usual: aksIdle * time.Minute}
	for _, s := range path.Steps {
		if s.Hop == model.HopSNAT && s.At.Kind() == "loadbalancer" {
			k.ref = s.At
		}
	}
	k.name = "outbound rule " + string(k.ref)
	for _, id := range sortedKeys(p.Case.World.Azure.LoadBalancers) {
		lb := p.Case.World.Azure.LoadBalancers[id]
		for _, r := range lb.Outbound {
			if !strings.EqualFold(lb.Name, k.ref.Part(0)) || !strings.EqualFold(r.Name, k.ref.Part(1)) || r.IdleMinutes == 0 {
				continue
			}
			k.told, k.source, k.read = time.Duration(r.IdleMinutes)*time.Minute, fmt.Sprintf("idleTimeoutInMinutes is %d, enableTcpReset is %t", r.IdleMinutes, r.TCPReset), true
			k.resets, k.own = r.TCPReset, !r.TCPReset || r.IdleMinutes < aksIdle
			k.fix = []diagnose.Command{{
				Text: "Let the rule reset what it has forgotten, so that a client knows at once, and wait as long as AKS sets it",
				Line: diagnose.Az("network lb outbound-rule update", lb.ID, "--lb-name", lb.Name, "--name", r.Name, "--enable-tcp-reset", "true", "--idle-timeout", fmt.Sprint(max(aksIdle, r.IdleMinutes))),
			}}
			if c := resource.ManagedBalancer(p.Case, lb); c != nil {
				k.fix[0] = diagnose.Command{
					Text: "Let AKS set its rule again: with a reset for what it has forgotten, so that a client knows at once, after a longer silence. What is changed on the load balancer itself AKS takes back",
					Line: diagnose.Az("aks update", c.ID, "--name", c.Name, "--load-balancer-idle-timeout", fmt.Sprint(max(aksIdle, r.IdleMinutes))),
				}
			}
		}
	}
	return k
}

// keeperThatFits is the device whose way of forgetting is what was seen. A reset
// while nothing was sent is not of a NAT gateway, which answers what is sent only;
// it is the far side's, or of a device that tells both sides.
func keeperThatFits(all []keeper, found *watch.Idle) keeper {
	as := found.As[0]
	for _, k := range all {
		if k.told > found.Holds && k.told <= found.Ends {
			return k // its configuration says so
		}
	}
	for _, k := range all {
		if as.Phase == "idle" && !k.early {
			continue
		}
		if as.Result == model.TimedOut || k.resets || !k.read {
			return k
		}
	}
	return keeper{}
}

// idleFinding says what was found and what the configuration tells of it.
func idleFinding(p *diagnose.Pass, k *keeper, all []keeper, found *watch.Idle) diagnose.Finding {
	as, agrees := found.As[0], k.told > found.Holds && k.told <= found.Ends
	f := diagnose.Finding{
		Subject: k.ref, Hop: k.hop, Sometimes: true, Confidence: diagnose.Proven,
		Title:   fmt.Sprintf("%s forgets a connection that is silent for %s", upperFirst(k.name), gapText(found.Ends)),
		Summary: "The first request over a connection that was kept and silent for longer fails; new connections work. " + forgotten(as),
	}
	f.Evidence = append(f.Evidence, probe(fmt.Sprintf("of %d connections that were kept to %s, one silent for %s was still there, and one silent for %s was not: %s when it was used again",
		found.Count, p.Target(), gapText(found.Holds), gapText(found.Ends), reasonText(as)), p.Endpoint()))
	f.Evidence = append(f.Evidence, toldOf(k, found, agrees))
	for i := range all {
		if o := &all[i]; o.ref != k.ref && o.read {
			f.Evidence = append(f.Evidence, arm(fmt.Sprintf("behind it %s keeps connections too: %s", o.name, o.source), o.ref))
		}
	}
	f.Fix = append(aliveFix(p, found.Ends), k.fix...)
	switch {
	case agrees && k.resets && !k.own, !k.read && found.Ends > k.usual:
		f.Confidence = diagnose.Possible // as everybody has it; whether anybody is hit was not seen
	case !k.read:
		f.Confidence = diagnose.Likely
		f.Gaps = append(f.Gaps, p.Gaps([]string{"firewall", "natgateway", "loadbalancer"})...)
	}
	return f
}

func toldOf(k *keeper, found *watch.Idle, agrees bool) diagnose.Evidence {
	switch {
	case !k.read:
		return arm(fmt.Sprintf("%s is on the way; its time-out stands in nothing that was read", k.ref), k.ref)
	case agrees:
		return arm(fmt.Sprintf("%s: %s, which is what was found", k.ref, k.source), k.ref)
	}
	return arm(fmt.Sprintf("%s: %s; what was found contradicts that: between %s and %s. Either it does not do what it is told, or something on the way does not show in what was read",
		k.ref, k.source, gapText(found.Holds), gapText(found.Ends)), k.ref)
}

// forgotten says what a client meets.
func forgotten(as watch.Reason) string {
	if as.Result == model.TimedOut {
		return "Nothing answers: the sender sends again and again, for up to 15 minutes (net.ipv4.tcp_retries2)."
	}
	return "It is answered with a reset."
}

func reasonText(as watch.Reason) string {
	if as.Result == model.TimedOut {
		return "nothing came back"
	}
	return string(as.Result)
}

// aliveFix is what the workload can do about it.
func aliveFix(p *diagnose.Pass, ends time.Duration) []diagnose.Command {
	seconds := max(int((ends / 2).Seconds()), 1)
	fix := []diagnose.Command{{
		Text: fmt.Sprintf("Keep connections alive every %d s (the client's own setting, or the pod's net.ipv4.tcp_keepalive_time where the client asks for keepalive; the list of sysctls is replaced as a whole), or let its pool close what was silent for that long", seconds),
	}}
	if c := p.Client(); c.Kind() == "deployment" || c.Kind() == "statefulset" || c.Kind() == "daemonset" {
		patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"securityContext":{"sysctls":[{"name":"net.ipv4.tcp_keepalive_time","value":"%d"}]}}}}}`, seconds)
		fix[0].Line, fix[0].Verify = diagnose.Kubectl("-n", c.Part(0), "patch", c.Kind()+"/"+c.Part(1), "--patch", patch), watchAgain(p)
	}
	return fix
}

// gapText is a time of silence.
func gapText(d time.Duration) string {
	if d >= 10*time.Second {
		return d.Round(time.Second).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
