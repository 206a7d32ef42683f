package vantage

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

// ownTools is the last way into a pod: what a shell of its own container finds
// there. It tells less than the probe: name errors are not told apart, and only
// the question itself is tried.
func (s *session) ownTools(ctx context.Context, live *corev1.Pod) []model.Observation {
	ref := model.NewRef("pod", live.Namespace, live.Name)
	what := "probe from " + string(ref) + " by " + ViaExec
	target := s.targetContainer(live)
	if target == nil || !running(live, target.Name) {
		s.gap(model.Gap{What: what, Ref: ref, Reason: "the container does not run"})
		return nil
	}
	var all []model.Observation
	for _, t := range s.req.Plan.Targets {
		if t.Purpose != probe.PurposeQuestion || t.When != probe.Always || t.Protocol == "udp" {
			continue
		}
		out := &limited{max: maxStderr, first: s.hedge(ctx, func() {})}
		err := s.exec(ctx, execCall{live.Namespace, live.Name, target.Name, toolCommand(t), nil, out, out, false})
		var exit utilexec.CodeExitError
		if err != nil && !errors.As(err, &exit) {
			g := s.explain(what, ref, err, "create pods/exec in namespace "+live.Namespace)
			if strings.Contains(err.Error(), "executable file not found") || strings.Contains(err.Error(), "no such file or directory") {
				g.Reason = "container " + target.Name + " has no shell"
			}
			s.gap(g)
			return nil
		}
		o, ok := readTool(t, out.String())
		if !ok {
			s.gap(model.Gap{What: what, Ref: ref, Reason: "container " + target.Name + " has no shell with curl, wget, nc or bash"})
			return nil
		}
		all = append(all, o)
	}
	s.keep(place{model.VantagePod, ref, live.Spec.NodeName, ViaExec}, all)
	if len(all) > 0 {
		s.note("pod %s/%s was probed with the tools of its own container: names and certificates are told apart less well than by the probe image", live.Namespace, live.Name)
	}
	return all
}

// script prints key=value lines, then what the tool itself said. Values come as
// arguments, never as part of the script.
const script = `h=$1; p=$2; u=$3; has() { command -v "$1" >/dev/null 2>&1; }
if has curl; then
  w='namelookup=%{time_namelookup}\nconnect=%{time_connect}\nappconnect=%{time_appconnect}\ncode=%{http_code}\nip=%{remote_ip}\nlocal=%{local_ip}:%{local_port}\n'
  echo tool=curl
  if [ -n "$u" ]; then curl -sS -o /dev/null --connect-timeout 4 -m 9 -w "$w" "$u" 2>&1
  else curl -sS -o /dev/null --connect-timeout 4 -m 5 -w "$w" "telnet://$h:$p" </dev/null 2>&1; fi
elif has nc; then echo tool=nc; nc -w 4 -z "$h" "$p" </dev/null 2>&1
elif has wget && [ -n "$u" ]; then echo tool=wget; wget -q -T 4 -O /dev/null "$u" 2>&1
elif has bash && has timeout; then echo tool=bash; timeout 4 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$h" "$p" 2>&1
else echo tool=none; fi
echo "exit=$?"`

func toolCommand(t probe.Target) []string {
	host := strings.TrimSuffix(t.Host, ".")
	if t.Address.IsValid() {
		host = t.Address.String()
	}
	url := ""
	if t.Scheme == "http" || t.Scheme == "https" {
		path := t.Path
		if path == "" {
			path = "/"
		}
		url = t.Scheme + "://" + netHost(host) + ":" + strconv.Itoa(int(t.Port)) + path
	}
	return []string{"sh", "-c", script, "podpath", host, strconv.Itoa(int(t.Port)), url}
}

func netHost(host string) string {
	if strings.Contains(host, ":") {
		return "[" + strings.Trim(host, "[]") + "]"
	}
	return host
}

// readTool makes an observation of a tool's output; not ok if there was no tool.
func readTool(t probe.Target, out string) (model.Observation, bool) {
	o := model.Observation{Target: t.Label, Purpose: t.Purpose}
	values := map[string]string{}
	var said []string
	for line := range strings.Lines(out) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && strings.IndexFunc(k, func(r rune) bool { return r < 'a' || r > 'z' }) < 0 {
			values[k] = v
			continue
		}
		said = append(said, strings.TrimSpace(line))
	}
	tool, text := values["tool"], oneLine(strings.Join(said, " "))
	code, err := strconv.Atoi(values["exit"])
	if tool == "" || tool == "none" || err != nil {
		return o, false
	}
	if a, err := netip.ParseAddr(values["ip"]); err == nil {
		o.Address = netip.AddrPortFrom(a.Unmap(), t.Port)
	}
	if a, err := netip.ParseAddrPort(values["local"]); err == nil && a.Port() != 0 {
		o.Local = a
	}
	seconds := func(k string) time.Duration {
		f, err := strconv.ParseFloat(values[k], 64)
		if err != nil || f < 0 || f > 3600 {
			return 0
		}
		return time.Duration(f * float64(time.Second))
	}
	o.Phases = passed(t, seconds("namelookup"), seconds("connect"), seconds("appconnect"))
	status, _ := strconv.Atoi(values["code"])
	if status > 0 {
		o.HTTP = &model.HTTPAnswer{Status: status, Answered: probe.AnsweredUnknown}
	}
	phase, reason := toolFailure(tool, code, text, t, len(o.Phases), status)
	if t.Scheme == "" && o.PhaseOf("tcp") != nil {
		phase, reason = "", model.OK // it stood; nobody had anything to say
	}
	o.Result = reason
	if reason != model.OK {
		o.Failed, o.Detail = phase, tool+": "+orElse(text, "exit code "+strconv.Itoa(code))
		o.Phases = append(o.Phases, model.Phase{Name: phase, Result: reason, Detail: o.Detail})
	}
	return o, true
}

// passed are the phases that curl's timings show to have been passed.
func passed(t probe.Target, name, tcp, tls time.Duration) []model.Phase {
	var out []model.Phase
	add := func(phase string, from, to time.Duration) {
		out = append(out, model.Phase{Name: phase, Result: model.OK, Duration: max(to-from, 0)})
	}
	if _, err := netip.ParseAddr(t.Host); err != nil && name > 0 {
		add("dns", 0, name)
	}
	if tcp > 0 {
		add("tcp", name, tcp)
	}
	if tls > 0 {
		add("tls", tcp, tls)
	}
	return out
}

// said maps words of the C library and of the tools to reasons.
var said = []struct {
	words  string
	phase  string // "": the one after the last that passed
	reason model.Reason
}{
	{"resolving timed out", "dns", model.TimedOut},
	{"could not resolve", "dns", model.ServFail},
	{"bad address", "dns", model.ServFail},
	{"name or service not known", "dns", model.NXDomain},
	{"temporary failure in name resolution", "dns", model.ServFail},
	{"has expired", "tls", model.CertExpired},
	{"not yet valid", "tls", model.CertNotYetValid},
	{"self-signed", "tls", model.CertSelfSigned},
	{"self signed", "tls", model.CertSelfSigned},
	{"no alternative certificate subject name", "tls", model.CertWrongName},
	{"does not match target host", "tls", model.CertWrongName},
	{"unable to get local issuer", "tls", model.CertUnknownCA},
	{"connection refused", "tcp", model.Refused},
	{"no route to host", "tcp", model.Unreachable},
	{"host is unreachable", "tcp", model.Unreachable},
	{"network is unreachable", "tcp", model.NoRoute},
	{"network unreachable", "tcp", model.NoRoute},
	{"cannot assign requested address", "tcp", model.AddrNotAvail},
	{"address not available", "tcp", model.AddrNotAvail},
	{"operation not permitted", "tcp", model.NotPermitted},
	{"reset by peer", "", model.Reset},
	{"alert", "tls", model.TLSAlert},
	{"empty reply", "http", model.Closed},
	{"timed out", "", model.TimedOut},
	{"timeout", "", model.TimedOut},
}

func toolFailure(tool string, code int, text string, t probe.Target, done, status int) (string, model.Reason) {
	if code == 0 {
		if status >= 400 {
			return "http", model.HTTPStatus
		}
		return "", model.OK
	}
	next := nextPhase(t, done)
	low := strings.ToLower(text)
	for _, s := range said {
		if strings.Contains(low, s.words) {
			return orElse(s.phase, next), s.reason
		}
	}
	switch {
	case tool == "curl" && code == 28, tool == "bash" && code == 124, tool == "nc" && text == "":
		return next, model.TimedOut
	}
	return next, model.ProbeFailed
}

// nextPhase is the phase in which a tool was that had passed so many.
func nextPhase(t probe.Target, done int) string {
	phases := []string{"tcp"}
	if _, err := netip.ParseAddr(t.Host); err != nil {
		phases = []string{"dns", "tcp"}
	}
	if t.Scheme == "https" {
		phases = append(phases, "tls")
	}
	phases = append(phases, "http")
	if done >= len(phases) {
		return "http"
	}
	if phases[done] == "dns" {
		return "tcp" // a tool that says nothing of names has resolved one
	}
	return phases[done]
}
