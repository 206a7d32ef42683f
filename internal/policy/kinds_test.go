package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	yaml "go.yaml.in/yaml/v3"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy/decode"
)

// kindsWorld is who the cases of testdata/kinds are about.
func kindsWorld() *model.World {
	w := world(func(*model.World, *model.NetworkPolicy) {})
	clear(w.Kube.Policies)
	for _, kind := range []string{"serviceaccount", "endpointslice", "tier"} {
		w.Read[kind] = kind != "tier"
	}
	port := func(name string, n uint16, protocol string) model.Container {
		return model.Container{Ports: []model.ContainerPort{{Name: name, Port: n, Protocol: protocol}}}
	}
	k := &w.Kube
	k.Pods["pod/a/server"].Containers = []model.Container{port("web", 80, "TCP"), port("dns", 53, "UDP")}
	k.Pods["pod/b/other"].Containers = []model.Container{port("web", 8080, "TCP")}
	k.Pods["pod/b/other"].ServiceAccount = "robot"
	k.Pods["pod/a/client"].ServiceAccount = "human"
	k.ServiceAccounts = map[model.Ref]model.Labels{"serviceaccount/b/robot": {"made": "steel"}, "serviceaccount/a/human": {"made": "flesh"}}
	k.Namespaces["b"].Labels["env"] = "prod"
	k.Nodes["n1"].Labels, k.Nodes["n2"].Labels = model.Labels{"pool": "x"}, model.Labels{"pool": "y"}
	future := &model.Pod{Namespace: "b", Name: "future", Labels: model.Labels{"app": "future"}, Phase: "Pending"}
	k.Pods[future.Ref()] = future
	k.ConfigMaps = map[model.Ref]map[string]string{}
	k.EndpointSlices = map[model.Ref]*model.EndpointSlice{"endpointslice/b/api-1": {
		Namespace: "b", Name: "api-1", Service: "api", Ports: []model.EndpointPort{{Port: 8080, Protocol: "TCP"}}, Endpoints: []model.SliceEndpoint{{Addresses: []string{"10.0.0.3"}}},
	}}
	return w
}

// TestKinds runs the cases of testdata/kinds: each is a YAML file of policies
// and a file of flows, whose first line is the dialect. A flow is
//
//	FROM > TO PORT/PROTOCOL [HOST] = VERDICT [DECIDED[#RULE]] [~ WORDS OF THE REASON]
//
// where FROM and TO are pods or addresses, and rules are counted from 0.
func TestKinds(t *testing.T) {
	files, err := filepath.Glob("testdata/kinds/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	cases := 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		content := map[string]string{}
		for _, f := range archive.Files {
			content[f.Name] = string(f.Data)
		}
		for _, f := range archive.Files {
			name, ok := strings.CutSuffix(f.Name, ".flows")
			if !ok {
				continue
			}
			cases++
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar")+"/"+name, func(t *testing.T) { kindsCase(t, content[name+".yaml"], string(f.Data)) })
		}
	}
	if cases < 40 {
		t.Errorf("only %d cases", cases)
	}
}

func kindsCase(t *testing.T, objects, flows string) {
	w := kindsWorld()
	load(t, w, objects)
	lines := strings.Split(strings.TrimSpace(flows), "\n")
	var x *Index
	for d, name := range dialectNames {
		if name == strings.TrimSpace(lines[0]) {
			x = BuildAs(w, Dialect(d))
		}
	}
	if x == nil {
		t.Fatalf("%q is no dialect", lines[0])
	}
	for _, line := range lines[1:] {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		kindsFlow(t, x, line)
	}
}

// load adds a case's objects: policies as podpath decodes them, and of built-in
// kinds as much as the cases need.
func load(t *testing.T, w *model.World, objects string) {
	t.Helper()
	dec := yaml.NewDecoder(strings.NewReader(objects))
	for {
		var obj map[string]any
		if err := dec.Decode(&obj); err != nil {
			if err.Error() == "EOF" {
				return
			}
			t.Fatal(err)
		}
		if obj == nil {
			continue
		}
		known, err := decode.Add(w, obj)
		switch {
		case err != nil:
			t.Fatal(err)
		case known:
		case obj["kind"] == "ConfigMap":
			data := map[string]string{}
			for k, v := range obj["data"].(map[string]any) {
				data[k] = fmt.Sprint(v)
			}
			w.Kube.ConfigMaps["configmap/kube-system/cilium-config"] = data
		default:
			data, err := json.Marshal(obj)
			if err != nil {
				t.Fatal(err)
			}
			var o object
			if err := json.Unmarshal(data, &o); err != nil {
				t.Fatal(err)
			}
			addTo(w, o)
		}
	}
}

func kindsFlow(t *testing.T, x *Index, line string) {
	t.Helper()
	question, answer, ok := strings.Cut(line, " = ")
	if !ok {
		t.Fatalf("%q", line)
	}
	words := strings.Fields(question)
	f := model.Flow{}
	side := func(word string) (model.Ref, netip.Addr) {
		if a, err := netip.ParseAddr(word); err == nil {
			return "", a
		}
		for ref, p := range x.w.Kube.Pods {
			if p.Name == word {
				if len(p.IPs) > 0 {
					return ref, p.IPs[0]
				}
				return ref, netip.Addr{}
			}
		}
		t.Fatalf("%q: no pod %q", line, word)
		return "", netip.Addr{}
	}
	f.From, f.Src = side(words[0])
	f.To, f.Dst = side(words[2])
	port, protocol, _ := strings.Cut(words[3], "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	f.DstPort, f.Protocol = uint16(n), protocol
	if len(words) > 4 {
		f.Host = words[4]
	}
	d := both(x, f)
	answer, why, _ := strings.Cut(answer, " ~ ")
	want := strings.Fields(answer)
	got := d.Verdict.String()
	if len(want) > 1 {
		got += " " + string(d.Decided)
		if strings.Contains(want[1], "#") {
			got += "#" + strconv.Itoa(d.Rule)
		}
	}
	if got != strings.Join(want, " ") || !strings.Contains(d.Reason, why) {
		t.Errorf("%s\n   got %s: %s\n   trail %q", line, got, d.Reason, d.Trail)
	}
	if d.Dialect != x.dialect {
		t.Errorf("%s: the decision says dialect %s", line, d.Dialect)
	}
}

// both judges a connection at both ends and gives the decision that tells more.
func both(x *Index, f model.Flow) Decision {
	var out, in Decision
	out.Verdict, in.Verdict, out.Dialect, in.Dialect = model.Pass, model.Pass, x.dialect, x.dialect
	if p := x.w.Kube.Pods[f.From]; p != nil {
		out = x.Egress(p, f)
	}
	if p := x.w.Kube.Pods[f.To]; p != nil {
		in = x.Ingress(p, f)
	}
	if out.Verdict != model.Pass || in.Verdict == model.Pass && in.Decided == "" {
		return out
	}
	return in
}
