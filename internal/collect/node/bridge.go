package node

import (
	"encoding/binary"
	"errors"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/internal/model"
)

// maxLearned bounds the hardware addresses that are kept of one port: a pod has one.
const maxLearned = 16

// bridgePorts are the ports of the machine's bridges by the index of their
// device: nobody's port is not in it. One dump has all of them.
func (r *reader) bridgePorts() map[int]*model.BridgePort {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_BRIDGE))
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
		if !errors.Is(err, unix.EOPNOTSUPP) { // a kernel without bridges has no ports
			r.gap("ports of bridges", err, "")
		}
		return nil
	}
	ports := map[int]*model.BridgePort{}
	for _, m := range messages {
		if index, port := parsePort(m); port != nil {
			ports[index] = port
		}
	}
	if len(ports) > 0 {
		r.learned(ports)
	}
	return ports
}

// parsePort reads one message, an ifinfomsg and its attributes; nil: the bridge
// itself, which is no port.
func parsePort(m []byte) (index int, port *model.BridgePort) {
	if len(m) < unix.SizeofIfInfomsg {
		return 0, nil
	}
	attributes(m[unix.SizeofIfInfomsg:], func(kind uint16, data []byte) {
		if kind != unix.IFLA_PROTINFO {
			return
		}
		port = &model.BridgePort{}
		attributes(data, func(kind uint16, data []byte) {
			if kind == nl.IFLA_BRPORT_MODE && len(data) == 1 {
				port.Hairpin = data[0] == 1
			}
		})
	})
	return int(int32(binary.NativeEndian.Uint32(m[4:]))), port
}

// learned adds whose frames came in by each port. What is permanent is the port's own.
func (r *reader) learned(ports map[int]*model.BridgePort) {
	entries, err := neighboursOf(0, familyBridge)
	if err != nil {
		r.gap("hardware addresses on bridges", err, "")
		return
	}
	for _, e := range entries {
		p := ports[e.LinkIndex]
		if p != nil && e.State&unix.NUD_PERMANENT == 0 && len(e.HardwareAddr) > 0 && len(p.Learned) < maxLearned {
			p.Learned = append(p.Learned, e.HardwareAddr.String())
		}
	}
}
