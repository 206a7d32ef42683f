package examine

import (
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

func TestChooseContainer(t *testing.T) {
	pod := &model.Pod{Namespace: "shop", Name: "web-0", Containers: []model.Container{
		{Name: "setup", Kind: "init", Env: map[string]string{"HTTPS_PROXY": "http://init.test:1"}},
		{Name: "web"},
		{Name: "twin", Env: map[string]string{"PATH": "/bin"}},
	}}
	mesh := model.Container{Name: "mesh", Env: map[string]string{"https_proxy": "http://user:hunter2@proxy.test:3128", "HTTPS_PROXY": "http://other.test", "NO_PROXY": ".svc"}}
	with := *pod
	with.Containers = append(with.Containers[:3:3], mesh)
	for _, test := range []struct {
		name, asked string
		pod         *model.Pod
		note, err   string
	}{
		{"all alike", "", pod, "", ""},
		{"one differs", "", &with, "those of container web (it has none); containers with others: mesh (--container mesh asks for it)", ""},
		{"that one is asked", "mesh", &with, "those of container mesh (HTTPS_PROXY=http://proxy.test:3128, NO_PROXY=.svc); containers with others: web, twin", ""},
		{"none of that name", "wbe", &with, "", "--container wbe: pod shop/web-0 has no such container; it has web, twin, mesh"},
		{"a node", "web", nil, "", "FROM is no pod"},
		{"a node, and none asked", "", nil, "", ""},
	} {
		note, err := chooseContainer(&model.Question{Container: test.asked}, test.pod)
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v", test.name, err)
		}
		if (note == "") != (test.note == "") || !strings.Contains(note, test.note) || strings.Contains(note, "hunter2") {
			t.Errorf("%s: %q", test.name, note)
		}
	}
}
