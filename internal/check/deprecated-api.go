package check

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var deprecatedAPI = Check{
	ID: "deprecated-api",
	Doc: `Clients ask for versions of the API that a coming release does not have

Since it started, the API server was asked for a deprecated version of a resource (its metric apiserver_requested_deprecated_apis). After the
upgrade that removes the version these clients fail.

Look-alikes: the metric does not say who asked; audit logs do. A client that asked once and is gone is counted until the API server restarts.

Bring manifests and controllers to the version that replaces it.
`,
	Group: Ahead, Hop: model.HopControlPlane, Needs: []string{"deprecatedapi"},
	Source: "https://kubernetes.io/docs/reference/using-api/deprecation-guide/",
	Run: func(p *Pass) {
		for _, d := range p.World.Kube.Deprecated {
			if d.Removed == "" || p.later(d.Removed) {
				continue
			}
			name := strings.TrimPrefix(d.Group+"/"+d.Version, "/")
			p.Report(Finding{
				Severity: Risk, Confidence: diagnose.Possible, Subject: model.NewRef("api", d.Resource, strings.ReplaceAll(name, "/", ".")),
				Title:    fmt.Sprintf("Clients ask for %s in %s, which Kubernetes %s does not have", d.Resource, name, d.Removed),
				Evidence: []diagnose.Evidence{kube("apiserver_requested_deprecated_apis of the API server's metrics names it")},
				Fix:      []diagnose.Command{{Text: "Find who asks in the audit log (annotation k8s.io/deprecated), and bring it to the version that replaces it"}},
			})
		}
	},
}

// later says that a release is more than two minor releases after the cluster's: too far off to plan for.
func (p *Pass) later(release string) bool {
	own, ok := minor(p.World.Kube.Version)
	then, ok2 := minor(release)
	return ok && ok2 && then > own+2
}

// minor is the second number of a version: "v1.36.3", "1.32".
func minor(version string) (int, bool) {
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(parts) < 2 || parts[0] != "1" {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimRight(parts[1], "+"))
	return n, err == nil
}
