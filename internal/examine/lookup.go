package examine

import (
	"net/netip"
	"strings"

	"github.com/podpath/podpath/internal/collect/kube"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
)

// lookup predicts the way of the question's name, with the resolv.conf that the
// asking side's own probe read; nil when no name is asked for.
func lookup(c *model.Case, from kube.From, idx *trace.Index) *model.Lookup {
	host := c.Question.To.Host
	if to := c.Question.To; to.Kind == "service" {
		host = to.Name + "." + to.Namespace + ".svc." + trace.DefaultClusterDomain + "."
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); host == "" || err == nil || c.Question.Address.IsValid() {
		return nil
	}
	origin := model.VantagePod
	if c.Question.From.Kind == "node" {
		origin = model.VantageNode
	}
	var seen *model.Resolver
	for i := range c.Observations {
		if o := &c.Observations[i]; o.Vantage == origin && o.Resolver != nil && seen == nil {
			seen = o.Resolver
		}
	}
	l := idx.Lookup(from.Ref(), host, seen)
	return &l
}
