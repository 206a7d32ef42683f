package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var httpRefusedOnTheWay = diagnose.Rule{
	ID: "http-refused-on-the-way",
	Doc: `A proxy or firewall refuses the request

Something between answers in the destination's place: 403 or 451 from a proxy or web filter, 470 from Azure Firewall ("Action: Deny"), or a
refusal of the CONNECT by which a tunnel is asked for. A rule there denies the name, the category or the method.

Look-alikes: a 403 by the destination itself comes over a TLS connection that nobody broke open, and is the same from outside. 407
means that the proxy wants credentials. A network security group never sends an HTTP answer.

Mend it in that one's rules, by allowing the destination.
`,
	Hop:    model.HopAppliance,
	Covers: []string{"nva-http-403"},
	Needs:  []string{"probe"},
	Under:  []string{"proxy-auth-required", "firewall-fqdn", "firewall-aks-fqdn", "noproxy-missing"},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		status := diagnose.Status(seen)
		if status < 400 || status >= 500 || status == 407 || status == 429 {
			return
		}
		who := answerer(p, seen)
		if who != byProxy && who != byFirewall {
			return
		}
		subject := proxyRef(p, seen)
		name := subject.Name()
		if subject == unknownFirewall {
			name = "a firewall that was not read"
		}
		p.Report(diagnose.Finding{
			Subject:  subject,
			Title:    fmt.Sprintf("%s refuses %s with status %d", name, p.Host(), status),
			Summary:  fmt.Sprintf("The answer was sent by a %s on the way, not by the destination. %s", who, noNSG),
			Evidence: append(answerEvidence(seen), compareHere(p)...),
			Fix:      []diagnose.Command{{Text: fmt.Sprintf("Allow %s in the rules of %s; its log names the rule or category that refused", p.Host(), name), Verify: again(p)}},
		})
	},
}
