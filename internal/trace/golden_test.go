package trace_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
	"github.com/podpath/podpath/internal/trace/tracetest"
)

var update = flag.Bool("update", false, "rewrite the expected trails in testdata")

// section of a txtar archive.
type section struct{ name, data string }

func readArchive(t *testing.T, file string) (comment string, sections []section) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "-- "); ok && strings.HasSuffix(name, " --") {
			sections = append(sections, section{name: strings.TrimSuffix(name, " --")})
		} else if len(sections) == 0 {
			comment += line
		} else {
			sections[len(sections)-1].data += line
		}
	}
	return comment, sections
}

// merge is RFC 7396: null takes away, objects are merged, the rest is replaced.
func merge(doc, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	d, ok := doc.(map[string]any)
	if !ok {
		d = map[string]any{}
	}
	for k, v := range p {
		if v == nil {
			delete(d, k)
		} else {
			d[k] = merge(d[k], v)
		}
	}
	return d
}

func patched(t *testing.T, w *model.World, patch string) *model.World {
	t.Helper()
	var doc, p any
	data, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(patch), &p); err != nil {
		t.Fatalf("patch: %v", err)
	}
	data, _ = json.Marshal(merge(doc, p))
	out := new(model.World)
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatalf("patched world: %v", err)
	}
	return out
}

// expand writes short names of ids in a patch: {{nsg nsg1}} → the ARM id.
var expand = strings.NewReplacer(
	"{{nodes}}", subnet("nodes"), "{{pods}}", subnet("pods"), "{{fwsubnet}}", subnet("AzureFirewallSubnet"),
	"{{nsg1}}", tracetest.ID("networkSecurityGroups", "nsg1"), "{{nsg2}}", tracetest.ID("networkSecurityGroups", "nsg2"),
	"{{rt1}}", tracetest.ID("routeTables", "rt1"), "{{nat1}}", tracetest.ID("natGateways", "nat1"), "{{lb}}", tracetest.ID("loadBalancers", "kubernetes"),
	"{{fw1}}", tracetest.ID("azureFirewalls", "fw1"), "{{pol1}}", tracetest.ID("firewallPolicies", "pol1"), "{{vnet}}", strings.TrimSuffix(subnet(""), "/subnets/"),
	"{{id}}", strings.TrimSuffix(tracetest.ID("", ""), "//"),
	"{{nic1}}", nic(0), "{{nic2}}", nic(1),
)

func subnet(name string) string {
	return strings.ToLower(tracetest.ID("virtualNetworks", "vnet1") + "/subnets/" + name)
}

func nic(i int) string {
	for id := range tracetest.Cluster("kubenet", "none").Azure.NICs {
		if strings.Contains(id, fmt.Sprintf("/virtualmachines/%d/", i)) {
			return id
		}
	}
	return ""
}

func render(p model.Path) string {
	var b strings.Builder
	write := func(prefix string, steps []model.Step) {
		for _, s := range steps {
			fmt.Fprintf(&b, "%s%s %s at %s", prefix, s.Hop, s.Verdict, s.At)
			if s.Decided != "" {
				fmt.Fprintf(&b, " by %s", s.Decided)
			}
			fmt.Fprintf(&b, ": %s\n", s.Reason)
			for _, line := range s.Trail {
				fmt.Fprintf(&b, "%s    %s\n", prefix, line)
			}
			for _, g := range s.Gaps {
				fmt.Fprintf(&b, "%s    gap: %s (%s; %s)\n", prefix, g.What, g.Reason, g.Permission)
			}
		}
	}
	write("", p.Steps)
	write("then ", p.After)
	write("back ", p.Return)
	fmt.Fprintf(&b, "= %s", p.Verdict)
	if p.Device != "" || len(p.Egress) > 0 {
		fmt.Fprintf(&b, " by %s %v", p.Device, p.Egress)
	}
	return b.String() + "\n"
}

// TestGolden runs every case of testdata: a base cluster, a patch of its World,
// a flow, and the trail that a user would read.
func TestGolden(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txtar")
	if len(files) == 0 {
		t.Fatal("no cases in testdata")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			comment, sections := readArchive(t, file)
			w, flow, out := (*model.World)(nil), model.Flow{}, comment
			changed := false
			for _, s := range sections {
				switch s.name {
				case "base":
					words := strings.Fields(s.data)
					w = tracetest.Cluster(words[0], words[1])
				case "patch":
					w = patched(t, w, expand.Replace(s.data))
				case "flow":
					flow = model.Flow{}
					if err := json.Unmarshal([]byte(s.data), &flow); err != nil {
						t.Fatalf("flow: %v", err)
					}
				case "want":
					got := render(trace.Build(w).Run(flow))
					if again := render(trace.Build(w).Run(flow)); again != got {
						t.Errorf("a second run differs:\n%s\n%s", got, again)
					}
					if got != s.data {
						changed = true
						if !*update {
							t.Errorf("got:\n%s\nwant:\n%s", got, s.data)
						}
						s.data = got
					}
				default:
					t.Fatalf("section %q is none of base, patch, flow, want", s.name)
				}
				out += "-- " + s.name + " --\n" + s.data
			}
			if changed && *update {
				if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestHealthy holds for every shape of cluster: what should work passes, and
// only the type none has no way out.
func TestHealthy(t *testing.T) {
	for _, cni := range tracetest.CNIs {
		for _, outbound := range tracetest.Outbounds {
			t.Run(cni+"/"+outbound, func(t *testing.T) {
				w := tracetest.Cluster(cni, outbound)
				x := trace.Build(w)
				out := model.Pass
				if outbound == "none" {
					out = model.Drop
				}
				for _, c := range []struct {
					flow model.Flow
					want model.Verdict
				}{
					{model.Flow{From: "pod/a/client", Dst: addr("52.0.0.1"), DstPort: 443, Host: "api.shop.test", Scheme: "https"}, out},
					{model.Flow{From: "node/n2", Dst: addr("52.0.0.2"), DstPort: 443, Host: "mcr.microsoft.com", Scheme: "https"}, out},
					{model.Flow{From: "pod/kube-system/host", DstPort: 443, Host: "x.cdn.test", Scheme: "https"}, out},
					{model.Flow{From: "pod/a/client", To: "pod/b/other", DstPort: 80}, model.Pass},
					{model.Flow{From: "pod/a/client", To: "pod/a/server", DstPort: 80}, model.Pass},
					{model.Flow{From: "pod/a/client", Dst: addr("10.2.0.10"), DstPort: 53, Protocol: "udp"}, model.Pass},
					{model.Flow{From: "pod/kube-system/dns", Dst: addr("168.63.129.16"), DstPort: 53, Protocol: "udp"}, model.Pass},
					{model.Flow{From: "pod/a/client", To: "node/n2", DstPort: 10250}, model.Pass},
					{model.Flow{From: "node/n1", To: "pod/b/other", DstPort: 80}, model.Pass},
				} {
					if p := x.Run(c.flow); p.Verdict != c.want {
						t.Errorf("%+v: %s, want %s\n%s", c.flow, p.Verdict, c.want, render(p))
					}
				}
			})
		}
	}
}
