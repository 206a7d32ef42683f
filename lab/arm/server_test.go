package arm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/podpath/podpath/lab/plan"
)

const (
	testClient = "00000000-0000-0000-0000-0000000000aa"
	testSecret = "s3cret~value"
)

// site is a server with a lab's documents and a client that has a token.
type site struct {
	*Server
	t     *testing.T
	http  *httptest.Server
	token string
}

func newSite(t *testing.T, change func(*Options)) *site {
	t.Helper()
	p, err := plan.New("t", plan.Topology{CNI: plan.Kubenet, Outbound: plan.OutUDR, Nodes: 3})
	if err != nil {
		t.Fatal(err)
	}
	store := NewStore()
	if err := Seed(store, p); err != nil {
		t.Fatal(err)
	}
	o := Options{ClientID: testClient, ClientSecret: testSecret, Kubeconfig: func() ([]byte, error) { return []byte("kind: Config"), nil }}
	if change != nil {
		change(&o)
	}
	s := &site{Server: NewServer(store, o), t: t}
	s.http = httptest.NewTLSServer(s.Server)
	t.Cleanup(func() { s.once.Do(func() { close(s.done) }); s.http.Close() })
	s.token = s.sign(s.http.URL)
	return s
}

// do sends a request; path begins at the subscription, or is a whole URL.
func (s *site) do(method, path string, body any, headers ...string) (*http.Response, Doc) {
	s.t.Helper()
	if !strings.HasPrefix(path, "https://") {
		path = s.http.URL + path
	}
	text, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	if raw, ok := body.(string); ok {
		text = []byte(raw)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, path, bytes.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.http.Client().Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	d := Doc{}
	if len(answer) > 0 && answer[0] == '{' {
		if err := json.Unmarshal(answer, &d); err != nil {
			s.t.Fatalf("%s %s: %v in %s", method, path, err, answer)
		}
	}
	return resp, d
}

const v = "?api-version=2024-05-01"

func TestErrors(t *testing.T) {
	s := newSite(t, nil)
	sub := "/subscriptions/" + plan.Subscription
	nsg := networkID("networkSecurityGroups", plan.NodesNSG)
	for _, c := range []struct {
		name, method, path string
		body               any
		headers            []string
		status             int
		code               string
	}{
		{"no version", "GET", nsg, nil, nil, 400, "MissingApiVersionParameter"},
		{"bad version", "GET", nsg + "?api-version=latest", nil, nil, 400, "InvalidApiVersionParameter"},
		{"no subscription", "GET", "/subscriptions/11111111-0000-0000-0000-000000000001/resourceGroups" + v, nil, nil, 404, "SubscriptionNotFound"},
		{"no group", "GET", plan.ID("rg-none", "Microsoft.Network/networkSecurityGroups", "x") + v, nil, nil, 404, "ResourceGroupNotFound"},
		{"no group itself", "GET", sub + "/resourceGroups/rg-none" + v, nil, nil, 404, "ResourceGroupNotFound"},
		{"no resource", "GET", networkID("networkSecurityGroups", "none") + v, nil, nil, 404, "ResourceNotFound"},
		{"no child", "GET", nsg + "/securityRules/none" + v, nil, nil, 404, "NotFound"},
		{"no type", "GET", networkID("flyingCarpets", "x") + v, nil, nil, 404, "InvalidResourceType"},
		{"no namespace", "GET", plan.ID(plan.ResourceGroup, "Microsoft.Magic/things", "x") + v, nil, nil, 404, "InvalidResourceNamespace"},
		{"bad body", "PUT", nsg + v, "{", nil, 400, "InvalidRequestContent"},
		{"body is a list", "PUT", nsg + v, "[1]", nil, 400, "InvalidRequestContent"},
		{"null body", "PUT", nsg + v, "null", nil, 400, "InvalidRequestContent"},
		{"conflict", "PUT", nsg + "/securityRules/a" + v, rule(99, "Inbound"), nil, 400, "SecurityRuleInvalidPriority"},
		{"wrong etag", "PUT", nsg + v, Doc{}, []string{"If-Match", `W/"other"`}, 412, "PreconditionFailed"},
		{"exists", "PUT", nsg + v, Doc{}, []string{"If-None-Match", "*"}, 412, "PreconditionFailed"},
		{"in use", "DELETE", nsg + v, nil, nil, 400, "InUseNetworkSecurityGroupCannotBeDeleted"},
		{"method", "POST", nsg + v, nil, nil, 405, "MethodNotAllowed"},
		{"no token", "GET", nsg + v, nil, []string{"Authorization", ""}, 401, "AuthenticationFailed"},
		{"bad token", "GET", nsg + v, nil, []string{"Authorization", "Bearer x.y.z"}, 401, "InvalidAuthenticationToken"},
		{"scale set NIC", "POST", plan.ID(plan.NodeGroup, "Microsoft.Compute/virtualMachineScaleSets", "aks-np1-vmss", "virtualMachines", "0", "networkInterfaces", "aks-np1-vmss", "effectiveRouteTable") + v, nil, nil, 400, "OperationNotAllowedOnVmss"},
		{"bad skip token", "GET", sub + "/resourceGroups" + v + "&$skipToken=x", nil, nil, 400, "InvalidSkipToken"},
		{"empty segment", "GET", sub + "/resourceGroups/rg-lab/providers/Microsoft.Network//x" + v, nil, nil, 400, "InvalidResourceId"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, d := s.do(c.method, c.path, c.body, c.headers...)
			if r.StatusCode != c.status || Str(d, "error", "code") != c.code || Str(d, "error", "message") == "" {
				t.Errorf("got %d %v, want %d %s", r.StatusCode, d, c.status, c.code)
			}
			if r.StatusCode == 401 && !strings.Contains(r.Header.Get("WWW-Authenticate"), `Bearer authorization_uri="https://`) {
				t.Errorf("challenge: %q", r.Header.Get("WWW-Authenticate"))
			}
		})
	}
}

func TestExpiredToken(t *testing.T) {
	now := time.Now()
	s := newSite(t, func(o *Options) { o.Now = func() time.Time { return now } })
	now = now.Add(2 * time.Hour)
	if r, d := s.do("GET", clusterID()+v, nil); r.StatusCode != 401 || Str(d, "error", "code") != "ExpiredAuthenticationToken" {
		t.Errorf("%d %v", r.StatusCode, d)
	}
}

func TestReadEverything(t *testing.T) {
	s := newSite(t, nil)
	for _, d := range s.store.All() {
		r, got := s.do("GET", Str(d, "id")+v, nil)
		if r.StatusCode != 200 || Str(got, "name") != Str(d, "name") {
			t.Errorf("GET %s: %d", Str(d, "id"), r.StatusCode)
		}
	}
	group := "/subscriptions/" + plan.Subscription + "/resourceGroups/" + plan.ResourceGroup
	vmss := plan.ID(plan.NodeGroup, "microsoft.Compute/virtualMachineScaleSets", "aks-np1-vmss")
	for path, want := range map[string]int{
		"/subscriptions": 1,
		"/subscriptions/" + plan.Subscription + "/resourcegroups":                                       2,
		"/subscriptions/" + plan.Subscription + "/providers/Microsoft.ContainerService/managedClusters": 1,
		"/subscriptions/" + plan.Subscription + "/providers/Microsoft.Advisor/recommendations":          0,
		group + "/providers/Microsoft.Network/networkSecurityGroups":                                    2,
		group + "/providers/Microsoft.Network/privateDnsZones":                                          0,
		networkID("virtualNetworks", plan.VNet) + "/subnets":                                            3,
		networkID("virtualNetworks", plan.VNet) + "/virtualNetworkPeerings":                             0,
		networkID("routeTables", plan.RouteTable) + "/routes":                                           4,
		networkID("firewallPolicies", plan.FWPolicy) + "/ruleCollectionGroups":                          2,
		networkID("networkSecurityGroups", plan.NodesNSG) + "/defaultSecurityRules":                     6,
		clusterID() + "/agentPools":                                                                     1,
		clusterID() + "/outboundNetworkDependenciesEndpoints":                                           6,
		vmss + "/virtualMachines":                                                                       3,
		vmss + "/networkInterfaces":                                                                     3,
		vmss + "/virtualMachines/1/networkInterfaces":                                                   1,
		clusterID() + "/providers/Microsoft.Advisor/recommendations":                                    0,
		networkID("azureFirewalls", plan.Firewall) + "/providers/microsoft.insights/metricDefinitions":  7,
	} {
		r, d := s.do("GET", path+v, nil)
		if l, ok := d["value"].([]any); r.StatusCode != 200 || !ok || len(l) != want {
			t.Errorf("GET %s: %d, %d entries, want %d: %v", path, r.StatusCode, len(l), want, d["error"])
		}
	}
}

func TestPaging(t *testing.T) {
	s := newSite(t, func(o *Options) { o.PageSize = 1 })
	next := "/subscriptions/" + plan.Subscription + "/resourceGroups/" + plan.ResourceGroup + "/resources" + v
	seen, pages := map[string]bool{}, 0
	for next != "" {
		_, d := s.do("GET", next, nil)
		for _, e := range Items(d, "value") {
			seen[Str(e, "id")] = true
		}
		next = Str(d, "nextLink")
		if pages++; pages > 50 {
			t.Fatal("no end")
		}
	}
	if len(seen) != pages || pages != 8 {
		t.Errorf("%d resources on %d pages: %v", len(seen), pages, seen)
	}
	_, d := s.do("GET", clusterID()+"/agentPools"+v, nil)
	if next = Str(d, "nextLink"); next == "" {
		t.Fatal("agentPools has no nextLink; AKS gives one to an empty page")
	}
	if _, d = s.do("GET", next, nil); len(Items(d, "value")) != 0 || Str(d, "nextLink") != "" {
		t.Errorf("the last page: %v", d)
	}
}

func TestInstanceView(t *testing.T) {
	s := newSite(t, nil)
	vms := plan.ID(plan.NodeGroup, "Microsoft.Compute/virtualMachineScaleSets", "aks-np1-vmss") + "/virtualMachines"
	for query, want := range map[string]bool{"": false, "&$expand=instanceView": true} {
		_, d := s.do("GET", vms+v+query, nil)
		if got := At(Items(d, "value")[0], "properties", "instanceView") != nil; got != want {
			t.Errorf("with %q: %v", query, got)
		}
	}
	if _, d := s.do("GET", vms+"/1/instanceView"+v, nil); len(Items(d, "statuses")) != 2 {
		t.Errorf("instanceView: %v", d)
	}
}

func TestCredential(t *testing.T) {
	s := newSite(t, nil)
	r, d := s.do("POST", clusterID()+"/listClusterUserCredential"+v, nil)
	if r.StatusCode != 200 || Str(Items(d, "kubeconfigs")[0], "value") != "a2luZDogQ29uZmln" {
		t.Errorf("%d %v", r.StatusCode, d)
	}
}

func TestFaults(t *testing.T) {
	s := newSite(t, nil)
	nsg := networkID("networkSecurityGroups", plan.NodesNSG)
	set := func(f ...Fault) {
		t.Helper()
		if r, d := s.do("PUT", FaultPath, f); r.StatusCode != 200 {
			t.Fatalf("%d %v", r.StatusCode, d)
		}
	}
	for _, c := range []struct {
		fault      Fault
		status     int
		code, text string
	}{
		{Fault{Match: "GET *networkSecurityGroups*", Status: 401}, 401, "ExpiredAuthenticationToken", ""},
		{Fault{Match: "GET *NETWORKSECURITYGROUPS*", Status: 403}, 403, "AuthorizationFailed", "does not have authorization to perform action 'Microsoft.Network/networkSecurityGroups/read' over scope '" + nsg + "'"},
		{Fault{Match: "*", Status: 403, Action: "Microsoft.X/y/read"}, 403, "AuthorizationFailed", "'Microsoft.X/y/read'"},
		{Fault{Match: "GET */nsg-nodes", Status: 404}, 404, "ResourceNotFound", ""},
		{Fault{Match: "GET *", Status: 409}, 409, "AnotherOperationInProgress", ""},
		{Fault{Match: "GET *", Status: 429, RetryAfter: "7s"}, 429, "TooManyRequests", ""},
		{Fault{Match: "GET *", Status: 500}, 500, "InternalServerError", ""},
		{Fault{Match: "GET *", Status: 503}, 503, "ServiceUnavailable", ""},
		{Fault{Match: "PUT *", Status: 503}, 200, "", ""},
		{Fault{Match: "GET *routeTables*", Status: 503}, 200, "", ""},
	} {
		set(c.fault)
		r, d := s.do("GET", nsg+v, nil)
		if r.StatusCode != c.status || Str(d, "error", "code") != c.code || !strings.Contains(Str(d, "error", "message"), c.text) {
			t.Errorf("%+v: %d %v", c.fault, r.StatusCode, d)
		}
		if c.status == 429 && r.Header.Get("Retry-After") != "7" {
			t.Errorf("Retry-After %q", r.Header.Get("Retry-After"))
		}
	}
	set(Fault{Match: "GET *", Status: 500, Times: 2})
	var got []int
	for range 3 {
		r, _ := s.do("GET", nsg+v, nil)
		got = append(got, r.StatusCode)
	}
	if fmt.Sprint(got) != "[500 500 200]" || len(s.Faults()) != 0 {
		t.Errorf("twice only: %v, left %v", got, s.Faults())
	}
	set(Fault{Match: "GET *", Body: `{"value": [`})
	resp, err := s.http.Client().Get(s.http.URL + nsg + v)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if b, _ := io.ReadAll(resp.Body); string(b) != `{"value": [` {
		t.Errorf("body: %s", b)
	}
	if r, d := s.do("PUT", FaultPath, []Doc{{"match": "*", "statsu": 3}}); r.StatusCode != 400 {
		t.Errorf("a misspelt fault: %d %v", r.StatusCode, d)
	}
	if r, _ := s.do("DELETE", FaultPath, nil); r.StatusCode != 200 || len(s.Faults()) != 0 {
		t.Error("faults are still there")
	}
}

func TestHang(t *testing.T) {
	s := newSite(t, nil)
	if err := s.SetFaults([]Fault{{Match: "GET *", Hang: true}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", s.http.URL+clusterID()+v, nil)
	if _, err := s.http.Client().Do(r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want no answer", err)
	}
}

func TestMetrics(t *testing.T) {
	now := time.Date(2026, 1, 15, 10, 5, 0, 0, time.UTC)
	series := func(backend, state string, values ...float64) Series {
		s := Series{Dimensions: map[string]string{"BackendIPAddress": backend, "ConnectionState": state}}
		for i, v := range values {
			s.Points = append(s.Points, Point{Time: now.Add(time.Duration(i-len(values)) * time.Minute), Value: v, NoData: v < 0})
		}
		return s
	}
	s := newSite(t, func(o *Options) {
		o.Now = func() time.Time { return now }
		o.Metric = func(string, string, string, time.Time, time.Time) []Series {
			return []Series{series("10.224.0.4", "Failed", 1, -1, 3), series("10.224.0.5", "Failed", 0, -1, 1), series("10.224.0.4", "Successful", 9, 9, 9)}
		}
	})
	s.token = s.sign("x")
	fw := plan.ID(plan.NodeGroup, "Microsoft.Network/loadBalancers", "kubernetes")
	if _, err := s.store.Put(fw, Doc{"location": "westeurope"}); err != nil {
		t.Fatal(err)
	}
	get := func(query string) (int, Doc) {
		r, d := s.do("GET", fw+"/providers/Microsoft.Insights/metrics?api-version=2023-10-01&timespan=2026-01-15T10:02:00Z/2026-01-15T10:05:00Z&"+query, nil)
		return r.StatusCode, d
	}
	line := func(d Doc) string {
		out := ""
		for _, ts := range Items(Items(d, "value")[0], "timeseries") {
			for _, m := range Items(ts, "metadatavalues") {
				out += Str(m, "name", "value") + "=" + Str(m, "value") + " "
			}
			for _, p := range Items(ts, "data") {
				out += fmt.Sprint(p["total"], p["maximum"], ";")
			}
			out += "| "
		}
		return out
	}
	for _, c := range []struct{ query, want string }{
		{"metricnames=SnatConnectionCount&aggregation=Total", "10<nil>;9<nil>;13<nil>;| "},
		{"metricnames=SnatConnectionCount&aggregation=Total,Maximum&$filter=" + url.QueryEscape("ConnectionState eq 'failed'"), "connectionstate=Failed 11;<nil><nil>;43;| "},
		{
			"metricnames=snatconnectioncount&$filter=" + url.QueryEscape("BackendIPAddress eq '*' and ConnectionState eq 'Failed'"),
			"backendipaddress=10.224.0.4 connectionstate=Failed 1<nil>;<nil><nil>;3<nil>;| backendipaddress=10.224.0.5 connectionstate=Failed 0<nil>;<nil><nil>;1<nil>;| ",
		},
		{"metricnames=SnatConnectionCount&$filter=" + url.QueryEscape("ConnectionState eq 'Pending'"), ""},
	} {
		status, d := get(c.query)
		if got := strings.ReplaceAll(line(d), " <nil>", "<nil>"); status != 200 || strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(c.want, " ", "") {
			t.Errorf("%s: %d\n got %s\nwant %s", c.query, status, got, c.want)
		}
	}
	for _, query := range []string{"metricnames=NoSuch", "metricnames=ByteCount&$filter=nonsense", "metricnames=ByteCount&aggregation=Median", "metricnames=ByteCount&interval=PT2M"} {
		if status, d := get(query); status != 400 || Str(d, "code") != "BadRequest" {
			t.Errorf("%s: %d %v", query, status, d)
		}
	}
}

func TestGateway(t *testing.T) {
	s := newSite(t, nil)
	vnet := networkID("virtualNetworks", plan.VNet)
	for _, p := range []struct {
		id   string
		body Doc
	}{
		{vnet + "/subnets/GatewaySubnet", Doc{"properties": Doc{"addressPrefix": "10.230.0.0/27"}}},
		{networkID("localNetworkGateways", "site"), Doc{"properties": Doc{"gatewayIpAddress": "198.51.100.9", "localNetworkAddressSpace": Doc{"addressPrefixes": []any{"192.168.0.0/16"}}}}},
		{networkID("virtualNetworkGateways", "vgw"), Doc{"tags": Doc{"learnedRoutes": "0.0.0.0/0, 172.20.0.0/16"}, "properties": Doc{
			"gatewayType":      "Vpn",
			"ipConfigurations": []any{Doc{"name": "c", "properties": Doc{"subnet": ref(vnet + "/subnets/GatewaySubnet")}}},
		}}},
	} {
		if r, d := s.do("PUT", p.id+v, p.body); r.StatusCode != 201 {
			t.Fatalf("%d %v", r.StatusCode, d)
		}
	}
	r, _ := s.do("POST", networkID("virtualNetworkGateways", "vgw")+"/getLearnedRoutes"+v, nil)
	if r.StatusCode != 202 || r.Header.Get("Location") == "" {
		t.Fatalf("%d %v", r.StatusCode, r.Header)
	}
	_, d := s.do("GET", r.Header.Get("Location"), nil)
	var got []string
	for _, e := range Items(d, "value") {
		got = append(got, Str(e, "network"))
	}
	if fmt.Sprint(got) != "[192.168.0.0/16 0.0.0.0/0 172.20.0.0/16]" {
		t.Errorf("learned %v", got)
	}
}

// TestSDK is Azure's own client: a credential from a custom authority, an ARM
// pipeline, a typed-less GET, a pager, and long-running operations.
func TestSDK(t *testing.T) {
	for _, c := range []struct{ slow, discovery bool }{{false, true}, {true, false}} {
		t.Run(fmt.Sprintf("slow=%v discovery=%v", c.slow, c.discovery), func(t *testing.T) { trySDK(t, c.slow, c.discovery) })
	}
}

func trySDK(t *testing.T, slow, discovery bool) {
	s := newSite(t, func(o *Options) {
		o.PageSize = 2
		if slow {
			o.Operation = 50 * time.Millisecond
		}
	})
	c := cloud.Configuration{ActiveDirectoryAuthorityHost: s.http.URL, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
		cloud.ResourceManager: {Endpoint: s.http.URL, Audience: s.http.URL},
	}}
	client := azcore.ClientOptions{Cloud: c, Transport: microsoft{s.http.Client(), s.http.URL}, Retry: policy.RetryOptions{RetryDelay: time.Millisecond}}
	t.Setenv("AZURE_TENANT_ID", plan.Tenant)
	t.Setenv("AZURE_CLIENT_ID", testClient)
	t.Setenv("AZURE_CLIENT_SECRET", testSecret)
	cred, err := azidentity.NewEnvironmentCredential(&azidentity.EnvironmentCredentialOptions{ClientOptions: client, DisableInstanceDiscovery: !discovery})
	if err != nil {
		t.Fatal(err)
	}
	a, err := arm.NewClient("podpath-lab", "v1.0.0", cred, &arm.ClientOptions{ClientOptions: client, DisableRPRegistration: true})
	if err != nil {
		t.Fatal(err)
	}
	do := func(method, path string, body Doc) *http.Response {
		t.Helper()
		r, err := runtime.NewRequest(t.Context(), method, path)
		if err == nil && body != nil {
			err = runtime.MarshalAsJSON(r, body)
		}
		if err != nil {
			t.Fatal(err)
		}
		resp, err := a.Pipeline().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	var got Doc
	if err := runtime.UnmarshalAsJSON(do("GET", s.http.URL+clusterID()+v, nil), &got); err != nil || Str(got, "name") != plan.Cluster {
		t.Fatalf("%v %v", got, err)
	}
	id := networkID("networkSecurityGroups", plan.NodesNSG) + "/securityRules/DenyWeb"
	resp := do("PUT", s.http.URL+id+v, rule(200, "Outbound"))
	poll, err := runtime.NewPoller[Doc](resp, a.Pipeline(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := poll.PollUntilDone(t.Context(), &runtime.PollUntilDoneOptions{Frequency: time.Second}); err != nil || Str(d, "properties", "provisioningState") != "Succeeded" {
		t.Fatalf("%v %v", d, err)
	}
	gone, err := runtime.NewPoller[Doc](do("DELETE", s.http.URL+id+v, nil), a.Pipeline(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.PollUntilDone(t.Context(), &runtime.PollUntilDoneOptions{Frequency: time.Second}); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.store.Get(id); ok {
		t.Error("the rule is still there")
	}
	// A missing permission is what the SDK calls a ResponseError with ARM's code.
	if err := s.SetFaults([]Fault{{Match: "GET *routeTables*", Status: 403}}); err != nil {
		t.Fatal(err)
	}
	resp = do("GET", s.http.URL+networkID("routeTables", plan.RouteTable)+v, nil)
	var re *azcore.ResponseError
	if err := runtime.NewResponseError(resp); !errors.As(err, &re) || re.ErrorCode != "AuthorizationFailed" {
		t.Errorf("got %v", err)
	}
}

// microsoft sends what is meant for login.microsoftonline.com, which an unknown
// authority is asked about, to the lab: in the lab its DNS does that.
type microsoft struct {
	*http.Client
	lab string
}

func (m microsoft) Do(r *http.Request) (*http.Response, error) {
	if r.URL.Host == "login.microsoftonline.com" {
		u, _ := url.Parse(m.lab)
		r.URL.Host, r.Host = u.Host, u.Host
	}
	return m.Client.Do(r)
}

func TestTokenRefused(t *testing.T) {
	s := newSite(t, nil)
	for _, c := range []struct {
		tenant, id, secret, grant string
		status, code              int
	}{
		{plan.Tenant, testClient, "wrong", "client_credentials", 401, 7000215},
		{plan.Tenant, "someone", testSecret, "client_credentials", 400, 700016},
		{"11111111-0000-0000-0000-000000000000", testClient, testSecret, "client_credentials", 400, 90002},
		{plan.Tenant, testClient, testSecret, "password", 400, 70003},
	} {
		form := url.Values{"client_id": {c.id}, "client_secret": {c.secret}, "grant_type": {c.grant}, "scope": {"x/.default"}}
		r, d := s.do("POST", "/"+c.tenant+"/oauth2/v2.0/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
		codes, _ := d["error_codes"].([]any)
		if r.StatusCode != c.status || len(codes) != 1 || codes[0] != float64(c.code) {
			t.Errorf("%+v: %d %v", c, r.StatusCode, d)
		}
	}
}

func TestMetadata(t *testing.T) {
	s := newSite(t, nil)
	if _, d := s.do("GET", "/metadata/endpoints?api-version=2015-01-01", nil); Str(d, "authentication", "loginEndpoint") != s.http.URL+"/" {
		t.Errorf("%v", d)
	}
	r, _ := s.do("GET", "/metadata/endpoints?api-version=2023-01-01", nil)
	if r.StatusCode != 200 {
		t.Error(r.Status)
	}
}
