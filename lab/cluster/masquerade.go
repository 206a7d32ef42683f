package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/yaml"
)

// The ConfigMaps that AKS's ip-masq-agent reads: AKS's own and the customer's.
var masqueradeConfigMaps = []string{"azure-ip-masq-agent-config-reconciled", "azure-ip-masq-agent-config"}

// masqueradeConfig is one file of those ConfigMaps.
type masqueradeConfig struct {
	NonMasqueradeCIDRs []string `json:"nonMasqueradeCIDRs"`
	MasqLinkLocal      bool     `json:"masqLinkLocal"`
	MasqLinkLocalIPv6  bool     `json:"masqLinkLocalIPv6"`
	ResyncInterval     string   `json:"resyncInterval"`
}

// mergeMasquerade does what ip-masq-agent-v2 does with its files: ranges are
// appended, switches or-ed. Only keys that begin with ip-masq are its files.
func mergeMasquerade(maps []*corev1.ConfigMap) (masqueradeConfig, error) {
	var all masqueradeConfig
	read := false
	for _, name := range masqueradeConfigMaps {
		i := slices.IndexFunc(maps, func(m *corev1.ConfigMap) bool { return m.Name == name })
		if i < 0 {
			continue
		}
		for key, text := range maps[i].Data {
			if !strings.HasPrefix(key, "ip-masq") {
				continue
			}
			var c masqueradeConfig
			if err := yaml.UnmarshalStrict([]byte(text), &c); err != nil {
				return all, fmt.Errorf("ConfigMap %s, %s: %w", name, key, err)
			}
			for _, cidr := range c.NonMasqueradeCIDRs {
				if _, err := netip.ParsePrefix(cidr); err != nil {
					return all, fmt.Errorf("ConfigMap %s, %s: nonMasqueradeCIDRs: %w", name, key, err)
				}
			}
			all.NonMasqueradeCIDRs = append(all.NonMasqueradeCIDRs, c.NonMasqueradeCIDRs...)
			all.MasqLinkLocal = all.MasqLinkLocal || c.MasqLinkLocal
			read = true
		}
	}
	if !read { // the agent's own defaults
		all.NonMasqueradeCIDRs = []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}
	}
	slices.Sort(all.NonMasqueradeCIDRs)
	all.NonMasqueradeCIDRs = slices.Compact(all.NonMasqueradeCIDRs)
	return all, nil
}

const masqueradeJump = `-m comment --comment "ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ-AGENT chain" -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT`

// rules is the agent's chain as iptables-restore takes it.
func (c masqueradeConfig) rules() string {
	var b strings.Builder
	b.WriteString("*nat\n:IP-MASQ-AGENT - [0:0]\n")
	skip := c.NonMasqueradeCIDRs
	if !c.MasqLinkLocal {
		skip = append([]string{"169.254.0.0/16"}, skip...)
	}
	for _, cidr := range skip {
		if !strings.Contains(cidr, ":") {
			fmt.Fprintf(&b, "-A IP-MASQ-AGENT -d %s -m comment --comment \"ip-masq-agent: local traffic is not subject to MASQUERADE\" -j RETURN\n", cidr)
		}
	}
	b.WriteString("-A IP-MASQ-AGENT -m comment --comment \"ip-masq-agent: outbound traffic is subject to MASQUERADE (must be last in chain)\" -j MASQUERADE --random-fully\nCOMMIT\n")
	return b.String()
}

// masquerade keeps the chain of every node as the ConfigMaps say, until ctx ends.
// A configuration that cannot be read leaves what was there, as with the agent.
func (c *Cluster) masquerade(ctx context.Context, client kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace("kube-system"))
	maps := factory.Core().V1().ConfigMaps()
	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	if _, err := maps.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { poke() },
		UpdateFunc: func(any, any) { poke() },
		DeleteFunc: func(any) { poke() },
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), maps.Informer().HasSynced) {
		return ctx.Err()
	}
	sync := func(last string) (string, error) {
		list, err := maps.Lister().ConfigMaps("kube-system").List(everything)
		if err != nil {
			return last, err
		}
		config, err := mergeMasquerade(list)
		if err != nil {
			return last, err
		}
		if rules := config.rules(); rules != last {
			return rules, c.applyMasquerade(ctx, rules)
		}
		return last, nil
	}
	last, err := sync("")
	if err != nil {
		return err
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				if last, err = sync(last); err != nil && ctx.Err() == nil {
					c.logf("ip-masq-agent: %v", err)
				}
			}
		}
	}()
	return nil
}

func (c *Cluster) applyMasquerade(ctx context.Context, rules string) error {
	var group sync.WaitGroup
	errs := make([]error, len(c.nodes))
	for i, n := range c.nodes {
		group.Go(func() {
			errs[i] = n.space.feed(ctx, rules, "iptables-restore", "--noflush", "--wait=5")
			if errs[i] == nil {
				errs[i] = n.space.run(ctx, "sh", "-c", "iptables -w 5 -t nat -C POSTROUTING "+masqueradeJump+" 2>/dev/null || iptables -w 5 -t nat -A POSTROUTING "+masqueradeJump)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}
