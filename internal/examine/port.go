package examine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/collect/kube"
	"github.com/podpath/podpath/internal/model"
)

// choosePort fills in the port of an object that TO names without one: its only
// port, with a note that says so. Where there are several, or none, the user is
// asked: a guess would answer another question.
func choosePort(c *model.Case, from kube.From) (note string, err error) {
	to := &c.Question.To
	if to.Port != 0 || to.Kind == "ip" || to.Kind == "host" || to.Kind == "url" || to.Kind == "internet" {
		return "", nil
	}
	ports := portsOf(c, from)
	if len(ports) == 1 {
		to.Port = ports[0]
		return fmt.Sprintf("TO %s names no port; asked for %d, the only one that it declares", to.Raw, to.Port), nil
	}
	if len(ports) == 0 {
		return "", fmt.Errorf("TO %s: it declares no %s port; name one: %s:PORT", to.Raw, strings.ToUpper(c.Question.Protocol), to.Raw)
	}
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = fmt.Sprintf("%s:%d", to.Raw, p)
	}
	return "", fmt.Errorf("TO %s has several ports; name one: %s", to.Raw, strings.Join(words, ", "))
}

// portsOf are the ports that an object declares for the question's protocol.
func portsOf(c *model.Case, from kube.From) []uint16 {
	var out []uint16
	add := func(port uint16, protocol string) {
		if protocol == "" {
			protocol = "TCP"
		}
		if strings.EqualFold(protocol, c.Question.Protocol) && !slices.Contains(out, port) {
			out = append(out, port)
		}
	}
	k, to := &c.World.Kube, c.Question.To
	if s := k.Services[model.NewRef("service", to.Namespace, to.Name)]; to.Kind == "service" && s != nil {
		for _, p := range s.Ports {
			add(p.Port, p.Protocol)
		}
		return out
	}
	for _, ref := range from.To {
		if p := k.Pods[ref]; p != nil {
			for _, ctr := range p.Containers {
				for _, cp := range ctr.Ports {
					add(cp.Port, cp.Protocol)
				}
			}
		}
	}
	return out
}
