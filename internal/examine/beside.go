package examine

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/collect/kube"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

// besides are the other destinations of a watch, each as a question of its own: it
// is asked of the same place, and what pins the question's address or name is not
// meant for it.
func besides(c *model.Case) []*model.Case {
	var out []*model.Case
	for _, to := range c.Question.Beside {
		q := model.Question{From: c.Question.From, To: to, Protocol: model.Carries(to.Scheme), Container: c.Question.Container}
		if q.Protocol == "" {
			q.Protocol = c.Question.Protocol
		}
		out = append(out, &model.Case{Version: 1, Question: q, World: c.World})
	}
	return out
}

// besidePorts fills in the ports of objects that were named without one, as for TO.
func besidePorts(c *model.Case) error {
	for i, one := range besides(c) {
		if _, err := choosePort(one, kube.From{To: receivers(&c.World, one.Question.To)}); err != nil {
			return fmt.Errorf("--beside: %w", err)
		}
		c.Question.Beside[i] = one.Question.To
	}
	return nil
}

// beside are the targets of the other destinations, each asked as it would be if it
// were the question.
func beside(c *model.Case, pod *model.Pod) []probe.Target {
	var out []probe.Target
	for _, one := range besides(c) {
		f := facts(one, pod)
		plan := probe.PlanFor(one.Question, f)
		if len(plan.Targets) == 0 || plan.Targets[0].Purpose != probe.PurposeQuestion {
			continue // it has no address: untried says so
		}
		t := plan.Targets[0]
		t.Purpose, t.Label = probe.PurposeBeside, one.Question.To.Public().Raw
		if pod == nil && one.Question.To.Kind == "service" && len(f.Addrs) > 0 {
			t.Address = f.Addrs[0] // a node's resolver knows no names of the cluster
		}
		out = append(out, t)
	}
	return out
}

// untried says which of the other destinations were not tried at all.
func untried(c *model.Case) {
	tried := map[string]bool{}
	for i := range c.Beside {
		tried[c.Beside[i].Target] = true
	}
	for _, to := range c.Question.Beside {
		if name := to.Public().Raw; !tried[name] {
			c.World.Gaps = append(c.World.Gaps, model.Gap{What: "tries of " + name + " beside the question", Reason: "none was sent: it has no address, or the question's own place could not try it"})
		}
	}
}

// besideOwn says what the tries of the other destinations take, as own does of the question's.
func besideOwn(c *model.Case) {
	counts := map[string]int{}
	for i := range c.Beside {
		counts[c.Beside[i].Target]++
	}
	var said []string
	for _, to := range c.Question.Beside {
		if n := counts[to.Public().Raw]; outside(to) && n > 0 {
			said = append(said, fmt.Sprintf("%d to %s", n, to.Public().Raw))
		}
	}
	if len(said) > 0 {
		c.Notes = append(c.Notes, "beside the question its own place opened connections too, which take source ports as well: "+strings.Join(said, ", "))
	}
}
