package cluster

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io"
	"strings"
	"text/template"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	"github.com/podpath/podpath/lab/plan"
)

//go:embed manifests/*.yaml
var manifests embed.FS

// workload is one Deployment of the sample world, with a Service where Service is not 0.
type workload struct {
	Namespace, Name, Scheme string
	Replicas, Port, Service int
}

var workloads = []workload{
	{"shop", "web", "http", 2, 8080, 80},
	{"shop", "checkout", "", 1, 0, 0},
	{"shop", "cart", "http", 2, 8080, 80},
	{"shop", "db", "tcp", 1, 5432, 5432},
	{"ops", "tools", "", 1, 0, 0},
}

// values fill the manifests in.
func values(p *plan.Plan, ca string) map[string]any {
	return map[string]any{
		"FlannelCNI": indent(flannelConfig), "FlannelNet": netConf(),
		"DNSService": plan.DNSService, "DNSReplicas": dnsReplicas(p), "DNSImage": DNSImage, "AppImage": AppImage,
		"NonMasquerade": nonMasquerade(p.Topology.CNI), "MetricsPort": metricsPort, "APIServer": plan.APIServer.Addr(),
		"Workloads": workloads, "CA": ca,
	}
}

// indent sets a text into a YAML block of a ConfigMap's data.
func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ")
}

func dnsReplicas(p *plan.Plan) int { return min(2, p.Topology.Nodes) }

// render reads the objects of one manifest.
func render(name string, values map[string]any) ([]*unstructured.Unstructured, error) {
	t, err := template.ParseFS(manifests, "manifests/"+name)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, values); err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for docs := yaml.NewYAMLOrJSONDecoder(&text, 4096); ; {
		o := &unstructured.Unstructured{}
		if err := docs.Decode(o); err == io.EOF {
			return objects, nil
		} else if err != nil {
			return nil, fmt.Errorf("manifest %s, after %d objects: %w", name, len(objects), err)
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}

// create makes objects, in order. One that is there already stays as it is.
func create(ctx context.Context, client dynamic.Interface, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		_, err := client.Resource(resource(o)).Namespace(o.GetNamespace()).Create(ctx, o, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

// resource is the plural by which the API knows a kind; of the kinds above all are regular.
func resource(o *unstructured.Unstructured) schema.GroupVersionResource {
	gvk := o.GroupVersionKind()
	name := strings.ToLower(gvk.Kind) + "s"
	return gvk.GroupVersion().WithResource(name)
}
