package check

import (
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// shop adds a workload of one pod with a Service before it to namespace a.
func shop(w *model.World) (*model.Service, *model.Pod) {
	s := &model.Service{
		Namespace: "a", Name: "shop", Type: "ClusterIP", ClusterIPs: addrs("10.2.7.7"), Selector: model.Labels{"app": "shop"},
		Ports: []model.ServicePort{{Name: "http", Protocol: "TCP", Port: 80, TargetPort: "8080"}},
	}
	pod := &model.Pod{
		Namespace: "a", Name: "shop-1", Node: "n1", Phase: "Running", Ready: true, Labels: model.Labels{"app": "shop"}, IPs: addrs("10.50.1.77"),
		Created: now.Add(-time.Hour), Owner: "deployment/a/shop",
		Containers: []model.Container{{Name: "shop", State: "running", Ports: []model.ContainerPort{{Name: "web", Port: 8080, Protocol: "TCP"}}}},
	}
	w.Kube.Services[serviceRef(s)] = s
	w.Kube.Pods[pod.Ref()] = pod
	if w.Kube.Workloads == nil {
		w.Kube.Workloads = map[model.Ref]*model.Workload{}
	}
	w.Kube.Workloads["deployment/a/shop"] = &model.Workload{Ref: "deployment/a/shop", Replicas: 1, Ready: 1, Selector: &model.Selector{MatchLabels: model.Labels{"app": "shop"}}}
	w.Kube.EndpointSlices["endpointslice/a/shop-x"] = &model.EndpointSlice{
		Namespace: "a", Name: "shop-x", Service: "shop", AddressType: "IPv4", Ports: []model.EndpointPort{{Name: "http", Port: 8080, Protocol: "TCP"}},
		Endpoints: []model.SliceEndpoint{{Addresses: []string{"10.50.1.77"}, Ready: true, Serving: true, Node: "n1", Target: pod.Ref()}},
	}
	return s, pod
}

// withoutEndpoints takes a Service's endpoints away, as the controller does.
func withoutEndpoints(w *model.World) {
	w.Kube.EndpointSlices["endpointslice/a/shop-x"].Endpoints = nil
}

func TestServiceSelectsNothing(t *testing.T) {
	renamed := func(w *model.World) *model.Service {
		s, _ := shop(w)
		s.Selector = model.Labels{"app": "shops"}
		withoutEndpoints(w)
		return s
	}
	try(t, "service-selects-nothing",
		example{"healthy", func(w *model.World) { shop(w) }, nil},
		example{"a label that nobody has", func(w *model.World) { renamed(w) }, []string{"service/a/shop likely"}},
		example{"endpoints are there all the same", func(w *model.World) {
			s, _ := shop(w)
			s.Selector = model.Labels{"app": "shops"}
		}, nil},
		example{"no selector", func(w *model.World) { renamed(w).Selector = nil }, nil},
		example{"an alias", func(w *model.World) { renamed(w).Type = "ExternalName" }, nil},
		example{"scaled to zero", func(w *model.World) {
			_, pod := shop(w)
			delete(w.Kube.Pods, pod.Ref())
			w.Kube.Workloads["deployment/a/shop"].Replicas = 0
			withoutEndpoints(w)
		}, []string{"service/a/shop possible"}},
		example{"its workload makes no pods", func(w *model.World) {
			_, pod := shop(w)
			delete(w.Kube.Pods, pod.Ref())
			withoutEndpoints(w)
		}, []string{"deployment/a/shop likely"}},
		example{"workloads were not read", func(w *model.World) {
			renamed(w)
			delete(w.Read, "statefulset")
		}, []string{"service/a/shop possible"}},
		example{"pods were not read", func(w *model.World) {
			renamed(w)
			delete(w.Read, "pod")
		}, nil},
	)
}

func TestServiceNoneReady(t *testing.T) {
	down := func(w *model.World) *model.Pod {
		_, pod := shop(w)
		pod.Ready = false
		w.Kube.EndpointSlices["endpointslice/a/shop-x"].Endpoints[0].Ready = false
		w.Kube.EndpointSlices["endpointslice/a/shop-x"].Endpoints[0].Serving = false
		return pod
	}
	try(t, "service-none-ready",
		example{"healthy", func(w *model.World) { shop(w) }, nil},
		example{"not ready", func(w *model.World) { down(w) }, []string{"deployment/a/shop likely"}},
		example{"of a rollout", func(w *model.World) { down(w).Created = now.Add(-time.Minute) }, []string{"deployment/a/shop possible"}},
		example{"published although not ready", func(w *model.World) {
			down(w)
			w.Kube.Services["service/a/shop"].PublishNotReady = true
		}, nil},
		example{"one of two is ready", func(w *model.World) {
			other := *down(w)
			other.Name, other.Ready = "shop-2", true
			w.Kube.Pods[other.Ref()] = &other
		}, nil},
		example{"ended pods do not count", func(w *model.World) { down(w).Phase = "Succeeded" }, nil},
	)
}

func TestServiceTargetPort(t *testing.T) {
	to := func(port string) func(*model.World) {
		return func(w *model.World) {
			s, _ := shop(w)
			s.Ports[0].TargetPort = port
		}
	}
	try(t, "service-target-port",
		example{"declared number", to("8080"), nil},
		example{"declared name", to("web"), nil},
		example{"another number", to("9090"), []string{"service/a/shop likely"}},
		example{"another name", to("https"), []string{"service/a/shop likely"}},
		example{"the Service's own number", to(""), []string{"service/a/shop likely"}},
		example{"another protocol", func(w *model.World) {
			s, _ := shop(w)
			s.Ports[0].Protocol = "UDP"
		}, []string{"service/a/shop likely"}},
		example{"a container that declares nothing", func(w *model.World) {
			to("9090")(w)
			w.Kube.Pods["pod/a/shop-1"].Containers = append(w.Kube.Pods["pod/a/shop-1"].Containers, model.Container{Name: "side"})
		}, nil},
		example{"a name is looked up even then", func(w *model.World) {
			to("https")(w)
			w.Kube.Pods["pod/a/shop-1"].Containers[0].Ports = nil
		}, []string{"service/a/shop likely"}},
		example{"an ended init container does not count", func(w *model.World) {
			to("9090")(w)
			w.Kube.Pods["pod/a/shop-1"].Containers = append(w.Kube.Pods["pod/a/shop-1"].Containers, model.Container{Name: "init", Kind: "init"})
		}, []string{"service/a/shop likely"}},
		example{"one pod of a rollout has it", func(w *model.World) {
			to("9090")(w)
			other := *w.Kube.Pods["pod/a/shop-1"]
			other.Name = "shop-2"
			other.Containers = []model.Container{{Name: "shop", Ports: []model.ContainerPort{{Port: 9090, Protocol: "TCP"}}}}
			w.Kube.Pods[other.Ref()] = &other
		}, nil},
		example{"arguments speak of another number", func(w *model.World) {
			to("9090")(w)
			c := &w.Kube.Pods["pod/a/shop-1"].Containers[0]
			c.Ports, c.Command = nil, []string{"serve", "--listen=0.0.0.0:8080", "--timeout=30s"}
		}, []string{"service/a/shop possible"}},
		example{"arguments speak of it too", func(w *model.World) {
			to("9090")(w)
			c := &w.Kube.Pods["pod/a/shop-1"].Containers[0]
			c.Ports, c.Command, c.Env = nil, []string{"serve", "http://:8080"}, map[string]string{"ADMIN_PORT": "9090"}
		}, nil},
		example{"arguments say nothing", func(w *model.World) {
			to("9090")(w)
			c := &w.Kube.Pods["pod/a/shop-1"].Containers[0]
			c.Ports, c.Command = nil, []string{"serve", "v1.30"}
		}, nil},
		example{"containers are not known", func(w *model.World) {
			to("9090")(w)
			w.Kube.Pods["pod/a/shop-1"].Containers = nil
		}, nil},
		example{"headless", func(w *model.World) {
			to("9090")(w)
			w.Kube.Services["service/a/shop"].Headless = true
		}, nil},
	)
}

func TestServiceStaleEndpoints(t *testing.T) {
	byHand := func(address string) func(*model.World) {
		return func(w *model.World) {
			s, _ := shop(w)
			s.Selector = nil
			w.Kube.EndpointSlices["endpointslice/a/shop-x"].Endpoints[0].Addresses = []string{address}
		}
	}
	try(t, "service-stale-endpoints",
		example{"a pod's address", byHand("10.50.1.77"), nil},
		example{"a gone pod's address", byHand("10.50.1.99"), []string{"endpointslice/a/shop-x likely"}},
		example{"a host outside", byHand("10.9.0.4"), nil},
		example{"a node", byHand("10.1.0.4"), nil},
		example{"not an address", byHand("example.org"), nil},
		example{"with a selector the controller is behind", func(w *model.World) {
			byHand("10.50.1.99")(w)
			w.Kube.Services["service/a/shop"].Selector = model.Labels{"app": "shop"}
		}, nil},
	)
}

func TestServiceExternalName(t *testing.T) {
	alias := func(name string) func(*model.World) {
		return func(w *model.World) {
			s, _ := shop(w)
			s.Type, s.ExternalName = "ExternalName", name
		}
	}
	try(t, "service-external-name",
		example{"a host", alias("db.example.org"), nil},
		example{"an address", alias("10.9.0.4"), []string{"service/a/shop likely"}},
		example{"a Service that is there", alias("shop.a.svc.cluster.local."), nil},
		example{"a Service that is not", alias("shop.b.svc.cluster.local"), []string{"service/a/shop likely"}},
		example{"no alias at all", func(w *model.World) {
			s, _ := shop(w)
			s.ExternalName = "10.9.0.4"
		}, nil},
	)
}

func TestIngressBackend(t *testing.T) {
	to := func(service, port string) func(*model.World) {
		return func(w *model.World) {
			shop(w)
			w.Kube.Ingresses = map[model.Ref]*model.Ingress{"ingress/a/web": {Namespace: "a", Name: "web", Hosts: []string{"*"}, Backends: []model.IngressBackend{{Service: service, Port: port}}}}
		}
	}
	try(t, "ingress-backend",
		example{"a port's number", to("shop", "80"), nil},
		example{"a port's name", to("shop", "http"), nil},
		example{"another port", to("shop", "81"), []string{"ingress/a/web likely"}},
		example{"another Service", to("shops", "80"), []string{"ingress/a/web likely"}},
		example{"Services were not read", func(w *model.World) {
			to("shops", "80")(w)
			delete(w.Read, "service")
		}, nil},
	)
}
