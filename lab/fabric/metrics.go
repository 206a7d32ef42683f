package fabric

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/lab/arm"
	"github.com/podpath/podpath/lab/firewall"
	"github.com/podpath/podpath/lab/netns"
)

// sampleEvery is how often counters and connection tracking are read into minutes.
const sampleEvery = 5 * time.Second

// Point and Series are what the metrics API serves.
type (
	Point  = arm.Point
	Series = arm.Series
)

// minute is what was measured within one minute.
type minute struct {
	total, sum, max, min float64
	count                int
}

// meter holds minutes by resource, metric and dimensions.
type meter struct {
	mu       sync.Mutex
	series   map[string]*history
	counters map[string]int64 // the last reading, by namespace and name
	early    map[string]int64 // arrivals of the last reading, by way out, whose attempts are in the next one
	last     time.Time
}

type history struct {
	resource, metric string
	dimensions       map[string]string
	minutes          map[int64]*minute
}

func newMeter() *meter {
	return &meter{series: map[string]*history{}, counters: map[string]int64{}}
}

func (m *meter) at(now time.Time, resource, metric string, dims map[string]string) *minute {
	key := lower(resource + "|" + metric)
	for _, d := range slices.Sorted(maps.Keys(dims)) {
		key += "|" + d + "=" + dims[d]
	}
	h := m.series[key]
	if h == nil {
		h = &history{resource: lower(resource), metric: lower(metric), dimensions: dims, minutes: map[int64]*minute{}}
		m.series[key] = h
	}
	at := now.Unix() / 60
	if h.minutes[at] == nil {
		h.minutes[at] = &minute{min: math.Inf(1), max: math.Inf(-1)}
		delete(h.minutes, at-24*60)
	}
	return h.minutes[at]
}

// gauge notes a level, rise what was added since the last reading.
func (m *meter) gauge(now time.Time, resource, metric string, value float64, dims map[string]string) {
	p := m.at(now, resource, metric, dims)
	p.sum += value
	p.count++
	p.total += value
	p.max, p.min = max(p.max, value), min(p.min, value)
}

func (m *meter) rise(now time.Time, resource, metric string, value float64, dims map[string]string) {
	p := m.at(now, resource, metric, dims)
	p.total += value
	p.count++
	p.sum += value
	p.max, p.min = max(p.max, value), min(p.min, value)
}

// Metric gives the minutes of a metric between two instants, for every combination
// of its dimensions. Aggregations are Azure's: Average, Total, Maximum, Minimum, Count.
func (f *Fabric) Metric(resourceID, metric, aggregation string, from, to time.Time) []Series {
	f.sample(time.Now())
	m := f.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Series
	for _, key := range slices.Sorted(maps.Keys(m.series)) {
		h := m.series[key]
		if h.resource != lower(resourceID) || h.metric != lower(metric) {
			continue
		}
		s := Series{Dimensions: maps.Clone(h.dimensions)}
		for at := from.Truncate(time.Minute); at.Before(to); at = at.Add(time.Minute) {
			p := Point{Time: at.UTC(), NoData: true}
			if got := h.minutes[at.Unix()/60]; got != nil && got.count > 0 {
				p.Value, p.NoData = got.aggregate(aggregation), false
			}
			s.Points = append(s.Points, p)
		}
		out = append(out, s)
	}
	return out
}

func (p *minute) aggregate(how string) float64 {
	switch lower(how) {
	case "total":
		return p.total
	case "maximum":
		return p.max
	case "minimum":
		return p.min
	case "count":
		return float64(p.count)
	}
	return p.sum / float64(p.count)
}

func (f *Fabric) measure(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			f.sample(now)
		}
	}
}

// sample reads everything once. A reading that fails leaves a gap, as in Azure.
func (f *Fabric) sample(now time.Time) {
	f.mu.Lock()
	p, policy := f.program, f.policy
	f.mu.Unlock()
	if p == nil {
		return
	}
	m := f.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.last) < time.Second {
		return
	}
	m.last = now
	router, err1 := f.rises(RoleRouter)
	internet, err2 := f.rises(RoleInternet)
	box, err3 := f.rises(RoleFirewall)
	flows, err4 := f.flows()
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
		return
	}
	if links, err := f.links(); err == nil {
		m.bytes(now, f.plan.Nodes, links)
	}
	s := sampling{m: m, now: now, used: usedPorts(p.ways, flows), router: router, internet: internet, early: m.early}
	m.early = s.ahead(p.ways)
	done := map[string]bool{}
	for _, e := range p.ways {
		switch e.kind {
		case "lb":
			s.balancer(e)
		case "natgw":
			if !done[e.name] {
				s.natGateway(e)
			}
		case "firewall":
			s.firewallPorts(e)
		}
		done[e.name] = true
	}
	for _, g := range p.world.docs.nats { // one without an address has no way, but a metric
		if !done[natCounter(g.Name)] {
			m.gauge(now, g.ID, "DatapathAvailability", 0, map[string]string{})
		}
	}
	for _, fw := range p.world.docs.firewalls {
		s.firewall(fw.ID, f.engine, policy, box)
	}
}

// rises are what named counters grew by since they were last read.
func (f *Fabric) rises(role string) (map[string]int64, error) {
	now, err := f.Counters(role)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for name, n := range now {
		key := role + "/" + name
		if d := n - f.meter.counters[key]; d >= 0 {
			out[name] = d
		} else {
			out[name] = n // somebody reset it
		}
		f.meter.counters[key] = n
	}
	return out, nil
}

// Counters reads the packets that each named counter of a namespace has seen:
// "nsg/NSG/RULE/outbound", "drop/route-none", "lb/…/attempted" and so on.
func (f *Fabric) Counters(role string) (map[string]int64, error) {
	out, err := f.run(role, "", "nft", "-j", "list", "counters", "table", "ip", "fabric")
	if err != nil {
		return nil, fmt.Errorf("counters of %s: %w\n%s", f.ns(role), err, out)
	}
	var doc struct {
		Nftables []struct {
			Counter *struct {
				Name    string
				Packets int64
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		return nil, fmt.Errorf("counters of %s: %w", f.ns(role), err)
	}
	counters := map[string]int64{}
	for _, n := range doc.Nftables {
		if n.Counter != nil {
			counters[n.Counter.Name] = n.Counter.Packets
		}
	}
	return counters, nil
}

// flow is one translated connection of the router.
type flow struct {
	public netip.Addr
	port   uint16
	proto  uint8
}

// flows are the router's tracked connections, as they look from outside.
func (f *Fabric) flows() ([]flow, error) {
	ns, err := vnetns.GetFromPath(netns.Path(f.ns(RoleRouter)))
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	list, err := h.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	if err != nil {
		return nil, err
	}
	var out []flow
	for _, c := range list {
		a, ok := netip.AddrFromSlice(c.Reverse.DstIP)
		if a = a.Unmap(); !ok || c.Reverse.DstIP.Equal(c.Forward.SrcIP) {
			continue
		}
		out = append(out, flow{a, c.Reverse.DstPort, c.Reverse.Protocol})
	}
	return out, nil
}

// usedPorts counts the ports in use of each way out, by name and protocol.
func usedPorts(ways []egress, flows []flow) map[string]int {
	out := map[string]int{}
	seen := map[flow]bool{}
	for _, f := range flows {
		if seen[f] {
			continue // one port, several destinations
		}
		seen[f] = true
		names := map[string]bool{}
		for _, e := range ways {
			if !names[e.name] && slices.Contains(e.public, f.public) && e.lo <= uint32(f.port) && uint32(f.port) <= e.hi {
				names[e.name] = true
				out[e.name+"|"+protoName(f.proto)]++
			}
		}
	}
	return out
}

func protoName(n uint8) string {
	switch n {
	case unix.IPPROTO_TCP:
		return "TCP"
	case unix.IPPROTO_UDP:
		return "UDP"
	}
	return fmt.Sprint(n)
}

// sampling is one reading of everything.
type sampling struct {
	m                *meter
	now              time.Time
	used             map[string]int
	router, internet map[string]int64
	early            map[string]int64
}

// split is attempts and failures of one way out since the last reading. The two
// counters are read one after the other: what is sent in between has arrived
// before it was attempted, and would count as a failure of the next reading.
func (s sampling) split(e egress) (attempted, failed float64) {
	a, ok := s.router[e.name+"/attempted"], s.internet[e.name+"/arrived"]
	return float64(a), float64(max(0, a-ok-s.early[e.name]))
}

// ahead is what has arrived by each way out and is not among its attempts yet.
func (s sampling) ahead(ways []egress) map[string]int64 {
	out := map[string]int64{}
	for _, e := range ways {
		out[e.name] = max(0, s.internet[e.name+"/arrived"]-s.router[e.name+"/attempted"])
	}
	return out
}

func (s sampling) balancer(e egress) {
	for _, proto := range []string{"TCP", "UDP"} {
		if e.protocol != "" && !strings.EqualFold(e.protocol, proto) {
			continue
		}
		dims := map[string]string{"FrontendIPAddress": e.public[0].String(), "BackendIPAddress": e.backend.String(), "ProtocolType": proto}
		s.m.gauge(s.now, e.resource, "AllocatedSnatPorts", float64(e.hi-e.lo+1), dims)
		s.m.gauge(s.now, e.resource, "UsedSnatPorts", float64(s.used[e.name+"|"+proto]), dims)
	}
	attempted, failed := s.split(e)
	for state, n := range map[string]float64{"Failed": failed, "Successful": attempted - failed} {
		s.m.rise(s.now, e.resource, "SnatConnectionCount", n, map[string]string{
			"FrontendIPAddress": e.public[0].String(), "BackendIPAddress": e.backend.String(), "ConnectionState": state,
		})
	}
}

func (s sampling) natGateway(e egress) {
	attempted, failed := s.split(e)
	for state, n := range map[string]float64{"Attempted": attempted, "Failed": failed} {
		s.m.rise(s.now, e.resource, "SNATConnectionCount", n, map[string]string{"Protocol": "6", "ConnectionState": state})
	}
	for name, number := range map[string]string{"TCP": "6", "UDP": "17"} {
		s.m.gauge(s.now, e.resource, "TotalConnectionCount", float64(s.used[e.name+"|"+name]), map[string]string{"Protocol": number})
	}
	s.m.rise(s.now, e.resource, "PacketDropCount", failed, map[string]string{})
	s.m.gauge(s.now, e.resource, "DatapathAvailability", 100, map[string]string{})
}

func (s sampling) firewallPorts(e egress) {
	for _, proto := range []string{"TCP", "UDP"} {
		all := float64(e.hi-e.lo+1) * float64(len(e.public))
		s.m.gauge(s.now, e.resource, "SNATPortUtilization", 100*float64(s.used[e.name+"|"+proto])/all, map[string]string{"Protocol": proto})
	}
}

func (s sampling) firewall(id string, e *firewall.Engine, p *firewall.Policy, box map[string]int64) {
	health := map[string]string{"Status": "Healthy", "Reason": "N/A"}
	value := 100.0
	if !p.Up {
		health, value = map[string]string{"Status": "Unhealthy", "Reason": "Stopped"}, 0
	}
	s.m.gauge(s.now, id, "FirewallHealth", value, health)
	for _, n := range p.NetworkHits(box) {
		s.m.rise(s.now, id, "NetworkRuleHit", float64(n.Count), map[string]string{"Status": n.Status, "Reason": n.Reason})
	}
	if e == nil {
		return
	}
	for hit, n := range e.Hits() {
		status := map[bool]string{true: "Allow", false: "Deny"}[hit.Allow]
		key := "engine/" + status + "/" + hit.Kind
		s.m.rise(s.now, id, "ApplicationRuleHit", float64(n-s.m.counters[key]), map[string]string{"Status": status, "Reason": "", "Protocol": hit.Kind})
		s.m.counters[key] = n
	}
}
