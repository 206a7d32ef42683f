package arm

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const (
	testGroup = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg-t"
	testNet   = testGroup + "/providers/Microsoft.Network"
)

func newTestStore(t *testing.T) *Store {
	t.Helper()
	s := NewStore()
	must(t, s, testGroup, Doc{"location": "westeurope"})
	must(t, s, testNet+"/networkSecurityGroups/nsg", Doc{"location": "westeurope"})
	must(t, s, testNet+"/routeTables/rt", Doc{"location": "westeurope"})
	must(t, s, testNet+"/publicIPAddresses/pip", Doc{"location": "westeurope"})
	must(t, s, testNet+"/natGateways/nat", Doc{"properties": Doc{"publicIpAddresses": []any{ref(testNet + "/publicIPAddresses/pip")}}})
	must(t, s, testNet+"/virtualNetworks/v", Doc{"properties": Doc{
		"addressSpace": Doc{"addressPrefixes": []any{"10.0.0.0/8"}},
		"subnets": []any{Doc{"name": "a", "properties": Doc{
			"addressPrefix":        "10.1.0.0/16",
			"networkSecurityGroup": ref(testNet + "/networkSecurityGroups/NSG"), "natGateway": ref(testNet + "/natGateways/nat"),
		}}},
	}})
	return s
}

func must(t *testing.T, s *Store, id string, body Doc) Doc {
	t.Helper()
	d, err := s.Put(id, body)
	if err != nil {
		t.Fatalf("PUT %s: %v", id, err)
	}
	return d
}

func rule(priority int, direction string) Doc {
	return Doc{"properties": Doc{
		"priority": priority, "direction": direction, "access": "Deny", "protocol": "Tcp",
		"sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "Internet", "destinationPortRange": "443",
	}}
}

func TestNestedBothWays(t *testing.T) {
	s := newTestStore(t)
	id := testNet + "/networksecuritygroups/nsg/securityRules/DenyWeb"
	must(t, s, id, rule(200, "Outbound"))
	nsg, _ := s.Get(strings.ToUpper(testNet + "/networkSecurityGroups/nsg"))
	rules := Items(nsg, "properties", "securityRules")
	if len(rules) != 1 || Str(rules[0], "id") != testNet+"/networkSecurityGroups/nsg/securityRules/DenyWeb" ||
		Str(rules[0], "type") != "Microsoft.Network/networkSecurityGroups/securityRules" || Str(rules[0], "etag") == "" {
		t.Fatalf("the parent does not hold the rule: %v", rules)
	}
	if n := len(Items(nsg, "properties", "defaultSecurityRules")); n != 6 {
		t.Errorf("%d default rules, want 6", n)
	}
	if l, ok := s.Children(testNet + "/networkSecurityGroups/nsg/securityRules"); !ok || len(l) != 1 {
		t.Errorf("children: %v %v", l, ok)
	}
	// and from the parent to the child
	props(nsg)["securityRules"] = append(At(nsg, "properties", "securityRules").([]any), Doc{"name": "Two", "properties": rule(201, "Outbound")["properties"]})
	must(t, s, Str(nsg, "id"), nsg)
	if d, ok := s.Get(testNet + "/networkSecurityGroups/nsg/securityRules/two"); !ok || Str(d, "properties", "access") != "Deny" {
		t.Errorf("the child cannot be read: %v", d)
	}
	if err := s.Delete(id); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Get(id); ok {
		t.Error("the rule is still there")
	}
}

func TestBackReferences(t *testing.T) {
	s := newTestStore(t)
	for _, c := range []struct{ id, property, want string }{
		{testNet + "/networkSecurityGroups/nsg", "subnets", testNet + "/virtualNetworks/v/subnets/a"},
		{testNet + "/natGateways/nat", "subnets", testNet + "/virtualNetworks/v/subnets/a"},
	} {
		d, _ := s.Get(c.id)
		if l := Items(d, "properties", c.property); len(l) != 1 || Str(l[0], "id") != c.want {
			t.Errorf("%s.%s = %v", c.id, c.property, l)
		}
	}
	pip, _ := s.Get(testNet + "/publicIPAddresses/pip")
	if Str(pip, "properties", "natGateway", "id") == "" || Str(pip, "properties", "ipAddress") != "192.0.2.64" {
		t.Errorf("public address: %v", pip["properties"])
	}
	// Taking the reference away takes the back-reference away.
	if _, err := s.Merge(testNet+"/virtualNetworks/v/subnets/a", Doc{"properties": Doc{"natGateway": nil}}); err != nil {
		t.Fatal(err)
	}
	nat, _ := s.Get(testNet + "/natGateways/nat")
	if At(nat, "properties", "subnets") != nil {
		t.Errorf("the NAT gateway still names %v", At(nat, "properties", "subnets"))
	}
}

func TestRefusals(t *testing.T) {
	vnet := func(prefix string) Doc { return Doc{"properties": Doc{"addressPrefix": prefix}} }
	route := func(kind, hop string) Doc {
		return Doc{"properties": Doc{"addressPrefix": "0.0.0.0/0", "nextHopType": kind, "nextHopIpAddress": hop}}
	}
	for _, c := range []struct {
		name, id string
		body     Doc
		code     string
		status   int
	}{
		{"priority too low", "/networkSecurityGroups/nsg/securityRules/x", rule(99, "Inbound"), "SecurityRuleInvalidPriority", 400},
		{"priority taken", "/networkSecurityGroups/nsg/securityRules/x", rule(300, "Outbound"), "SecurityRuleConflict", 400},
		{"bad direction", "/networkSecurityGroups/nsg/securityRules/x", rule(300, "Sideways"), "InvalidRequestFormat", 400},
		{"outside the VNet", "/virtualNetworks/v/subnets/b", vnet("11.0.0.0/24"), "NetcfgInvalidSubnet", 400},
		{"overlap", "/virtualNetworks/v/subnets/b", vnet("10.1.2.0/24"), "NetcfgSubnetRangesOverlap", 400},
		{"no next hop", "/routeTables/rt/routes/r", route("VirtualAppliance", ""), "RouteInvalidNextHopIpAddress", 400},
		{"hop not allowed", "/routeTables/rt/routes/r", route("None", "10.0.0.1"), "RouteNextHopIpAddressNotAllowed", 400},
		{"no parent", "/routeTables/other/routes/r", route("None", ""), "ParentResourceNotFound", 404},
		{"dangling", "/natGateways/n2", Doc{"properties": Doc{"publicIpAddresses": []any{ref(testNet + "/publicIPAddresses/none")}}}, "InvalidResourceReference", 400},
		{"idle", "/natGateways/nat", Doc{"properties": Doc{"idleTimeoutInMinutes": 3}}, "InvalidParameter", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newTestStore(t)
			must(t, s, testNet+"/networkSecurityGroups/nsg/securityRules/first", rule(300, "Outbound"))
			before := fmt.Sprint(s.All())
			_, err := s.Put(testNet+c.id, c.body)
			var e *Error
			if !errors.As(err, &e) || e.Code != c.code || e.Status != c.status {
				t.Fatalf("got %v, want %d %s", err, c.status, c.code)
			}
			if fmt.Sprint(s.All()) != before {
				t.Error("a refused change left a trace")
			}
		})
	}
}

func TestDeleteInUse(t *testing.T) {
	s := newTestStore(t)
	for id, code := range map[string]string{
		"/networkSecurityGroups/nsg": "InUseNetworkSecurityGroupCannotBeDeleted",
		"/natGateways/nat":           "InUseNatGatewayCannotBeDeleted",
		"/publicIPAddresses/pip":     "PublicIPAddressCannotBeDeleted",
	} {
		var e *Error
		if err := s.Delete(testNet + id); !errors.As(err, &e) || e.Code != code {
			t.Errorf("DELETE %s: %v, want %s", id, err, code)
		}
	}
	if err := s.Delete(testNet + "/virtualNetworks/v"); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(testNet + "/networkSecurityGroups/nsg"); err != nil {
		t.Errorf("an NSG that nobody uses: %v", err)
	}
}

func TestHookRefuses(t *testing.T) {
	s := newTestStore(t)
	var seen []int
	s.OnChange(func(all []Doc) error { seen = append(seen, len(all)); return nil })
	s.OnChange(func(all []Doc) error {
		for _, d := range all {
			if Str(d, "name") == "bad" {
				return errors.New("no such packet")
			}
		}
		return nil
	})
	n := len(s.All())
	if _, err := s.Put(testNet+"/routeTables/bad", Doc{}); err == nil || !strings.Contains(err.Error(), "no such packet") {
		t.Fatalf("got %v", err)
	}
	if fmt.Sprint(seen) != fmt.Sprint([]int{n + 1, n}) {
		t.Errorf("the first hook saw %v documents", seen)
	}
	if _, ok := s.Get(testNet + "/routeTables/bad"); ok {
		t.Error("the refused document is there")
	}
}

func TestAfterChange(t *testing.T) {
	s := newTestStore(t)
	var seen []bool
	s.AfterChange(func() {
		_, ok := s.Get(testNet + "/routeTables/new")
		seen = append(seen, ok)
	})
	must(t, s, testNet+"/routeTables/new", Doc{})
	if _, err := s.Put(testNet+"/routeTables/new", Doc{"name": "other"}); err == nil {
		t.Error("a wrong name was taken")
	}
	if fmt.Sprint(seen) != "[true]" {
		t.Errorf("seen %v", seen)
	}
}

func TestPutKeepsSubnets(t *testing.T) {
	s := newTestStore(t)
	must(t, s, testNet+"/virtualNetworks/v", Doc{"properties": Doc{"addressSpace": Doc{"addressPrefixes": []any{"10.0.0.0/8"}}}})
	if l, _ := s.Children(testNet + "/virtualNetworks/v/subnets"); len(l) != 1 {
		t.Errorf("%d subnets after a PUT without subnets, want 1", len(l))
	}
}

func TestMalformed(t *testing.T) {
	for _, c := range []struct {
		id   string
		body Doc
	}{
		{"/routeTables/rt", Doc{"properties": "x"}},
		{"/routeTables/rt", Doc{"properties": Doc{"routes": "x"}}},
		{"/routeTables/rt", Doc{"properties": Doc{"routes": []any{1}}}},
		{"/routeTables/rt", Doc{"properties": Doc{"routes": []any{Doc{"name": "r", "properties": []any{}}}}}},
		{"/routeTables/rt", Doc{"properties": Doc{"routes": []any{Doc{"properties": Doc{}}}}}},
		{"/routeTables/rt", Doc{"name": 3}},
		{"/routeTables/rt", Doc{"name": "other"}},
		{"/routeTables/rt/routes/r", Doc{"properties": Doc{"nextHopType": "None", "addressPrefix": "10.0.0.0/33"}}},
		{"/networkInterfaces/n", Doc{"properties": Doc{"ipConfigurations": []any{Doc{"name": "a", "properties": 1}}}}},
		{"/networkInterfaces/n", Doc{"properties": Doc{"ipConfigurations": []any{Doc{"name": "a", "properties": Doc{"subnet": Doc{"id": "nowhere"}}}}}}},
	} {
		var e *Error
		if _, err := newTestStore(t).Put(testNet+c.id, c.body); !errors.As(err, &e) || e.Status != 400 {
			t.Errorf("PUT %s %v: %v", c.id, c.body, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	s := newTestStore(t)
	in := func(name string) Doc {
		return Doc{"name": name, "properties": Doc{"subnet": ref(testNet + "/virtualNetworks/v/subnets/a")}}
	}
	must(t, s, testNet+"/networkInterfaces/one", Doc{"properties": Doc{"ipConfigurations": []any{in("a"), in("b")}}})
	must(t, s, testNet+"/loadBalancers/inner", Doc{"properties": Doc{"frontendIPConfigurations": []any{in("f")}}})
	var got []string
	for _, id := range []string{"/networkInterfaces/one/ipConfigurations/a", "/networkInterfaces/one/ipConfigurations/b", "/loadBalancers/inner/frontendIPConfigurations/f"} {
		d, _ := s.Get(testNet + id)
		got = append(got, Str(d, "properties", "privateIPAddress"))
	}
	if fmt.Sprint(got) != "[10.1.0.4 10.1.0.5 10.1.0.6]" {
		t.Error(got)
	}
	var e *Error
	if err := s.Delete(testNet + "/virtualNetworks/v/subnets/a"); !errors.As(err, &e) || e.Code != "InUseSubnetCannotBeDeleted" {
		t.Errorf("delete of a subnet with a NIC: %v", err)
	}
}

// FuzzPut: whatever the body, the store answers with a resource or a refusal, and stays readable.
func FuzzPut(f *testing.F) {
	f.Add("/virtualNetworks/v", `{"properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/8"]},"subnets":[{"name":"x","properties":{"addressPrefix":"10.9.0.0/24"}}]}}`)
	f.Add("/networkSecurityGroups/nsg/securityRules/r", `{"properties":{"priority":100,"direction":"Inbound","access":"Allow","protocol":"*"}}`)
	f.Add("/loadBalancers/l", `{"properties":{"outboundRules":[{"name":"o","properties":{"allocatedOutboundPorts":8}}]}}`)
	f.Add("/privateDnsZones/z/A/x", `{"properties":{"aRecords":[{"ipv4Address":7}]}}`)
	f.Fuzz(func(t *testing.T, id, body string) {
		d := Doc{}
		if json.Unmarshal([]byte(body), &d) != nil {
			return
		}
		s := newTestStore(t)
		if _, err := s.Put(testNet+id, d); err != nil {
			return
		}
		if _, ok := s.Get(testNet + id); !ok {
			t.Errorf("%q was put and is not there", id)
		}
		_ = s.Delete(testNet + id)
	})
}
