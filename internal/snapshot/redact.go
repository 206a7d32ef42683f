package snapshot

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Options say what else is hidden.
type Options struct {
	HideIDs bool // subscription ids too; the commands in a report then no longer fit the real subscription
}

// Hidden stands where something was taken out.
const Hidden = model.Hidden

// Redact is a copy of a case without what its reader has no business knowing,
// and what that was, counted. docs/snapshot.md lists it.
func Redact(c *model.Case, _ Options) (*model.Case, []string, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return nil, nil, fmt.Errorf("writing the snapshot: %w", err)
	}
	out := new(model.Case)
	if err := json.Unmarshal(data, out); err != nil {
		return nil, nil, fmt.Errorf("writing the snapshot: %w", err)
	}
	r := redactor{count: map[string]int{}}
	for _, pod := range out.World.Kube.Pods {
		if pod == nil {
			continue
		}
		for i := range pod.Containers {
			r.environment(pod.Containers[i].Env)
			r.arguments(pod.Containers[i].Command)
		}
	}
	for _, facts := range out.World.Nodes {
		if facts != nil {
			r.messages(facts.Kernel)
		}
	}
	for i := range out.Observations {
		r.headers(out.Observations[i].HTTP)
	}
	r.texts(reflect.ValueOf(out).Elem())
	var list []string
	for what, n := range r.count {
		list = append(list, fmt.Sprintf("%s: %d", what, n))
	}
	slices.Sort(list)
	return out, list, nil
}

type redactor struct{ count map[string]int }

// hardware is a hardware address, alone or in the header that a message shows.
var hardware = regexp.MustCompile(`(?i)([0-9a-f]{2}:){5,}[0-9a-f]{2}|\b([0-9a-f]{2} ){11,}[0-9a-f]{2}\b`)

// messages takes hardware addresses out of kernel messages: they name machines,
// and no cause depends on them.
func (r *redactor) messages(lines []string) {
	for i, line := range lines {
		if cut := hardware.ReplaceAllString(line, Hidden); cut != line {
			lines[i] = cut
			r.count["hardware addresses in kernel messages"]++
		}
	}
}

// secretWord marks a name whose value is nobody's business.
var secretWord = regexp.MustCompile(`(?i)passw|secret|token|credential|private|api_?-?key|access_?-?key|auth|cookie|session|signature|sas_|connection_?string|(^|[_-])(key|pwd|pass|dsn)([_-]|$)`)

// proxyNames are the variables whose values a diagnosis cannot do without.
var proxyNames = []string{"http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "no_proxy"}

// pathNames are further variables that change how a connection is made; their values are paths or switches.
var pathNames = []string{"ssl_cert_file", "ssl_cert_dir", "requests_ca_bundle", "curl_ca_bundle", "node_extra_ca_certs", "godebug", "res_options", "localdomain", "hostaliases"}

// environment keeps of a container's variables what says where it connects to.
func (r *redactor) environment(env map[string]string) {
	for name, val := range env {
		lower := strings.ToLower(name)
		switch {
		case val == "", val == Hidden, slices.Contains(proxyNames, lower), slices.Contains(pathNames, lower):
			continue // what a proxy's URL holds beside the host is taken out with the other texts
		case isPlace(name, val) && (!secretWord.MatchString(name) || placeEnd.MatchString(name)):
			if cut := withoutKeys(val); cut != val {
				env[name] = cut
				r.count["keys in the paths of environment variables' URLs"]++
			}
			continue
		}
		env[name] = Hidden
		r.count["values of environment variables"]++
	}
}

var (
	hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*\.?$`)
	placeKey = regexp.MustCompile(`(?i)host|addr|url|uri|endpoint|server|domain|broker|upstream|backend|target|proxy|dns|service`)
	portKey  = regexp.MustCompile(`(?i)port`)
	placeEnd = regexp.MustCompile(`(?i)(host|hostname|addr|address|url|uri|endpoint|server|port)$`)
	segment  = regexp.MustCompile(`/[A-Za-z0-9_~-]{16,}`)
	digit    = regexp.MustCompile(`[0-9]`)
)

// withoutKeys takes what looks like a key out of the paths of URLs: webhooks carry theirs there.
func withoutKeys(val string) string {
	if !strings.Contains(val, "://") {
		return val
	}
	return segment.ReplaceAllStringFunc(val, func(s string) string {
		if !digit.MatchString(s) {
			return s
		}
		return "/" + Hidden
	})
}

// isPlace says that a value is where something is: a URL, an address, a host, a port.
func isPlace(name, val string) bool {
	if len(val) > 2048 {
		return false
	}
	for _, part := range strings.FieldsFunc(val, func(r rune) bool { return r == ',' || r == ';' || r == ' ' }) {
		if !isOnePlace(name, part) {
			return false
		}
	}
	return true
}

func isOnePlace(name, val string) bool {
	if strings.Contains(val, "://") {
		u, err := url.Parse(val)
		return err == nil && u.Host != ""
	}
	if _, err := netip.ParseAddr(val); err == nil {
		return true
	}
	if _, err := netip.ParsePrefix(val); err == nil {
		return true
	}
	if _, err := netip.ParseAddrPort(val); err == nil {
		return true
	}
	if n, err := strconv.Atoi(val); err == nil {
		return n > 0 && n < 65536 && portKey.MatchString(name)
	}
	host, port, ok := strings.Cut(val, ":")
	if n, err := strconv.Atoi(port); ok && (err != nil || n <= 0 || n > 65535) {
		return false
	}
	if !hostName.MatchString(host) || len(host) > 253 {
		return false
	}
	// A single word may be anything, unless its name says that it is a host.
	return ok && strings.Contains(host, ".") || placeKey.MatchString(name)
}

// arguments takes values out of a command line whose flags say that they are secret.
func (r *redactor) arguments(args []string) {
	for i, arg := range args {
		if name, val, ok := strings.Cut(arg, "="); ok && val != "" && val != Hidden && !strings.Contains(name, "://") && secretWord.MatchString(name) {
			args[i] = name + "=" + Hidden
			r.count["values in command lines"]++
			continue
		}
		if strings.HasPrefix(arg, "-") && !strings.Contains(arg, "=") && secretWord.MatchString(arg) && i+1 < len(args) && args[i+1] != Hidden && !strings.HasPrefix(args[i+1], "-") {
			args[i+1] = Hidden
			r.count["values in command lines"]++
		}
	}
}

// headers keeps of an answer's headers those that tell who sent it.
func (r *redactor) headers(h *model.HTTPAnswer) {
	if h == nil {
		return
	}
	for name := range h.Header {
		switch strings.ToLower(name) {
		case "set-cookie", "cookie", "authorization", "proxy-authorization", "x-api-key":
			if h.Header[name] != Hidden {
				h.Header[name] = Hidden
				r.count["HTTP headers"]++
			}
		}
	}
}

// patterns are what is taken out of any text, wherever it stands. The first group stays.
var patterns = []struct {
	what string
	find *regexp.Regexp
	put  string
}{
	{"private keys", regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)`), Hidden},
	{"users and passwords in URLs", regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^\s/'"<>?#]+@`), "${1}"},
	{"fragments of URLs", regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>#]*)#[^\s"'<>]+`), "${1}"},
	{"values in URLs' queries", regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>#?]*\?)[^=&\s"'<>#\[]+([&\s"'<>]|$)`), "${1}" + Hidden + "${2}"},
	{"tokens", regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*)?`), Hidden},
	{"tokens", regexp.MustCompile(`(?i)\b((?:bearer|basic|negotiate)\s+)[A-Za-z0-9+/_.~-]{16,}=*`), "${1}" + Hidden},
	{"tokens", regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}`), Hidden},
	{"secrets in texts", regexp.MustCompile(`(?i)\b((?:[A-Za-z0-9]*[_-])?(?:account_?key|shared_?access_?(?:key|signature)|password|passwd|pwd|client_?secret|api_?key|access_?token|refresh_?token|secret)["']?\s*[=:]\s*["']?)(?:[^\s"'&;,\[][^\s"'&;,]*)`), "${1}" + Hidden},
	{"values in URLs' queries", regexp.MustCompile(`([?&][A-Za-z0-9_.~%-]+=)(?:[^&\s"'<>#\[][^&\s"'<>#]*)`), "${1}" + Hidden},
	{"e-mail addresses", regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}`), Hidden},
}

var refType = reflect.TypeFor[model.Ref]()

// texts goes through every string of the case but its references and keys, which must still fit each other.
func (r *redactor) texts(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if v.Type() != refType && v.CanSet() {
			v.SetString(r.text(v.String()))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			r.texts(v.Elem())
		}
	case reflect.Struct:
		if v.Type().PkgPath() != modelPath {
			return
		}
		for i := range v.NumField() {
			r.texts(v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			r.texts(v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			e := v.MapIndex(key)
			switch {
			case e.Kind() == reflect.String && e.Type() != refType:
				v.SetMapIndex(key, reflect.ValueOf(r.text(e.String())).Convert(e.Type()))
			case e.Kind() == reflect.Map || e.Kind() == reflect.Pointer || e.Kind() == reflect.Slice:
				r.texts(e)
			}
		}
	}
}

func (r *redactor) text(s string) string {
	s = tidy(s)
	if len(s) < 6 {
		return s
	}
	for _, p := range patterns {
		if n := len(p.find.FindAllStringIndex(s, -1)); n > 0 {
			if changed := p.find.ReplaceAllString(s, p.put); changed != s {
				r.count[p.what] += n
				s = changed
			}
		}
	}
	return s
}

// tidy replaces the characters that a reader would refuse.
func tidy(s string) string {
	if unwanted(s) < 0 {
		return s
	}
	s = strings.ReplaceAll(s, "\r\n", "\n")
	return strings.Map(func(r rune) rune {
		if unwanted(string(r)) >= 0 {
			return '\uFFFD'
		}
		return r
	}, s)
}

var subscription = regexp.MustCompile(`(?i)subscriptions/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})`)

// hideIDs replaces every subscription id of a document by a number, everywhere the same.
func hideIDs(data []byte) []byte {
	var ids []string
	for _, m := range subscription.FindAllSubmatch(data, -1) {
		if id := strings.ToLower(string(m[1])); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for i, id := range ids {
		find := regexp.MustCompile(`(?i)` + regexp.QuoteMeta(id))
		data = find.ReplaceAll(data, fmt.Appendf(nil, "00000000-0000-0000-0000-%012d", i+1))
	}
	return data
}
