package diagnose

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"nsg-aks":                "nsg-aks",
		"":                       "''",
		"a b":                    "'a b'",
		"x'; rm -rf / #":         `'x'\''; rm -rf / #'`,
		"$(reboot)":              "'$(reboot)'",
		"*":                      "'*'",
		"bell\a\x1b[31mred":      "'bell[31mred'",
		"https://a.test/p?q=1&x": "'https://a.test/p?q=1&x'",
	} {
		if got := Quote(in); got != want {
			t.Errorf("Quote(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestArm(t *testing.T) {
	id := "/subscriptions/s-1/resourceGroups/my rg/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
	if got, want := ParseArmID(id), (ArmID{"s-1", "my rg", "s", "v"}); got != want {
		t.Errorf("ParseArmID = %+v, want %+v", got, want)
	}
	if got, want := Az("network vnet subnet show", id, "--name", "s"), "az network vnet subnet show --name s --resource-group 'my rg' --subscription s-1"; got != want {
		t.Errorf("Az = %s, want %s", got, want)
	}
	if got := ParseArmID("nonsense"); got.Name != "nonsense" || got.Group != "" {
		t.Errorf("ParseArmID of nonsense = %+v", got)
	}
	if got, want := KubectlFor("deployment/shop/web", "edit"), "kubectl -n shop edit deployment web"; got != want {
		t.Errorf("KubectlFor = %s, want %s", got, want)
	}
}

func page(title string) string { return title + "\n\nWhat it is.\n\nLook-alikes.\n\nMend it.\n" }

func TestValidate(t *testing.T) {
	good := Rule{ID: "a-rule", Doc: page("A rule"), Hop: model.HopNSG, Run: func(*Pass) {}}
	if err := Validate([]Rule{good}); err != nil {
		t.Errorf("a good rule is refused: %v", err)
	}
	for name, c := range map[string]struct {
		change func(*Rule)
		want   string
	}{
		"id":         {func(r *Rule) { r.ID = "A Rule" }, "lower-case"},
		"title":      {func(r *Rule) { r.Doc = page("A rule.") }, "full stop"},
		"page":       {func(r *Rule) { r.Doc = "A rule" }, "look-alikes"},
		"run":        {func(r *Rule) { r.Run = nil }, "Run is missing"},
		"hop":        {func(r *Rule) { r.Hop = "" }, "Hop is missing"},
		"covers":     {func(r *Rule) { r.Covers = []string{"Not An Id"} }, "Covers"},
		"under":      {func(r *Rule) { r.Under = []string{"nothing"} }, "which is no rule"},
		"under self": {func(r *Rule) { r.Under = []string{"a-rule"} }, "circle"},
	} {
		r := good
		c.change(&r)
		if err := Validate([]Rule{r}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one that holds %q", name, err, c.want)
		}
	}
	if err := Validate([]Rule{good, good}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("two rules with one id: %v", err)
	}
}

// rule reports one finding.
func rule(id string, f Finding, change ...func(*Rule)) Rule {
	r := Rule{ID: id, Doc: page("Title of " + id), Hop: model.HopNSG, Sees: Silence, Run: func(p *Pass) { p.Report(f) }}
	for _, c := range change {
		c(&r)
	}
	return r
}

var address = netip.MustParseAddrPort("203.0.113.10:443")

func seen(v model.Vantage, failed string, result model.Reason) model.Observation {
	o := model.Observation{Vantage: v, Purpose: "question", Address: address, Failed: failed, Result: result}
	if result == "" {
		o.Result = model.OK
	}
	return o
}

func caseOf(obs ...model.Observation) *model.Case {
	return &model.Case{
		Question: model.Question{From: model.Endpoint{Kind: "pod", Namespace: "shop", Name: "web"}, To: model.Endpoint{Kind: "url", Host: "a.test", Scheme: "https"}},
		Paths:    []model.Path{{Flow: model.Flow{From: "pod/shop/web", Dst: address.Addr(), DstPort: 443}, Verdict: model.Pass}}, Observations: obs,
	}
}

func ids(findings []Finding) string {
	var out []string
	for _, f := range findings {
		out = append(out, f.Rule+" "+f.Confidence.String())
	}
	return strings.Join(out, ", ")
}

func TestRanking(t *testing.T) {
	silent := seen(model.VantagePod, "tcp", model.TimedOut)
	refused := seen(model.VantagePod, "tcp", model.Refused)
	last := func(r *Rule) { r.LastResort = true }
	under := func(id string) func(*Rule) { return func(r *Rule) { r.Under = []string{id} } }
	hop := func(h model.Hop) func(*Rule) { return func(r *Rule) { r.Hop = h } }
	likely := Finding{Subject: "nsg/b", Confidence: Likely}
	for name, c := range map[string]struct {
		obs          []model.Observation
		rules        []Rule
		causes, also string
		works        string
	}{
		"sure before unsure":             {[]model.Observation{silent}, []Rule{rule("a", likely), rule("b", Finding{})}, "b proven, a likely", "", "false"},
		"earlier hop first":              {[]model.Observation{silent}, []Rule{rule("a", Finding{}, hop(model.HopRoute)), rule("b", Finding{}, hop(model.HopPolicy))}, "b proven, a proven", "", "false"},
		"explains nothing":               {[]model.Observation{refused}, []Rule{rule("a", Finding{})}, "", "a likely", "false"},
		"a symptom is hidden":            {[]model.Observation{silent}, []Rule{rule("a", Finding{}, under("b")), rule("b", likely)}, "b likely", "", "false"},
		"not by a mere possibility":      {[]model.Observation{silent}, []Rule{rule("a", Finding{}, under("b")), rule("b", Finding{Confidence: Possible})}, "a proven, b possible", "", "false"},
		"last resort is not asked":       {[]model.Observation{silent}, []Rule{rule("a", Finding{}, last), rule("b", Finding{})}, "b proven", "", "false"},
		"last resort is asked":           {[]model.Observation{silent}, []Rule{rule("a", Finding{}, last), rule("b", Finding{Confidence: Possible})}, "a proven, b possible", "", "false"},
		"nothing where it works":         {[]model.Observation{seen(model.VantagePod, "", "")}, []Rule{rule("a", Finding{})}, "", "", "true"},
		"no probe, no proof":             {nil, []Rule{rule("a", Finding{})}, "a likely", "", "false"},
		"no probe, nothing found":        {nil, nil, "", "", "unknown"},
		"a probe that could not be":      {[]model.Observation{seen(model.VantagePod, "tcp", model.ProbeFailed)}, nil, "", "", "unknown"},
		"the asking side does not run":   {[]model.Observation{seen(model.VantagePod, "", "")}, []Rule{rule("a", Finding{}, func(r *Rule) { r.EvenIfItWorks, r.Sees = true, nil })}, "a proven", "", "false"},
		"judged by the rule itself":      {[]model.Observation{refused}, []Rule{rule("a", Finding{}, func(r *Rule) { r.Sees = nil })}, "a proven", "", "false"},
		"one finding for one subject":    {[]model.Observation{silent}, []Rule{{ID: "a", Hop: model.HopNSG, Sees: Silence, Run: func(p *Pass) { p.Report(likely); p.Report(Finding{Subject: "nsg/b"}) }}}, "a proven", "", "false"},
		"other vantages do not decide":   {[]model.Observation{seen(model.VantageNode, "tcp", model.TimedOut), seen(model.VantagePod, "", "")}, []Rule{rule("a", Finding{})}, "", "", "true"},
		"IPv6 beside an IPv4 that works": {[]model.Observation{{Vantage: model.VantagePod, Failed: "tcp", Result: model.NoRoute, Address: netip.MustParseAddrPort("[2001:db8::1]:443")}, seen(model.VantagePod, "", "")}, []Rule{rule("a", Finding{})}, "", "", "true"},
		"controls are not the question":  {[]model.Observation{{Vantage: model.VantagePod, Purpose: "control:other-port", Failed: "tcp", Result: model.TimedOut}, seen(model.VantagePod, "", "")}, []Rule{rule("a", Finding{})}, "", "", "true"},
	} {
		t.Run(name, func(t *testing.T) {
			res := RunWith(caseOf(c.obs...), c.rules, nil)
			if ids(res.Causes) != c.causes || ids(res.Also) != c.also || res.Works != c.works {
				t.Errorf("causes %q also %q works %s; want %q, %q, %s", ids(res.Causes), ids(res.Also), res.Works, c.causes, c.also, c.works)
			}
		})
	}
}

// step makes a way of steps; the last one drops.
func broken(steps ...model.Step) *model.Case {
	c := caseOf(seen(model.VantagePod, "tcp", model.TimedOut))
	c.Paths[0].Steps, c.Paths[0].Verdict = steps, model.Drop
	return c
}

var atNSG = Rule{ID: "a", Hop: model.HopNSG, Sees: Silence, Run: func(p *Pass) {
	p.Broken(model.HopNSG, func(w Way, s *model.Step) { p.ReportAt(w, s, Finding{}) })
}}

var dropped = model.Step{Hop: model.HopNSG, At: "nsg/n", Decided: "nsg/n/Deny", Verdict: model.Drop, Title: "NSG n", Reason: "Deny matches"}

func TestUnknownBeforeADropLowersIt(t *testing.T) {
	gap := model.Gap{What: "network policies", Ref: "networkpolicy", Reason: "403"}
	c := broken(model.Step{Hop: model.HopPolicy, Gaps: []model.Gap{gap}}, dropped)
	res := RunWith(c, []Rule{atNSG}, nil)
	if ids(res.Causes) != "a likely" || !slices.Contains(res.Causes[0].Gaps, gap) {
		t.Errorf("%s with gaps %v; what was not read before the drop must lower it, and be named", ids(res.Causes), res.Causes[0].Gaps)
	}
	if res = RunWith(broken(dropped), []Rule{atNSG}, nil); ids(res.Causes) != "a proven" || res.Causes[0].Subject != "nsg/n/Deny" {
		t.Errorf("without a gap: %s", ids(res.Causes))
	}
}

func TestGotPastADropRefutesIt(t *testing.T) {
	c := broken(dropped)
	c.Observations[0] = seen(model.VantagePod, "http", model.HTTPStatus)
	res := RunWith(c, []Rule{atNSG}, nil)
	if len(res.Causes)+len(res.Also) > 0 || len(res.Disagreements) != 1 {
		t.Errorf("causes %s, also %s, %d disagreements; the probe got past that line", ids(res.Causes), ids(res.Also), len(res.Disagreements))
	}
	c.Observations[0] = seen(model.VantagePod, "", "")
	if res = RunWith(c, []Rule{atNSG}, nil); res.Works != "true" || len(res.Causes) > 0 || len(res.Disagreements) != 1 {
		t.Errorf("works %s, causes %s, %d disagreements", res.Works, ids(res.Causes), len(res.Disagreements))
	}
}

func TestThroughElsewhereMakesItDoubtful(t *testing.T) {
	c := broken(dropped)
	node := seen(model.VantageNode, "", "")
	node.From = "node/n1"
	c.Observations = append(c.Observations, node)
	predict := func(f model.Flow) model.Path {
		return model.Path{Flow: f, Steps: []model.Step{dropped}, Verdict: model.Drop}
	}
	res := RunWith(c, []Rule{atNSG}, predict)
	if ids(res.Causes) != "a possible" {
		t.Errorf("%s; the same line should have stopped the node's probe, which got through", ids(res.Causes))
	}
}

func TestWhatComesNextIsListedApart(t *testing.T) {
	c := broken(model.Step{Hop: model.HopPolicy, At: "pod/shop/web", Decided: "networkpolicy/shop/deny", Verdict: model.Drop})
	c.Paths[0].After = []model.Step{dropped}
	res := RunWith(c, []Rule{atNSG}, nil)
	if len(res.Causes) != 0 || ids(res.Also) != "a likely" {
		t.Errorf("causes %q, also %q", ids(res.Causes), ids(res.Also))
	}
}

func TestSkipped(t *testing.T) {
	gap := model.Gap{What: "NSG n", Ref: "nsg/n", Reason: "403", Permission: "Microsoft.Network/networkSecurityGroups/read"}
	silentRule := Rule{ID: "a", Hop: model.HopNSG, Sees: Silence, Needs: []string{"nsg", "nodefacts", "probe:here"}, Run: func(*Pass) {}}
	c := broken(model.Step{Hop: model.HopNSG, At: "nsg/n", Gaps: []model.Gap{gap}})
	c.World.Gaps = []model.Gap{gap, {What: "NSG other", Ref: "nsg/other", Reason: "403"}}
	res := RunWith(c, []Rule{silentRule}, nil)
	want := []Skip{
		{Rule: "a", Why: "NSG n: 403", Permission: gap.Permission, Ref: "nsg/n"},
		{Rule: "a", Why: "a probe from this machine: none was sent"},
	}
	if !slices.Equal(res.Skipped, want) {
		t.Errorf("skipped %+v, want %+v: only what lies on this way", res.Skipped, want)
	}
	c.Observations[0] = seen(model.VantagePod, "tcp", model.Refused)
	if res = RunWith(c, []Rule{silentRule}, nil); len(res.Skipped) > 0 {
		t.Errorf("skipped %+v although it would not explain a refusal, whatever it read", res.Skipped)
	}
}

func TestPersistence(t *testing.T) {
	bad, good := seen(model.VantagePod, "tcp", model.TimedOut), seen(model.VantagePod, "", "")
	other := good
	other.Address = netip.MustParseAddrPort("203.0.113.11:443")
	for name, c := range map[string]struct {
		obs  []model.Observation
		want string
	}{
		"works": {[]model.Observation{good, good}, "none"}, "fails": {[]model.Observation{bad, bad}, "persistent"},
		"sometimes": {[]model.Observation{bad, good}, "intermittent"}, "one of two addresses": {[]model.Observation{bad, other}, "persistent"},
		"nobody asked": {nil, "unknown"},
	} {
		if got := RunWith(caseOf(c.obs...), nil, nil).Persistence; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// What comes back with the next occasion is not over because the last one is.
func TestReturns(t *testing.T) {
	c := caseOf(seen(model.VantagePod, "tcp", model.TimedOut))
	for i := range 100 {
		one := model.Try{At: time.Unix(int64(i), 0), Vantage: model.VantagePod, Purpose: "question", Address: address, Result: model.OK}
		if i < 5 {
			one.Result, one.Failed = model.TimedOut, "tcp"
		}
		c.Tries = append(c.Tries, one)
	}
	for returns, want := range map[bool]string{false: "true recovered", true: "false intermittent"} {
		res := RunWith(c, []Rule{rule("a", Finding{Subject: "pod/shop/web", Returns: returns})}, nil)
		if got := res.Works + " " + res.Persistence; got != want {
			t.Errorf("returns %t: %s, want %s", returns, got, want)
		}
	}
}

func TestSlow(t *testing.T) {
	o := seen(model.VantagePod, "", "")
	o.Phases = []model.Phase{{Name: "http", Result: model.OK, Duration: 3 * time.Second}}
	if got := RunWith(caseOf(o), nil, nil).Works; got != "slow" {
		t.Errorf("works = %s, want slow", got)
	}
	o.Phases = append(o.Phases, model.Phase{Name: "tls", Result: model.OK, Duration: 2 * time.Second})
	if got := RunWith(caseOf(o), nil, nil).Works; got != "true" {
		t.Errorf("works = %s, want true: a busy machine is slow in every phase", got)
	}
}

func TestNarrowed(t *testing.T) {
	bad := func(v model.Vantage) model.Observation { return seen(v, "tcp", model.TimedOut) }
	good := func(v model.Vantage) model.Observation { return seen(v, "", "") }
	pod, peer, node, other, here := model.VantagePod, model.VantagePeer, model.VantageNode, model.VantageOtherNode, model.VantageHere
	for want, obs := range map[string][]model.Observation{
		"what differs is this pod":   {bad(pod), good(peer), good(node)},
		"lost inside this node":      {bad(pod), bad(peer), good(node), good(other)},
		"treated otherwise than":     {bad(pod), good(node), bad(other)},
		"this node or its subnet":    {bad(pod), bad(node), good(other)},
		"the cluster's way out":      {bad(pod), bad(node), bad(other), good(here)},
		"nothing that they share":    {bad(pod), bad(node), bad(here)},
		"between the pod and the no": {bad(pod), good(node)},
	} {
		res := RunWith(caseOf(obs...), nil, nil)
		if len(res.Narrowed) != 1 || !strings.Contains(res.Narrowed[0], want) {
			t.Errorf("narrowed to %q, want %q", res.Narrowed, want)
		}
	}
	if res := RunWith(caseOf(bad(pod)), nil, nil); len(res.Narrowed) > 0 {
		t.Errorf("narrowed to %q by one answer alone", res.Narrowed)
	}
}

// TestNotNarrowed: places that failed for their own reasons, or went different
// ways, tell nothing about each other.
func TestNotNarrowed(t *testing.T) {
	at := func(v model.Vantage, result model.Reason, proxy string) model.Observation {
		o := seen(v, "tcp", result)
		if result == model.OK {
			o.Failed = ""
		}
		o.Proxy = proxy
		return o
	}
	pod, node, here := model.VantagePod, model.VantageNode, model.VantageHere
	const proxy = "http://proxy.test:3128"
	for name, obs := range map[string][]model.Observation{
		"nobody has a route":             {at(pod, model.NoRoute, ""), at(node, model.NoRoute, ""), at(here, model.NoRoute, "")},
		"here goes past the proxy":       {at(pod, model.TimedOut, proxy), at(node, model.TimedOut, proxy), at(here, model.OK, "")},
		"here fails, past the proxy":     {at(pod, model.TimedOut, proxy), at(node, model.TimedOut, proxy), at(here, model.TimedOut, "")},
		"the node works, past the proxy": {at(pod, model.TimedOut, proxy), at(node, model.OK, "")},
	} {
		if res := RunWith(caseOf(obs...), nil, nil); len(res.Narrowed) > 0 {
			t.Errorf("%s: narrowed to %q", name, res.Narrowed)
		}
	}
}

// TestRuledOut: only lines that decided exclude a cause.
func TestRuledOut(t *testing.T) {
	step := func(hop model.Hop, at, decided model.Ref, reason string) model.Step {
		return model.Step{Hop: hop, At: at, Decided: decided, Title: string(hop), Reason: reason, Verdict: model.Pass}
	}
	c := caseOf(seen(model.VantagePod, "tcp", model.TimedOut))
	c.Paths[0].Egress = []netip.Addr{netip.MustParseAddr("192.0.2.10")}
	c.Paths[0].Steps = []model.Step{
		step(model.HopPod, "pod/shop/web", "", "it sends from 10.0.0.7"),
		step(model.HopPolicy, "pod/shop/web", "", "no policy selects it"),
		step(model.HopNodeKernel, "node/n1", "", "it forwards"),
		step(model.HopNodeKernel, "node/n2", "", "nobody looked"),
		step(model.HopNSG, "nsg/n", "nsg/n/Allow", "rule Allow"),
		step(model.HopAppliance, "firewall/f", "firewallpolicy/f/a", "rule a allows it"),
		step(model.HopAppliance, "firewall/f", "", "it answers"),
		step(model.HopSNAT, "loadbalancer/l/r", "loadbalancer/l/r", "1024 ports for each of 2 machines"),
		step(model.HopEndpoint, "host/a.test", "", "whether it answers is for a probe to tell"),
	}
	c.World.Nodes = map[string]*model.NodeFacts{"n1": {Node: "n1"}}
	want := []string{"policy: no policy selects it", "node-kernel: it forwards", "nsg: rule Allow", "appliance: rule a allows it", "snat: there is a public address to send from (192.0.2.10)"}
	if got := RunWith(c, nil, nil).RuledOut; !slices.Equal(got, want) {
		t.Errorf("ruled out:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestJSON(t *testing.T) {
	res := RunWith(broken(dropped), []Rule{atNSG}, nil)
	data, err := json.Marshal(res.Causes)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"rule":"a"`, `"subject":"nsg/n/Deny"`, `"hop":"nsg"`, `"confidence":"proven"`, `"evidence":[{"text":`, `"explains":true`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in %s", want, data)
		}
	}
	var back []Finding
	if err := json.Unmarshal(data, &back); err != nil || back[0].Confidence != Proven {
		t.Errorf("read back: %v %v", back, err)
	}
	if data, err = json.Marshal(RunWith(caseOf(), nil, nil)); err != nil || !strings.Contains(string(data), `"causes":[]`) {
		t.Errorf("no causes must be an empty list, not null: %s %v", data, err)
	}
}

func TestNullEntriesAreNoObjects(t *testing.T) {
	c := caseOf(seen(model.VantagePod, "tcp", model.TimedOut))
	c.World.Azure.NSGs = map[string]*model.NSG{"x": nil}
	c.World.Kube.Pods = map[model.Ref]*model.Pod{"pod/shop/web": nil}
	r := Rule{ID: "a", Hop: model.HopNSG, Run: func(p *Pass) {
		if len(p.Case.World.Azure.NSGs)+len(p.Case.World.Kube.Pods) > 0 || p.Pod() != nil {
			t.Error("an empty entry reached a rule")
		}
	}}
	RunWith(c, []Rule{r}, nil)
	if len(c.World.Azure.NSGs) != 1 {
		t.Error("the case itself was changed")
	}
}
