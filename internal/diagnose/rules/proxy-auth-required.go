package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var proxyAuthRequired = diagnose.Rule{
	ID: "proxy-auth-required",
	Doc: `The proxy demands authentication

The proxy answers 407 Proxy Authentication Required, with a Proxy-Authenticate header: the proxy URL that the pod uses holds no
credentials, or they are no longer valid. The destination never sees the request.

Look-alikes: 403 from a proxy means that it knows who asks and refuses this destination. 401 comes from the destination itself,
which is then reached.

Mend it by putting credentials into the proxy URL (from a Secret), or by letting the nodes' addresses through without.
`,
	Hop:    model.HopApp,
	Covers: []string{"app-proxy-auth-required"},
	Needs:  []string{"probe"},
	Under:  []string{"noproxy-missing"},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || !(diagnose.Status(seen) == 407 || seen.Failed == "proxy" && strings.Contains(seen.Detail, "407")) {
			return
		}
		f := diagnose.Finding{
			Subject: p.Client(),
			Title:   fmt.Sprintf("The proxy %s demands authentication (407)", redact(seen.Proxy)),
			Summary: "The proxy that the pod uses wants a user and password; the proxy URL in the pod's variables has none that it accepts.",
		}
		if f.Subject == "" {
			f.Subject = p.Endpoint()
		}
		if seen.HTTP != nil && seen.HTTP.Header["Proxy-Authenticate"] != "" {
			f.Evidence = append(f.Evidence, probe("Proxy-Authenticate: "+oneLine(seen.HTTP.Header["Proxy-Authenticate"])))
		}
		if use := ownProxy(p); use != "" {
			f.Evidence = append(f.Evidence, kube(fmt.Sprintf("the pod is told to use %s", redact(use)), p.Pod().Ref()))
		}
		f.Fix = []diagnose.Command{{
			Text: "Put credentials into the proxy URL that the workload uses, from a Secret; or let this address through without at the proxy", Line: editOf(p), Verify: again(p),
		}}
		p.Report(f)
	},
}
