package report

import (
	"bytes"
	"encoding"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var update = flag.Bool("update", false, "rewrite the expected output and the published schema")

func sample() *Report {
	dst := netip.MustParseAddrPort("203.0.113.10:443")
	c := &model.Case{
		Question: model.Question{
			From: model.Endpoint{Raw: "shop/deploy/checkout", Kind: "deployment", Namespace: "shop", Name: "checkout"},
			To:   model.Endpoint{Raw: "https://pay.example", Kind: "url", Host: "pay.example", Port: 443, Scheme: "https"}, Protocol: "tcp",
		},
		Asked: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		World: model.World{Gaps: []model.Gap{{
			What: "route table rt-nodes", Reason: "403 AuthorizationFailed",
			Permission: "Microsoft.Network/routeTables/read on /subscriptions/s/resourceGroups/g",
		}}},
		Paths: []model.Path{{
			Verdict: model.Drop,
			Steps: []model.Step{
				{Hop: model.HopPod, At: "pod/shop/checkout-1", Title: "pod shop/checkout-1 on node n1", Verdict: model.Pass},
				{
					Hop: model.HopNSG, At: "nsg/nsg-nodes", Title: "NSG nsg-nodes on subnet snet-nodes, outbound", Verdict: model.Drop, Decided: "nsg/nsg-nodes/DenyWeb",
					Reason: "rule DenyWeb (priority 200) denies Tcp to Internet:443",
				},
				{Hop: model.HopRoute, At: "subnet/v/snet-nodes", Title: "route choice", Verdict: model.Unknown, Reason: "route table rt-nodes could not be read"},
			},
		}},
		Observations: []model.Observation{
			{
				Vantage: model.VantagePod, From: "pod/shop/checkout-1", Via: "ephemeral", Target: "https://pay.example", Address: dst, Result: model.TimedOut, Failed: "tcp", Took: 3300 * time.Millisecond,
				Phases: []model.Phase{{Name: "dns", Result: model.OK, Duration: 3 * time.Millisecond}, {Name: "tcp", Result: model.TimedOut, Duration: 3300 * time.Millisecond}},
			},
			{
				Vantage: model.VantageHere, Target: "https://pay.example", Address: dst, Result: model.OK, Took: 20 * time.Millisecond,
				Phases: []model.Phase{{Name: "tcp", Result: model.OK, Duration: time.Millisecond}}, HTTP: &model.HTTPAnswer{Status: 200, Answered: "origin"},
			},
		},
		Notes: []string{"the ephemeral container podpath-probe stays listed in pod shop/checkout-1"},
	}
	return New(c, diagnose.Result{Works: "false", Persistence: "persistent", Causes: []diagnose.Finding{{
		Rule: "nsg-denies", Subject: "nsg/nsg-nodes/DenyWeb", Hop: model.HopNSG, Confidence: diagnose.Proven, Title: "Rule DenyWeb of NSG nsg-nodes denies TCP 443 to the internet",
		Summary:  "An NSG drops silently: the client sees a time-out.",
		Evidence: []diagnose.Evidence{{Text: "priority 200, outbound, Tcp, Internet:443, Deny", Source: "arm"}}, Explains: true,
		Fix: []diagnose.Command{{Text: "Allow the destination ahead of it", Line: "az network nsg rule create --nsg-name nsg-nodes --name AllowPay --priority 190", Verify: "kubectl podpath why shop/deploy/checkout https://pay.example"}},
	}}})
}

func render(t *testing.T, r *Report, format string, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, format, r, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, o := range map[string]Options{"text": {}, "wide": {}, "json": {}, "yaml": {}, "mermaid": {}, "narrow": {Width: 50}, "ascii": {ASCII: true}, "color": {Color: true}} {
		format := name
		if name == "narrow" || name == "ascii" || name == "color" {
			format = "text"
		}
		got := render(t, sample(), format, o)
		file := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs from %s; read it, then go test -update:\n%s", name, file, got)
		}
	}
}

// TestTwinIsNotThePod: what podpath's own pod saw in the place of the user's is told as that.
func TestTwinIsNotThePod(t *testing.T) {
	r := sample()
	if out := render(t, r, "text", Options{}); strings.Contains(out, "twin") {
		t.Errorf("no twin was made:\n%s", out)
	}
	r.Observations[0].Via = "twin"
	if out := render(t, r, "text", Options{}); !strings.Contains(out, "twin of pod shop/checkout-1") {
		t.Errorf("the twin is told as the pod:\n%s", out)
	}
	if got := diagnose.PlaceOf(&r.Observations[0]); got != "a twin of the pod (shop/checkout-1)" {
		t.Error(got)
	}
}

// TestSeveralAddresses: which of them failed is what is told.
func TestSeveralAddresses(t *testing.T) {
	r := sample()
	good := r.Observations[0]
	good.Address, good.Result, good.Failed, good.Took = netip.MustParseAddrPort("203.0.113.99:443"), model.OK, "", 5*time.Millisecond
	good.Phases = []model.Phase{{Name: "tcp", Result: model.OK, Duration: time.Millisecond}}
	r.Observations = append([]model.Observation{good}, r.Observations...)
	out := render(t, r, "text", Options{Width: 200})
	head, _, _ := strings.Cut(out, "\n")
	if !strings.Contains(head, "FAILS  timeout at tcp with "+r.Observations[1].Address.String()) {
		t.Errorf("the head tells of the address that answers: %s", head)
	}
	if !strings.Contains(out, "pod shop/checkout-1 · 203.0.113.99: tcp 1 ms") || !strings.Contains(out, "pod shop/checkout-1 · "+r.Observations[1].Address.Addr().String()+": dns") {
		t.Errorf("the lines do not say which address:\n%s", out)
	}
	r.Works = "true"
	if head, _, _ = strings.Cut(render(t, r, "text", Options{Width: 200}), "\n"); !strings.Contains(head, "answered in 5 ms") {
		t.Errorf("it works: %s", head)
	}
}

func TestRedirectIsShown(t *testing.T) {
	r := sample()
	h := r.Observations[1].HTTP
	h.Status, h.Header = 302, map[string]string{"Location": "https://login.example/authorize?state=hunter2\x1b[31m#hunter2"}
	r.Observations[1].Phases = append(r.Observations[1].Phases, model.Phase{Name: "http", Result: model.OK, Duration: time.Millisecond})
	out := render(t, r, "text", Options{Width: 400})
	if !strings.Contains(out, "http 302 1 ms that sends to https://login.example/authorize?state=[redacted] (not followed)") || strings.Contains(out, "hunter2") || strings.Contains(out, "\x1b") {
		t.Error(out)
	}
	h.Status = 200
	if out := render(t, r, "text", Options{}); strings.Contains(out, "sends to") {
		t.Errorf("only a redirect's Location sends somewhere:\n%s", out)
	}
}

func TestTerminalIsSafe(t *testing.T) {
	r := sample()
	evil := "x\x1b]0;owned\x07\u202e\x9b31m\ny"
	r.Question.To.Raw = evil
	r.Causes[0].Title, r.Causes[0].Evidence[0].Text, r.Causes[0].Fix[0].Line = evil, evil, evil
	r.NotChecked[0].Reason, r.Notes[0], r.Paths[0].Steps[0].Title, r.Observations[0].Detail = evil, evil, evil, evil
	for _, format := range []string{"text", "wide", "mermaid"} {
		out := render(t, r, format, Options{})
		if strings.ContainsAny(out, "\x1b\x07\u202e\u009b") {
			t.Errorf("%s lets control characters through: %q", format, out)
		}
	}
}

func TestNarrowAndPlain(t *testing.T) {
	for _, line := range strings.Split(render(t, sample(), "text", Options{Width: 60, ASCII: true}), "\n") {
		if strings.Contains(line, "$ ") {
			continue // commands are not wrapped
		}
		if w := ansi.StringWidth(line); w > 60 {
			t.Errorf("%d columns: %q", w, line)
		}
		for _, r := range line {
			if r > 0x7e {
				t.Errorf("not ASCII: %q", line)
				break
			}
		}
	}
}

func TestExitCodes(t *testing.T) {
	cause := func(c diagnose.Confidence) []diagnose.Finding { return []diagnose.Finding{{Confidence: c}} }
	for _, c := range []struct {
		r    diagnose.Result
		want int
	}{
		{diagnose.Result{Works: "true"}, ExitWorks},
		{diagnose.Result{Works: "false", Causes: cause(diagnose.Proven)}, ExitCause},
		{diagnose.Result{Works: "false", Causes: cause(diagnose.Possible)}, ExitNoCause},
		{diagnose.Result{Works: "false"}, ExitNoCause},
		{diagnose.Result{Works: "unknown"}, ExitNoCause},
		{diagnose.Result{Works: "unknown", Causes: cause(diagnose.Likely)}, ExitCause},
		{diagnose.Result{Works: "slow"}, ExitWorks},
	} {
		if got := exitCode(c.r); got != c.want {
			t.Errorf("%+v: exit %d, want %d", c.r, got, c.want)
		}
	}
}

// asText maps the types that write themselves as text.
func asText(t reflect.Type) *jsonschema.Schema {
	if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) && t != reflect.TypeFor[time.Time]() {
		return &jsonschema.Schema{Type: "string"}
	}
	return nil
}

const schemaFile = "../../docs/schema/report.json"

func TestSchemaIsPublished(t *testing.T) {
	re := jsonschema.Reflector{Anonymous: true, AllowAdditionalProperties: true, Mapper: asText}
	s := re.Reflect(&Report{})
	s.ID, s.Title = "https://podpath.dev/schema/report.json", "podpath report, podpath/v1"
	got, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(schemaFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the types say: go test ./internal/report -update", schemaFile)
	}
}

func TestReportMeetsSchema(t *testing.T) {
	schema, err := validator.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := validator.UnmarshalJSON(strings.NewReader(render(t, sample(), "json", Options{})))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		t.Error(err)
	}
	doc.(map[string]any)["works"] = 7
	if schema.Validate(doc) == nil {
		t.Error("the schema accepts a number for works")
	}
}
