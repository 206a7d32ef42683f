package azure

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/podpath/podpath/internal/model"
)

const (
	testSub  = "00000000-0000-0000-0000-00000000000a"
	testRG   = "/subscriptions/" + testSub + "/resourceGroups/Net-RG"
	testMC   = "/subscriptions/" + testSub + "/resourceGroups/MC_net_rg_Prod_1_northeurope"
	testVNet = testRG + "/providers/Microsoft.Network/virtualNetworks/Hub"
	testSet  = testMC + "/providers/Microsoft.Compute/virtualMachineScaleSets/aks-pool-vmss"
)

// cloudFake serves documents by path (lower-cased), two elements a page.
type cloudFake struct {
	*httptest.Server
	mu    sync.Mutex
	docs  map[string]string
	fault map[string]http.HandlerFunc // by path, before the documents
	calls map[string]int
}

func newCloud(t *testing.T) *cloudFake {
	f := &cloudFake{docs: map[string]string{}, fault: map[string]http.HandlerFunc{}, calls: map[string]int{}}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(f.serve))
	f.Config.ErrorLog = log.New(io.Discard, "", 0)
	f.StartTLS()
	t.Cleanup(f.Close)
	return f
}

func (f *cloudFake) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.ToLower(r.URL.Path)
	f.mu.Lock()
	f.calls[path]++
	fault := f.fault[path]
	doc, ok := f.docs[path]
	f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if fault != nil {
		fault(w, r)
		return
	}
	if r.URL.Query().Get("api-version") == "" {
		http.Error(w, `{"error":{"code":"MissingApiVersionParameter","message":"no api-version"}}`, http.StatusBadRequest)
		return
	}
	if ok {
		fmt.Fprint(w, doc)
		return
	}
	if list, isList := f.list(path); isList {
		skip := 0
		fmt.Sscan(r.URL.Query().Get("$skipToken"), &skip)
		end := min(skip+2, len(list))
		body := map[string]any{"value": list[min(skip, len(list)):end]}
		if end < len(list) {
			q := r.URL.Query()
			q.Set("$skipToken", fmt.Sprint(end))
			body["nextLink"] = f.URL + r.URL.Path + "?" + q.Encode()
		}
		json.NewEncoder(w).Encode(body)
		return
	}
	w.WriteHeader(http.StatusNotFound)
	fmt.Fprint(w, `{"error":{"code":"ResourceNotFound","message":"not found"}}`)
}

// list is every document directly below a path that ends in a type.
func (f *cloudFake) list(path string) ([]json.RawMessage, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	typ := path[strings.LastIndex(path, "/providers/")+1:]
	out := []json.RawMessage{}
	for _, id := range sorted(f.docs) {
		rest, ok := strings.CutPrefix(id, path+"/")
		if !ok && strings.Count(path, "/") < 6 { // whole subscription
			_, rest, ok = strings.Cut(id, "/"+typ+"/")
			ok = ok && strings.HasPrefix(id, path[:strings.Index(path, "/providers/")])
		}
		if ok && !strings.Contains(rest, "/") {
			out = append(out, json.RawMessage(f.docs[id]))
		}
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	return out, len(parts)%2 == 1 || len(out) > 0
}

func (f *cloudFake) put(id, properties string, more ...string) {
	f.docs[strings.ToLower(id)] = fmt.Sprintf(`{"id":%q,"name":%q,"type":%q,"properties":%s%s}`, id, Name(id), ParseID(id).Type, properties, strings.Join(more, ""))
}

func (f *cloudFake) fail(path string, h http.HandlerFunc) { f.fault[strings.ToLower(path)] = h }

func answer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

type token struct{}

func (token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "t", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func ref(id string) string { return fmt.Sprintf(`{"id":%q}`, id) }

// world is a cluster with a firewall in the hub, ids in mixed case as Azure serves them.
func (f *cloudFake) world() *model.World {
	f.put(testRG[:strings.Index(testRG, "/resourceGroups")]+"/resourcegroups/net_rg/providers/Microsoft.ContainerService/managedClusters/Prod_1",
		`{"nodeResourceGroup":"mc_net_rg_prod_1_northeurope","networkProfile":{"networkPlugin":"kubenet","outboundType":"userDefinedRouting"},
		"agentPoolProfiles":[{"name":"pool","count":1,"vnetSubnetID":"`+testVNet+`/subnets/Nodes"}]}`)
	f.put(testRG+"/providers/Microsoft.ContainerService/managedClusters/other", `{"nodeResourceGroup":"MC_other"}`)
	f.put(testRG+"/providers/Microsoft.ContainerService/managedClusters/third", `{"nodeResourceGroup":null}`)
	f.put(testSet, `{"orchestrationMode":"Uniform"}`, `,"tags":{"aks-managed-poolName":"pool"}`)
	f.put(testSet+"/virtualMachines/0", `{"osProfile":{"computerName":"aks-pool-vmss000000"},"instanceView":{"statuses":[{"code":"ProvisioningState/succeeded"},{"code":"PowerState/running"}]}}`)
	nic := testSet + "/virtualMachines/0/networkInterfaces/nic0"
	f.docs[strings.ToLower(testSet+"/networkInterfaces")] = `{"value":[{"name":"nic0","id":"` + nic + `","properties":{"primary":true,"enableIPForwarding":true,
		"networkSecurityGroup":` + ref(testMC+"/providers/Microsoft.Network/networkSecurityGroups/aks-nsg") + `,
		"ipConfigurations":[{"name":"ipconfig1","properties":{"primary":true,"privateIPAddress":"10.1.0.4","subnet":` + ref(strings.ToUpper(testVNet)+"/SUBNETS/NODES") + `,
		"applicationSecurityGroups":[` + ref(testRG+"/providers/Microsoft.Network/applicationSecurityGroups/Workers") + `]}}]}}]}`
	f.put(testMC+"/providers/Microsoft.Network/networkSecurityGroups/aks-nsg", `{"securityRules":[{"name":"r","properties":{"priority":100,"direction":"outbound","access":"DENY","protocol":"tcp","destinationAddressPrefixes":["10.9.0.0/16"],"destinationPortRange":"443","sourceAddressPrefix":"*","sourcePortRange":"*"}}]}`)
	f.put(testVNet, `{"addressSpace":{"addressPrefixes":["10.1.0.0/16"]},"subnets":[{"id":"`+testVNet+`/subnets/Nodes"},{"id":"`+testVNet+`/subnets/AzureFirewallSubnet"},{"id":"`+testVNet+`/subnets/GatewaySubnet"}]}`)
	f.put(testVNet+"/subnets/Nodes", `{"addressPrefix":"10.1.0.0/24","routeTable":`+ref(testRG+"/providers/Microsoft.Network/routeTables/RT")+`,"natGateway":null,"networkSecurityGroup":`+ref(testRG+"/providers/Microsoft.Network/networkSecurityGroups/gone")+`}`)
	f.put(testRG+"/providers/Microsoft.Network/routeTables/RT", `{"routes":[{"name":"node","properties":{"addressPrefix":"10.244.0.0/24","nextHopType":"VirtualAppliance","nextHopIpAddress":"10.1.0.4"}},
		{"name":"default","properties":{"addressPrefix":"0.0.0.0/0","nextHopType":"VirtualAppliance","nextHopIpAddress":"10.1.9.4"}}]}`)
	f.put(testRG+"/providers/Microsoft.Network/azureFirewalls/fw", `{"ipConfigurations":[{"name":"c","properties":{"privateIPAddress":"10.1.9.4","subnet":`+ref(testVNet+"/subnets/AzureFirewallSubnet")+`,"publicIPAddress":`+ref(testRG+"/providers/Microsoft.Network/publicIPAddresses/fw-ip")+`}}],"firewallPolicy":`+ref(testRG+"/providers/Microsoft.Network/firewallPolicies/pol")+`}`)
	f.put(testRG+"/providers/Microsoft.Network/firewallPolicies/pol", `{"basePolicy":`+ref(testRG+"/providers/Microsoft.Network/firewallPolicies/base")+`,"ruleCollectionGroups":[{"id":"x"}]}`)
	f.put(testRG+"/providers/Microsoft.Network/firewallPolicies/base", `{"snat":{"privateRanges":["10.0.0.0/8"]}}`)
	f.put(testRG+"/providers/Microsoft.Network/firewallPolicies/pol/ruleCollectionGroups/apps", `{"priority":200,"ruleCollections":[{"name":"web","priority":100,"action":{"type":"Allow"},"rules":[{"ruleType":"ApplicationRule","name":"pay","protocols":[{"protocolType":"Https","port":443}],"targetFqdns":["*.example.org"],"sourceAddresses":["*"]}]}]}`)
	f.put(testRG+"/providers/Microsoft.Network/publicIPAddresses/fw-ip", `{"ipAddress":"192.0.2.7"}`)
	f.put(testMC+"/providers/Microsoft.Network/loadBalancers/kubernetes", `{"outboundRules":[]}`)
	f.put(testRG+"/providers/Microsoft.Network/virtualNetworkGateways/vpn", `{"gatewayType":"Vpn","ipConfigurations":[{"name":"g","properties":{"subnet":`+ref(testVNet+"/subnets/GatewaySubnet")+`}}]}`)
	polls := 0
	f.fail(testRG+"/providers/Microsoft.Network/virtualNetworkGateways/vpn/getLearnedRoutes", func(w http.ResponseWriter, r *http.Request) {
		if polls++; polls == 1 {
			w.Header().Set("Location", f.URL+r.URL.Path+"?api-version=x&op=1")
			w.Header().Set("Retry-After", "0.01")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		fmt.Fprint(w, `{"value":[{"network":"0.0.0.0/0","origin":"EBgp"},{"network":"10.1.0.0/16","origin":"Network"}]}`)
	})
	return &model.World{Kube: model.Kube{Nodes: map[string]*model.Node{
		"aks-pool-vmss000000": {Name: "aks-pool-vmss000000", ProviderID: "azure://" + strings.ToLower(testMC) + "/providers/Microsoft.Compute/virtualMachineScaleSets/aks-pool-vmss/virtualMachines/0"},
	}}}
}

func (f *cloudFake) options() Options {
	return Options{Credential: token{}, Transport: f.Client(), CallTimeout: 30 * time.Second, Timeout: time.Minute}
}

// env names the fake as a cloud of its own, the way Azure's tools take one.
func (f *cloudFake) env(t *testing.T) func(string) string {
	file := filepath.Join(t.TempDir(), "cloud.json")
	doc := fmt.Sprintf(`{"name":"Fake","resourceManagerEndpoint":"%s/","activeDirectoryEndpoint":"%s/","tokenAudience":"%s/"}`, f.URL, f.URL, f.URL)
	if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(key string) string {
		return map[string]string{"AZURE_ENVIRONMENT": "AZURESTACKCLOUD", "AZURE_ENVIRONMENT_FILEPATH": file}[key]
	}
}

func collectFrom(t *testing.T, f *cloudFake, change func(*Options)) *model.World {
	t.Helper()
	return collectInto(t, f, f.world(), change)
}

func collectInto(t *testing.T, f *cloudFake, w *model.World, change func(*Options)) *model.World {
	t.Helper()
	o := f.options()
	o.Env = f.env(t)
	if change != nil {
		change(&o)
	}
	Collect(t.Context(), o, w)
	return w
}

func gapText(w *model.World) string {
	var lines []string
	for _, g := range w.Gaps {
		lines = append(lines, fmt.Sprintf("%s | %s | %s | %s", g.What, g.Ref, g.Reason, g.Permission))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestCollectFollowsEverything(t *testing.T) {
	f := newCloud(t)
	w := collectFrom(t, f, nil)
	az := &w.Azure
	if !az.Found || az.Cluster == nil || az.Cluster.Name != "Prod_1" {
		t.Fatalf("cluster not found: %+v\n%s", az.Cluster, gapText(w))
	}
	set := az.VMSSs[Key(testSet)]
	if set == nil || set.Pool != "pool" || len(set.Instances) != 1 || set.Instances[0].Power != "PowerState/running" {
		t.Errorf("scale set: %+v", set)
	}
	nic := az.NICs[Key(testSet+"/virtualMachines/0/networkInterfaces/nic0")]
	if nic == nil || nic.IPConfigs[0].Addr != netip.MustParseAddr("10.1.0.4") || nic.IPConfigs[0].SubnetID != Key(testVNet+"/subnets/nodes") || nic.VMID != Key(testSet+"/virtualMachines/0") {
		t.Fatalf("nic: %+v", nic)
	}
	if az.ASGs[nic.IPConfigs[0].ASGs[0]] == nil {
		t.Error("the application security group is not known")
	}
	nsg := az.NSGs[nic.NSGID]
	if nsg == nil || len(nsg.Rules) != 1 || nsg.Rules[0].Allow || nsg.Rules[0].Inbound || len(nsg.Defaults) != 6 {
		t.Errorf("nsg: %+v", nsg)
	}
	subnet := az.Subnets[nic.IPConfigs[0].SubnetID]
	if subnet == nil || subnet.VNetID != Key(testVNet) || az.VNets[subnet.VNetID] == nil || len(subnet.Prefixes) != 1 {
		t.Fatalf("subnet: %+v", subnet)
	}
	if rt := az.RouteTables[subnet.RouteTableID]; rt == nil || len(rt.Routes) != 2 || rt.Name != "RT" {
		t.Errorf("route table: %+v", rt)
	}
	fw := az.Firewalls[Key(testRG+"/providers/Microsoft.Network/azureFirewalls/fw")]
	if fw == nil || fw.PrivateIP != netip.MustParseAddr("10.1.9.4") || az.PublicIPs[fw.PublicIPs[0]] == nil {
		t.Fatalf("firewall: %+v", fw)
	}
	policy := az.FirewallPolicies[fw.PolicyID]
	if policy == nil || az.FirewallPolicies[policy.BaseID] == nil || len(policy.Groups) != 1 || policy.Groups[0].Collections[0].Rules[0].Protocols[0] != "Https:443" {
		t.Errorf("policy: %+v", policy)
	}
	if len(az.NICs) != 1 {
		t.Errorf("%d interfaces", len(az.NICs))
	}
	gateway := az.Gateways[Key(testRG+"/providers/Microsoft.Network/virtualNetworkGateways/vpn")]
	if gateway == nil || gateway.VNetID != Key(testVNet) || !slices.Equal(gateway.Learned, []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}) {
		t.Errorf("gateway: %+v", gateway)
	}
	want := `network security group gone | nsg/gone | 404 ResourceNotFound | `
	if got := gapText(w); got != want {
		t.Errorf("gaps:\n%s\nwant:\n%s", got, want)
	}
	for _, kind := range []string{"cluster", "vmss", "nic", "subnet", "vnet", "nsg", "routetable", "natgateway", "firewall", "firewallpolicy", "vnetgateway", "loadbalancer"} {
		if !w.Read[kind] {
			t.Errorf("%s is not said to be complete", kind)
		}
	}
	for path, n := range f.calls {
		if n > 2 && !strings.Contains(path, "learned") {
			t.Errorf("%d calls of %s", n, path)
		}
	}
}

func TestCollectWithFaults(t *testing.T) {
	const forbidden = `{"error":{"code":"AuthorizationFailed","message":"The client 'x' with object id 'y' does not have authorization to perform action 'Microsoft.Network/routeTables/read' over scope '/subscriptions/s/rt' or the scope is invalid."}}`
	rt := testRG + "/providers/Microsoft.Network/routeTables/RT"
	clusters := "/subscriptions/" + testSub + "/providers/Microsoft.ContainerService/managedClusters"
	for _, test := range []struct {
		name, path string
		fault      http.HandlerFunc
		gap        string // must be among the gaps
		unread     string // kind that is not complete
		found      bool   // the rest was read
	}{
		{"403", rt, answer(403, forbidden), "route table rt | routetable/rt | 403 AuthorizationFailed | Microsoft.Network/routeTables/read on /subscriptions/s/rt", "routetable", true},
		{"403 without words", rt, answer(403, ``), "route table rt | routetable/rt | 403 Forbidden | Microsoft.Network/routeTables/read on " + Key(rt), "routetable", true},
		{"429 for long", rt, answer(429, `{"error":{"code":"TooManyRequests","message":"slow down"}}`, "Retry-After", "3600"), "429 TooManyRequests", "routetable", true},
		{"409", rt, answer(409, `{"error":{"code":"AnotherOperationInProgress","message":"wait"}}`), "409 AnotherOperationInProgress: wait", "routetable", true},
		{"cut off", rt, answer(200, `{"id": "/subsc`), "malformed answer: the JSON document ends in the middle", "routetable", true},
		{"not JSON", rt, answer(200, `<html>`), "malformed answer: not JSON at byte", "routetable", true},
		{"wrong type", rt, answer(200, `{"id":"`+rt+`","properties":{"routes":[{"name":"x","properties":{"nextHopIpAddress":[1]}}]}}`), "malformed answer: properties.routes[0].properties.nextHopIpAddress: want a string, got a list", "routetable", true},
		{"no object", rt, answer(200, `[]`), "malformed answer", "routetable", true},
		{"hanging", rt, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "timed out after 3s", "routetable", true},
		{"list forbidden", clusters, answer(403, forbidden), "", "", true},
		{"unused forbidden", testRG + "/providers/Microsoft.Network/natGateways", answer(403, ``), "unused NAT gateways in resource group", "", true},
		{"list nextLink elsewhere", testSet + "/networkInterfaces", answer(200, `{"value":[],"nextLink":"https://evil.example/x"}`), "network interfaces of scale set of aks-pool-vmss |  | malformed answer: nextLink leads to another host", "nic", true},
		{"list without value", testSet + "/networkInterfaces", answer(200, `{}`), "malformed answer: value: want a list", "nic", true},
		{"401", clusters, answer(401, `{"error":{"code":"ExpiredAuthenticationToken","message":"expired"}}`), "Azure |  | 401 ExpiredAuthenticationToken: the token was not accepted (expired, or of another tenant) | a valid token (az login)", "cluster", false},
		{"wrong subscription", clusters, answer(404, `{"error":{"code":"SubscriptionNotFound","message":"no"}}`), "Azure |  | 404 SubscriptionNotFound: subscription " + testSub, "cluster", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newCloud(t)
			f.fail(test.path, test.fault)
			w := collectFrom(t, f, func(o *Options) {
				if test.name == "hanging" {
					o.CallTimeout = 3 * time.Second
				}
			})
			if got := gapText(w); !strings.Contains(got, test.gap) {
				t.Errorf("gaps:\n%s\nwant among them: %s", got, test.gap)
			}
			if test.unread != "" && w.Read[test.unread] {
				t.Errorf("%s is said to be complete", test.unread)
			}
			if w.Azure.Found != test.found {
				t.Errorf("found: %v", w.Azure.Found)
			}
			if test.found && len(w.Azure.Subnets) == 0 {
				t.Error("nothing else was read")
			}
			if test.name == "list forbidden" && (w.Azure.Cluster == nil || w.Azure.Cluster.Name != "Prod_1") {
				t.Error("the cluster was not found by the name of its node resource group")
			}
		})
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	f := newCloud(t)
	rt := testRG + "/providers/Microsoft.Network/routeTables/RT"
	var mu sync.Mutex
	var first, second time.Time
	f.fail(rt, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if first.IsZero() {
			first = time.Now()
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(429)
			return
		}
		second = time.Now()
		f.mu.Lock()
		defer f.mu.Unlock()
		fmt.Fprint(w, f.docs[strings.ToLower(rt)])
	})
	w := collectFrom(t, f, nil)
	if wait := second.Sub(first); wait < 900*time.Millisecond {
		t.Errorf("asked again after %s", wait)
	}
	if !w.Read["routetable"] {
		t.Errorf("not read:\n%s", gapText(w))
	}
}

func TestAPIVersionFallsBack(t *testing.T) {
	f := newCloud(t)
	rt := strings.ToLower(testRG + "/providers/Microsoft.Network/routeTables/RT")
	f.fail(rt, func(w http.ResponseWriter, r *http.Request) {
		if v := r.URL.Query().Get("api-version"); v != "2020-11-01" {
			w.WriteHeader(400)
			fmt.Fprint(w, `{"error":{"code":"InvalidResourceType","message":"The resource type could not be found for api version '`+v+`'. The supported api-versions are '2018-11-01,2020-11-01,2021-01-01-preview'."}}`)
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		fmt.Fprint(w, f.docs[rt])
	})
	if w := collectFrom(t, f, nil); !w.Read["routetable"] {
		t.Errorf("not read:\n%s", gapText(w))
	}
}

func TestCancelled(t *testing.T) {
	f := newCloud(t)
	w := f.world()
	ctx, cancel := context.WithCancel(t.Context())
	f.fail(testSet+"/networkInterfaces", func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	started := time.Now()
	o := f.options()
	o.Env = f.env(t)
	o.CallTimeout, o.Timeout = time.Minute, time.Minute
	Collect(ctx, o, w)
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("went on for %s after it was cancelled", took)
	}
}

func TestNotAzure(t *testing.T) {
	w := &model.World{Kube: model.Kube{Nodes: map[string]*model.Node{"n": {Name: "n", ProviderID: "kind://docker/kind/n"}}}}
	Collect(t.Context(), Options{Env: func(string) string { return "" }}, w)
	if w.Azure.Found || len(w.Gaps) != 0 {
		t.Errorf("%+v", w)
	}
}

func TestNoCredential(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	f := newCloud(t)
	w := f.world()
	started := time.Now()
	Collect(t.Context(), Options{Env: func(string) string { return "" }}, w)
	if !strings.Contains(gapText(w), "no Azure credential here") || time.Since(started) > 10*time.Second {
		t.Errorf("after %s:\n%s", time.Since(started), gapText(w))
	}
}

func TestNeeds(t *testing.T) {
	f := newCloud(t)
	w := f.world()
	zones := testRG + "/providers/Microsoft.Network/privateDnsZones/"
	f.put(zones+"corp.example.org", `{}`)
	f.put(zones+"corp.example.org/virtualNetworkLinks/l", `{"virtualNetwork":`+ref(testVNet)+`}`)
	f.docs[strings.ToLower(zones+"corp.example.org/ALL")] = `{"value":[{"id":"` + zones + `corp.example.org/A/api","name":"api","type":"Microsoft.Network/privateDnsZones/A","properties":{"aRecords":[{"ipv4Address":"10.1.0.9"}]}}]}`
	f.put(zones+"unrelated.example.org", `{}`)
	lb := testMC + "/providers/Microsoft.Network/loadBalancers/kubernetes"
	f.put(lb, `{"outboundRules":[{"name":"aksOutboundRule","properties":{"allocatedOutboundPorts":0}}]}`)
	f.fail(lb+"/providers/Microsoft.Insights/metrics", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("metricnames") != "SnatConnectionCount" {
			fmt.Fprint(w, `{"value":[]}`)
			return
		}
		if q.Get("timespan") != "2026-01-15T10:00:00Z/2026-01-15T10:30:00Z" {
			t.Errorf("timespan %q", q.Get("timespan"))
		}
		fmt.Fprint(w, `{"value":[{"id":"`+lb+`/providers/Microsoft.Insights/metrics/SnatConnectionCount","name":{"value":"SnatConnectionCount"},"unit":"Count","timeseries":[{"metadatavalues":[{"name":{"value":"connectionstate"},"value":"Failed"}],"data":[{"timeStamp":"2026-01-15T10:00:00Z","total":3},{"timeStamp":"2026-01-15T10:01:00Z"}]}]}]}`)
	})
	collectInto(t, f, w, func(o *Options) {
		o.Host, o.Metrics = "api.corp.example.org", true
		o.Resolved = time.Date(2026, 1, 15, 10, 30, 12, 0, time.UTC)
	})
	zone := w.Azure.PrivateZones[Key(zones+"corp.example.org")]
	if zone == nil || !slices.Equal(zone.Links, []string{Key(testVNet)}) || !slices.Equal(zone.Records["api A"], []string{"10.1.0.9"}) || len(w.Azure.PrivateZones) != 1 {
		t.Errorf("zones: %+v\n%s", w.Azure.PrivateZones, gapText(w))
	}
	if len(w.Azure.Metrics) != 1 || len(w.Azure.Metrics[0].Points) != 1 || w.Azure.Metrics[0].Resource != Key(lb) || w.Azure.Metrics[0].Dimension["connectionstate"] != "Failed" {
		t.Errorf("metrics: %+v\n%s", w.Azure.Metrics, gapText(w))
	}
}

// TestMeasures: each device is asked for its metrics once, machines by the names
// that Azure Monitor has for them, and a filter that is refused is left out.
func TestMeasures(t *testing.T) {
	f := newCloud(t)
	w := f.world()
	gateway := testRG + "/providers/Microsoft.Network/natGateways/out"
	f.put(gateway, `{"idleTimeoutInMinutes":4}`)
	f.put(testVNet+"/subnets/Nodes", `{"addressPrefix":"10.1.0.0/16","natGateway":`+ref(gateway)+`}`)
	var mu sync.Mutex
	asked := map[string]int{}
	metrics := func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		mu.Lock()
		asked[q.Get("metricnames")+"|"+q.Get("$filter")+"|"+q.Get("top")]++
		mu.Unlock()
		if strings.HasPrefix(q.Get("metricnames"), "OS Disk") && q.Get("$filter") != "" {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"code":"BadRequest","message":"Metric: OS Disk Queue Depth does not support requested dimension combination: vmname"}`)
			return
		}
		fmt.Fprint(w, `{"value":[]}`)
	}
	f.fail(gateway+"/providers/Microsoft.Insights/metrics", metrics)
	f.fail(testSet+"/providers/Microsoft.Insights/metrics", metrics)
	collectInto(t, f, w, func(o *Options) { o.Metrics, o.Machines = true, []string{"aks-pool-vmss000000"} })
	one := "VMName eq 'aks-pool-vmss_0'"
	for _, want := range []string{
		"SNATConnectionCount|ConnectionState eq '*'|2000", "TotalConnectionCount|Protocol eq '*'|2000", "PacketDropCount||", "DatapathAvailability||",
		ofDisk.names + "|" + one + "|2000", ofDisk.names + "||", ofVM.names + "|" + one + "|2000", ofVMDisks.names + "|" + one + "|2000", ofNIC.names + "|" + one + "|2000",
	} {
		if asked[want] != 1 {
			t.Errorf("%q was asked %d times", want, asked[want])
		}
	}
	if len(asked) != 9 || strings.Contains(gapText(w), "metrics of") {
		t.Errorf("%v\n%s", asked, gapText(w))
	}
}

// sized is a cloud whose machines' disks do most of what their size allows.
func sized(t *testing.T, percent string) (*cloudFake, *model.World, string) {
	f := newCloud(t)
	w := f.world()
	f.put(testSet, `{"orchestrationMode":"Uniform"}`, `,"location":"North Europe","sku":{"name":"Standard_D2s_v5"}`)
	f.fail(testSet+"/providers/Microsoft.Insights/metrics", func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Query().Get("metricnames"), "VM Uncached") {
			fmt.Fprint(w, `{"value":[]}`)
			return
		}
		fmt.Fprint(w, `{"value":[{"id":"`+testSet+`/providers/Microsoft.Insights/metrics/VM","name":{"value":"VM Uncached IOPS Consumed Percentage"},"unit":"Percent","timeseries":[{"metadatavalues":[{"name":{"value":"vmname"},"value":"aks-pool-vmss_0"}],"data":[{"timeStamp":"2026-01-15T10:00:00Z","average":`+percent+`}]}]}]}`)
	})
	return f, w, "/subscriptions/" + testSub + "/providers/Microsoft.Compute/skus"
}

func oneNode(o *Options) { o.Machines = []string{"aks-pool-vmss000000"} }

// TestSizes: where disks are at their end, what the region's sizes allow is asked
// once; of the list the family of the machines' own size is kept.
func TestSizes(t *testing.T) {
	f, w, skus := sized(t, "97")
	f.fail(skus, func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("$filter") + " " + r.URL.Query().Get("api-version"); got != "location eq 'northeurope' 2021-07-01" {
			t.Errorf("asked with %s", got)
		}
		fmt.Fprint(w, `{"value":[{"resourceType":"disks","name":"Premium_LRS"},
			{"resourceType":"virtualMachines","name":"Standard_D2s_v5","family":"standardDSv5Family","restrictions":[],"capabilities":[{"name":"vCPUs","value":"2"},{"name":"UncachedDiskIOPS","value":"3750"},{"name":"UncachedDiskBytesPerSecond","value":"85000000"},{"name":"EphemeralOSDiskSupported","value":"False"}]},
			{"resourceType":"virtualMachines","name":"Standard_D96s_v5","family":"standardDSv5Family","restrictions":[{"type":"Zone"}],"capabilities":[{"name":"UncachedDiskBytesPerSecond","value":"2600000000"}]},
			{"resourceType":"virtualMachines","name":"Standard_F2s_v2","family":"standardFSv2Family","capabilities":[{"name":"UncachedDiskIOPS","value":"nonsense"}]}]}`)
	})
	collectInto(t, f, w, oneNode)
	own, big := w.Azure.Sizes["standard_d2s_v5"], w.Azure.Sizes["standard_d96s_v5"]
	if len(w.Azure.Sizes) != 2 || own == nil || own.UncachedIOPS != 3750 || own.UncachedBytes != 85000000 || own.CPUs != 2 || own.EphemeralOS == nil || *own.EphemeralOS || own.Restricted {
		t.Errorf("%+v\n%s", own, gapText(w))
	}
	if big == nil || big.UncachedBytes != 2600000000 || !big.Restricted || big.EphemeralOS != nil || f.calls[strings.ToLower(skus)] != 1 {
		t.Errorf("%+v, asked %d times", big, f.calls[strings.ToLower(skus)])
	}
}

// TestSizesAreNotAskedForNothing: the list is large.
func TestSizesAreNotAskedForNothing(t *testing.T) {
	f, w, skus := sized(t, "41")
	if collectInto(t, f, w, oneNode); f.calls[strings.ToLower(skus)] != 0 || w.Azure.Sizes != nil {
		t.Errorf("asked %d times", f.calls[strings.ToLower(skus)])
	}
}

// TestSizesUnread: what a size allows that was not read, or is not in the list, is a gap and no limit.
func TestSizesUnread(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":{"code":"AuthorizationFailed","message":"no"}}`: "Microsoft.Compute/skus/read",
		`{"value":[]}`: "does not have Standard_D2s_v5",
		`{"value":[{"resourceType":"virtualMachines","name":"Standard_D2s_v5","capabilities":[{"name":"UncachedDiskIOPS","value":"-1"}]}]}`: "not negative",
	} {
		f, w, skus := sized(t, "80")
		status := http.StatusOK
		if strings.Contains(body, "error") {
			status = http.StatusForbidden
		}
		f.fail(skus, answer(status, body))
		if collectInto(t, f, w, oneNode); !strings.Contains(gapText(w), want) || !strings.Contains(gapText(w), "machine sizes in subscription") || w.Azure.Sizes != nil {
			t.Errorf("%s: %+v\n%s", body, w.Azure.Sizes, gapText(w))
		}
	}
}
