package azure

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Error is an error body as ARM sends it.
type Error struct {
	Status  int // HTTP status, 0 when read from a file
	Code    string
	Message string
	Action  string // the action that was refused, when the message names it
	Scope   string
}

func (e *Error) Error() string {
	text := e.Code
	if e.Status != 0 {
		text = fmt.Sprintf("%d %s", e.Status, e.Code)
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return strings.TrimSpace(text)
}

// Read puts what one ARM answer says into the model, whatever the answer is: a
// resource, a list, metrics, or what a diagnostic call returned. It says what
// it found, kind by kind ("nsg", "2 subnet", "empty list"); an ARM error body
// comes back as *Error, anything that cannot be read as an error with its path.
func Read(az *model.Azure, data []byte) ([]string, error) {
	x, err := parse(data)
	if err != nil {
		return nil, err
	}
	kinds, err := read(az, x)
	if err != nil {
		return kinds, err
	}
	return kinds, x.err()
}

func read(az *model.Azure, x value) ([]string, error) {
	if _, ok := x.v.(map[string]any); !ok {
		return nil, fmt.Errorf("want a JSON object, got %s", describe(x.v))
	}
	if body := x.get("body"); !body.missing() && x.get("id").missing() {
		x = body // a recorded answer with its headers beside it
	}
	if e := errorOf(x); e != nil {
		return nil, e
	}
	if list := x.get("value"); !list.missing() && x.get("id").missing() {
		return readList(az, x, list)
	}
	if kind := readAnswer(az, x); kind != "" {
		return []string{kind}, nil
	}
	kind, err := readOne(az, x)
	if err != nil {
		return nil, err
	}
	return []string{kind}, nil
}

// errorOf reads an error body: wrapped in "error", or bare as Azure Monitor sends it.
func errorOf(x value) *Error {
	e := x.get("error")
	if e.missing() {
		if x.get("code").missing() || x.get("message").missing() {
			return nil
		}
		e = x
	}
	if text, ok := e.v.(string); ok { // the token endpoint's shape
		return &Error{Code: text, Message: x.get("error_description").str()}
	}
	out := &Error{Code: e.get("code").str(), Message: e.get("message").str()}
	for _, d := range e.get("details").list() {
		if text := d.get("message").str(); text != "" {
			out.Message = strings.TrimSpace(out.Message + " " + text)
		}
	}
	out.Action, out.Scope = refused(out.Message)
	return out
}

// refused finds action and scope in the text of a 403: "… does not have
// authorization to perform action 'A' over scope 'S' or the scope is invalid."
func refused(message string) (action, scope string) {
	quoted := func(after string) string {
		_, rest, ok := strings.Cut(message, after)
		if !ok {
			return ""
		}
		text, _, ok := strings.Cut(rest, "'")
		if !ok {
			return ""
		}
		return text
	}
	return quoted("perform action '"), quoted("over scope '")
}

func readList(az *model.Azure, x, list value) ([]string, error) {
	elements := list.list()
	if len(elements) == 0 {
		return []string{"empty list"}, nil
	}
	counts := map[string]int{}
	for _, e := range elements {
		kind := readAnswer(az, e)
		if kind == "" {
			var err error
			if kind, err = readOne(az, e); err != nil {
				return nil, err
			}
		}
		counts[kind]++
	}
	var kinds []string
	for _, kind := range sorted(counts) {
		if counts[kind] > 1 {
			kinds = append(kinds, fmt.Sprintf("%d %s", counts[kind], kind))
		} else {
			kinds = append(kinds, kind)
		}
	}
	return kinds, nil
}

// readAnswer reads what is no resource: elements and results of calls, told by
// their shape. It returns "" when x has none of those shapes.
func readAnswer(az *model.Azure, x value) string {
	has := func(names ...string) bool {
		for _, name := range names {
			if x.get(name).missing() {
				return false
			}
		}
		return true
	}
	switch {
	case has("timeseries", "name"):
		az.Metrics = append(az.Metrics, decodeMetric(x)...)
		return "metric"
	case has("resourceType", "capabilities"):
		keepSize(az, x)
		return "machine size"
	case has("metricAvailabilities"):
		x.get("name", "value").str()
		return "metric definition"
	case has("category", "endpoints"):
		az.Required = append(az.Required, decodeRequired(x)...)
		return "required endpoints"
	case has("addressPrefix", "nextHopType") && !has("id"):
		az.Effective = append(az.Effective, decodeEffective(x))
		return "effective route"
	case has("effectiveSecurityRules"):
		for _, r := range x.get("effectiveSecurityRules").list() {
			both(r, "sourceAddressPrefix", "sourceAddressPrefixes")
			both(r, "destinationAddressPrefix", "destinationAddressPrefixes")
			r.get("priority").num()
		}
		return "effective security rules"
	case has("access", "ruleName"):
		x.get("access").str()
		return "flow verification"
	case has("nextHopType"):
		x.get("nextHopIpAddress").addr()
		return "next hop"
	case has("results") && !has("id"):
		for _, r := range x.get("results").list() {
			r.get("networkSecurityGroupResult", "securityRuleAccessResult").str()
		}
		return "network diagnostic"
	case has("networkInterfaces") && !has("type"):
		for _, n := range x.get("networkInterfaces").list() {
			n.get("id").id()
		}
		return "security group view"
	case has("resources", "createdDateTime"):
		for _, r := range x.get("resources").list() {
			r.get("id").id()
		}
		return "topology"
	case has("backendAddressPools") && !has("id"):
		for _, p := range x.get("backendAddressPools").list() {
			p.ref("backendAddressPool")
		}
		return "gateway health"
	case has("code", "displayStatus"):
		x.get("message").str()
		return "status"
	case has("kubeconfigs"):
		return "credentials" // never kept
	case has("network", "origin") && !has("id"):
		return "learned route"
	case has("statuses") && !has("id"):
		for _, s := range x.get("statuses").list() {
			s.get("code").str()
		}
		return "instance view"
	case has("status") && (has("startTime") || has("name")) && !has("type"):
		return "operation"
	}
	return ""
}

func decodeEffective(x value) model.EffectiveRoute {
	return model.EffectiveRoute{
		Name: x.get("name").str(), Source: x.get("source").str(), State: x.get("state").str(),
		Prefixes: x.get("addressPrefix").strs(), NextHopType: x.get("nextHopType").str(), NextHops: x.get("nextHopIpAddress").strs(),
	}
}

// readOne reads one resource by its type.
func readOne(az *model.Azure, x value) (string, error) {
	id := x.get("id").str()
	typ := x.get("type").str()
	if typ == "" || !strings.Contains(typ, "/") {
		typ = ParseID(id).Type // scale set interfaces are served without a type
	}
	if typ == "" {
		at := x.at
		if at == "" {
			at = "the document"
		}
		return "", fmt.Errorf("%s: neither a resource (no id and type) nor an answer that is known; its keys are %s", at, strings.Join(x.keys(), ", "))
	}
	if id == "" {
		return "", fmt.Errorf("%s: a %s without an id", x.at, typ)
	}
	return put(az, strings.ToLower(typ), x), nil
}

// put decodes a resource of a type and keeps it. It returns the kind, as Refs name it.
func put(az *model.Azure, typ string, x value) string {
	id := x.get("id").id()
	switch typ {
	case "microsoft.containerservice/managedclusters":
		c := decodeCluster(x)
		if az.Cluster != nil && Key(az.Cluster.ID) == id && len(c.AgentPools) == 0 {
			c.AgentPools = az.Cluster.AgentPools
		}
		az.Cluster = c
		return "cluster"
	case "microsoft.containerservice/managedclusters/agentpools":
		putPool(az, parent(id), decodePool(x, x.props()))
		return "agentpool"
	case "microsoft.network/virtualnetworks":
		set(&az.VNets, id, decodeVNet(x))
		for _, s := range x.props().get("subnets").list() {
			if !s.props().missing() {
				put(az, "microsoft.network/virtualnetworks/subnets", s)
			}
		}
		return "vnet"
	case "microsoft.network/virtualnetworks/subnets":
		set(&az.Subnets, id, decodeSubnet(x))
		return "subnet"
	case "microsoft.network/virtualnetworks/virtualnetworkpeerings":
		putPeering(az, parent(id), decodePeering(x))
		return "peering"
	case "microsoft.network/networksecuritygroups":
		n := decodeNSG(x)
		set(&az.NSGs, id, n)
		for _, rule := range append(n.Rules, n.Defaults...) {
			noteASGs(az, rule.SourceASGs)
			noteASGs(az, rule.DestASGs)
		}
		return "nsg"
	case "microsoft.network/applicationsecuritygroups":
		set(&az.ASGs, id, &model.ASG{ID: x.get("id").str(), Name: x.get("name").str()})
		return "asg"
	case "microsoft.network/routetables":
		set(&az.RouteTables, id, decodeRouteTable(x))
		return "routetable"
	case "microsoft.network/natgateways":
		set(&az.NATGateways, id, decodeNATGateway(x))
		return "natgateway"
	case "microsoft.network/publicipaddresses",
		"microsoft.compute/virtualmachinescalesets/virtualmachines/networkinterfaces/ipconfigurations/publicipaddresses":
		set(&az.PublicIPs, id, decodePublicIP(x))
		return "publicip"
	case "microsoft.network/publicipprefixes":
		set(&az.PublicIPPrefixes, id, decodePublicIPPrefix(x))
		return "publicipprefix"
	case "microsoft.network/networkinterfaces",
		"microsoft.compute/virtualmachinescalesets/virtualmachines/networkinterfaces",
		"microsoft.compute/virtualmachinescalesets/networkinterfaces":
		n := decodeNIC(x)
		set(&az.NICs, id, n)
		for _, c := range n.IPConfigs {
			noteASGs(az, c.ASGs)
		}
		return "nic"
	case "microsoft.compute/virtualmachinescalesets":
		s := decodeVMSS(x)
		if old := az.VMSSs[id]; old != nil {
			s.Instances = old.Instances
		}
		set(&az.VMSSs, id, s)
		return "vmss"
	case "microsoft.compute/virtualmachinescalesets/virtualmachines":
		putInstance(az, parent(id), decodeInstance(x))
		return "instance"
	case "microsoft.compute/virtualmachines":
		set(&az.VMSSs, id, decodeVM(x))
		return "vm"
	case "microsoft.network/loadbalancers":
		set(&az.LoadBalancers, id, decodeLoadBalancer(x))
		return "loadbalancer"
	case "microsoft.network/loadbalancers/backendaddresspools":
		pool := decodePoolOfLB(x)
		lb := at(&az.LoadBalancers, parent(id), &model.LoadBalancer{ID: parent(id), Name: Name(parent(id))})
		lb.Pools = replace(lb.Pools, pool, func(p model.BackendPool) string { return p.ID })
		return "backendpool"
	case "microsoft.network/azurefirewalls":
		set(&az.Firewalls, id, decodeFirewall(x))
		return "firewall"
	case "microsoft.network/firewallpolicies":
		p := decodeFirewallPolicy(x)
		if old := az.FirewallPolicies[id]; old != nil && len(p.Groups) == 0 {
			p.Groups = old.Groups
		}
		set(&az.FirewallPolicies, id, p)
		return "firewallpolicy"
	case "microsoft.network/firewallpolicies/rulecollectiongroups":
		policy := at(&az.FirewallPolicies, parent(id), &model.FirewallPolicy{ID: parent(id), Name: Name(parent(id))})
		policy.Groups = replace(policy.Groups, decodeRuleGroup(x), func(g model.RuleGroup) string { return strings.ToLower(g.Name) })
		return "rulegroup"
	case "microsoft.network/ipgroups":
		set(&az.IPGroups, id, x.props().get("ipAddresses").strs())
		return "ipgroup"
	case "microsoft.network/privatednszones":
		zone := decodePrivateZone(x)
		if old := az.PrivateZones[id]; old != nil {
			zone.Links, zone.Records = old.Links, old.Records
		}
		set(&az.PrivateZones, id, zone)
		return "privatezone"
	case "microsoft.network/privatednszones/virtualnetworklinks":
		zone := at(&az.PrivateZones, parent(id), &model.PrivateZone{ID: parent(id), Name: Name(parent(id))})
		if vnet := x.props().ref("virtualNetwork"); vnet != "" {
			zone.Links = replace(zone.Links, vnet, func(s string) string { return s })
		}
		return "zonelink"
	case "microsoft.network/virtualnetworkgateways":
		set(&az.Gateways, id, decodeGateway(x))
		return "gateway"
	case "microsoft.advisor/recommendations":
		az.Advisor = append(az.Advisor, decodeAdvice(x))
		return "advice"
	}
	if strings.HasPrefix(typ, "microsoft.network/privatednszones/") { // …/A, …/CNAME
		zone := at(&az.PrivateZones, parent(id), &model.PrivateZone{ID: parent(id), Name: Name(parent(id))})
		name, values := decodeRecordSet(x)
		if zone.Records == nil {
			zone.Records = map[string][]string{}
		}
		zone.Records[name] = values
		return "record"
	}
	set(&az.Others, id, &model.Resource{
		ID: x.get("id").str(), Type: x.get("type").str(), Name: x.get("name").str(),
		Location: x.get("location").str(), State: x.props().get("provisioningState").str(),
	})
	return "resource"
}

// noteASGs remembers application security groups that are only ever referred
// to: the document itself says nothing but its name.
func noteASGs(az *model.Azure, ids []string) {
	for _, id := range ids {
		if az.ASGs[id] == nil {
			set(&az.ASGs, id, &model.ASG{ID: id, Name: Name(id)})
		}
	}
}

func putPool(az *model.Azure, cluster string, pool model.AgentPool) {
	if az.Cluster == nil {
		az.Cluster = &model.ManagedCluster{ID: cluster, Name: Name(cluster)}
	}
	if Key(az.Cluster.ID) != cluster {
		return
	}
	az.Cluster.AgentPools = replace(az.Cluster.AgentPools, pool, func(p model.AgentPool) string { return strings.ToLower(p.Name) })
}

func putPeering(az *model.Azure, vnet string, p model.Peering) {
	v := at(&az.VNets, vnet, &model.VNet{ID: vnet, Name: Name(vnet)})
	v.Peerings = replace(v.Peerings, p, func(p model.Peering) string { return strings.ToLower(p.Name) })
}

func putInstance(az *model.Azure, vmss string, i model.VMSSInstance) {
	s := at(&az.VMSSs, vmss, &model.VMSS{ID: vmss, Name: Name(vmss)})
	s.Instances = replace(s.Instances, i, func(i model.VMSSInstance) string { return i.ID })
}

// replace puts an element where one with the same key stands, or at the end.
func replace[T any](list []T, element T, key func(T) string) []T {
	for i := range list {
		if key(list[i]) == key(element) {
			list[i] = element
			return list
		}
	}
	return append(list, element)
}

func set[T any](m *map[string]T, id string, element T) {
	if *m == nil {
		*m = map[string]T{}
	}
	(*m)[id] = element
}

// at is the element with an id, which is fresh when there was none.
func at[T any](m *map[string]*T, id string, fresh *T) *T {
	if found := (*m)[id]; found != nil {
		return found
	}
	set(m, id, fresh)
	return fresh
}
