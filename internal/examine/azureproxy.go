package examine

import (
	"context"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/collect/kube"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
	"github.com/podpath/podpath/internal/vantage"
)

// throughAzureProxy asks again, from the pod, through the proxy of the cluster's
// httpProxyConfig: Azure is read while the probes run, so the first plan cannot
// know it. It does so only where the answer tells something: the question
// failed, the application uses no proxy, and none was known to the first plan.
func throughAzureProxy(ctx context.Context, c *model.Case, from kube.From, req vantage.Request, o Options) {
	if from.Pod == nil || req.Facts.Proxy != "" || ctx.Err() != nil {
		return
	}
	i := slices.IndexFunc(req.Plan.Targets, func(t probe.Target) bool { return t.Purpose == probe.PurposeQuestion })
	if i < 0 || req.Plan.Targets[i].Proxy != "" || !failedFrom(c.Observations, model.VantagePod) {
		return
	}
	t := req.Plan.Targets[i]
	proxy := prescribed(c.World.Azure.Cluster, t)
	if proxy == "" {
		return
	}
	t.Purpose, t.When, t.Proxy = probe.PurposeViaProxy, probe.Always, proxy
	o.Progress("asking again through the proxy of the cluster's httpProxyConfig")
	req.Plan.Targets, req.Vantages, req.NodeReader = []probe.Target{t}, []model.Vantage{model.VantagePod}, vantage.ReaderNone
	req.Backends, req.FarNodes = nil, nil
	seen := vantage.Run(ctx, vantage.Clients{Kube: o.Kube, Config: o.Config}, req)
	c.Observations = append(c.Observations, seen.Observations...)
	if len(seen.Observations) == 0 {
		c.World.Gaps = append(c.World.Gaps, model.Gap{What: "the question through the proxy of httpProxyConfig", Reason: "asked again once Azure had named this proxy, and not answered"})
	}
}

// prescribed is the proxy through which the cluster's httpProxyConfig sends a target; "" is none.
func prescribed(cluster *model.ManagedCluster, t probe.Target) string {
	if cluster == nil || cluster.HTTPProxy == nil {
		return ""
	}
	p := cluster.HTTPProxy
	env := map[string]string{"HTTP_PROXY": p.HTTP, "HTTPS_PROXY": p.HTTPS, "NO_PROXY": strings.Join(p.NoProxy, ",")}
	return probe.ProxyFor(env, t.Scheme, t.Host, t.Port)
}

func failedFrom(seen []model.Observation, v model.Vantage) bool {
	for i := range seen {
		if o := &seen[i]; o.Vantage == v && o.Purpose == probe.PurposeQuestion && o.Failed != "" {
			return true
		}
	}
	return false
}
