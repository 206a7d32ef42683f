package examine

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
	"github.com/podpath/podpath/internal/vantage"
)

// ended notes the pods that were told to end during the series: those that are
// gone by now, or on their way, with when that was and since when they took no
// more connections.
func ended(c, later *model.Case) {
	for ref, pod := range c.World.Kube.Pods {
		if pod == nil {
			continue
		}
		if now := later.World.Kube.Pods[ref]; now == nil {
			pod.Ending = cmp.Or(pod.Ending, killed(c.Happened, ref))
		} else if now.UID == pod.UID {
			pod.Ending = cmp.Or(pod.Ending, now.Ending)
		}
		if pod.Ending != nil {
			pod.Ending.Shut = shut(c.Tries, pod)
		}
	}
}

// killed is when the kubelet began to end a pod that is gone, or its controller
// deleted it; nil: no event says so. The kubelet's event comes before the preStop
// hook, and one about a failed liveness probe has other words
// (killContainer in pkg/kubelet/kuberuntime/kuberuntime_container.go).
func killed(events []model.Event, ref model.Ref) *model.Ending {
	for _, e := range events {
		kubelet := e.About == ref && e.Reason == "Killing" && strings.HasPrefix(e.Message, "Stopping container")
		controller := e.Reason == "SuccessfulDelete" && e.About.Part(0) == ref.Part(0) && strings.HasSuffix(e.Message, "pod: "+ref.Name())
		if kubelet || controller {
			return &model.Ending{Told: e.Last}
		}
	}
	return nil
}

// shut is since when a pod took no connection, by the series that asked it by itself.
func shut(tries []model.Try, pod *model.Pod) time.Time {
	own := slices.DeleteFunc(slices.Clone(tries), func(t model.Try) bool {
		return t.Purpose != probe.PurposeEndpoint || t.Idle > 0 || t.Result == model.ProbeFailed || !slices.Contains(pod.IPs, t.Address.Addr())
	})
	slices.SortStableFunc(own, func(a, b model.Try) int { return b.At.Compare(a.At) })
	since, well := time.Time{}, false
	for _, t := range own { // from the last backwards
		if t.Failed != "tcp" {
			well = true
			break
		}
		since = t.At
	}
	if !well {
		return time.Time{} // it took none at any time: that is another matter
	}
	return since
}

// joined notes the endpoints that a Service got since it was read: a node that was
// read after it may send to them already.
func joined(c *model.Case, now []vantage.Backend) {
	svc, then := serviceOf(c), endpoints(c)
	if svc == nil {
		return
	}
	for _, n := range now {
		if !slices.ContainsFunc(then, func(b vantage.Backend) bool { return b.Addr == n.Addr }) {
			svc.Joined = append(svc.Joined, n.Addr.Addr())
		}
	}
}
