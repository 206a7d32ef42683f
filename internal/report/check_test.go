package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/podpath/podpath/internal/check"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// checked is a report of every kind of line, with hostile names.
func checked() *check.Report {
	service := func(name string) check.Finding {
		return check.Finding{
			Rule: "service-selects-nothing", Group: check.Services, Severity: check.Broken, Confidence: diagnose.Likely, Subject: model.NewRef("service", "orders", name), Hop: model.HopService,
			Title: "Service orders/" + name + " selects no pod: none has app=" + name, Evidence: []diagnose.Evidence{}, Fix: []diagnose.Command{},
		}
	}
	r := &check.Report{
		APIVersion: "podpath/v1", Kind: "Check", Asked: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC), Works: "false", Persistence: "persistent", ExitCode: 1,
		Cluster: check.Summary{Name: "prod-1", Location: "northeurope", Version: "v1.36.3", Network: "azure overlay, loadBalancer", Nodes: 12, Pods: 340, Services: 80, Policies: 4},
		Causes: []check.Finding{{
			Rule: "nsg-denies", Group: check.Egress, Severity: check.Outage, Confidence: diagnose.Likely, Subject: "nsg/nsg-aks/DenyWeb", Hop: model.HopNSG, Concerns: 9,
			Title: "Rule DenyWeb of NSG nsg-aks denies tcp 10.1.0.4 → 443 (9 of the 12 endpoints that AKS needs)", Summary: "Azure drops the packet silently.",
			Evidence: []diagnose.Evidence{{Text: "priority 200, denies", Refs: []model.Ref{"nsg/nsg-aks/DenyWeb"}, Source: "arm"}},
			Fix:      []diagnose.Command{{Text: "Delete the rule", Line: "az network nsg rule delete --name DenyWeb", Verify: "podpath why node/n1 https://mcr.microsoft.com"}},
			Docs:     "https://learn.microsoft.com/azure/aks/outbound-rules-control-egress",
		}},
		AlsoNoticed: []check.Finding{
			{Rule: "policy-selects-nothing", Group: check.Policies, Severity: check.Risk, Confidence: diagnose.Possible, Subject: "networkpolicy/shop/o\x1b[31mld", Title: "NetworkPolicy shop/o\x1b[31mld selects no pod", Evidence: []diagnose.Evidence{}, Fix: []diagnose.Command{}},
			{Rule: "retired", Group: check.Ahead, Confidence: diagnose.Possible, Subject: "cluster/prod-1", Title: "Support of kubenet ends on 31 March 2028, in 495 days", Evidence: []diagnose.Evidence{}, Fix: []diagnose.Command{}},
		},
		NotChecked: []model.Gap{{What: "webhooks", Reason: "403 Forbidden", Permission: "list validatingwebhookconfigurations.admissionregistration.k8s.io (cluster scope)"}},
		Notes:      []string{"20 of 12,000 Services were tried"},
	}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		r.Causes = append(r.Causes, service(name))
	}
	return r
}

func renderCheck(t *testing.T, r *check.Report, format string, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteCheck(&b, format, r, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestCheckGolden: testdata/check.* are what people and programs get to read.
func TestCheckGolden(t *testing.T) {
	for _, format := range CheckFormats {
		got := renderCheck(t, checked(), format, Options{Width: 100})
		file := filepath.Join("testdata", "check."+format)
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
			t.Errorf("%s differs; read it, then go test -update:\n%s", file, got)
		}
	}
	if WriteCheck(&bytes.Buffer{}, "mermaid", checked(), Options{}) == nil {
		t.Error("a format that there is not")
	}
}

func TestCheckFitsTerminals(t *testing.T) {
	for _, line := range strings.Split(renderCheck(t, checked(), "text", Options{Width: 60, ASCII: true}), "\n") {
		if len(line) > 60 || strings.ContainsFunc(line, func(r rune) bool { return r > 0x7e }) {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
	if text := renderCheck(t, checked(), "wide", Options{}); strings.Contains(text, "\x1b") {
		t.Errorf("a control character gets through: %q", text)
	}
}

func TestCheckHealthy(t *testing.T) {
	r := &check.Report{Works: "true", Cluster: check.Summary{Nodes: 1, Pods: 3}}
	if text := renderCheck(t, r, "", Options{}); !strings.Contains(text, "nothing is wrong") || strings.Contains(text, "explain") {
		t.Error(text)
	}
	r.Works = "unknown"
	if text := renderCheck(t, r, "", Options{}); strings.Contains(text, "nothing is wrong") {
		t.Error(text)
	}
}

const checkSchemaFile = "../../docs/schema/check.json"

func TestCheckSchemaIsPublished(t *testing.T) {
	re := jsonschema.Reflector{Anonymous: true, AllowAdditionalProperties: true, Mapper: asText}
	s := re.Reflect(&check.Report{})
	s.ID, s.Title = "https://podpath.dev/schema/check.json", "podpath check, podpath/v1"
	got, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(checkSchemaFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(checkSchemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the types say: go test ./internal/report -update", checkSchemaFile)
	}
	schema, err := validator.NewCompiler().Compile(checkSchemaFile)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := validator.UnmarshalJSON(strings.NewReader(renderCheck(t, checked(), "json", Options{})))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		t.Error(err)
	}
}
