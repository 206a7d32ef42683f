package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/report"
)

func TestParseQuestion(t *testing.T) {
	for _, test := range []struct {
		name string
		f    question
		args string
		want string // the question in one line, or a part of the error
	}{
		{"pod and URL", question{}, "shop/web-0 https://api.test/v1?x=y", "pod shop/web-0 -> url api.test:443 https tcp"},
		{"workload", question{}, "shop/deploy/web api.test:5432", "deployment shop/web -> host api.test:5432 tcp"},
		{"bare word is a pod", question{}, "web-0 api.test:80", "pod /web-0 -> host api.test:80 tcp"},
		{"kind and name apart", question{}, "deploy web svc db", "deployment /web -> service /db:0 tcp"},
		{"kind apart on one side", question{}, "node n1 https://api.test", "node /n1 -> url api.test:443 https tcp"},
		{"udp from the scheme", question{}, "web-0 udp://ntp.test:123", "pod /web-0 -> url ntp.test:123 udp udp"},
		{"udp asked for", question{protocol: "UDP"}, "web-0 ntp.test:123", "pod /web-0 -> host ntp.test:123 udp"},
		{"pinned", question{address: "198.51.100.7", host: "other.test"}, "web-0 https://api.test", "pod /web-0 -> url api.test:443 https tcp host=other.test address=198.51.100.7"},
		{"pinned IPv6", question{address: "2001:db8::1"}, "web-0 https://api.test", "pod /web-0 -> url api.test:443 https tcp address=2001:db8::1"},
		{"the app's own", question{via: "app"}, "web-0 api.test:443", "pod /web-0 -> host api.test:443 tcp via=app"},
		{"internet", question{}, "web-0 internet", "pod /web-0 -> internet :0 tcp"},

		{"nothing", question{}, "", "name two sides"},
		{"one side", question{}, "web-0", "name two sides"},
		{"three sides", question{}, "web-0 api.test:80 api.test:81", "name two sides"},
		{"a kind without a name is a host", question{}, "web-0 svc", "pod /web-0 -> host svc:0 tcp"},
		{"from outside", question{}, "internet web-0", "connections that a pod or a node opens"},
		{"from a URL", question{}, "https://api.test web-0", "connections that a pod or a node opens"},
		{"from a host", question{}, "api.test web-0", "connections that a pod or a node opens"},
		{"protocol", question{protocol: "sctp"}, "web-0 api.test:80", `--protocol "sctp" is neither tcp nor udp`},
		{"via", question{via: "carrier"}, "web-0 api.test:80", "only 'app' is known"},
		{"host", question{host: "a b"}, "web-0 api.test:80", `--host "a b" is not a host name`},
		{"host with a port", question{host: "a.test:80"}, "web-0 api.test:80", "is not a host name"},
		{"address", question{address: "api.test"}, "web-0 api.test:80", `--address "api.test" is not an address`},
		{"address with a port", question{address: "198.51.100.7:80"}, "web-0 api.test:80", "is not an address"},
		{"bad TO", question{}, "web-0 api.test:99999", "TO: "},
		{"bad FROM", question{}, "a/b/c/d api.test:80", "FROM: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			q, err := test.f.parse(strings.Fields(test.args))
			if err != nil {
				if !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %q does not say %q", err, test.want)
				}
				return
			}
			if got := oneLine(q); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func oneLine(q model.Question) string {
	s := fmt.Sprintf("%s %s/%s -> %s ", q.From.Kind, q.From.Namespace, q.From.Name, q.To.Kind)
	if q.To.Name != "" {
		s += q.To.Namespace + "/" + q.To.Name
	}
	s += fmt.Sprintf("%s:%d ", q.To.Host, q.To.Port)
	if q.To.Scheme != "" {
		s += q.To.Scheme + " "
	}
	s += q.Protocol
	if q.Host != "" {
		s += " host=" + q.Host
	}
	if q.Address.IsValid() {
		s += " address=" + q.Address.String()
	}
	if q.Via != "" {
		s += " via=" + q.Via
	}
	return s
}

func TestTerminal(t *testing.T) {
	for _, test := range []struct {
		name, color string
		env         map[string]string
		want        report.Options
		err         string
	}{
		{name: "a file, no environment", want: report.Options{}},
		{name: "always", color: "always", want: report.Options{Color: true}},
		{name: "always outweighs NO_COLOR", color: "always", env: map[string]string{"NO_COLOR": "1"}, want: report.Options{Color: true}},
		{name: "never", color: "never", want: report.Options{}},
		{name: "auto on what is no terminal", color: "auto", env: map[string]string{"TERM": "xterm"}, want: report.Options{}},
		{name: "COLUMNS", env: map[string]string{"COLUMNS": "60"}, want: report.Options{Width: 60}},
		{name: "COLUMNS that is no number", env: map[string]string{"COLUMNS": "wide"}, want: report.Options{}},
		{name: "COLUMNS below nothing", env: map[string]string{"COLUMNS": "-3"}, want: report.Options{}},
		{name: "C", env: map[string]string{"LANG": "C"}, want: report.Options{ASCII: true}},
		{name: "POSIX", env: map[string]string{"LC_ALL": "POSIX"}, want: report.Options{ASCII: true}},
		{name: "C.UTF-8", env: map[string]string{"LANG": "C.UTF-8"}, want: report.Options{}},
		{name: "utf8", env: map[string]string{"LANG": "de_DE.utf8"}, want: report.Options{}},
		{name: "LC_ALL outweighs LANG", env: map[string]string{"LC_ALL": "C", "LANG": "en_US.UTF-8"}, want: report.Options{ASCII: true}},
		{name: "LC_CTYPE outweighs LANG", env: map[string]string{"LC_CTYPE": "en_US.UTF-8", "LANG": "C"}, want: report.Options{}},
		{name: "unknown", color: "purple", err: `--color "purple" is none of auto, always, never`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := terminal(new(bytes.Buffer), func(name string) string { return test.env[name] }, test.color)
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("error %v, not %s", err, test.err)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}

func TestExitCode(t *testing.T) {
	interrupted, stop := context.WithCancel(t.Context())
	stop()
	for _, test := range []struct {
		name string
		ctx  context.Context
		err  error
		code int
		says string
	}{
		{"well", t.Context(), nil, 0, ""},
		{"a cause", t.Context(), &Exit{Code: 1}, 1, ""},
		{"with a text", t.Context(), fmt.Errorf("why: %w", &Exit{Code: 2, Err: errors.New("so")}), 2, "error: so\n"},
		{"another error", t.Context(), errors.New("no API server"), 3, "error: no API server\n"},
		{"a page with terminal codes", t.Context(), errors.New("<html>\x1b[2J\u009b1m" + strings.Repeat("x", 5000)), 3, "error: <html> [2J 1mxxx"},
		{"Ctrl-C", interrupted, context.Canceled, 3, "interrupted: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := exitCode(test.ctx, test.err, &out); code != test.code {
				t.Errorf("exit code %d, not %d", code, test.code)
			}
			if got := out.String(); !strings.HasPrefix(got, test.says) || test.says == "" && got != "" || len(got) > 2100 {
				t.Errorf("said %q", got)
			}
		})
	}
}
