// Command coredns is the lab's DNS server: CoreDNS with the plugins that the
// Corefile of AKS uses, and those that its customisations use most. It is apart
// from podpath-kube because every node unpacks an image of it.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/caddy/onevent"
	_ "github.com/coredns/coredns/plugin/autopath"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/debug"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() { coremain.Run() }

// The order in which CoreDNS calls plugins is its own plugin.cfg's.
func init() { dnsserver.Directives = directives }

var directives = []string{
	"root", "reload", "debug", "bind", "ready", "health", "prometheus", "errors", "log",
	"cache", "rewrite", "autopath", "loadbalance", "template", "hosts", "kubernetes",
	"loop", "forward", "on",
}
