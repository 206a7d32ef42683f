package rules

import (
	"fmt"
	"net/url"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// Who answered, as the probe judges it.
const (
	byOrigin   = "origin"
	byProxy    = "proxy"
	byFirewall = "firewall"
)

// answerer is who sent the HTTP answer: origin, proxy, firewall, or "" when it
// cannot be told. An answer to CONNECT is always somebody's between.
func answerer(p *diagnose.Pass, o *model.Observation) string {
	if o.HTTP == nil {
		return ""
	}
	switch {
	case o.HTTP.Answered == byFirewall:
		return byFirewall
	case o.Failed == "proxy" || o.HTTP.Answered == byProxy:
		return byProxy
	case o.HTTP.Answered == byOrigin:
		return byOrigin
	}
	if p.Same(model.VantageHere) {
		return byOrigin // this machine, which goes another way, is answered alike
	}
	return ""
}

// statuses is what a status says, by its name in the registry of status codes
// (RFC 9110 and its kin) and by what it means for the one who gets it. 470 is in
// no registry: Azure Firewall made it up.
var statuses = map[int]struct{ name, meaning string }{
	400: {"Bad Request", "the request is malformed"},
	401: {"Unauthorized", "credentials are missing or wrong"},
	403: {"Forbidden", "the request is understood and refused"},
	404: {"Not Found", "there is no such resource"},
	405: {"Method Not Allowed", "the resource does not take this method"},
	407: {"Proxy Authentication Required", "a proxy demands credentials"},
	408: {"Request Timeout", "the request came too slowly"},
	409: {"Conflict", "the resource is in another state"},
	410: {"Gone", "the resource is gone"},
	413: {"Content Too Large", "the body is too large"},
	421: {"Misdirected Request", "this server does not answer for that name"},
	426: {"Upgrade Required", "another protocol is required"},
	429: {"Too Many Requests", "the client asks too often"},
	431: {"Request Header Fields Too Large", "the headers are too large"},
	451: {"Unavailable For Legal Reasons", "refused for legal reasons (filters use it too)"},
	470: {"", "Azure Firewall refuses plain HTTP by an application rule"},
	500: {"Internal Server Error", "the server failed while it handled the request"},
	501: {"Not Implemented", "the server cannot do that"},
	502: {"Bad Gateway", "somebody between got no usable answer from the server behind it"},
	503: {"Service Unavailable", "the server is overloaded or down for maintenance, or nothing is behind it"},
	504: {"Gateway Timeout", "somebody between waited too long for the server behind it"},
	511: {"Network Authentication Required", "the network wants a login first"},
}

// statusText is "503 Service Unavailable: the server is overloaded …".
func statusText(status int) string {
	text := fmt.Sprint(status)
	s := statuses[status]
	if s.name != "" {
		text += " " + s.name
	}
	if s.meaning != "" {
		text += ": " + s.meaning
	}
	return text
}

// answerEvidence shows the answer's own words.
func answerEvidence(o *model.Observation) []diagnose.Evidence {
	if o.HTTP == nil {
		return nil
	}
	out := []diagnose.Evidence{probe("status " + statusText(o.HTTP.Status))}
	for _, name := range []string{"Server", "Via", "X-Squid-Error", "Proxy-Authenticate", "WWW-Authenticate", "Retry-After", "X-Cache"} {
		if v := o.HTTP.Header[name]; v != "" {
			out = append(out, probe(fmt.Sprintf("the answer's %s is %q", name, oneLine(v))))
		}
	}
	if o.HTTP.Body != "" {
		out = append(out, probe(fmt.Sprintf("the answer begins %q", oneLine(o.HTTP.Body))))
	}
	return out
}

// noNSG is what people ask first when they see a 403.
const noNSG = "A network security group or route never sends an HTTP answer: it drops silently."

// proxyRef is host/NAME of the proxy that a probe went through; the firewall on
// the way when it went through none.
func proxyRef(p *diagnose.Pass, o *model.Observation) model.Ref {
	if u, err := url.Parse(o.Proxy); err == nil && u.Hostname() != "" {
		return model.NewRef("host", u.Hostname())
	}
	if fw, policy := p.Firewall(); policy != nil {
		return model.NewRef("firewallpolicy", policy.Name)
	} else if fw != nil {
		return model.NewRef("firewall", fw.Name)
	}
	if subject, _ := applianceOnWay(p); subject != "" {
		return subject
	}
	return unknownFirewall // somebody on the way whose name is in no document that was read
}

// unknownFirewall is a firewall that answered, and that stands in no document that was read.
const unknownFirewall = model.Ref("firewall/unknown")

// compareHere adds what this machine saw, when it saw something.
func compareHere(p *diagnose.Pass) []diagnose.Evidence {
	switch {
	case p.Same(model.VantageHere):
		return []diagnose.Evidence{probe("this machine, outside the cluster, gets the same answer")}
	case p.Fate(model.VantageHere) == diagnose.Works:
		return []diagnose.Evidence{probe("this machine, outside the cluster, gets a good answer")}
	}
	return nil
}
