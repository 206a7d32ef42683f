// Package internet is the world outside the lab's VNet, and the name servers
// and the forward proxy inside it: real listeners, each in the network
// namespace of the host that it plays.
//
// Who is there: the hosts of plan.Hosts, public DNS (203.0.113.253), Azure DNS
// (168.63.129.16), and a forward proxy called proxy.corp.example at the
// firewall's address, 10.226.0.4:3128. The proxy dials out from the firewall's
// namespace, so its way out is the firewall's own.
//
// Serve changes what any of them does, at once; Spec lists the words. A few:
//
//	Serve("api.payments.example", {"status": 503, "share": 0.3})
//	Serve("api.payments.example", {"tls": "expired"})
//	Serve("api.payments.example", {"allow": ["192.0.2.10/32"]})         // others are dropped
//	Serve("api.payments.example", {"allow": […], "deny": "403"})        // others are answered 403
//	Serve("proxy.corp.example", {"proxy": "auth"})                      // open | auth | deny | bad-gateway
//	Serve("public-dns", {"records": {"api.payments.example": ["203.0.113.20"]}})
//	Serve("azure-dns", {"rcode": "SERVFAIL", "share": 0.5})
package internet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/podpath/podpath/lab/arm"
	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/pki"
	"github.com/podpath/podpath/lab/plan"
)

// Roles of the namespaces that are no host of the internet; a host's is "host-" and its name.
const (
	PublicDNS = "public-dns"
	AzureDNS  = "azure-dns"
	Firewall  = "fw"
)

// Options are the ways into the namespaces. A nil one is the real thing: the
// namespace of that role in the plan's lab. Tests give loopback.
type Options struct {
	Listen       func(role, network, addr string) (net.Listener, error)
	ListenPacket func(role, network, addr string) (net.PacketConn, error)
	Dial         func(ctx context.Context, role, network, addr string) (net.Conn, error)
	Filter       func(role, script string) error // hands an nft script to that namespace
	Log          func(format string, args ...any)
}

func (o Options) complete(p *plan.Plan) Options {
	name := func(role string) string { return netns.Name(p.Lab, role) }
	if o.Listen == nil {
		o.Listen = func(role, network, addr string) (net.Listener, error) { return netns.Listen(name(role), network, addr) }
	}
	if o.ListenPacket == nil {
		o.ListenPacket = func(role, network, addr string) (net.PacketConn, error) {
			return netns.ListenPacket(name(role), network, addr)
		}
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, role, network, addr string) (net.Conn, error) {
			return netns.Dial(ctx, name(role), network, addr)
		}
	}
	if o.Filter == nil {
		o.Filter = func(role, script string) error { return nft(name(role), script) }
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	return o
}

// Internet is everything that Start started. It ends with Start's context, or by Close.
type Internet struct {
	plan  *plan.Plan
	store *arm.Store
	ca    *pki.CA
	sub   *pki.CA // intermediate
	opts  Options
	stop  context.CancelFunc

	mu    sync.Mutex
	hosts map[string]*host
	close []func()
}

// Start opens every listener. The namespaces must be there, with their addresses.
func Start(ctx context.Context, p *plan.Plan, store *arm.Store, ca *pki.CA, opts Options) (*Internet, error) {
	sub, err := ca.NewIntermediate("podpath lab intermediate")
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	in := &Internet{plan: p, store: store, ca: ca, sub: sub, opts: opts.complete(p), stop: stop, hosts: map[string]*host{}}
	context.AfterFunc(ctx, in.shut)
	if err := in.open(ctx); err != nil {
		in.Close()
		return nil, err
	}
	return in, nil
}

func (in *Internet) open(ctx context.Context) error {
	for _, h := range plan.Hosts {
		if err := in.openHost(h); err != nil {
			return fmt.Errorf("internet: %s: %w", h.Name, err)
		}
	}
	if err := in.openProxy(); err != nil {
		return fmt.Errorf("internet: %s: %w", plan.Proxy, err)
	}
	for role, addr := range map[string]netip.Addr{PublicDNS: plan.PublicDNS, AzureDNS: plan.AzureDNS} {
		if err := in.openDNS(ctx, role, addr); err != nil {
			return fmt.Errorf("internet: %s: %w", role, err)
		}
	}
	return nil
}

// Close ends all listeners and takes the packet filters away.
func (in *Internet) Close() {
	in.stop()
	in.shut()
}

func (in *Internet) shut() {
	in.mu.Lock()
	closers := in.close
	in.close = nil
	in.mu.Unlock()
	for _, f := range slices.Backward(closers) {
		f()
	}
}

// onClose remembers how to end something.
func (in *Internet) onClose(f func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.close = append(in.close, f)
}

// Serve changes what a host does, at once. undo puts back what it did before.
// A second Serve for the same host is laid over the first.
func (in *Internet) Serve(name string, spec map[string]any) (undo func(), err error) {
	h, ok := in.hosts[hostName(name)]
	if !ok {
		return nil, fmt.Errorf("no host %q to serve anything; there are %s", name, strings.Join(in.names(), ", "))
	}
	if undo, err = h.serve(spec); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return undo, nil
}

// hostName finds a host's name by what else it may be called: its address or one of its names.
func hostName(name string) string {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	for _, h := range plan.Hosts {
		if h.Addr.String() == name || slices.Contains(h.Names, name) {
			return h.Name
		}
	}
	switch name {
	case plan.PublicDNS.String():
		return PublicDNS
	case plan.AzureDNS.String():
		return AzureDNS
	case "proxy":
		return plan.Proxy
	}
	return name
}

func (in *Internet) names() []string {
	var names []string
	for n := range in.hosts {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// NodeResolvers are the name servers that the VNet hands to its nodes: its own
// custom ones, or Azure DNS.
func NodeResolvers(store *arm.Store) []netip.Addr {
	vnet, _ := store.Get(plan.ID(plan.ResourceGroup, "Microsoft.Network/virtualNetworks", plan.VNet))
	servers, _ := arm.At(vnet, "properties", "dhcpOptions", "dnsServers").([]any)
	var out []netip.Addr
	for _, s := range servers {
		text, _ := s.(string)
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, a)
		}
	}
	if out == nil {
		return []netip.Addr{plan.AzureDNS}
	}
	return out
}

// closed says whether an accept loop ended because its listener was closed.
func closed(err error) bool { return errors.Is(err, net.ErrClosed) }
