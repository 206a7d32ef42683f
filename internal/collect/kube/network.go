package kube

import (
	"context"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// flannelMaps are the names under which Flannel's and Canal's manifests keep
// their configuration, and flannelHomes the namespaces that they use.
var (
	flannelMaps  = map[string][]string{"kube-flannel": {"kube-flannel-cfg"}, "kube-system": {"kube-flannel-cfg", "canal-config", "rke2-canal-config"}}
	flannelHomes = []string{"kube-flannel", "kube-system"}
)

// network reads the configuration of a network plugin that the nodes tell of,
// where it is kept apart from what every cluster has. The first that is there counts.
func (r *reader) network(ctx context.Context) {
	if !r.annotated("flannel.alpha.coreos.com/") {
		return
	}
	for _, ns := range flannelHomes {
		for _, name := range flannelMaps[ns] {
			data, err := r.configMap(ctx, ns, name)
			if err == nil && data != nil {
				r.mu.Lock()
				r.w.Kube.ConfigMaps[model.NewRef("configmap", ns, name)] = data
				r.mu.Unlock()
				return
			}
		}
	}
}

func (r *reader) annotated(prefix string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.w.Kube.Nodes {
		for key := range n.Annotations {
			if strings.HasPrefix(key, prefix) {
				return true
			}
		}
	}
	return false
}
