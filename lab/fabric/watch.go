package fabric

import (
	"context"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/lab/firewall"
	"github.com/podpath/podpath/lab/netns"
)

// watch gives links that were down and came up again their routes back, which the
// kernel forgets: on a real machine DHCP, and in Azure the platform, would do so.
func (f *Fabric) watch(ctx context.Context) error {
	for _, role := range Roles(f.plan) {
		ns, err := vnetns.GetFromPath(netns.Path(f.ns(role)))
		if err != nil {
			return err
		}
		updates := make(chan netlink.LinkUpdate, 16)
		err = netlink.LinkSubscribeWithOptions(updates, ctx.Done(), netlink.LinkSubscribeOptions{Namespace: &ns, ErrorCallback: func(error) {}})
		ns.Close()
		if err != nil {
			return fmt.Errorf("watch the links of %s: %w", f.ns(role), err)
		}
		go f.watchRole(role, updates)
	}
	return nil
}

func (f *Fabric) watchRole(role string, updates <-chan netlink.LinkUpdate) {
	down := map[string]bool{}
	for u := range updates {
		name, up := u.Link.Attrs().Name, u.IfInfomsg.Flags&unix.IFF_UP != 0
		if up && down[name] {
			if err := f.mend(role, name); err != nil {
				fmt.Printf("fabric: link %s of %s is up again, but not its routes: %v\n", name, f.ns(role), err)
			}
		}
		down[name] = !up
	}
}

// mend puts back the routes of one link.
func (f *Fabric) mend(role, link string) error {
	handles := map[string]*netlink.Handle{}
	h, err := f.handle(handles, role)
	if err != nil {
		return err
	}
	defer h.Close()
	for _, w := range wires(f.plan) {
		if w.box == role && w.eth == link {
			if err := f.boxSide(h, w); err != nil {
				return err
			}
		}
		if w.router == role && w.link == link {
			if err := f.routerSide(h, w); err != nil {
				return err
			}
		}
	}
	var batch strings.Builder
	f.mu.Lock()
	defer f.mu.Unlock()
	lines := f.routes
	if role != RoleRouter {
		lines = nil
	}
	if role == RoleFirewall {
		lines = firewall.BoxRoutes()
	}
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, "route "); ok && strings.Contains(" "+rest+" ", " dev "+link+" ") {
			fmt.Fprintln(&batch, "route replace", strings.TrimPrefix(rest, "add "))
		}
	}
	if batch.Len() == 0 {
		return nil
	}
	if out, err := f.run(role, batch.String(), "ip", "-batch", "-"); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}
