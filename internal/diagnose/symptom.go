package diagnose

import "github.com/podpath/podpath/internal/model"

// Silence is what a silent drop makes a probe see: nothing comes back to the
// first packets, of the connection itself or of the name's lookup. A name
// server that got no answer itself says SERVFAIL.
func Silence(o *model.Observation) bool {
	switch o.Failed {
	case "tcp", "udp":
		return o.Result == model.TimedOut
	case "dns":
		return o.Result == model.TimedOut || o.Result == model.ServFail
	}
	return false
}

// Unanswered is Silence, or the sender's own kernel giving up on the way.
func Unanswered(o *model.Observation) bool {
	return Silence(o) || (o.Failed == "tcp" || o.Failed == "udp") && (o.Result == model.Unreachable || o.Result == model.NoRoute || o.Result == model.NotPermitted)
}

// CutOff is a connection that stood and was then reset, closed or left hanging
// before TLS was done.
func CutOff(o *model.Observation) bool {
	if o.Failed != "tls" {
		return false
	}
	switch o.Result {
	case model.Reset, model.Closed, model.TimedOut, model.TLSAlert:
		return true
	}
	return false
}

// Fails says that the flow did not work, whatever way. A probe that could not
// be sent says nothing.
func Fails(o *model.Observation) bool {
	return o.Result != model.OK && o.Result != model.ProbeFailed && o.Result != ""
}

// Status is the HTTP status of the answer, or 0.
func Status(o *model.Observation) int {
	if o == nil || o.HTTP == nil {
		return 0
	}
	return o.HTTP.Status
}
