package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/lab/plan"
)

// What Flannel's vxlan backend uses on Linux. Source: flannel's documentation
// of backends, and pkg/backend/vxlan.
const (
	vxlanDevice   = "flannel.1"
	vxlanID       = 1
	vxlanPort     = 8472 // the kernel's own default, not IANA's 4789
	vxlanOverhead = 50
	flannelBridge = "cni0" // the bridge plugin's default
	subnetFile    = "/run/flannel/subnet.env"
	nodeMTU       = 1500
)

// vtep is the hardware address of a node's end of the overlay.
func vtep(n plan.Node) net.HardwareAddr {
	return net.HardwareAddr{0x0a, 0xf1, 0, 0, 0, byte(n.Index + 1)}
}

// flannelConfig is 10-flannel.conflist as kube-flannel's own ConfigMap has it: a
// meta plugin that fills in the node's subnet and MTU.
const flannelConfig = `{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "flannel",
      "delegate": {
        "hairpinMode": true,
        "isDefaultGateway": true
      }
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }
  ]
}
`

// netConf is net-conf.json of kube-flannel-cfg.
func netConf() string {
	return fmt.Sprintf(`{"Network": %q, "EnableNFTables": false, "Backend": {"Type": "vxlan"}}`, plan.PodCIDR)
}

// flannelPlugin stands for the meta plugin of that name: it turns the file that
// the daemon leaves on the node into the configuration of the bridge plugin.
// What the delegate says of MTU and hairpin mode goes before it, as there.
const flannelPlugin = `#!/bin/sh
config=$(cat)
if [ ! -r ` + subnetFile + ` ]; then
	[ "$CNI_COMMAND" = DEL ] && exit 0 # what was never set up need not be taken down
	echo '{"cniVersion":"0.3.1","code":11,"msg":"loadFlannelSubnetEnv failed: open ` + subnetFile + `: no such file or directory"}'
	exit 1
fi
. ` + subnetFile + `
flat=$(printf %s "$config" | tr -d ' \n\t')
field() { printf %s "$flat" | sed -n 's/.*"'"$1"'":\([a-z0-9]*\).*/\1/p'; }
mtu=$(field mtu)
hairpin=$(field hairpinMode)
subnet=$(echo "$FLANNEL_SUBNET" | sed 's,\.[0-9]*/,.0/,')
printf '{"cniVersion":"0.3.1","name":"cbr0","type":"bridge","bridge":"` + flannelBridge + `","mtu":%s,"isGateway":true,"isDefaultGateway":true,"hairpinMode":%s,"ipMasq":false,"ipam":{"type":"host-local","ranges":[[{"subnet":"%s"}]],"routes":[{"dst":"%s"}]}}' \
	"${mtu:-$FLANNEL_MTU}" "${hairpin:-false}" "$subnet" "$FLANNEL_NETWORK" | ` + cniDir + `/bridge
`

// startFlannel does what flanneld does on a node: the overlay's device, what it
// knows of every other node, the masquerading, and the file for the plugin.
func (n *node) startFlannel(ctx context.Context) error {
	if err := n.space.do(n.writeSubnet); err != nil {
		return err
	}
	if err := n.space.feed(ctx, n.vxlanLinks(), "ip", "-batch", "-"); err != nil {
		return fmt.Errorf("node %s: overlay: %w", n.Name, err)
	}
	if err := n.space.feed(ctx, n.vxlanPeers(), "bridge", "-batch", "-"); err != nil {
		return fmt.Errorf("node %s: overlay: %w", n.Name, err)
	}
	return n.space.feed(ctx, flannelRules(n.PodCIDR), "iptables-restore", "--noflush", "--wait=5")
}

func (n *node) writeSubnet() error {
	if err := os.MkdirAll("/run/flannel", 0o755); err != nil {
		return err
	}
	gateway := netip.PrefixFrom(n.PodCIDR.Addr().Next(), n.PodCIDR.Bits())
	text := fmt.Sprintf("FLANNEL_NETWORK=%s\nFLANNEL_SUBNET=%s\nFLANNEL_MTU=%d\nFLANNEL_IPMASQ=true\n", plan.PodCIDR, gateway, nodeMTU-vxlanOverhead)
	return os.WriteFile(subnetFile, []byte(text), 0o644)
}

// vxlanLinks makes the device, and its way to the pods of every other node: a
// route, and the neighbour that it leads to. Nothing is learned from packets.
func (n *node) vxlanLinks() string {
	var b strings.Builder
	fmt.Fprintf(&b, "link add %s address %s mtu %d type vxlan id %d dev eth0 local %s dstport %d nolearning\n",
		vxlanDevice, vtep(n.Node), nodeMTU-vxlanOverhead, vxlanID, n.Addr, vxlanPort)
	fmt.Fprintf(&b, "address add %s/32 dev %s\nlink set %s up\n", n.PodCIDR.Addr(), vxlanDevice, vxlanDevice)
	for _, o := range n.p.Nodes {
		if o.Index != n.Index {
			fmt.Fprintf(&b, "neighbour replace %s lladdr %s dev %s nud permanent\n", o.PodCIDR.Addr(), vtep(o), vxlanDevice)
			fmt.Fprintf(&b, "route replace %s via %s dev %s onlink\n", o.PodCIDR, o.PodCIDR.Addr(), vxlanDevice)
		}
	}
	return b.String()
}

// vxlanPeers says behind which node each hardware address of the overlay is.
func (n *node) vxlanPeers() string {
	var b strings.Builder
	for _, o := range n.p.Nodes {
		if o.Index != n.Index {
			fmt.Fprintf(&b, "fdb replace %s dev %s dst %s self permanent\n", vtep(o), vxlanDevice, o.Addr)
		}
	}
	return b.String()
}

// flannelRules are the rules that flanneld --ip-masq keeps (pkg/trafficmngr/iptables).
func flannelRules(own netip.Prefix) string {
	const masq, forward = `-m comment --comment "flanneld masq"`, `-m comment --comment "flanneld forward"`
	all := plan.PodCIDR
	return strings.Join([]string{
		"*nat", ":FLANNEL-POSTRTG - [0:0]",
		"-A POSTROUTING " + masq + " -j FLANNEL-POSTRTG",
		"-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 " + masq + " -j RETURN",
		fmt.Sprintf("-A FLANNEL-POSTRTG -s %s -d %s %s -j RETURN", own, all, masq),
		fmt.Sprintf("-A FLANNEL-POSTRTG -s %s -d %s %s -j RETURN", all, own, masq),
		fmt.Sprintf("-A FLANNEL-POSTRTG ! -s %s -d %s %s -j RETURN", all, own, masq),
		fmt.Sprintf("-A FLANNEL-POSTRTG -s %s ! -d 224.0.0.0/4 %s -j MASQUERADE --random-fully", all, masq),
		fmt.Sprintf("-A FLANNEL-POSTRTG ! -s %s -d %s %s -j MASQUERADE --random-fully", all, all, masq),
		"COMMIT",
		"*filter", ":FLANNEL-FWD - [0:0]",
		"-A FORWARD " + forward + " -j FLANNEL-FWD",
		fmt.Sprintf("-A FLANNEL-FWD -s %s %s -j ACCEPT", all, forward),
		fmt.Sprintf("-A FLANNEL-FWD -d %s %s -j ACCEPT", all, forward),
		"COMMIT", "",
	}, "\n")
}

// flannelAnnotations are what flanneld tells the other nodes by way of the API.
func (n *node) flannelAnnotations() map[string]any {
	const prefix = "flannel.alpha.coreos.com/"
	return map[string]any{
		prefix + "backend-data":        fmt.Sprintf(`{"VNI":%d,"VtepMAC":%q}`, vxlanID, vtep(n.Node)),
		prefix + "backend-type":        "vxlan",
		prefix + "kube-subnet-manager": "true",
		prefix + "public-ip":           n.Addr.String(),
	}
}

// reportFlannel sets the condition that flanneld sets on its Node when it has started.
func (c *Cluster) reportFlannel(ctx context.Context, n *node) error {
	now := metav1.Now()
	up := corev1.NodeCondition{
		Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse, Reason: "FlannelIsUp", Message: "Flannel is running on this node",
		LastHeartbeatTime: now, LastTransitionTime: now,
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{up}}})
	if err != nil {
		return err
	}
	_, err = c.typed.CoreV1().Nodes().PatchStatus(ctx, n.Name, patch)
	return err
}
