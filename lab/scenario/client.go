package scenario

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/podpath/podpath/lab/plan"
)

// The lab sees a symptom with its own client (lab/cmd/app), in the pod's network
// namespace, with the pod's resolver and the pod's proxy settings. podpath is
// never asked.

// glance is what the client saw in one try.
type glance struct {
	Result string `json:"result"`
	Millis int64  `json:"millis"`
	Detail string `json:"detail"`
}

// someTries is how often a symptom of a share is tried.
const someTries = 20

// see lets the client try, so many times, from a pod (NS/NAME, NS/KIND/NAME) or node/NAME.
func (l *Lab) see(ctx context.Context, s Symptom, tries int) ([]glance, error) {
	look := l.Hands.Look
	for _, p := range []*string{&s.From, &s.To, &s.Host, &s.Address} {
		filled, err := fill(*p, look)
		if err != nil {
			return nil, err
		}
		*p = filled
	}
	where, name := "pod", s.From
	if node, ok := strings.CutPrefix(s.From, "node/"); ok {
		where, name = "node", node
	}
	at, err := l.place(ctx, where, name)
	if err != nil {
		return nil, err
	}
	to, err := l.target(ctx, s)
	if err != nil {
		return nil, err
	}
	return l.seeFrom(ctx, at, to, s, tries)
}

// target makes a URL of what people write as a destination.
func (l *Lab) target(ctx context.Context, s Symptom) (string, error) {
	if strings.Contains(s.To, "://") {
		u, err := url.Parse(s.To)
		if err != nil {
			return "", err
		}
		switch u.Scheme {
		case "http", "https", "tcp", "udp":
			return s.To, nil
		}
		port := u.Port()
		if port == "" {
			port = map[string]string{"postgres": "5432", "postgresql": "5432", "redis": "6379", "mysql": "3306"}[u.Scheme]
		}
		return "tcp://" + u.Hostname() + ":" + port, nil
	}
	protocol := cmpOr(s.Protocol, "tcp")
	host, port, _ := strings.Cut(s.To, ":")
	if strings.Contains(host, "/") { // svc/NAME, NS/svc/NAME, NS/NAME: by its address
		ref, err := parsePod(host)
		if rest, ok := strings.CutPrefix(host, "svc/"); ok || err != nil {
			namespace, _, _ := strings.Cut(s.From, "/")
			ref, err = podRef{namespace, "service", rest}, nil
		}
		if ref.Kind == "service" {
			if port == "" {
				data, err := l.kubectl(ctx, nil, "get", "service", ref.Name, "-n", ref.Namespace, "-o", "jsonpath={.spec.ports[0].port}")
				if err != nil {
					return "", err
				}
				port = string(data)
			}
			return protocol + "://" + ref.Name + "." + ref.Namespace + ".svc.cluster.local:" + port, nil
		}
		ip, err := l.look("pod", host, "ip")
		if err != nil {
			return "", err
		}
		if port == "" {
			port = "8080"
		}
		return protocol + "://" + ip + ":" + port, nil
	}
	if port == "" {
		return "https://" + s.To, nil
	}
	return protocol + "://" + s.To, nil
}

// proxyNames are the variables that tell a client of a proxy.
var proxyNames = []string{"http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"}

func (l *Lab) seeFrom(ctx context.Context, at Place, to string, s Symptom, tries int) ([]glance, error) {
	argv := []string{"--net=" + at.Netns, "--", filepath.Join(l.bin, "app"), "get", to, "--tries", fmt.Sprint(tries)}
	if ca := l.env["SSL_CERT_FILE"]; ca != "" {
		argv = append(argv, "--ca", ca)
	}
	if s.Host != "" {
		argv = append(argv, "--host", s.Host)
	}
	if s.Address != "" {
		argv = append(argv, "--address", s.Address)
	}
	env := []string{"PATH=" + os.Getenv("PATH")}
	if at.Pid != 0 {
		argv = append(argv, "--resolv", fmt.Sprintf("/proc/%d/root/etc/resolv.conf", at.Pid))
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", at.Pid))
		if err != nil {
			return nil, fmt.Errorf("the pod's environment: %w", err)
		}
		for _, v := range bytes.Split(data, []byte{0}) {
			name, _, _ := strings.Cut(string(v), "=")
			for _, p := range proxyNames {
				if name == p {
					env = append(env, string(v))
				}
			}
		}
	} else {
		resolv, err := l.resolvFor()
		if err != nil {
			return nil, err
		}
		argv = append(argv, "--resolv", resolv)
	}
	cmd := exec.CommandContext(ctx, "nsenter", argv...)
	cmd.Env = env
	out, err := output(cmd)
	if err != nil {
		return nil, fmt.Errorf("the lab's client: %w", err)
	}
	var seen []glance
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		var g glance
		if err := json.Unmarshal(lines.Bytes(), &g); err != nil {
			return nil, fmt.Errorf("the lab's client printed %q: %w", lines.Text(), err)
		}
		seen = append(seen, g)
	}
	if len(seen) == 0 {
		return nil, errors.New("the lab's client printed nothing")
	}
	return seen, nil
}

// resolvFor is the resolver of a place that is no pod: Azure's.
func (l *Lab) resolvFor() (string, error) {
	file := l.Home.Path("inject-resolv.conf")
	return file, os.WriteFile(file, []byte("nameserver "+plan.AzureDNS.String()+"\n"), 0o644)
}

// agrees says whether glances are the symptom that is expected, and what they were.
func agrees(expect string, seen []glance) (bool, string) {
	word, share := strings.CutPrefix(expect, "some-")
	count := map[string]int{}
	order := []string{}
	for _, g := range seen {
		if count[g.Result] == 0 {
			order = append(order, g.Result)
		}
		count[g.Result]++
	}
	if !share {
		got := order[0]
		if d := seen[0].Detail; d != "" {
			got += " (" + shorten(d) + ")"
		}
		return count[word] == len(seen), got
	}
	var parts []string
	for _, r := range order {
		parts = append(parts, fmt.Sprintf("%s %d of %d", r, count[r], len(seen)))
	}
	return count[word] > 0 && count[word] < len(seen), strings.Join(parts, ", ")
}

// showTime is how long a symptom may take to show: masquerading follows its
// ConfigMap within a minute.
const showTime = 75 * time.Second

// symptom looks until the symptom shows. The text says what was seen last.
func (l *Lab) symptom(ctx context.Context, s Symptom) (bool, string) {
	return eventually(ctx, showTime, func(ctx context.Context) (bool, string) {
		tries := 1
		if strings.HasPrefix(s.Expect, "some-") {
			tries = someTries
		}
		if err := l.rolledOut(ctx, s.From); err != nil {
			return false, err.Error()
		}
		seen, err := l.see(ctx, s, tries)
		if err != nil {
			return false, err.Error()
		}
		return agrees(s.Expect, seen)
	})
}

// eventually asks until the answer is yes or the time is up.
func eventually(ctx context.Context, limit time.Duration, ask func(context.Context) (bool, string)) (bool, string) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	last := "nothing was looked at"
	for {
		yes, got := ask(ctx)
		if yes {
			return true, got
		}
		if ctx.Err() == nil {
			last = got
		}
		select {
		case <-ctx.Done():
			return false, last
		case <-time.After(700 * time.Millisecond):
		}
	}
}

// rolledOut says whether a workload's pods are those of its present template:
// while they are not, a client in one of them would look at the past.
func (l *Lab) rolledOut(ctx context.Context, from string) error {
	ref, err := parsePod(from)
	if err != nil || ref.Kind != "deployment" {
		return nil //nolint:nilerr // anything but a Deployment has no roll-out to wait for
	}
	data, err := l.kubectl(ctx, nil, "get", "deployment", ref.Name, "-n", ref.Namespace, "-o", "json")
	if err != nil {
		return err
	}
	found, err := items(data)
	if err != nil || len(found) == 0 {
		return errors.Join(err, errGone)
	}
	return deploymentMoves(found[0])
}
