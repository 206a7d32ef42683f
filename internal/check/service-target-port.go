package check

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

var serviceTargetPort = Check{
	ID: "service-target-port",
	Doc: `A Service sends to a port that its pods do not declare

A named targetPort that no container has gives the Service no endpoint for that port. A number that no container declares is sent to
all the same, and refused unless something listens there undeclared.

Look-alikes: containers need not declare numbers, so nothing is said of pods in which some container declares none. A listener on
localhost is declared and refuses as well; podpath why tells that.

Mend the Service's targetPort, or the container's ports.
`,
	Group: Services, Hop: model.HopPod, Needs: []string{"service", "pod"},
	Source: "https://kubernetes.io/docs/concepts/services-networking/service/#field-spec-ports",
	Covers: []string{"svc-targetport-mismatch", "svc-named-port-missing"},
	Run: func(p *Pass) {
		for _, s := range values(p.World.Kube.Services) {
			if len(s.Selector) == 0 || s.Type == "ExternalName" || s.Headless {
				continue
			}
			pods := p.selected(s)
			for i := range s.Ports {
				switch {
				case len(pods) == 0:
				case lacks(pods, &s.Ports[i]):
					p.Report(targetFinding(s, &s.Ports[i], pods))
				default:
					p.unspoken(s, &s.Ports[i], pods)
				}
			}
		}
	},
}

func targetFinding(s *model.Service, port *model.ServicePort, pods []*model.Pod) Finding {
	ref := serviceRef(s)
	f := Finding{
		Severity: Broken, Subject: ref, Concerns: len(pods),
		Title:   fmt.Sprintf("Service %s/%s sends port %d to %s, which its pods do not declare (they have %s)", s.Namespace, s.Name, port.Port, port.TargetPort, declared(pods[0])),
		Summary: "Nothing is likely to listen there: connections are refused.",
		Evidence: []diagnose.Evidence{
			kube(fmt.Sprintf("port %d/%s has targetPort %s", port.Port, cmp.Or(port.Protocol, "TCP"), port.TargetPort), ref),
			kube(fmt.Sprintf("%s match %s; pod %s declares %s", count(len(pods), "pod"), labelText(s.Selector), pods[0].Name, declared(pods[0])), pods[0].Ref()),
		},
		Fix: []diagnose.Command{do("Mend its targetPort", diagnose.KubectlFor(ref, "edit"))},
	}
	if _, err := strconv.Atoi(port.TargetPort); err != nil {
		f.Hop, f.Summary = model.HopService, "A name is looked up in the pods; where none has it, the Service has no endpoint for this port."
	}
	return f
}

// lacks says that none of the pods has what a port of a Service is sent to: for
// a number, only where every container says which ports it has.
func lacks(pods []*model.Pod, port *model.ServicePort) bool {
	number, err := strconv.Atoi(port.TargetPort)
	if port.TargetPort == "" || port.TargetPort == "0" {
		number, err = int(port.Port), nil
	}
	for _, pod := range pods {
		if len(pod.Containers) == 0 {
			return false // not known
		}
		for i := range pod.Containers {
			c := &pod.Containers[i]
			if !policy.Serves(c) || c.Kind == "ephemeral" {
				continue
			}
			if err == nil && len(c.Ports) == 0 {
				return false
			}
			if slices.ContainsFunc(c.Ports, func(d model.ContainerPort) bool {
				same := strings.EqualFold(cmp.Or(d.Protocol, "TCP"), cmp.Or(port.Protocol, "TCP"))
				return same && (err == nil && int(d.Port) == number || err != nil && d.Name == port.TargetPort)
			}) {
				return false
			}
		}
	}
	return true
}

// portWord is a port as arguments and variables write it: "--listen=:8080", "http://0.0.0.0:8080", PORT "8080".
var portWord = regexp.MustCompile(`(?:^|[:=])([1-9][0-9]{1,4})(?:[/?]|$)`)

// spoken are the ports that the arguments and variables of a pod's containers speak of.
func spoken(pod *model.Pod) []string {
	var out []string
	add := func(text string) {
		for _, m := range portWord.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(out, m[1]) {
				out = append(out, m[1])
			}
		}
	}
	for i := range pod.Containers {
		c := &pod.Containers[i]
		if !policy.Serves(c) || c.Kind == "ephemeral" {
			continue
		}
		for _, word := range c.Command {
			add(word)
		}
		for name, value := range c.Env {
			if strings.HasSuffix(strings.ToUpper(name), "PORT") && !strings.Contains(strings.ToUpper(name), "SERVICE") {
				add(value)
			}
		}
	}
	slices.Sort(out)
	return out
}

// unspoken tells of pods that declare no port at all, and whose arguments speak
// of other ports than the one that they are sent to: a hint, no more.
func (p *Pass) unspoken(s *model.Service, port *model.ServicePort, pods []*model.Pod) {
	if _, err := strconv.Atoi(port.TargetPort); err != nil {
		return
	}
	for _, pod := range pods {
		if list := spoken(pod); declared(pod) != "none" || len(list) == 0 || slices.Contains(list, port.TargetPort) {
			return
		}
	}
	f := targetFinding(s, port, pods)
	f.Confidence = diagnose.Possible
	f.Title = fmt.Sprintf("Service %s/%s sends port %d to %s, and its pods' arguments speak of %s", s.Namespace, s.Name, port.Port, port.TargetPort, some(spoken(pods[0])))
	p.Report(f)
}

// declared are a pod's ports, as people write them.
func declared(pod *model.Pod) string {
	var out []string
	for i := range pod.Containers {
		for _, d := range pod.Containers[i].Ports {
			text := strconv.Itoa(int(d.Port))
			if d.Name != "" {
				text = d.Name + "=" + text
			}
			out = append(out, text)
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return some(out)
}
