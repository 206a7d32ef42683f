package fabric

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"unsafe"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/lab/firewall"
	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/plan"
)

// Roles of namespaces; netns.Name(lab, role) is what they are called.
const (
	RoleRouter    = "router"
	RoleInternet  = "internet"
	RoleAPIServer = "cp"
	RoleFirewall  = "fw"
	RoleEngine    = "fw-l7" // the firewall's application rules
	RoleLaptop    = "laptop"
	RoleAzureDNS  = "azure-dns"
	RolePublicDNS = "public-dns"
)

// NodeRole is the role of a node's namespace, HostRole that of an internet host's.
func NodeRole(node string) string { return "node-" + node }

// HostRole is the role of an internet host's namespace.
func HostRole(host string) string { return "host-" + host }

const mtu = 1500

// azureMAC is what every neighbour in a VNet answers with.
var azureMAC = net.HardwareAddr{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc}

// wire is one veth pair: a leg of a router, and the only or first leg of a box.
type wire struct {
	router, link string // role of the router and its interface
	box, eth     string // role of the box and its interface
	addr         netip.Prefix
	gateway      netip.Addr // the router's address on this wire, and the box's way out
	v6           netip.Prefix
	v6gateway    netip.Addr
	noDefault    bool
	mac          net.HardwareAddr
}

// wires are all links of the lab.
func wires(p *plan.Plan) []wire {
	gw := func(prefix netip.Prefix) netip.Addr { return prefix.Addr().Next() }
	var out []wire
	for _, n := range p.Nodes {
		s, _ := p.Subnet(n.Subnet)
		out = append(out, wire{
			router: RoleRouter, link: nodeLink(n.Index), box: NodeRole(n.Name), eth: "eth0", addr: netip.PrefixFrom(n.Addr, s.Prefix.Bits()),
			gateway: gw(s.Prefix), mac: net.HardwareAddr{0x60, 0x45, 0xbd, 0, 0, byte(n.Index + 1)},
		})
	}
	out = append(out,
		wire{router: RoleRouter, link: apiLink, box: RoleAPIServer, eth: "eth0", addr: netip.PrefixFrom(plan.APIServer.Addr(), plan.NodesPrefix.Bits()), gateway: gw(plan.NodesPrefix)},
		wire{router: RoleRouter, link: fwLink, box: RoleFirewall, eth: "eth0", addr: netip.PrefixFrom(plan.FWAddr, plan.FWPrefix.Bits()), gateway: gw(plan.FWPrefix)},
		wire{router: RoleRouter, link: dnsLink, box: RoleAzureDNS, eth: "eth0", addr: netip.PrefixFrom(plan.AzureDNS, 32), gateway: netip.MustParseAddr("168.63.129.1"), noDefault: true},
		wire{router: RoleInternet, link: "router", box: RoleRouter, eth: internetLink, addr: netip.MustParsePrefix("100.64.0.1/30"), gateway: internetHop, noDefault: true},
		wire{router: RoleInternet, link: dnsLink, box: RoleAzureDNS, eth: "eth1", addr: netip.MustParsePrefix("192.0.2.251/32"), gateway: netip.MustParseAddr("192.0.2.254")},
		wire{router: RoleInternet, link: "laptop", box: RoleLaptop, eth: "eth0", addr: netip.PrefixFrom(plan.Laptop, 24), gateway: netip.MustParseAddr("198.51.100.1")},
		wire{router: RoleInternet, link: "public-dns", box: RolePublicDNS, eth: "eth0", addr: netip.PrefixFrom(plan.PublicDNS, 24), gateway: netip.MustParseAddr("203.0.113.1")},
		wire{router: RoleFirewall, link: "l7", box: RoleEngine, eth: "eth0", addr: netip.PrefixFrom(firewall.EngineAddr, 30), gateway: firewall.EngineGateway},
	)
	for i, h := range plan.Hosts {
		w := wire{router: RoleInternet, link: fmt.Sprint("host", i), box: HostRole(h.Name), eth: "eth0", addr: netip.PrefixFrom(h.Addr, 24), gateway: netip.MustParseAddr("203.0.113.1")}
		if h.V6.IsValid() {
			w.v6, w.v6gateway = netip.PrefixFrom(h.V6, 64), netip.MustParseAddr("2001:db8::1")
		}
		out = append(out, w)
	}
	return out
}

// Fabric is the running network of one lab.
type Fabric struct {
	plan *plan.Plan
	ctx  context.Context // of Up: what runs beside the packets ends with it

	mu      sync.Mutex
	applied map[string]string   // namespace → script that was loaded last
	chains  map[string][]string // namespace → its chains
	routes  []string
	program *program
	policy  *firewall.Policy
	engine  *firewall.Engine
	meter   *meter
}

// New prepares a fabric; it touches nothing.
func New(p *plan.Plan) *Fabric {
	return &Fabric{plan: p, applied: map[string]string{}, chains: map[string][]string{}, meter: newMeter()}
}

func (f *Fabric) ns(role string) string { return netns.Name(f.plan.Lab, role) }

// Roles are all namespaces that Up makes.
func Roles(p *plan.Plan) []string {
	roles := []string{RoleRouter, RoleInternet}
	seen := map[string]bool{RoleRouter: true, RoleInternet: true}
	for _, w := range wires(p) {
		if !seen[w.box] {
			seen[w.box] = true
			roles = append(roles, w.box)
		}
	}
	return roles
}

// Up makes all namespaces and links, and a VNet without rules. What it made before
// it failed is taken away again. The firewall's engine and the meter run until ctx ends.
func (f *Fabric) Up(ctx context.Context) (err error) {
	f.ctx = ctx
	for _, role := range Roles(f.plan) {
		if netns.Exists(f.ns(role)) { // it may be somebody's: not ours to take down again
			return fmt.Errorf("network namespace %s is there already: take the lab %q down first, or choose another name", f.ns(role), f.plan.Lab)
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Down())
		}
	}()
	for _, role := range Roles(f.plan) {
		if err := netns.Create(f.ns(role)); err != nil {
			return err
		}
	}
	for _, role := range Roles(f.plan) {
		if err := netns.Sysctl(f.ns(role), settings(f.plan, role)); err != nil {
			return err
		}
	}
	handles := map[string]*netlink.Handle{}
	defer func() {
		for _, h := range handles {
			h.Close()
		}
	}()
	for _, w := range wires(f.plan) {
		if err := f.connect(handles, w); err != nil {
			return fmt.Errorf("link %s of %s to %s: %w", w.link, w.router, w.box, err)
		}
	}
	if err := f.null(handles[RoleRouter]); err != nil {
		return fmt.Errorf("link that leads nowhere: %w", err)
	}
	if err := f.Apply(nil); err != nil {
		return err
	}
	if err := f.startEngine(ctx); err != nil {
		return err
	}
	if err := f.watch(ctx); err != nil {
		return err
	}
	go f.measure(ctx)
	go f.probe(ctx)
	return nil
}

// Down removes the lab's namespaces, and with them everything in them.
func (f *Fabric) Down() error {
	if f.engine != nil {
		f.engine.Close()
	}
	names, err := netns.List(f.plan.Lab + "-")
	if err != nil {
		return err
	}
	ours := map[string]bool{}
	for _, role := range Roles(f.plan) {
		ours[f.ns(role)] = true
	}
	var errs []error
	for _, n := range names {
		if ours[n] {
			errs = append(errs, netns.Delete(n))
		}
	}
	return errors.Join(errs...)
}

// settings are the kernel settings of a box: of a router, of a node as AKS sets
// them, or of a host.
func settings(p *plan.Plan, role string) map[string]string {
	s := map[string]string{
		"net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.default.rp_filter": "0", "net.ipv4.icmp_ratelimit": "0",
		"net.ipv6.conf.all.accept_ra": "0", "net.ipv6.conf.default.accept_ra": "0", "net.ipv6.conf.default.accept_dad": "0",
		"net.ipv4.conf.all.send_redirects": "0", "net.ipv4.conf.default.send_redirects": "0", "net.ipv4.conf.all.accept_redirects": "0",
		"net.ipv4.conf.default.accept_redirects": "0", "net.ipv4.tcp_ecn": "0",
	}
	switch role {
	case RoleRouter, RoleInternet, RoleFirewall:
		s["net.ipv4.ip_forward"] = "1"
		s["net.ipv6.conf.all.forwarding"] = "1"
		s["net.netfilter.nf_conntrack_tcp_loose"] = "0" // what idled out stays out
		s["net.netfilter.nf_conntrack_tcp_be_liberal"] = "1"
	}
	for _, n := range p.Nodes {
		if role == NodeRole(n.Name) {
			s["net.ipv4.ip_forward"] = "1"
			s["net.ipv4.conf.all.rp_filter"], s["net.ipv4.conf.default.rp_filter"] = "2", "2"
			s["net.bridge.bridge-nf-call-iptables"] = "1"
			s["net.core.somaxconn"] = "16384"
			s["net.ipv4.ip_local_port_range"] = "32768 60999"
			s["net.ipv4.tcp_max_syn_backlog"] = "16384"
		}
	}
	return s
}

func (f *Fabric) handle(handles map[string]*netlink.Handle, role string) (*netlink.Handle, error) {
	if h := handles[role]; h != nil {
		return h, nil
	}
	ns, err := vnetns.GetFromPath(netns.Path(f.ns(role)))
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err == nil {
		handles[role] = h
	}
	return h, err
}

// connect makes a wire: both ends, their addresses, the box's default route, and
// on the router's side the route to the box and answers to every ARP question.
func (f *Fabric) connect(handles map[string]*netlink.Handle, w wire) error {
	router, err := f.handle(handles, w.router)
	if err != nil {
		return err
	}
	box, err := f.handle(handles, w.box)
	if err != nil {
		return err
	}
	there, err := vnetns.GetFromPath(netns.Path(f.ns(w.box)))
	if err != nil {
		return err
	}
	defer there.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = w.link, mtu, azureMAC
	attrs.NumTxQueues, attrs.NumRxQueues = 1, 1
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU, veth.PeerNamespace, veth.PeerHardwareAddr = w.eth, mtu, netlink.NsFd(int(there)), w.hardware()
	veth.PeerNumTxQueues, veth.PeerNumRxQueues = 1, 1
	if err := router.LinkAdd(veth); err != nil {
		return err
	}
	for _, end := range []struct {
		h    *netlink.Handle
		role string
		name string
	}{{router, w.router, w.link}, {box, w.box, w.eth}} {
		if err := f.realSegments(end.role, end.name); err != nil {
			return err
		}
	}
	if err := address(box, w.eth, w.addr, w.v6); err != nil {
		return err
	}
	gw4, gw6 := netip.PrefixFrom(w.gateway, 32), netip.Prefix{}
	if w.v6gateway.IsValid() {
		gw6 = netip.PrefixFrom(w.v6gateway, 128)
	}
	if err := address(router, w.link, gw4, gw6); err != nil {
		return err
	}
	if err := f.routerSide(router, w); err != nil {
		return err
	}
	return f.boxSide(box, w)
}

func address(h *netlink.Handle, name string, prefixes ...netip.Prefix) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	for _, p := range prefixes {
		if !p.IsValid() {
			continue
		}
		if err := h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("address %s: %w", p, err)
		}
	}
	return h.LinkSetUp(link)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// hardware is the box's MAC: what its NIC document says, or one made of its address.
func (w wire) hardware() net.HardwareAddr {
	if w.mac != nil {
		return w.mac
	}
	b := w.addr.Addr().As4()
	return net.HardwareAddr{0x60, 0x45, 0xbd, b[1], b[2], b[3]}
}

func (f *Fabric) routerSide(h *netlink.Handle, w wire) error {
	link, err := h.LinkByName(w.link)
	if err != nil {
		return err
	}
	if w.router == RoleRouter { // a VNet delivers to the NIC, whatever a box says by ARP
		if err := h.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
			IP: w.addr.Addr().AsSlice(), HardwareAddr: w.hardware(),
		}); err != nil {
			return fmt.Errorf("neighbour %s: %w", w.addr.Addr(), err)
		}
	}
	for _, p := range []netip.Prefix{w.addr, w.v6} {
		if !p.IsValid() {
			continue
		}
		host := netip.PrefixFrom(p.Addr(), p.Addr().BitLen())
		if err := h.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(host), Scope: netlink.SCOPE_LINK}); err != nil {
			return fmt.Errorf("route to %s: %w", host, err)
		}
	}
	if w.box == RoleRouter { // the internet reaches the VNet's public addresses through it
		via := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(plan.EgressPrefix), Gw: w.addr.Addr().AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
		if err := h.RouteReplace(via); err != nil {
			return err
		}
	}
	return netns.Sysctl(f.ns(w.router), map[string]string{
		"net.ipv4.conf." + w.link + ".proxy_arp": "1", "net.ipv4.neigh." + w.link + ".proxy_delay": "0",
	})
}

// boxSide gives a box its way out. Azure's DNS talks to the VNet through the
// router, and to the world on a leg of its own.
func (f *Fabric) boxSide(h *netlink.Handle, w wire) error {
	link, err := h.LinkByName(w.eth)
	if err != nil {
		return err
	}
	add := func(to netip.Prefix, gw netip.Addr) error {
		r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(to), Gw: gw.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
		if err := h.RouteReplace(r); err != nil {
			return fmt.Errorf("route %s via %s: %w", to, gw, err)
		}
		return nil
	}
	if w.box == RoleAzureDNS && w.eth == "eth0" {
		if err := add(netip.MustParsePrefix("10.0.0.0/8"), w.gateway); err != nil {
			return err
		}
	}
	if w.noDefault {
		return nil
	}
	if err := add(netip.MustParsePrefix("0.0.0.0/0"), w.gateway); err != nil {
		return err
	}
	if w.v6.IsValid() {
		return add(netip.MustParsePrefix("::/0"), w.v6gateway)
	}
	return nil
}

// null makes the link that leads nowhere. Its next hops are never resolved: the
// firewall drops before.
func (f *Fabric) null(h *netlink.Handle) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = nullLink, mtu
	veth := netlink.NewVeth(attrs)
	veth.PeerName = "null1"
	if err := h.LinkAdd(veth); err != nil {
		return err
	}
	for _, name := range []string{nullLink, "null1"} {
		if err := address(h, name); err != nil {
			return err
		}
	}
	return nil
}

// realSegments turns segmentation offloads off, so that packets on the wire have
// the sizes that a path MTU cares about.
func (f *Fabric) realSegments(role, link string) error {
	return netns.Do(f.ns(role), func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		const setTSO, setGSO, setGRO = 0x1f, 0x24, 0x2c // ETHTOOL_STSO, _SGSO, _SGRO
		for _, cmd := range []uint32{setTSO, setGSO, setGRO} {
			value := struct{ cmd, data uint32 }{cmd: cmd}
			var req struct {
				name [unix.IFNAMSIZ]byte
				data unsafe.Pointer
				pad  [16]byte
			}
			copy(req.name[:], link)
			req.data = unsafe.Pointer(&value)
			if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
				return fmt.Errorf("offloads of %s: %w", link, errno)
			}
		}
		return nil
	})
}
