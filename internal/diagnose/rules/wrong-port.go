package rules

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var wrongPort = diagnose.Rule{
	ID: "wrong-port",
	Doc: `The host is up and serves on another port

Nothing listens on the port that was asked for: the host refuses at once, or a firewall in front of it drops what it does not
know. The same host answers on its usual port, from the same pod. The application is configured with a wrong port.

Look-alikes: a host that is down answers on no port. An NSG or firewall that denies this port alone shows in the configuration, and
the port works from elsewhere. When the usual port is the one that fails, the service behind it is down.

Mend it where the port is written: the workload's variable, argument or ConfigMap.
`,
	Hop:    model.HopApp,
	Covers: []string{"app-wrong-port"},
	Needs:  []string{"probe", "probe:here"},
	Sees: func(o *model.Observation) bool {
		return o.Failed == "tcp" && (o.Result == model.Refused || o.Result == model.TimedOut)
	},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || seen.Failed != "tcp" || !p.External() || brokenAnywhere(p) || usualPort(p) {
			return
		}
		other := otherPort(p, seen.Address)
		if other == nil || p.Farther(model.VantageHere) {
			return
		}
		f := diagnose.Finding{
			Subject: p.Endpoint(),
			Title:   fmt.Sprintf("%s does not serve on port %d; it does on port %d", p.Host(), seen.Address.Port(), other.Address.Port()),
			Summary: "The host is reachable from the same pod on another port, and nothing on the way treats this port otherwise.",
			Evidence: []diagnose.Evidence{
				probe(fmt.Sprintf("from %s: a connection to %s works", diagnose.PlaceOf(other), other.Address), other.From),
			},
		}
		if found := portMentions(p, seen.Address.Port()); len(found) > 0 {
			f.Subject = p.Client()
			for _, m := range found {
				f.Evidence = append(f.Evidence, kube(fmt.Sprintf("%s holds it: %s", p.Client(), m), p.Client()))
			}
			f.Fix = []diagnose.Command{{Text: fmt.Sprintf("Correct the port in %s", found[0]), Line: diagnose.KubectlFor(p.Client(), "edit"), Verify: again(p)}}
		} else {
			f.Subject = p.Client()
			f.Fix = []diagnose.Command{{Text: fmt.Sprintf("Correct the port where %s gets it from (its variables, arguments, ConfigMaps)", from(p)), Line: editOf(p), Verify: again(p)}}
		}
		switch {
		case apart(p):
			p.Report(f)
			return
		case p.Fate(model.VantageHere) == diagnose.Unseen && seen.Result == model.TimedOut:
			f.Confidence = diagnose.Possible // the port may be open to others
			f.Gaps = p.Gaps([]string{"probe:here"})
		}
		p.ReportByExclusion(f)
	},
}

func editOf(p *diagnose.Pass) string {
	c := p.Client()
	if c == "" || c.Kind() == "pod" || c.Kind() == "node" {
		return ""
	}
	return diagnose.KubectlFor(c, "edit")
}

// usualPort says that the question asks for the port that its scheme means:
// then the port is right, and the service behind it is not there.
func usualPort(p *diagnose.Pass) bool {
	q := p.Case.Question.To
	switch q.Scheme {
	case "https":
		return p.Target().Port() == 443
	case "http":
		return p.Target().Port() == 80
	}
	return false
}

// otherPort is a probe from the same place that reached another port of the address.
func otherPort(p *diagnose.Pass, addr netip.AddrPort) *model.Observation {
	for _, o := range p.Control(p.Origin(), "control:other-port") {
		if o.Address.Addr() == addr.Addr() && o.Address.Port() != addr.Port() && o.Failed != "tcp" && o.Failed != "dns" {
			return o
		}
	}
	return nil
}

// portMentions finds where the pod's specification holds the host with the
// port, or a variable that is the port.
func portMentions(p *diagnose.Pass, port uint16) []mention {
	var out []mention
	n := strconv.Itoa(int(port))
	for _, m := range mentions(p, p.Host()) {
		if holds(m.value, p.Host()+":"+n) {
			out = append(out, m)
		}
	}
	if pod := p.Pod(); len(out) == 0 && pod != nil {
		for _, c := range pod.Containers {
			for _, name := range sortedKeys(c.Env) {
				if c.Env[name] == n {
					out = append(out, mention{c.Name, name, n})
				}
			}
		}
	}
	return out
}
