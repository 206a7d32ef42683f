package arm

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"sync"
)

// Store holds the lab's resources by lower-cased id. Every change is a
// transaction: it is made on a copy, completed and judged as ARM would, shown
// to the hooks, and only then becomes what Get returns.
type Store struct {
	writing sync.Mutex // one change at a time, its hooks included
	mu      sync.RWMutex
	docs    map[string]Doc // never altered once published
	hooks   []func([]Doc) error
	after   []func()
}

// NewStore makes an empty store.
func NewStore() *Store { return &Store{docs: map[string]Doc{}} }

// OnChange adds a hook. It is called with all documents before a change is
// answered; when it fails the change is undone and refused. A hook may read the
// store (it sees what was before), and must not change it.
func (s *Store) OnChange(hook func([]Doc) error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.hooks = append(s.hooks, hook)
}

// AfterChange adds a function that is called when a change has become what Get
// returns, and before it is answered.
func (s *Store) AfterChange(f func()) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.after = append(s.after, f)
}

// Get finds a resource, nested ones included; the result is the caller's own.
func (s *Store) Get(id string) (Doc, bool) {
	t := tx{docs: s.snapshot()}
	r, err := parseID(id)
	if err != nil {
		return nil, false
	}
	d, ok := t.get(r)
	if !ok {
		return nil, false
	}
	return clone(d), true
}

// List gives the resources whose id begins with prefix (a whole segment each),
// in the order of their ids. Resources that live inside another's document
// (rules, routes, subnets, …) are not listed apart from it.
func (s *Store) List(prefix string) []Doc {
	prefix = strings.TrimRight(strings.ToLower(prefix), "/")
	found := map[string]Doc{}
	for k, d := range s.snapshot() {
		if k == prefix || strings.HasPrefix(k, prefix+"/") {
			found[k] = clone(d)
		}
	}
	return sorted(found)
}

// All gives every resource, as List does.
func (s *Store) All() []Doc { return s.List("") }

// Put creates a resource or replaces it.
func (s *Store) Put(id string, body Doc) (Doc, error) {
	d, _, err := s.put(id, body)
	return d, err
}

func (s *Store) put(id string, body Doc) (doc Doc, created bool, err error) {
	err = s.change(func(t *tx) error {
		doc, created, err = t.put(id, body)
		return err
	})
	return s.answer(id, err, created)
}

// Merge alters a resource by an RFC 7396 merge patch: GET, patch, PUT.
func (s *Store) Merge(id string, patch Doc) (Doc, error) {
	err := s.change(func(t *tx) error {
		r, err := parseID(id)
		if err != nil {
			return err
		}
		old, ok := t.get(r)
		if !ok {
			return notFound(r)
		}
		normal, err := normalise(patch)
		if err != nil {
			return err
		}
		_, _, err = t.put(id, mergePatch(clone(old), normal).(Doc))
		return err
	})
	d, _, err := s.answer(id, err, false)
	return d, err
}

// Delete removes a resource with everything under it.
func (s *Store) Delete(id string) error {
	return s.change(func(t *tx) error { return t.delete(id) })
}

// Load puts many documents as one change: hooks run once. Order matters as it
// would in ARM: what is referred to comes first.
func (s *Store) Load(docs []Doc) error {
	return s.change(func(t *tx) error {
		for _, d := range docs {
			if _, _, err := t.put(Str(d, "id"), d); err != nil {
				return fmt.Errorf("%s: %w", Str(d, "id"), err)
			}
		}
		return nil
	})
}

func (s *Store) snapshot() map[string]Doc {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.docs
}

func (s *Store) answer(id string, err error, created bool) (Doc, bool, error) {
	if err != nil {
		return nil, false, err
	}
	d, _ := s.Get(id)
	return d, created, nil
}

// change runs one transaction. On a hook's failure the hooks that had already
// followed are given the old documents again.
func (s *Store) change(f func(*tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	old := s.snapshot()
	t := &tx{docs: clone2(old), changed: map[string]bool{}}
	if err := f(t); err != nil {
		return err
	}
	t.link()
	t.stamp(old)
	for i, hook := range s.hooks {
		err := hook(sorted(clone2(t.docs)))
		if err == nil {
			continue
		}
		for _, h := range s.hooks[:i+1] {
			if back := h(sorted(clone2(old))); back != nil {
				err = fmt.Errorf("%w (and what was before could not be put back: %v)", err, back)
			}
		}
		return &Error{Status: 500, Code: "InternalServerError", Message: "The fabric refused the change: " + err.Error()}
	}
	s.mu.Lock()
	s.docs = t.docs
	s.mu.Unlock()
	for _, f := range s.after {
		f()
	}
	return nil
}

func clone2(m map[string]Doc) map[string]Doc {
	out := make(map[string]Doc, len(m))
	for k, d := range m {
		out[k] = clone(d)
	}
	return out
}

// tx is one change in the making.
type tx struct {
	docs    map[string]Doc
	changed map[string]bool // keys whose etag is due
}

func key(r resourceID) string { return strings.ToLower(r.String()) }

// get finds a resource, stored or nested. The result belongs to the transaction.
func (t *tx) get(r resourceID) (Doc, bool) {
	if d, ok := t.docs[key(r)]; ok {
		return d, true
	}
	parent, ok := r.parent()
	if !ok {
		return nil, false
	}
	in, ok := inlineOf(r)
	if !ok {
		return nil, false
	}
	owner, ok := t.get(parent)
	if !ok {
		return nil, false
	}
	for _, e := range Items(owner, "properties", in.property) {
		if strings.EqualFold(Str(e, "name"), r.name()) {
			return in.lift(parent, e), true
		}
	}
	return nil, false
}

// put creates or replaces one resource, completes and judges it.
func (t *tx) put(id string, body Doc) (Doc, bool, error) {
	r, err := parseID(id)
	if err != nil {
		return nil, false, err
	}
	d, err := normalise(body)
	if err != nil {
		return nil, false, err
	}
	if err := shaped(r.String(), d); err != nil {
		return nil, false, err
	}
	if n := Str(d, "name"); n != "" && !strings.EqualFold(n, r.name()) && !strings.EqualFold(n, instanceName(r)) {
		return nil, false, refuse(400, "InvalidRequestContent", "The name %q of the body is not the name %q of the address.", n, r.name())
	}
	if r.namespace != "" {
		group, _ := parseID("/subscriptions/" + r.subscription + "/resourceGroups/" + r.group)
		if _, ok := t.docs[key(group)]; !ok {
			return nil, false, refuse(404, "ResourceGroupNotFound", "Resource group '%s' could not be found.", r.group)
		}
	}
	parent, nested := r.parent()
	if nested && !strings.EqualFold(parent.kind(), "Microsoft.Resources/resourceGroups") {
		if _, ok := t.get(parent); !ok {
			return nil, false, refuse(404, "ParentResourceNotFound",
				"Failed to perform 'write' on resource(s) of type '%s', because the parent resource '%s' could not be found.",
				strings.Join(r.types, "/"), parent)
		}
	}
	if in, ok := inlineOf(r); ok && nested {
		return t.putInline(r, parent, in, d)
	}
	old, existed := t.docs[key(r)]
	if existed { // keep the spelling that the resource was made with
		r, _ = parseID(Str(old, "id"))
	}
	d["id"], d["name"], d["type"] = r.String(), r.name(), r.kind()
	if err := t.complete(r, d, old); err != nil {
		return nil, false, err
	}
	t.docs[key(r)] = d
	t.changed[key(r)] = true
	if err := t.validate(r, d); err != nil {
		return nil, false, err
	}
	return d, !existed, nil
}

// shaped refuses a body whose outline is not a resource's.
func shaped(id string, d Doc) error {
	for k, v := range d {
		_, isMap := v.(map[string]any)
		_, isText := v.(string)
		switch {
		case v == nil:
		case (k == "properties" || k == "tags" || k == "sku") && !isMap:
			return refuse(400, "InvalidRequestContent", "%s of %s must be an object.", k, id)
		case (k == "name" || k == "location" || k == "id" || k == "type") && !isText:
			return refuse(400, "InvalidRequestContent", "%s of %s must be a string.", k, id)
		}
	}
	return nil
}

// putInline puts a nested resource by replacing it in its parent, and the
// parent with it.
func (t *tx) putInline(r, parent resourceID, in inline, d Doc) (Doc, bool, error) {
	owner, _ := t.get(parent)
	owner = clone(owner)
	d["name"] = r.name()
	entry := in.sink(d)
	list, _ := At(owner, "properties", in.property).([]any)
	created := true
	for i, e := range list {
		if strings.EqualFold(Str(e, "name"), r.name()) {
			entry["name"] = Str(e, "name")
			list[i], created = entry, false
		}
	}
	if created {
		list = append(list, entry)
	}
	props(owner)[in.property] = list
	if _, _, err := t.put(parent.String(), owner); err != nil {
		return nil, false, err
	}
	got, _ := t.get(r)
	return got, created, nil
}

func (t *tx) delete(id string) error {
	r, err := parseID(id)
	if err != nil {
		return err
	}
	d, ok := t.get(r)
	if !ok {
		return notFound(r)
	}
	if err := t.inUse(r, d); err != nil {
		return err
	}
	if parent, nested := r.parent(); nested {
		if in, ok := inlineOf(r); ok {
			return t.deleteInline(r, parent, in)
		}
	}
	k := key(r)
	for other := range t.docs {
		if other == k || strings.HasPrefix(other, k+"/") {
			delete(t.docs, other)
		}
	}
	return nil
}

func (t *tx) deleteInline(r, parent resourceID, in inline) error {
	owner, _ := t.get(parent)
	owner = clone(owner)
	list, _ := At(owner, "properties", in.property).([]any)
	rest := make([]any, 0, len(list))
	for _, e := range list {
		if !strings.EqualFold(Str(e, "name"), r.name()) {
			rest = append(rest, e)
		}
	}
	props(owner)[in.property] = rest
	_, _, err := t.put(parent.String(), owner)
	return err
}

// stamp gives new etags to what changed, nested resources included, as Azure
// does: they bear their parent's.
func (t *tx) stamp(old map[string]Doc) {
	for k := range t.changed {
		d, ok := t.docs[k]
		if !ok {
			continue
		}
		if before, ok := old[k]; ok && sameBody(before, d) {
			t.docs[k] = clone(before) // with its etags
			continue
		}
		r, err := parseID(Str(d, "id"))
		if err != nil || r.namespace == "" {
			continue
		}
		tag := `W/"` + newGUID() + `"`
		d["etag"] = tag
		for _, in := range inlines[strings.ToLower(r.kind())] {
			if in.flat {
				continue
			}
			for _, e := range Items(d, "properties", in.property) {
				e["etag"] = tag
			}
		}
	}
}

// sameBody compares two documents without what a change itself alters.
func sameBody(a, b Doc) bool {
	strip := func(d Doc) string {
		d = clone(d)
		delete(d, "etag")
		for _, l := range props(d) {
			for _, e := range Items(Doc{"l": l}, "l") {
				delete(e, "etag")
			}
		}
		text, _ := json.Marshal(d)
		return string(text)
	}
	return strip(a) == strip(b)
}

// normalise gives a document the types that JSON has, so that a seed written
// in Go and a body that came over the wire are the same.
func normalise(d Doc) (Doc, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return nil, refuse(400, "InvalidRequestContent", "The body is no JSON object: %v.", err)
	}
	out := Doc{}
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, refuse(400, "InvalidRequestContent", "The body is no JSON object: %v.", err)
	}
	return out, nil
}

func notFound(r resourceID) *Error {
	if r.namespace == "" {
		return refuse(404, "ResourceGroupNotFound", "Resource group '%s' could not be found.", r.group)
	}
	if _, ok := inlineOf(r); ok {
		return refuse(404, "NotFound", "Resource %s not found.", r)
	}
	path := r.namespace
	for i := range r.types {
		path += "/" + r.types[i] + "/" + r.names[i]
	}
	if len(r.types) == 1 {
		path = r.kind() + "/" + r.name()
	}
	return refuse(404, "ResourceNotFound", "The Resource '%s' under resource group '%s' was not found. "+
		"For more details please go to https://aka.ms/ARMResourceNotFoundFix", path, r.group)
}

func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// inline says that resources of one type live inside their parent's document.
type inline struct {
	segment  string // type segment in the id: securityRules
	property string // of the parent's properties: securityRules
	flat     bool   // the parent's entry is name + properties in one object (agent pools)
}

var inlines = map[string][]inline{
	"microsoft.network/networksecuritygroups": {
		{segment: "securityRules", property: "securityRules"}, {segment: "defaultSecurityRules", property: "defaultSecurityRules"},
	},
	"microsoft.network/routetables": {{segment: "routes", property: "routes"}},
	"microsoft.network/virtualnetworks": {
		{segment: "subnets", property: "subnets"}, {segment: "virtualNetworkPeerings", property: "virtualNetworkPeerings"},
	},
	"microsoft.network/loadbalancers": {
		{segment: "frontendIPConfigurations", property: "frontendIPConfigurations"},
		{segment: "backendAddressPools", property: "backendAddressPools"},
		{segment: "loadBalancingRules", property: "loadBalancingRules"},
		{segment: "probes", property: "probes"},
		{segment: "inboundNatRules", property: "inboundNatRules"},
		{segment: "outboundRules", property: "outboundRules"},
		{segment: "inboundNatPools", property: "inboundNatPools"},
	},
	"microsoft.network/networkinterfaces": {{segment: "ipConfigurations", property: "ipConfigurations"}},
	"microsoft.compute/virtualmachinescalesets/virtualmachines/networkinterfaces": {
		{segment: "ipConfigurations", property: "ipConfigurations"},
	},
	"microsoft.network/virtualnetworkgateways":   {{segment: "ipConfigurations", property: "ipConfigurations"}},
	"microsoft.network/azurefirewalls":           {{segment: "azureFirewallIpConfigurations", property: "ipConfigurations"}},
	"microsoft.containerservice/managedclusters": {{segment: "agentPools", property: "agentPoolProfiles", flat: true}},
}

// inlineOf tells how a nested resource lives in its parent.
func inlineOf(r resourceID) (inline, bool) {
	parent, ok := r.parent()
	if !ok {
		return inline{}, false
	}
	for _, in := range inlines[strings.ToLower(parent.kind())] {
		if strings.EqualFold(in.segment, r.types[len(r.types)-1]) {
			return in, true
		}
	}
	return inline{}, false
}

// lift makes a resource of a parent's entry.
func (in inline) lift(parent resourceID, entry Doc) Doc {
	if !in.flat {
		return entry
	}
	p := Doc{}
	for k, v := range entry {
		if k != "name" {
			p[k] = v
		}
	}
	name := Str(entry, "name")
	return Doc{
		"id": parent.String() + "/" + in.segment + "/" + name, "name": name,
		"type": parent.kind() + "/" + in.segment, "properties": p,
	}
}

// sink makes a parent's entry of a resource.
func (in inline) sink(d Doc) Doc {
	if !in.flat {
		return d
	}
	entry := clone(props(d))
	entry["name"] = d["name"]
	return entry
}

// Children lists the resources of one collection: the id of a resource plus a
// type segment, as in …/networkSecurityGroups/nsg/securityRules. ok is false
// when the owner does not exist.
func (s *Store) Children(collection string) (list []Doc, ok bool) {
	collection = strings.TrimRight(collection, "/")
	cut := strings.LastIndexByte(collection, '/')
	if cut < 0 {
		return nil, false
	}
	owner, err := parseID(collection[:cut])
	if err != nil {
		return nil, false
	}
	t := tx{docs: s.snapshot()}
	d, ok := t.get(owner)
	if !ok {
		return nil, false
	}
	for _, in := range inlines[strings.ToLower(owner.kind())] {
		if strings.EqualFold(in.segment, collection[cut+1:]) {
			for _, e := range Items(d, "properties", in.property) {
				list = append(list, clone(in.lift(owner, e)))
			}
			return list, true
		}
	}
	prefix := strings.ToLower(collection) + "/"
	for k, d := range t.docs {
		if rest, ok := strings.CutPrefix(k, prefix); ok && !strings.Contains(rest, "/") {
			list = append(list, clone(d))
		}
	}
	sort.Slice(list, func(i, j int) bool { return Str(list[i], "id") < Str(list[j], "id") })
	return list, true
}
