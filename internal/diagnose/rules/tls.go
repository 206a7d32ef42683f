package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// result makes a predicate of the outcomes that a rule is about.
func result(reasons ...model.Reason) func(*model.Observation) bool {
	return func(o *model.Observation) bool {
		for _, r := range reasons {
			if o.Result == r {
				return true
			}
		}
		return false
	}
}

// certText says what certificate was shown.
func certText(o *model.Observation) string {
	if len(o.Certs) == 0 {
		return "no certificate was kept"
	}
	c := o.Certs[0]
	return fmt.Sprintf("%s showed a certificate for %s, issued by %s", hostOf(o), firstOf(strings.Join(c.Names, ", "), c.Subject, "nobody"), firstOf(c.Issuer, "nobody"))
}

func hostOf(o *model.Observation) string {
	if o.Address.IsValid() {
		return o.Address.String()
	}
	return o.Target
}

// untrusted is the complaint that an inspecting appliance's certificate raises.
// Hosts with several certificates differ in issuers too, but not in that.
var untrusted = result(model.CertUnknownCA, model.CertSelfSigned, model.CertIncomplete)

// intercepted says that somebody between puts a certificate of its own in
// front: this machine, outside, is shown one by another issuer for the same name.
func intercepted(p *diagnose.Pass) (*model.Observation, bool) {
	seen, here := p.Seen(), p.At(model.VantageHere)
	if seen == nil || !untrusted(seen) || here == nil || len(seen.Certs) == 0 || len(here.Certs) == 0 || here.Failed == "tls" {
		return nil, false
	}
	return here, seen.Certs[0].Issuer != here.Certs[0].Issuer
}

// reportCert reports a certificate at fault: the endpoint's own, or the
// appliance's when that breaks TLS open.
func reportCert(p *diagnose.Pass, f diagnose.Finding) {
	f.Subject = p.Endpoint()
	f.Evidence = append([]diagnose.Evidence{probe(certText(p.Seen()))}, f.Evidence...)
	if here, yes := intercepted(p); yes {
		f.Hop = model.HopAppliance
		if fw, policy := p.Firewall(); policy != nil {
			f.Subject = model.NewRef("firewallpolicy", policy.Name)
		} else if fw != nil {
			f.Subject = model.NewRef("firewall", fw.Name)
		}
		f.Title = fmt.Sprintf("Something on the way shows a certificate of its own for %s", p.Host())
		f.Summary = "The certificate that the pod is shown is not the one that the host shows outside: TLS is broken open on the way (TLS inspection), and the pod does not trust the authority that signs for it."
		f.Evidence = append(f.Evidence, probe("from this machine: "+certText(here)))
		f.Fix = append([]diagnose.Command{{Text: "Trust the inspecting authority in the pod (mount its certificate, set SSL_CERT_FILE or NODE_EXTRA_CA_CERTS), or exempt this host from inspection"}}, f.Fix...)
	}
	if _, yes := intercepted(p); !yes {
		oneShows(p, &f)
	}
	switch {
	case p.Same(model.VantageHere):
		f.Evidence = append(f.Evidence, probe("this machine, outside the cluster, sees the same"))
	case p.Fate(model.VantageHere) == diagnose.Unseen:
		f.Gaps = append(f.Gaps, p.Gaps([]string{"probe:here"})...)
		if appliance, _ := applianceOnWay(p); untrusted(p.Seen()) && (appliance != "" || len(p.Dark()) > 0) {
			f.Confidence = diagnose.Possible // the certificate may be that of somebody on the way
		}
	}
	if _, yes := intercepted(p); yes && f.Subject == p.Endpoint() {
		f.Confidence = diagnose.Likely // that it is so is proven, but not by whom
		for _, s := range p.Dark() {
			f.Gaps = append(f.Gaps, s.Gaps...)
		}
	}
	p.Report(f)
}

// oneShows says which of several endpoints it is that shows the certificate at fault.
func oneShows(p *diagnose.Pass, f *diagnose.Finding) {
	seen := p.Seen()
	odd, of := oddEndpoint(p, func(o *model.Observation) bool { return o.Failed == "tls" && o.Result == seen.Result })
	if odd == nil {
		return
	}
	f.Subject, f.Sometimes = odd.pod.Ref(), true
	f.Title += fmt.Sprintf(", at pod %s/%s: one of %d endpoints shows such a one", odd.pod.Namespace, odd.pod.Name, of)
	f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from %s to endpoint %s alone: %s%s; the other endpoints show a good one", diagnose.PlaceOf(odd.seen), odd.seen.Address, diagnose.OutcomeOf(odd.seen), odd.often()), odd.pod.Ref()))
	f.Fix = append([]diagnose.Command{{
		Text: "Look at what the pod mounts; where that is the same as the others', set the pod up anew: it reads it when it starts",
		Line: diagnose.Kubectl("-n", odd.pod.Namespace, "delete", "pod", odd.pod.Name), Verify: again(p),
	}}, f.Fix...)
}

func showCert(p *diagnose.Pass) diagnose.Command {
	target := p.Target()
	return diagnose.Command{
		Text: "See what is shown",
		Line: "openssl s_client -connect " + diagnose.Quote(target.String()) + " -servername " + diagnose.Quote(p.Host()) + " -showcerts </dev/null",
	}
}
