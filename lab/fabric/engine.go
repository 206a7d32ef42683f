package fabric

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/podpath/podpath/lab/firewall"
	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/plan"
)

// compilePolicy reads what the firewall is to do. It is there in every lab; where
// no document speaks of it, it lets nothing pass and no route leads to it.
func compilePolicy(w *world, docs []map[string]any) (*firewall.Policy, error) {
	if n := w.owner(plan.FWAddr); n != nil && !n.firewall {
		return firewall.Plain(plan.FWAddr), nil // somebody put another appliance there
	}
	return firewall.Compile(docs, plan.FWAddr, w.fwUp)
}

// startEngine prepares the firewall's two namespaces and starts what decides about
// application rules.
func (f *Fabric) startEngine(ctx context.Context) error {
	for _, box := range []struct {
		role   string
		routes []string
	}{{RoleFirewall, firewall.BoxRoutes()}, {RoleEngine, firewall.EngineRoutes()}} {
		if out, err := f.run(box.role, strings.Join(box.routes, "\n")+"\n", "ip", "-batch", "-"); err != nil {
			return fmt.Errorf("routes of %s: %w\n%s", f.ns(box.role), err, out)
		}
	}
	if out, err := f.run(RoleEngine, firewall.EngineTable().Text(nil), "nft", "-f", "-"); err != nil {
		return fmt.Errorf("rules of %s: %w\n%s", f.ns(RoleEngine), err, out)
	}
	e, err := firewall.Start(ctx, firewall.Network{Listen: f.engineListen, Dial: f.engineDial, Lookup: f.engineLookup})
	if err != nil {
		return err
	}
	f.engine = e
	go f.resolveNames(ctx)
	return nil
}

func (f *Fabric) engineListen(ctx context.Context, lc *net.ListenConfig, addr string) (l net.Listener, err error) {
	err = netns.Do(f.ns(RoleEngine), func() error {
		l, err = lc.Listen(ctx, "tcp4", addr)
		return err
	})
	return l, err
}

func (f *Fabric) engineDial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return netns.Dial(ctx, f.ns(RoleEngine), "tcp4", to.String())
}

// engineLookup asks the platform's DNS from the engine's namespace.
func (f *Fabric) engineLookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return netns.Dial(ctx, f.ns(RoleEngine), network, netip.AddrPortFrom(plan.AzureDNS, 53).String())
	}}
	return r.LookupNetIP(ctx, "ip4", host+".")
}

// resolveNames keeps the addresses of FQDNs in network rules current, as the
// firewall's DNS proxy does.
func (f *Fabric) resolveNames(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	last := map[string]string{}
	for {
		f.mu.Lock()
		names := f.policy.Names()
		f.mu.Unlock()
		for _, name := range names {
			lookup, cancel := context.WithTimeout(ctx, 2*time.Second)
			addrs, err := f.engineLookup(lookup, name)
			cancel()
			if err != nil {
				continue // the addresses known so far stay
			}
			var list []string
			for _, a := range addrs {
				list = append(list, a.Unmap().String())
			}
			set := firewall.NameSet(name)
			script := fmt.Sprintf("flush set ip fabric %s\nadd element ip fabric %s { %s }\n", set, set, strings.Join(list, ", "))
			if last[set] == script || len(list) == 0 {
				continue
			}
			if _, err := f.run(RoleFirewall, script, "nft", "-f", "-"); err == nil {
				last[set] = script
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
