package fabric

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/nft"
)

// balancing is a load balancing rule of an internal load balancer: what is sent
// to its frontend goes to a member of the pool whose probe answers. The sender's
// own security groups see the member's address, where Azure's see the frontend's.
type balancing struct {
	lb, rule, chain string
	protocol        string // tcp or udp
	from            netip.AddrPort
	port            int // of the members
	members         []netip.Addr
	probe           resource[probe]
	every           time.Duration
	inARow          int // answers of one kind that take a member out, or in again
}

// balances are the rules of internal load balancers. A rule with floating IP wants
// members that know the frontend's address, and a public frontend is no way in
// yet: both lead nowhere.
func (w *world) balances() []balancing {
	var out []balancing
	for _, lb := range w.docs.balancers {
		for _, r := range lb.Properties.LoadBalancingRules {
			front, ok := w.privateFrontend(lb, r.Properties.FrontendIPConfiguration)
			if !ok || r.Properties.EnableFloatingIP {
				continue
			}
			b := balancing{
				lb: lower(lb.ID), rule: r.Name, chain: "lb_" + nft.Ident(lb.Name) + "_" + nft.Ident(r.Name), protocol: cmp.Or(balancerProtocol(r.Properties.Protocol), "tcp"),
				from: netip.AddrPortFrom(front, uint16(r.Properties.FrontendPort)), port: r.Properties.BackendPort,
			}
			for _, n := range w.members(lb, r.Properties.BackendAddressPool.key()) {
				b.members = append(b.members, n.addr)
			}
			for _, p := range lb.Properties.Probes {
				if strings.EqualFold(lastPart(r.Properties.Probe.key()), p.Name) {
					b.probe = p
				}
			}
			b.every = time.Duration(cmp.Or(b.probe.Properties.IntervalInSeconds, 15)) * time.Second
			b.inARow = max(b.probe.Properties.ProbeThreshold, 1)
			out = append(out, b)
		}
	}
	return out
}

func lastPart(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

func (w *world) privateFrontend(lb resource[loadBalancer], which *ref) (netip.Addr, bool) {
	for _, f := range lb.Properties.FrontendIPConfigurations {
		if a, err := netip.ParseAddr(f.Properties.PrivateIPAddress); err == nil && a.Is4() && strings.EqualFold(lastPart(which.key()), f.Name) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// compileBalances leads what is sent to a frontend into its rule's chain, which
// is filled by what the probes say. An empty one leads nowhere: nobody answers.
func (w *world) compileBalances(t *nft.Table) []balancing {
	all := w.balances()
	if len(all) == 0 {
		return nil
	}
	t.Chain("balance", "type nat hook prerouting priority dstnat; policy accept;")
	for _, b := range all {
		t.Chain(b.chain, "")
		t.Rule("balance", fmt.Sprintf("ip daddr %s %s dport %d jump %s", b.from.Addr(), b.protocol, b.from.Port(), b.chain))
	}
	return all
}

// fill is the chain of a rule for the members that are healthy.
func (b *balancing) fill(healthy []netip.Addr) string {
	script := "flush chain ip fabric " + b.chain + "\n"
	if len(healthy) == 0 {
		return script
	}
	cases := make([]string, len(healthy))
	for i, a := range healthy {
		cases[i] = fmt.Sprintf("%d : %s", i, a)
	}
	return script + fmt.Sprintf("add rule ip fabric %s meta l4proto %s dnat to jhash ip saddr . %s sport mod %d map { %s } : %d\n",
		b.chain, b.protocol, b.protocol, len(healthy), strings.Join(cases, ", "), b.port)
}

// health is what the probes of one member said last.
type health struct {
	up      bool
	row     int // answers of the other kind in a row
	asked   time.Time
	waiting bool
}

// prober asks the members of load balancers from the platform's address, as Azure
// does, and keeps those that do not answer out of the rules.
type prober struct {
	f      *Fabric
	mu     sync.Mutex
	state  map[string]*health // by rule and member
	filled map[string]string  // chain → what it was filled with
	loaded *program
}

func (f *Fabric) probe(ctx context.Context) {
	p := &prober{f: f, state: map[string]*health{}, filled: map[string]string{}}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			f.mu.Lock()
			current := f.program
			f.mu.Unlock()
			if current != nil && len(current.balances) > 0 {
				p.round(ctx, current, now)
			}
		}
	}
}

// round sends the probes that are due, and fills chains whose members changed.
func (p *prober) round(ctx context.Context, current *program, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if current != p.loaded {
		p.loaded, p.filled = current, map[string]string{} // its table is new, and empty
	}
	for i := range current.balances {
		b := &current.balances[i]
		var healthy []netip.Addr
		for _, a := range b.members {
			key := b.lb + "|" + b.rule + "|" + a.String()
			h := p.state[key]
			if h == nil {
				h = &health{up: b.probe.Name == ""} // without a probe every member is taken
				p.state[key] = h
			}
			if b.probe.Name != "" && !h.waiting && now.Sub(h.asked) >= b.every {
				h.asked, h.waiting = now, true
				go p.one(ctx, b, a, h)
			}
			if h.up {
				healthy = append(healthy, a)
			}
		}
		slices.SortFunc(healthy, netip.Addr.Compare)
		if script := b.fill(healthy); p.filled[b.chain] != script {
			if _, err := p.f.run(RoleRouter, script, "nft", "-f", "-"); err == nil {
				p.filled[b.chain] = script
			}
		}
	}
}

// one is one probe of one member.
func (p *prober) one(ctx context.Context, b *balancing, a netip.Addr, h *health) {
	ok := p.answers(ctx, b, a)
	p.mu.Lock()
	defer p.mu.Unlock()
	h.waiting = false
	if ok == h.up {
		h.row = 0
	} else if h.row++; h.row >= b.inARow {
		h.up, h.row = ok, 0
	}
	value := map[bool]float64{true: 100}[ok]
	m := p.f.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gauge(time.Now(), b.lb, "DipAvailability", value, map[string]string{
		"ProtocolType": b.protocol, "BackendPort": strconv.Itoa(b.port), "FrontendIPAddress": b.from.Addr().String(),
		"FrontendPort": strconv.Itoa(int(b.from.Port())), "BackendIPAddress": a.String(),
	})
}

// answers says that a member answers its probe: TCP that it accepts, HTTP that it
// says 200, before the next probe is due.
func (p *prober) answers(ctx context.Context, b *balancing, a netip.Addr) bool {
	ctx, cancel := context.WithTimeout(ctx, min(b.every, 30*time.Second))
	defer cancel()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return netns.Dial(ctx, p.f.ns(RoleAzureDNS), "tcp4", netip.AddrPortFrom(a, uint16(b.probe.Properties.Port)).String())
	}
	if !strings.HasPrefix(lower(b.probe.Properties.Protocol), "http") {
		c, err := dial(ctx, "", "")
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.String()+"/"+strings.TrimPrefix(b.probe.Properties.RequestPath, "/"), nil)
	if err != nil {
		return false
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}
