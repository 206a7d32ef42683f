package probe

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// Bounds of what is read of an answer.
const (
	maxHeaderBytes = 64 << 10
	keptBody       = 512
	maxInterim     = 5 // 1xx answers before the real one
	maxBodyTime    = 5 * time.Second
)

// ask is the http phase: one request, one answer, no redirect followed.
func (a *attempt) ask(stream net.Conn, verified bool) {
	// A failed certificate is the attempt's failure; what answers behind it is told all the same.
	a.phase("http", func() (model.Reason, string) {
		sent := time.Now()
		stream.SetDeadline(sent.Add(a.target.Timeouts.HTTP))
		if _, err := io.WriteString(stream, a.request()); err != nil {
			return reasonOf(err), "while the request was sent"
		}
		answer, err := readHeader(stream, a.target.Method)
		if err != nil {
			return headerReason(err, a.target.Timeouts.HTTP)
		}
		defer answer.Body.Close()
		a.obs.Clock = clockSkew(answer.Header, sent, time.Now())
		body, n, err := readBody(stream, answer.Body, a.target.MaxBody, a.target.Timeouts.Body)
		a.obs.Bytes = n
		a.obs.HTTP = &model.HTTPAnswer{
			Status: answer.StatusCode, Header: keepHeaders(answer.Header), Body: clean(body, keptBody),
			Answered: answered(answer, body, a.target.secure(), verified, a.proxy != nil),
		}
		if err != nil {
			reason := reasonOf(err)
			if reason == model.ProbeFailed {
				reason = model.BadAnswer
			}
			return reason, fmt.Sprintf("after %d bytes of the body", n)
		}
		if answer.StatusCode >= 400 {
			return model.HTTPStatus, strconv.Itoa(answer.StatusCode) + " " + http.StatusText(answer.StatusCode)
		}
		return model.OK, strconv.Itoa(answer.StatusCode)
	})
}

func headerReason(err error, limit time.Duration) (model.Reason, string) {
	var bad *badAnswer
	if errors.As(err, &bad) {
		return model.BadAnswer, bad.Error()
	}
	reason := reasonOf(err)
	if reason == model.TimedOut {
		return reason, fmt.Sprintf("no answer to the request within %s", limit)
	}
	return reason, "after the request"
}

// badAnswer is an answer that is not HTTP.
type badAnswer struct{ what string }

func (b *badAnswer) Error() string { return b.what }

// request is written by hand: nothing is added that the probe does not mean to send.
func (a *attempt) request() string {
	t := &a.target
	var b strings.Builder
	target := t.Path
	if a.proxy != nil && !t.secure() {
		target = "http://" + a.hostHeader() + t.Path
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: podpath\r\nAccept: */*\r\nConnection: close\r\n", t.Method, target, a.hostHeader())
	if a.proxy != nil && !t.secure() {
		b.WriteString(proxyAuthorization(a.proxy))
	}
	for left, i := t.Padding, 0; left > 0; i++ {
		n := min(left, 1024)
		fmt.Fprintf(&b, "X-Podpath-Padding-%d: %s\r\n", i, strings.Repeat("x", n))
		left -= n
	}
	b.WriteString("\r\n")
	return b.String()
}

func (a *attempt) hostHeader() string {
	host, port := a.target.ServerName, a.target.Port
	if host == "" {
		host = a.obs.Address.Addr().String()
	}
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && addr.Is6() {
		host = "[" + addr.WithZone("").String() + "]"
	}
	if (a.target.secure() && port == 443) || (!a.target.secure() && port == 80) {
		return strings.TrimSuffix(host, ".")
	}
	return net.JoinHostPort(strings.Trim(strings.TrimSuffix(host, "."), "[]"), strconv.Itoa(int(port)))
}

func proxyAuthorization(u *url.URL) string {
	if u.User == nil {
		return ""
	}
	password, _ := u.User.Password()
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)) + "\r\n"
}

// readHeader reads up to the end of an answer's header, past 1xx answers.
func readHeader(r io.Reader, method string) (*http.Response, error) {
	limited := &io.LimitedReader{R: r, N: maxHeaderBytes}
	br := bufio.NewReader(limited)
	begin, err := br.Peek(5)
	if len(begin) > 0 && !strings.HasPrefix("HTTP/", string(begin)) {
		more, _ := br.Peek(min(br.Buffered(), 80))
		return nil, &badAnswer{fmt.Sprintf("not HTTP; it begins %q", clean(string(more), 80))}
	}
	if err != nil {
		return nil, err
	}
	for range maxInterim {
		answer, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			if limited.N <= 0 {
				return nil, &badAnswer{"HTTP with a header of more than 64 KiB"}
			}
			if reasonOf(err) == model.ProbeFailed {
				return nil, &badAnswer{"HTTP that cannot be read: " + clean(err.Error(), 160)}
			}
			return nil, err
		}
		if answer.StatusCode >= 200 || answer.StatusCode == http.StatusSwitchingProtocols {
			limited.N = 1 << 62 // the body has its own bound
			return answer, nil
		}
	}
	return nil, &badAnswer{"HTTP with too many 1xx answers"}
}

// readBody reads at most max bytes; silence longer than stall is an error. A
// body that only drips is cut after maxBodyTime, which is no error.
func readBody(conn net.Conn, body io.Reader, max int64, stall time.Duration) (begin string, n int64, err error) {
	var kept []byte
	buf := make([]byte, 16<<10)
	end := time.Now().Add(maxBodyTime)
	for n < max {
		deadline := time.Now().Add(stall)
		cut := deadline.After(end)
		if cut {
			deadline = end
		}
		conn.SetReadDeadline(deadline)
		k, err := body.Read(buf[:min(int64(len(buf)), max-n)])
		n += int64(k)
		if room := 4*keptBody - len(kept); room > 0 {
			kept = append(kept, buf[:min(k, room)]...)
		}
		if err == io.EOF || (err != nil && cut && n > 0 && reasonOf(err) == model.TimedOut) {
			break
		}
		if err != nil {
			return string(kept), n, err
		}
	}
	return string(kept), n, nil
}

// keptHeaders are those that say who answered and why.
var keptHeaders = []string{
	"Age", "Cf-Ray", "Content-Type", "Date", "Location", "Proxy-Authenticate", "Proxy-Status", "Retry-After", "Server", "Via",
	"Www-Authenticate", "X-Cache", "X-Envoy-Upstream-Service-Time", "X-Forwarded-Server", "X-Ms-Request-Id", "X-Azure-Ref", "X-Squid-Error", "X-Served-By",
}

func keepHeaders(h http.Header) map[string]string {
	out := map[string]string{}
	for _, name := range keptHeaders {
		if v := h.Values(name); len(v) > 0 {
			out[name] = clean(strings.Join(v, ", "), 256)
			if name == "Location" { // a login's redirect carries its state, and sometimes its token
				out[name] = clean(model.PublicURL(v[0]), 256)
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// clockSkew is the sender's clock minus the answer's; 0 if the Date is one that
// a server with the sender's clock may have written between the request and the
// answer. A Date is cut to whole seconds; an answer from a cache is as old as its Age.
func clockSkew(h http.Header, sent, received time.Time) time.Duration {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil || date.Year() < 1990 || date.Year() > 2200 {
		return 0
	}
	if age, err := strconv.Atoi(h.Get("Age")); err == nil && age > 0 && age < 1<<30 {
		date = date.Add(time.Duration(age) * time.Second)
	}
	switch {
	case date.Add(time.Second).Before(sent):
		return sent.Sub(date.Add(500 * time.Millisecond)).Round(time.Millisecond)
	case date.After(received):
		return received.Sub(date).Round(time.Millisecond)
	}
	return 0
}

// Who sent an HTTP answer.
const (
	AnsweredOrigin   = "origin"
	AnsweredProxy    = "proxy"
	AnsweredFirewall = "firewall"
	AnsweredUnknown  = "unknown"
)

// firewallMarks are words by which filters sign their refusals.
var firewallMarks = []string{
	"action: deny. reason:", "action: deny. policy:", "azure firewall", "fortiguard", "fortigate", "zscaler", "palo alto networks",
	"cisco umbrella", "blue coat", "symantec web security", "sophos utm", "check point", "checkpoint usercheck", "forcepoint", "barracuda",
}

// proxyMarks are names of forward proxies in Server, Via and X-Cache.
var proxyMarks = []string{"squid", "bluecoat", "proxysg", "tinyproxy", "privoxy", "mcafee web gateway", "websense", "iws_", "zscaler"}

// refusals are statuses that something between may well have made.
var refusals = []int{403, 407, 451, 470, 502, 503, 504, 511}

// answered judges who sent an answer: by what it signs with, then by whether
// somebody between could have sent it at all.
func answered(r *http.Response, body string, secure, verified, proxied bool) string {
	refusal := slices.Contains(refusals, r.StatusCode)
	low := strings.ToLower(body + "\n" + r.Header.Get("Server"))
	if r.StatusCode == 470 || (refusal && slices.ContainsFunc(firewallMarks, func(m string) bool { return strings.Contains(low, m) })) {
		return AnsweredFirewall
	}
	if secure && verified {
		return AnsweredOrigin // nobody between holds its key
	}
	signs := strings.ToLower(strings.Join(slices.Concat(r.Header.Values("Server"), r.Header.Values("Via"), r.Header.Values("X-Cache")), " "))
	marked := slices.ContainsFunc(proxyMarks, func(m string) bool { return strings.Contains(signs, m) })
	switch {
	case r.StatusCode == http.StatusProxyAuthRequired, r.Header.Get("Proxy-Authenticate") != "", r.Header.Get("X-Squid-Error") != "",
		strings.Contains(r.Header.Get("Proxy-Status"), "error="):
		return AnsweredProxy
	case refusal && (marked || r.Header.Get("Via") != ""):
		return AnsweredProxy
	case secure: // a certificate that was not judged, or does not hold
		return AnsweredUnknown
	case !refusal:
		return AnsweredOrigin
	case proxied || r.Header.Get("Server") == "":
		return AnsweredUnknown
	}
	return AnsweredOrigin
}
