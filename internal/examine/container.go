package examine

import (
	"fmt"
	"maps"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// chooseContainer refuses a container that the asking pod does not have, and
// notes whose proxy settings count where its containers have different ones.
func chooseContainer(q *model.Question, pod *model.Pod) (note string, err error) {
	if pod == nil {
		if q.Container != "" {
			return "", fmt.Errorf("--container %s: FROM is no pod", q.Container)
		}
		return "", nil
	}
	app := pod.App(q.Container)
	var names, others []string
	for i := range pod.Containers {
		c := &pod.Containers[i]
		if c.Kind == "ephemeral" || c.Kind == "init" {
			continue
		}
		names = append(names, c.Name)
		if app != nil && c.Name != app.Name && !maps.Equal(proxySettings(c), proxySettings(app)) {
			others = append(others, c.Name)
		}
	}
	switch {
	case app == nil && q.Container != "":
		return "", fmt.Errorf("--container %s: pod %s/%s has no such container; it has %s", q.Container, pod.Namespace, pod.Name, strings.Join(names, ", "))
	case len(others) == 0:
		return "", nil
	}
	return fmt.Sprintf("the proxy settings that count are those of container %s (%s); containers with others: %s (--container %s asks for it)",
		app.Name, settingsText(app), strings.Join(others, ", "), others[0]), nil
}

// proxyVariables are those that decide whether a connection goes through a proxy.
var proxyVariables = []string{"http_proxy", "https_proxy", "all_proxy", "no_proxy"}

// proxySettings are a container's, the lower case of a name first as curl takes it.
func proxySettings(c *model.Container) map[string]string {
	out := map[string]string{}
	for _, name := range proxyVariables {
		if v := c.Env[name]; v != "" {
			out[name] = v
		} else if v := c.Env[strings.ToUpper(name)]; v != "" {
			out[name] = v
		}
	}
	return out
}

func settingsText(c *model.Container) string {
	set := proxySettings(c)
	var parts []string
	for _, name := range proxyVariables {
		if v := set[name]; v != "" {
			parts = append(parts, strings.ToUpper(name)+"="+model.WithoutUsers(v))
		}
	}
	if len(parts) == 0 {
		return "it has none"
	}
	return strings.Join(parts, ", ")
}
