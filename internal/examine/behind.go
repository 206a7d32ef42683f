package examine

import (
	"regexp"
	"slices"
	"strconv"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

// mostBehind bounds how many Services behind a proxy are asked by themselves.
const mostBehind = 2

// onward is how a Service is written in a proxy's settings: NAME.NAMESPACE or
// NAME.NAMESPACE.svc…, with a port.
var onward = regexp.MustCompile(`\b([a-z0-9][a-z0-9-]*)\.([a-z0-9][a-z0-9-]*)(?:\.svc[a-z0-9.-]*)?:([0-9]{1,5})\b`)

// behind are the Services to which the pods that are asked seem to send requests
// on: those that their arguments and literal variables name with a port.
func behind(c *model.Case) []probe.Behind {
	var out []probe.Behind
	own := serviceOf(c)
	for _, b := range slices.Concat(endpoints(c), podsNamed(c)) {
		pod := c.World.Kube.Pods[b.Pod]
		if pod == nil {
			continue
		}
		for _, text := range settingsOf(pod) {
			for _, m := range onward.FindAllStringSubmatch(text, -1) {
				ref := model.NewRef("service", m[2], m[1])
				svc := c.World.Kube.Services[ref]
				port, err := strconv.ParseUint(m[3], 10, 16)
				one := probe.Behind{Service: ref, Port: uint16(port)}
				if svc != nil && svc != own && err == nil && hasPort(svc, one.Port) && !slices.Contains(out, one) && len(out) < mostBehind {
					out = append(out, one)
				}
			}
		}
	}
	return out
}

func hasPort(svc *model.Service, port uint16) bool {
	return slices.ContainsFunc(svc.Ports, func(p model.ServicePort) bool { return p.Port == port })
}

// settingsOf are the texts of a pod's containers that may name what it calls.
func settingsOf(pod *model.Pod) []string {
	var out []string
	for i := range pod.Containers {
		c := &pod.Containers[i]
		if c.Kind == "ephemeral" || c.Kind == "init" {
			continue
		}
		out = append(out, c.Command...)
		names := make([]string, 0, len(c.Env))
		for name := range c.Env {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			out = append(out, c.Env[name])
		}
	}
	return out
}

// apart takes the tries of what lies behind a proxy out of those of the question.
func apart(c *model.Case) {
	c.Tries = slices.DeleteFunc(c.Tries, func(t model.Try) bool {
		if t.Purpose != probe.PurposeBehind {
			return false
		}
		c.Behind = append(c.Behind, t)
		return true
	})
}
