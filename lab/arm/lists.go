package arm

import (
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// knownKind refuses what no resource provider knows.
func knownKind(namespace string, types []string, version string) error {
	if _, ok := kinds[strings.ToLower(namespace)]; !ok {
		return refuse(404, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", namespace)
	}
	kind := namespace + "/" + strings.Join(types, "/")
	if _, ok := kinds[strings.ToLower(kind)]; !ok {
		return refuse(404, "InvalidResourceType", "The resource type '%s' could not be found in the namespace '%s' for api version '%s'. "+
			"The supported api-versions are '2025-04-01,2024-11-01,2024-05-01,2023-09-01,2021-04-01'.", strings.Join(types, "/"), namespace, version)
	}
	return nil
}

// list answers a collection in pages.
func (c *call) list(all []Doc) { c.pages(all, false) }

// pages cuts a list; tail says that a full answer is followed by an empty page, as AKS does it.
func (c *call) pages(all []Doc, tail bool) {
	from, err := strconv.Atoi(c.r.URL.Query().Get("$skipToken"))
	if c.r.URL.Query().Get("$skipToken") == "" {
		from, err = 0, nil
	}
	if err != nil || from < 0 {
		c.fail(refuse(400, "InvalidSkipToken", "The $skipToken '%s' is none of this server's.", c.r.URL.Query().Get("$skipToken")))
		return
	}
	from = min(from, len(all))
	to := min(from+c.opts.PageSize, len(all))
	value := make([]any, 0, to-from)
	for _, d := range all[from:to] {
		value = append(value, c.view(d))
	}
	out := Doc{"value": value}
	if to < len(all) || (tail && to > from) {
		out["nextLink"] = c.base() + (&url.URL{Path: c.path}).EscapedPath() + "?" + c.query("$skipToken", strconv.Itoa(to))
	}
	c.json(200, out)
}

// listKind lists a type in a group, or (group "") in the subscription.
func (c *call) listKind(group, kind string) {
	namespace, types, _ := strings.Cut(kind, "/")
	if err := knownKind(namespace, strings.Split(types, "/"), c.r.URL.Query().Get("api-version")); err != nil && kind != "Microsoft.Resources/resourceGroups" {
		c.fail(err)
		return
	}
	var out []Doc
	for _, d := range c.store.List(group) {
		if strings.EqualFold(Str(d, "type"), kind) {
			out = append(out, d)
		}
	}
	c.list(out)
}

var typeFilter = regexp.MustCompile(`(?i)^\s*resourceType\s+eq\s+'([^']+)'\s*$`)

// resources lists top-level resources of every type, without their properties.
func (c *call) resources(group string) {
	filter := c.r.URL.Query().Get("$filter")
	m := typeFilter.FindStringSubmatch(filter)
	if filter != "" && m == nil {
		c.fail(refuse(400, "InvalidFilterInQueryString", "Invalid $filter '%s' specified in the query string. This server knows resourceType eq '…'.", filter))
		return
	}
	var out []Doc
	for _, d := range c.store.List(group) {
		r, err := parseID(Str(d, "id"))
		if err != nil || len(r.types) != 1 || (m != nil && !strings.EqualFold(m[1], r.kind())) {
			continue
		}
		for k := range d {
			if !strings.Contains(" id name type location tags sku kind identity managedBy zones ", " "+k+" ") {
				delete(d, k)
			}
		}
		out = append(out, d)
	}
	c.list(out)
}

// below routes RESOURCE/segment: a collection of children, or an action.
func (c *call) below(owner resourceID, segment string) {
	if c.r.Method == http.MethodPost {
		c.action(owner, strings.ToLower(segment))
		return
	}
	d, ok := c.store.Get(owner.String())
	if !ok {
		c.fail(notFound(owner))
		return
	}
	c.only(http.MethodGet, func() {
		kind, lower := strings.ToLower(owner.kind()), strings.ToLower(segment)
		switch {
		case kind == "microsoft.containerservice/managedclusters" && lower == "outboundnetworkdependenciesendpoints":
			c.list(requiredEndpoints())
		case kind == "microsoft.containerservice/managedclusters" && lower == "agentpools":
			all, _ := c.store.Children(c.path)
			c.pages(all, true)
		case kind == "microsoft.compute/virtualmachinescalesets" && lower == "networkinterfaces":
			c.list(c.scaleSetNICs(owner))
		case kind == "microsoft.compute/virtualmachinescalesets/virtualmachines" && lower == "instanceview":
			c.json(200, At(d, "properties", "instanceView"))
		case kind == "microsoft.network/privatednszones" && (lower == "all" || lower == "recordsets"):
			c.list(c.recordSets(owner))
		case kind == "microsoft.network/virtualnetworks" && lower == "usages":
			c.list(nil)
		default:
			if err := knownKind(owner.namespace, append(append([]string{}, owner.types...), segment), c.r.URL.Query().Get("api-version")); err != nil {
				c.fail(err)
				return
			}
			all, _ := c.store.Children(c.path)
			c.list(all)
		}
	})
}

func (c *call) scaleSetNICs(owner resourceID) []Doc {
	var out []Doc
	for _, d := range c.store.List(owner.String()) {
		if kindOf(d) == "microsoft.compute/virtualmachinescalesets/virtualmachines/networkinterfaces" {
			out = append(out, d)
		}
	}
	return out
}

func (c *call) recordSets(owner resourceID) []Doc {
	var out []Doc
	for _, d := range c.store.List(owner.String()) {
		r, err := parseID(Str(d, "id"))
		if err == nil && len(r.types) == 2 && !strings.EqualFold(r.types[1], "virtualNetworkLinks") {
			out = append(out, d)
		}
	}
	return out
}
