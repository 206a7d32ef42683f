package scenario

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/podpath/podpath/lab/plan"
	"gopkg.in/yaml.v3"
)

const maxFile = 4 << 20

// Read reads one scenario file.
func Read(file string) (*Scenario, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	return Parse(file, data)
}

// ReadAll reads scenario files and folders of them (*.yaml, *.yml), in the order
// of their names within a folder. All that is wrong is reported at once.
func ReadAll(paths []string) ([]*Scenario, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
	}
	var all []*Scenario
	var errs []error
	seen := map[string]string{}
	for _, file := range files {
		s, err := Read(file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if other, dup := seen[s.Name]; dup {
			errs = append(errs, fmt.Errorf("%s: scenario %s is in %s too", file, s.Name, other))
			continue
		}
		seen[s.Name] = file
		all = append(all, s)
	}
	if len(files) == 0 {
		errs = append(errs, fmt.Errorf("no scenario (*.yaml) in %s", strings.Join(paths, ", ")))
	}
	return all, errors.Join(errs...)
}

// Parse reads a scenario. Unknown keys and wrong types are refused, with file and line.
func Parse(file string, data []byte) (*Scenario, error) {
	p := &parser{file: file}
	s := &Scenario{File: file}
	if root := p.document(data); root != nil {
		p.scenario(root, s)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return s, nil
}

// parser walks the nodes of one document and gathers what is wrong with them.
type parser struct {
	file string
	errs []error
}

func (p *parser) err() error { return errors.Join(p.errs...) }

func (p *parser) fail(n *yaml.Node, format string, args ...any) {
	line := 1
	if n != nil && n.Line > 0 {
		line = n.Line
	}
	p.errs = append(p.errs, fmt.Errorf("%s:%d: %s", p.file, line, fmt.Sprintf(format, args...)))
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

func (p *parser) document(data []byte) *yaml.Node {
	if len(data) > maxFile {
		p.fail(nil, "larger than %d MiB", maxFile>>20)
		return nil
	}
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	var doc yaml.Node
	if err := decode(dec, &doc); err != nil {
		text := err.Error()
		line := "1"
		if m := yamlLine.FindStringSubmatch(text); m != nil {
			line, text = m[1], text[len(m[0]):]
		}
		if errors.Is(err, io.EOF) {
			text = "empty file"
		}
		p.errs = append(p.errs, fmt.Errorf("%s:%s: %s", p.file, line, strings.TrimPrefix(text, "yaml: ")))
		return nil
	}
	var more yaml.Node
	if err := decode(dec, &more); err == nil {
		p.fail(&more, "a second document: one file holds one scenario")
		return nil
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		p.fail(&doc, "a mapping is wanted")
		return nil
	}
	return doc.Content[0]
}

// decode guards against the panics that yaml.v3 lets out on some hostile input.
func decode(dec *yaml.Decoder, into any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: not readable: %v", r)
		}
	}()
	return dec.Decode(into)
}

func resolve(n *yaml.Node) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.AliasNode && i < 8; i++ {
		n = n.Alias
	}
	return n
}

// fields reads a mapping whose keys must all be known.
func (p *parser) fields(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	n = resolve(n)
	out := map[string]*yaml.Node{}
	if n == nil || n.Kind != yaml.MappingNode {
		p.fail(n, "%s: a mapping is wanted (%s)", what, strings.Join(known, ", "))
		return out
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode || !slices.Contains(known, key.Value):
			p.fail(key, "%s: unknown key %q (known: %s)", what, key.Value, strings.Join(known, ", "))
		case out[key.Value] != nil:
			p.fail(key, "%s: key %q twice", what, key.Value)
		default:
			out[key.Value] = resolve(n.Content[i+1])
		}
	}
	return out
}

func (p *parser) str(n *yaml.Node, what string) string {
	if n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		p.fail(n, "%s: a string is wanted (quote it if it is one)", what)
		return ""
	}
	p.template(n, what)
	return n.Value
}

// must is str for a key that has to be there and not empty.
func (p *parser) must(parent, n *yaml.Node, what string) string {
	if n == nil {
		p.fail(parent, "%s is missing", what)
		return ""
	}
	s := p.str(n, what)
	if s == "" && n.Tag == "!!str" {
		p.fail(n, "%s is empty", what)
	}
	return s
}

func (p *parser) oneOf(n *yaml.Node, what string, allowed ...string) string {
	if n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode || !slices.Contains(allowed, n.Value) {
		p.fail(n, "%s: %q is none of %s", what, n.Value, strings.Join(allowed, ", "))
		return ""
	}
	return n.Value
}

// strs reads a list of strings; numbers and booleans in it are taken as written.
func (p *parser) strs(n *yaml.Node, what string) []string {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		p.fail(n, "%s: a list is wanted", what)
		return nil
	}
	out := []string{}
	for _, item := range n.Content {
		item = resolve(item)
		if item == nil || item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
			p.fail(item, "%s: a list of strings is wanted", what)
			continue
		}
		out = append(out, item.Value)
	}
	return out
}

func (p *parser) integer(n *yaml.Node, what string, def, low, high int) int {
	if n == nil {
		return def
	}
	var v int
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || n.Decode(&v) != nil {
		p.fail(n, "%s: a whole number is wanted", what)
		return def
	}
	if v < low || v > high {
		p.fail(n, "%s: %d is not within %d and %d", what, v, low, high)
		return def
	}
	return v
}

func (p *parser) duration(n *yaml.Node, what string, def time.Duration) time.Duration {
	if n == nil {
		return def
	}
	d, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || d < 0 {
		p.fail(n, "%s: a duration is wanted, as 2s or 1m30s", what)
		return def
	}
	if d > time.Hour {
		p.fail(n, "%s: %s is more than an hour", what, d)
		return def
	}
	return d
}

// object reads free-form data as JSON would hold it.
func (p *parser) object(n *yaml.Node, what string) map[string]any {
	if n == nil {
		return nil
	}
	var v any
	if err := decodeNode(n, &v); err != nil {
		p.fail(n, "%s: %v", what, strings.TrimPrefix(err.Error(), "yaml: "))
		return nil
	}
	v, err := plain(v)
	if err != nil {
		p.fail(n, "%s: %v", what, err)
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		p.fail(n, "%s: a mapping is wanted", what)
		return nil
	}
	p.templates(n, what)
	return m
}

func decodeNode(n *yaml.Node, into any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("not readable: %v", r)
		}
	}()
	return n.Decode(into)
}

// plain turns what YAML can hold and JSON cannot into an error, and dates into the text they are.
func plain(v any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			item, err := plain(item)
			if err != nil {
				return nil, err
			}
			v[k] = item
		}
		return v, nil
	case map[any]any:
		return nil, errors.New("a key that is not a string")
	case []any:
		for i, item := range v {
			item, err := plain(item)
			if err != nil {
				return nil, err
			}
			v[i] = item
		}
		return v, nil
	case time.Time:
		return v.Format(time.RFC3339), nil
	default:
		return v, nil
	}
}

// words reads words of a command line: one string, split as a shell would, or a list.
func (p *parser) words(n *yaml.Node, what string) []string {
	if n == nil {
		return nil
	}
	if n.Kind == yaml.SequenceNode {
		p.templates(n, what)
		return p.strs(n, what)
	}
	words, err := split(p.str(n, what))
	if err != nil {
		p.fail(n, "%s: %v", what, err)
	}
	if len(words) == 0 && err == nil && n.Tag == "!!str" {
		p.fail(n, "%s is empty", what)
	}
	return words
}

func (p *parser) templates(n *yaml.Node, what string) {
	if n == nil {
		return
	}
	if n.Kind == yaml.ScalarNode {
		p.template(n, what)
	}
	for _, c := range n.Content {
		p.templates(c, what)
	}
}

func (p *parser) template(n *yaml.Node, what string) {
	if err := checkTemplate(n.Value); err != nil {
		p.fail(n, "%s: %v", what, err)
	}
}

func (p *parser) scenario(root *yaml.Node, s *Scenario) {
	f := p.fields(root, "scenario", "name", "summary", "topology", "inject", "settle", "symptom", "ask", "watch", "check", "reach", "expect")
	s.Name = p.must(root, f["name"], "name")
	base := filepath.Base(p.file)
	if want := strings.TrimSuffix(strings.TrimSuffix(base, ".yaml"), ".yml"); s.Name != "" && s.Name != want {
		p.fail(f["name"], "name: %q is not the file's name %q", s.Name, want)
	}
	s.Summary = p.str(f["summary"], "summary")
	s.Topology = p.topology(f["topology"])
	s.Inject = p.steps(f["inject"], "inject", nil)
	s.Settle = p.duration(f["settle"], "settle", 0)
	if n := f["symptom"]; n != nil {
		s.Symptom = p.symptom(n)
	}
	p.question(root, f, s)
	if f["expect"] == nil {
		p.fail(root, "expect is missing")
		return
	}
	s.Expect = p.expect(f["expect"])
}

func (p *parser) topology(n *yaml.Node) plan.Topology {
	var t plan.Topology
	if n != nil {
		f := p.fields(n, "topology", "cni", "outbound", "policy", "kubeProxy", "nodes", "pools")
		t.CNI = p.str(f["cni"], "topology.cni")
		t.Outbound = p.str(f["outbound"], "topology.outbound")
		t.Policy = p.str(f["policy"], "topology.policy")
		t.KubeProxy = p.str(f["kubeProxy"], "topology.kubeProxy")
		t.Nodes = p.integer(f["nodes"], "topology.nodes", 0, 1, 5)
		if pools := f["pools"]; pools != nil {
			if pools.Kind != yaml.SequenceNode {
				p.fail(pools, "topology.pools: a list is wanted")
			} else {
				for _, item := range pools.Content {
					pf := p.fields(item, "topology.pools", "name", "subnet", "nodes")
					t.Pools = append(t.Pools, plan.Pool{
						Name: p.must(item, pf["name"], "topology.pools: name"), Subnet: p.str(pf["subnet"], "topology.pools: subnet"),
						Nodes: p.integer(pf["nodes"], "topology.pools: nodes", 1, 1, 5),
					})
				}
			}
		}
	}
	if len(p.errs) > 0 {
		return t
	}
	full, err := t.Complete()
	if err != nil {
		p.fail(n, "%v", err)
	}
	return full
}

// steps reads a list of steps; of is the step that they heal.
func (p *parser) steps(n *yaml.Node, what string, of *Step) []Step {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		p.fail(n, "%s: a list of steps is wanted", what)
		return nil
	}
	var steps []Step
	for _, item := range n.Content {
		if s, ok := p.step(resolve(item), what, of); ok {
			steps = append(steps, s)
		}
	}
	return steps
}

var stepKinds = []string{"arm", "kubectl", "node", "pod", "host", "load", "wait"}

func (p *parser) step(n *yaml.Node, what string, of *Step) (Step, bool) {
	f := p.fields(n, what, stepKinds...)
	if len(f) != 1 {
		if n != nil && n.Kind == yaml.MappingNode && len(n.Content) != 2 {
			p.fail(n, "%s: a step is one of %s", what, strings.Join(stepKinds, ", "))
		}
		return Step{}, false
	}
	for kind, body := range f {
		return p.body(kind, body, n, of), true
	}
	return Step{}, false
}

// body reads a step of a kind. of is the step that this one heals, whose name
// and id it takes over where it has none of its own.
func (p *parser) body(kind string, n, at *yaml.Node, of *Step) Step {
	s := Step{Line: at.Line}
	var heal *yaml.Node
	switch kind {
	case "arm":
		s.ARM, heal = p.arm(n, of)
	case "kubectl":
		s.Kubectl, heal = p.kubectl(n)
	case "node", "pod", "host":
		s.Exec, heal = p.exec(kind, n, of)
	case "load":
		s.Load = p.load(n)
	case "wait":
		s.Wait = p.wait(n)
	}
	if heal == nil {
		return s
	}
	switch {
	case of != nil:
		p.fail(heal, "%s: a heal has no heal of its own", kind)
	case heal.Kind == yaml.SequenceNode:
		s.Heal = p.steps(heal, "heal", &s)
	case s.Exec != nil && heal.Kind == yaml.ScalarNode:
		s.Heal = []Step{{Line: heal.Line, Exec: &ExecStep{Where: s.Exec.Where, Name: s.Exec.Name, Run: p.must(n, heal, kind+".heal")}}}
	default:
		s.Heal = []Step{p.body(kind, heal, heal, &s)}
	}
	return s
}

func (p *parser) arm(n *yaml.Node, of *Step) (*ARMStep, *yaml.Node) {
	f := p.fields(n, "arm", "method", "id", "body", "merge", "heal")
	a := &ARMStep{Method: p.oneOf(f["method"], "arm.method", "PUT", "PATCH", "DELETE", "POST")}
	if f["id"] == nil && of != nil && of.ARM != nil {
		a.ID = of.ARM.ID
	} else {
		a.ID = p.must(n, f["id"], "arm.id")
		if a.ID != "" && !strings.HasPrefix(strings.ToLower(a.ID), "/subscriptions/") {
			p.fail(f["id"], "arm.id: a resource id begins with /subscriptions/")
		}
	}
	switch {
	case f["merge"] != nil && (f["body"] != nil || a.Method != "" && a.Method != "PUT"):
		p.fail(n, "arm: merge stands alone: it is GET, merge patch, PUT")
	case f["merge"] != nil:
		a.Method, a.Body = "MERGE", p.object(f["merge"], "arm.merge")
	case f["body"] != nil:
		if a.Method == "" {
			a.Method = "PUT"
		}
		a.Body = p.object(f["body"], "arm.body")
	case a.Method == "" || a.Method == "PUT" || a.Method == "PATCH":
		p.fail(n, "arm: %s needs a body", cmpOr(a.Method, "a step without merge"))
	}
	return a, f["heal"]
}

func cmpOr(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func (p *parser) kubectl(n *yaml.Node) (*KubectlStep, *yaml.Node) {
	verbs := []string{"apply", "delete", "patch", "run"}
	f := p.fields(n, "kubectl", append(verbs, "heal")...)
	k := &KubectlStep{}
	for _, verb := range verbs {
		body := f[verb]
		if body == nil {
			continue
		}
		if k.Verb != "" {
			p.fail(body, "kubectl: %s and %s in one step: write two", k.Verb, verb)
		}
		k.Verb = verb
		if verb == "apply" {
			k.YAML = p.must(n, body, "kubectl.apply")
		} else {
			k.Words = p.words(body, "kubectl."+verb)
		}
	}
	if k.Verb == "" && n != nil && n.Kind == yaml.MappingNode {
		p.fail(n, "kubectl: one of %s is wanted", strings.Join(verbs, ", "))
	}
	return k, f["heal"]
}

func (p *parser) exec(where string, n *yaml.Node, of *Step) (*ExecStep, *yaml.Node) {
	known := []string{"name", "run", "heal"}
	if where == "host" {
		known = append(known, "serve")
	}
	f := p.fields(n, where, known...)
	e := &ExecStep{Where: where}
	if f["name"] == nil && of != nil && of.Exec != nil {
		e.Name = of.Exec.Name
	} else {
		e.Name = p.must(n, f["name"], where+".name")
	}
	if where == "pod" && e.Name != "" {
		if _, err := parsePod(e.Name); err != nil {
			p.fail(f["name"], "pod.name: %v", err)
		}
	}
	e.Run = p.str(f["run"], where+".run")
	if f["serve"] != nil {
		e.Serve = p.serve(f["serve"])
	}
	if (e.Run == "") == (e.Serve == nil) && n != nil && n.Kind == yaml.MappingNode {
		p.fail(n, "%s: exactly one of %s is wanted", where, strings.Join(slices.DeleteFunc(known, func(k string) bool { return k == "name" || k == "heal" }), ", "))
	}
	return e, f["heal"]
}

// serveKeys are what a host of the lab's internet can be told, with the YAML
// tags each value may have.
var serveKeys = map[string][]string{
	"status": {"!!int"}, "path": {"!!str"}, "share": {"!!int", "!!float"}, "tls": {"!!str"}, "delay": {"!!str"}, "handshake": {"!!str"}, "refuse": {"!!bool"},
	"silent": {"!!bool"}, "drop": {"!!bool"}, "reset": {"!!bool"}, "allow": {"!!seq", "!!str"}, "allowStatus": {"!!int"}, "rate": {"!!int"}, "deny": {"!!str"},
	"dateSkew": {"!!str"}, "body": {"!!int", "!!str"}, "header": {"!!map"}, "headers": {"!!map"}, "names": {"!!seq"}, "port": {"!!int"}, "ports": {"!!seq"},
	"proxy": {"!!str"}, "user": {"!!str"}, "password": {"!!str"}, "rcode": {"!!str"}, "records": {"!!map"}, "rotate": {"!!bool"},
}

func (p *parser) serve(n *yaml.Node) map[string]any {
	known := make([]string, 0, len(serveKeys))
	for k := range serveKeys {
		known = append(known, k)
	}
	sort.Strings(known)
	f := p.fields(n, "host.serve", known...)
	for k, v := range f {
		if !slices.Contains(serveKeys[k], v.ShortTag()) {
			p.fail(v, "host.serve.%s: %s is wanted", k, strings.ReplaceAll(strings.Join(serveKeys[k], " or "), "!!", ""))
		}
		if k == "delay" || k == "handshake" {
			p.duration(v, "host.serve.delay", 0)
		}
	}
	return p.object(n, "host.serve")
}

func (p *parser) load(n *yaml.Node) *LoadStep {
	f := p.fields(n, "load", "from", "to", "connections", "rate", "hold", "protocol", "bytesPerSecond", "each")
	l := &LoadStep{
		From: p.must(n, f["from"], "load.from"), To: p.must(n, f["to"], "load.to"), Protocol: p.oneOf(f["protocol"], "load.protocol", "tcp", "udp"),
		Connections:    p.integer(f["connections"], "load.connections", 1, 1, 200000),
		Rate:           p.integer(f["rate"], "load.rate", 200, 1, 100000),
		Hold:           p.duration(f["hold"], "load.hold", 2*time.Minute),
		BytesPerSecond: p.integer(f["bytesPerSecond"], "load.bytesPerSecond", 0, 0, 1<<30),
		Each:           p.duration(f["each"], "load.each", 0),
	}
	l.Protocol = cmpOr(l.Protocol, "tcp")
	if l.From != "" {
		if _, err := parsePod(l.From); err != nil {
			p.fail(f["from"], "load.from: %v", err)
		}
	}
	return l
}

func (p *parser) wait(n *yaml.Node) *WaitStep {
	f := p.fields(n, "wait", "until", "for")
	w := &WaitStep{For: p.duration(f["for"], "wait.for", time.Minute)}
	if f["until"] == nil {
		p.fail(n, "wait.until is missing")
		return w
	}
	if f["until"].Kind == yaml.ScalarNode && strings.TrimSpace(f["until"].Value) == "settled" {
		w.Settled = true
		return w
	}
	w.Words = p.words(f["until"], "wait.until")
	return w
}

var (
	symptoms    = []string{"ok", "slow", "timeout", "refused", "unreachable", "reset", "nxdomain", "dns-timeout", "dns-error", "tls"}
	httpSymptom = regexp.MustCompile(`^http-[1-5][0-9][0-9]$`)
)

func (p *parser) symptom(n *yaml.Node) *Symptom {
	f := p.fields(n, "symptom", "from", "to", "expect", "protocol", "host", "address")
	s := &Symptom{
		From: p.must(n, f["from"], "symptom.from"), To: p.must(n, f["to"], "symptom.to"), Expect: p.must(n, f["expect"], "symptom.expect"),
		Protocol: p.oneOf(f["protocol"], "symptom.protocol", "tcp", "udp"), Host: p.str(f["host"], "symptom.host"), Address: p.str(f["address"], "symptom.address"),
	}
	if word := strings.TrimPrefix(s.Expect, "some-"); word != "" && !slices.Contains(symptoms, word) && !httpSymptom.MatchString(word) {
		p.fail(f["expect"], "symptom.expect: %q is none of %s, http-NNN, or one of them after some-", s.Expect, strings.Join(symptoms, ", "))
	}
	return s
}

func (p *parser) question(root *yaml.Node, f map[string]*yaml.Node, s *Scenario) {
	for _, verb := range []string{"ask", "watch", "check", "reach"} {
		n := f[verb]
		if n == nil {
			continue
		}
		if s.Question.Verb != "" {
			p.fail(n, "one of ask, watch, check, reach is wanted, not two")
			return
		}
		q := &s.Question
		if verb == "check" && n.Kind == yaml.ScalarNode && (n.Tag == "!!bool" || n.Tag == "!!null") {
			q.Verb = verb
			continue
		}
		keys := []string{"from", "to", "protocol", "host", "address", "via"}
		switch verb {
		case "watch":
			keys = append(keys, "for", "every", "beside")
		case "check":
			keys = []string{"namespace"}
		case "reach":
			keys = []string{"from", "to", "protocol", "namespace", "file"}
		}
		qf := p.fields(n, verb, keys...)
		q.Verb = verb
		if verb == "ask" {
			q.Verb = "why"
		}
		q.From, q.To = p.str(qf["from"], verb+".from"), p.str(qf["to"], verb+".to")
		if verb == "ask" || verb == "watch" {
			q.From, q.To = p.must(n, qf["from"], verb+".from"), p.must(n, qf["to"], verb+".to")
		}
		q.Protocol = p.oneOf(qf["protocol"], verb+".protocol", "tcp", "udp")
		q.Host, q.Address = p.str(qf["host"], verb+".host"), p.str(qf["address"], verb+".address")
		q.Via = p.oneOf(qf["via"], verb+".via", "app")
		q.For, q.Every = p.duration(qf["for"], verb+".for", 0), p.duration(qf["every"], verb+".every", 0)
		q.Beside = p.strs(qf["beside"], verb+".beside")
		q.Namespace, q.File = p.str(qf["namespace"], verb+".namespace"), p.str(qf["file"], verb+".file")
	}
	if s.Question.Verb == "" {
		p.fail(root, "one of ask, watch, check, reach is missing")
	}
}

// Hops are the places where a packet can die.
var Hops = []string{
	"app", "dns", "policy", "pod", "cni", "service", "kube-proxy", "node-kernel", "node-resource", "masquerade", "nsg", "route", "appliance",
	"snat", "natgw", "lb", "gateway", "tls", "http", "endpoint", "control-plane",
}

func (p *parser) expect(n *yaml.Node) Expect {
	f := p.fields(n, "expect", "works", "persistence", "cause", "causes", "subject", "subjects", "hop", "hops", "evidence", "also", "not", "notSubjects")
	e := Expect{
		Works:       p.oneOf(f["works"], "expect.works", "true", "false", "slow"),
		Persistence: p.oneOf(f["persistence"], "expect.persistence", "persistent", "intermittent", "recovered", "none"),
		Cause:       p.str(f["cause"], "expect.cause"), Causes: p.strs(f["causes"], "expect.causes"),
		Subject: p.str(f["subject"], "expect.subject"), Subjects: p.strs(f["subjects"], "expect.subjects"),
		Hop: p.oneOf(f["hop"], "expect.hop", Hops...), Hops: p.strs(f["hops"], "expect.hops"),
		Evidence: p.strs(f["evidence"], "expect.evidence"), Also: p.strs(f["also"], "expect.also"),
		Not: p.strs(f["not"], "expect.not"), NotSubjects: p.strs(f["notSubjects"], "expect.notSubjects"),
	}
	for _, pair := range [][2]string{{"cause", "causes"}, {"subject", "subjects"}, {"hop", "hops"}} {
		if f[pair[0]] != nil && f[pair[1]] != nil {
			p.fail(f[pair[1]], "expect: %s and %s exclude each other", pair[0], pair[1])
		}
	}
	for _, hop := range e.Hops {
		if !slices.Contains(Hops, hop) {
			p.fail(f["hops"], "expect.hops: %q is none of %s", hop, strings.Join(Hops, ", "))
		}
	}
	for _, group := range [][]string{{e.Subject}, e.Subjects, e.Also, e.NotSubjects} {
		for _, ref := range group {
			if ref != "" && !strings.Contains(ref, "/") {
				p.fail(n, "expect: %q is not a subject: write KIND/NAME, as nsg/NAME/RULE or pod/NS/NAME", ref)
			}
		}
	}
	if e.Works == "" && f["works"] == nil && !e.Fault() && len(e.Also) == 0 {
		p.fail(n, "expect holds no truth to judge by: say works, or a subject and hop")
	}
	return e
}
