package check

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var serviceRoom = Check{
	ID: "service-room",
	Doc: `The Services' range is nearly used up

Every Service with a cluster address takes one of the range. When none is left, new Services are refused ("range is full").

The range cannot be changed on AKS after the cluster was made. Delete Services that nobody uses, or make them headless.
`,
	Group: Addresses, Hop: model.HopService, Needs: []string{"cluster", "service"},
	Source: "https://learn.microsoft.com/azure/aks/concepts-network-ip-address-planning",
	Run: func(p *Pass) {
		c := p.World.Azure.Cluster
		if c == nil {
			return
		}
		for _, prefix := range c.ServiceCIDRs {
			used, room := 0, size(prefix)-2
			for _, s := range p.World.Kube.Services {
				for _, a := range s.ClusterIPs {
					if prefix.Contains(a) {
						used++
					}
				}
			}
			if room <= 0 || used*10 < room*9 {
				continue
			}
			f := Finding{
				Severity: Risk, Confidence: diagnose.Possible, Subject: model.NewRef("cluster", c.Name),
				Title:    fmt.Sprintf("%d of the %d addresses of the Service range %s are taken", used, room, prefix),
				Evidence: []diagnose.Evidence{arm(fmt.Sprintf("Service range %s", prefix))},
				Fix:      []diagnose.Command{{Text: "Delete Services that nobody uses, or make them headless; the range cannot be changed"}},
			}
			if used >= room {
				f.Confidence = diagnose.Likely
			}
			p.Report(f)
		}
	},
}
