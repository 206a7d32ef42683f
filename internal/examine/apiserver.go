package examine

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/podpath/podpath/internal/model"
)

// toAPIServer says that a question leads to the cluster's own API server, by the
// Service that pods know it by.
// Source: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
func toAPIServer(c *model.Case) bool {
	to := c.Question.To
	if to.Kind == "service" {
		return to.Namespace == "default" && to.Name == "kubernetes"
	}
	host := strings.TrimSuffix(strings.ToLower(to.Host), ".")
	if svc := c.World.Kube.Services["service/default/kubernetes"]; svc != nil && to.Addr.IsValid() {
		return slices.Contains(svc.ClusterIPs, to.Addr)
	}
	return host == "kubernetes.default" || strings.HasPrefix(host, "kubernetes.default.svc") || host == "kubernetes" && c.Question.From.Namespace == "default"
}

// clusterRoots is the authority that every pod finds beside its token, which
// vouches for the API server: the kubeconfig's. "" where it has none.
func clusterRoots(c *model.Case, config *rest.Config) string {
	if config == nil || !toAPIServer(c) {
		return ""
	}
	own := rest.CopyConfig(config)
	if rest.LoadTLSFiles(own) != nil {
		return ""
	}
	return string(own.CAData)
}

// reached takes the API server's 401 and 403 for what they are: podpath sends no
// token, so they say that it was reached and nothing else.
func reached(c *model.Case) {
	if !toAPIServer(c) {
		return
	}
	told := false
	for i := range c.Observations {
		o := &c.Observations[i]
		if o.Result != model.HTTPStatus || o.HTTP == nil || o.HTTP.Status != 401 && o.HTTP.Status != 403 {
			continue
		}
		o.Result, o.Failed = model.OK, ""
		if !told {
			c.Notes = append(c.Notes, fmt.Sprintf("the API server answers %d, as podpath sends it no token: it is reached", o.HTTP.Status))
			told = true
		}
	}
}
