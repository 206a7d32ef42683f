package ruletest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
)

// Spec is one case as a file writes it: a base world, what is changed in it,
// what was asked, and what the probes saw.
type Spec struct {
	Base    string           `json:"base"` // CNI/OUTBOUND; default overlay/loadBalancer
	Ask     Ask              `json:"ask"`
	Patch   map[string]any   `json:"patch"`   // merge patch (RFC 7396) on the world
	Observe []map[string]any `json:"observe"` // model.Observation; From, Target, Address, Phases are filled in
	Tries   []Tries          `json:"tries"`   // what a series told
	Instead string           `json:"instead"` // of a near miss: the rule that explains it

	Noise   []model.Noise            `json:"noise"`   // of the probers of a series
	Lookups map[model.Vantage]string `json:"lookups"` // of a series: how the name's lookup fared, one character a try
}

// Ask is the question.
type Ask struct {
	From     string `json:"from"` // default shop/deploy/checkout
	To       string `json:"to"`   // default https://api.partner.test
	Dst      string `json:"dst"`  // where it leads; default 198.51.100.10 and the question's port
	Host     string `json:"host"`
	Address  string `json:"address"`
	Protocol string `json:"protocol"`
}

// Parse reads a case. base, when given, is the case that it varies: what it
// leaves out is taken from there, and patches are applied one after the other.
func Parse(text []byte, base *Spec) (*Spec, error) {
	var s Spec
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return nil, err
	}
	if base == nil {
		return &s, nil
	}
	if s.Base == "" {
		s.Base = base.Base
		s.Patch, _ = mergePatch(clone(base.Patch), s.Patch).(map[string]any)
	}
	if s.Ask == (Ask{}) {
		s.Ask = base.Ask
	}
	if s.Observe == nil {
		s.Observe = base.Observe
	}
	if s.Tries == nil {
		s.Tries, s.Noise = base.Tries, base.Noise
	}
	if s.Lookups == nil {
		s.Lookups = base.Lookups
	}
	return &s, nil
}

func clone(m map[string]any) map[string]any {
	data, err := json.Marshal(m)
	if err != nil {
		return nil
	}
	var out map[string]any
	if json.Unmarshal(data, &out) != nil {
		return nil
	}
	return out
}

// mergePatch keeps null in a patch of a patch, so that it still removes.
func mergePatch(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		if patch == nil {
			return target
		}
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok || t == nil {
		t = map[string]any{}
	}
	for k, v := range p {
		if v == nil {
			t[k] = nil
			continue
		}
		t[k] = mergePatch(t[k], v)
	}
	return t
}

// asked is the pod, or what owns pods, that a question leads to.
func asked(q model.Question) model.Ref {
	switch q.To.Kind {
	case "pod", "deployment":
		return model.NewRef(q.To.Kind, q.To.Namespace, q.To.Name)
	}
	return ""
}

// podAddr is the address of the pod, or of the only one that the workload owns;
// not valid where it has none.
func podAddr(c *model.Case, ref model.Ref) netip.Addr {
	for _, p := range c.World.Kube.Pods {
		if (p.Ref() == ref || p.Owner == ref) && len(p.IPs) > 0 {
			return p.IPs[0]
		}
	}
	return netip.Addr{}
}

// Case builds the model's case.
func (s *Spec) Case() (*model.Case, error) {
	w, err := s.world()
	if err != nil {
		return nil, err
	}
	c := &model.Case{Version: 1, Asked: Asked, World: *w}
	if err := s.question(c); err != nil {
		return nil, err
	}
	dst, err := s.destination(c)
	if err != nil {
		return nil, err
	}
	for i, o := range s.Observe {
		one, err := observation(c, o, dst)
		if err != nil {
			return nil, fmt.Errorf("observe[%d]: %w", i, err)
		}
		c.Observations = append(c.Observations, one)
	}
	c.Noise = s.Noise
	if c.Tries, err = s.tries(c, dst); err != nil {
		return nil, err
	}
	c.Tries = slices.DeleteFunc(c.Tries, func(t model.Try) bool {
		if t.Purpose == "control:behind" {
			c.Behind = append(c.Behind, t)
			return true
		}
		return false
	})
	q := c.Question
	flow := model.Flow{Protocol: q.Protocol, Dst: dst.Addr(), DstPort: dst.Port(), Host: firstOf(q.Host, q.To.Host), Scheme: q.To.Scheme, From: sender(c)}
	if len(c.Observations) > 0 && c.Observations[0].Failed == "dns" {
		flow.Dst = netip.Addr{}
	}
	if a := c.Observations; len(a) > 0 && a[0].Address.IsValid() {
		flow.Dst, flow.DstPort = a[0].Address.Addr(), a[0].Address.Port()
	}
	if !flow.Dst.IsValid() {
		flow.To = asked(q)
	}
	c.Tries = append(c.Tries, s.lookups(c)...)
	c.Paths = []model.Path{trace.Build(&c.World).Run(flow)}
	return c, nil
}

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

func (s *Spec) world() (*model.World, error) {
	cni, outbound, _ := strings.Cut(firstOf(s.Base, "overlay/loadBalancer"), "/")
	w, err := World(cni, outbound)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	patched, err := json.Marshal(apply(doc, s.Patch))
	if err != nil {
		return nil, err
	}
	var out model.World
	dec := json.NewDecoder(bytes.NewReader(patched))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&out); err != nil {
		return nil, fmt.Errorf("the patched world: %w", err)
	}
	return &out, nil
}

// apply is RFC 7396, with two shorthands: a key may be the last part of an
// existing key ("nsg-aks" for its whole id), and "@TYPE/NAME" in a key or value
// is the id of such a resource.
func apply(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return expand(patch)
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for _, k := range slices.Sorted(maps.Keys(p)) { // "@TYPE/NAME" sorts before the short name of what it makes
		v := p[k]
		k = key(t, k)
		if v == nil {
			delete(t, k)
			continue
		}
		t[k] = apply(t[k], v)
	}
	return t
}

func key(t map[string]any, k string) string {
	if strings.HasPrefix(k, "@") {
		return strings.ToLower(resource(k))
	}
	if _, ok := t[k]; ok {
		return k
	}
	for full := range t {
		if strings.HasPrefix(full, "/subscriptions/") && strings.HasSuffix(full, "/"+strings.ToLower(k)) {
			return full
		}
	}
	return k
}

var short = regexp.MustCompile(`^@([A-Za-z]+)/([A-Za-z0-9-]+)$`)

func resource(s string) string {
	m := short.FindStringSubmatch(s)
	switch {
	case m == nil:
		return s
	case m[1] == "subnets":
		return subnetID(m[2])
	case m[1] == "virtualMachineScaleSets" || m[1] == "virtualMachines":
		return id(group, "Microsoft.Compute/"+m[1], m[2])
	}
	return id(group, "Microsoft.Network/"+m[1], m[2])
}

func expand(v any) any {
	switch v := v.(type) {
	case string:
		return resource(v)
	case []any:
		for i := range v {
			v[i] = expand(v[i])
		}
		return v
	case map[string]any:
		for k := range v {
			v[k] = expand(v[k])
		}
		return v
	}
	return v
}

func (s *Spec) question(c *model.Case) error {
	var err error
	q := &c.Question
	if q.From, err = model.ParseEndpoint(firstOf(s.Ask.From, "shop/deploy/checkout"), true); err != nil {
		return err
	}
	if q.To, err = model.ParseEndpoint(firstOf(s.Ask.To, "https://api.partner.test"), false); err != nil {
		return err
	}
	q.Protocol, q.Host = firstOf(s.Ask.Protocol, "tcp"), s.Ask.Host
	if s.Ask.Address != "" {
		q.Address, err = netip.ParseAddr(s.Ask.Address)
	}
	return err
}

func (s *Spec) destination(c *model.Case) (netip.AddrPort, error) {
	q := c.Question
	port := q.To.Port
	if port == 0 {
		port = 443
		if q.To.Scheme == "http" {
			port = 80
		}
	}
	switch {
	case s.Ask.Dst != "":
		if ap, err := netip.ParseAddrPort(s.Ask.Dst); err == nil {
			return ap, nil
		}
		a, err := netip.ParseAddr(s.Ask.Dst)
		return netip.AddrPortFrom(a, port), err
	case q.Address.IsValid():
		return netip.AddrPortFrom(q.Address, port), nil
	case q.To.Addr.IsValid():
		return netip.AddrPortFrom(q.To.Addr, port), nil
	case asked(q) != "":
		return netip.AddrPortFrom(podAddr(c, asked(q)), port), nil
	}
	return netip.AddrPortFrom(addr("198.51.100.10"), port), nil
}

// sender is the pod or node that the question starts from.
func sender(c *model.Case) model.Ref {
	from := c.Question.From
	switch from.Kind {
	case "node":
		return model.NewRef("node", from.Name)
	case "pod":
		return model.NewRef("pod", from.Namespace, from.Name)
	}
	owner := model.NewRef(from.Kind, from.Namespace, from.Name)
	var best model.Ref
	for ref, p := range c.World.Kube.Pods {
		if p.Owner == owner && (best == "" || ref < best) {
			best = ref
		}
	}
	return best
}

// places are where each vantage's probe was sent from in the base world.
var places = map[model.Vantage]model.Ref{
	model.VantagePeer: "pod/kube-system/podpath-peer", model.VantageNode: "node/aks-np-0", model.VantageOtherNode: "pod/shop/web-1",
}

// observation fills in what the shorthand leaves out: it is the question's, to
// its address, and every phase before the one that failed passed.
func observation(c *model.Case, raw map[string]any, dst netip.AddrPort) (model.Observation, error) {
	var o model.Observation
	data, err := json.Marshal(raw)
	if err != nil {
		return o, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o); err != nil {
		return o, err
	}
	if o.From == "" && o.Vantage != model.VantageHere {
		o.From = places[o.Vantage]
		if o.Vantage == model.VantagePod {
			o.From = sender(c)
		}
	}
	o.Purpose = firstOf(o.Purpose, "question")
	o.Target = firstOf(o.Target, c.Question.To.Raw)
	if o.Result == "" {
		o.Result = model.OK
	}
	if !o.Address.IsValid() && o.Failed != "dns" {
		o.Address = dst
	}
	if o.Phases == nil {
		o.Phases = phases(&o, c.Question.To)
	}
	for _, p := range o.Phases {
		o.Took += p.Duration
	}
	return o, nil
}

func phases(o *model.Observation, to model.Endpoint) []model.Phase {
	names := []string{"tcp"}
	if to.Host != "" && !to.Addr.IsValid() {
		names = []string{"dns", "tcp"}
	}
	if o.Proxy != "" {
		names = append(names, "proxy")
	}
	switch to.Scheme {
	case "https":
		names = append(names, "tls", "http")
	case "http":
		names = append(names, "http")
	}
	var out []model.Phase
	for i, name := range names {
		p := model.Phase{Name: name, Result: model.OK, Duration: time.Duration(2+3*i) * time.Millisecond}
		if name == o.Failed {
			p.Result, p.Detail = o.Result, o.Detail
			if o.Result == model.TimedOut {
				p.Duration = 3300 * time.Millisecond
			}
		}
		out = append(out, p)
		if name == o.Failed {
			break
		}
	}
	return out
}
