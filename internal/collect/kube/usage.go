package kube

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/podpath/podpath/internal/model"
)

// Bounds of one reading: a kubelet tells some kilobytes of each container.
const (
	usageLimit  = 4 * time.Second
	maxCadvisor = 64 << 20
	maxUsageDoc = 4 << 20
)

// Use is what pods and nodes use, as read at one moment.
type Use struct {
	Usage []model.Usage // Before alone is filled in
	Nodes map[string]model.NodeUsage
	Gaps  []model.Gap
}

// ReadUse reads how often the containers of pods were stopped by their CPU quota
// (each node's kubelet, through the API server) and what pods and nodes use (the
// metrics API), all side by side. What is refused or absent is a gap.
func ReadUse(ctx context.Context, cs kubernetes.Interface, pods []*model.Pod) Use {
	api, ok := cs.CoreV1().RESTClient().(*rest.RESTClient)
	if !ok || api == nil {
		return Use{} // a client that reaches no server
	}
	ctx, cancel := context.WithTimeout(ctx, usageLimit)
	defer cancel()
	r := &useReader{api: api, out: Use{Nodes: map[string]model.NodeUsage{}}, by: map[containerKey]*model.Usage{}}
	for _, p := range pods {
		r.wanted = append(r.wanted, p.Ref())
	}
	var nodes []string
	for _, p := range pods {
		if p.Node != "" && !slices.Contains(nodes, p.Node) {
			nodes = append(nodes, p.Node)
		}
	}
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() { r.kubelet(ctx, n) })
		wg.Go(func() { r.nodeMetrics(ctx, n) })
	}
	for _, p := range pods {
		wg.Go(func() { r.podMetrics(ctx, p) })
	}
	wg.Wait()
	for _, u := range r.by {
		r.out.Usage = append(r.out.Usage, *u)
	}
	slices.SortFunc(r.out.Usage, func(a, b model.Usage) int {
		return strings.Compare(string(a.Pod)+"\x00"+a.Container, string(b.Pod)+"\x00"+b.Container)
	})
	return r.out
}

type containerKey struct {
	pod       model.Ref
	container string
}

type useReader struct {
	api    *rest.RESTClient
	wanted []model.Ref
	mu     sync.Mutex
	out    Use
	by     map[containerKey]*model.Usage
}

// gap notes what was not read. A cluster without the metrics API lacks nothing
// that a cause rests on.
func (r *useReader) gap(what string, ref model.Ref, err error, permission string) {
	g := model.Gap{What: what, Ref: ref, Reason: brief(err)}
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		g.Permission = permission
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out.Gaps = append(r.out.Gaps, g)
}

func (r *useReader) kubelet(ctx context.Context, node string) {
	body, err := r.api.Get().AbsPath("/api/v1/nodes", node, "proxy/metrics/cadvisor").Stream(ctx)
	if err == nil {
		defer body.Close()
		err = readCadvisor(io.LimitReader(body, maxCadvisor), func(s sample) { r.add(node, s) })
	}
	if err != nil && ctx.Err() == nil {
		r.gap("how often containers of node "+node+" are stopped by their CPU limit", model.NewRef("node", node), err, "get nodes/proxy")
	}
}

// add keeps one counter of a pod that is wanted; who writes to the node's disks may be any pod.
func (r *useReader) add(node string, s sample) {
	pod := model.NewRef("pod", s.namespace, s.pod)
	if s.metric == metricWritten && s.container == "" {
		return // of the pod's own group, which holds its containers'
	}
	if s.metric == metricWritten || s.metric == metricSent {
		r.moved(node, pod, s)
		return
	}
	if s.metric == metricSpent {
		r.spent(node, pod, s)
		return
	}
	if !slices.Contains(r.wanted, pod) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.usage(containerKey{pod, s.container})
	u.Before.At = s.at
	switch s.metric {
	case "container_cpu_cfs_periods_total":
		u.Before.Periods = int64(s.value)
	case "container_cpu_cfs_throttled_periods_total":
		u.Before.Stopped = int64(s.value)
	case "container_cpu_cfs_throttled_seconds_total":
		u.Before.For = time.Duration(s.value * float64(time.Second))
	case "container_oom_events_total":
		u.Before.OOMs = int64(s.value)
	}
}

// moved adds up what a pod's containers wrote, disk by disk, or what it sent, interface by interface.
func (r *useReader) moved(node string, pod model.Ref, s sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.out.Nodes[node]
	counts := &n.Written
	if s.metric == metricSent {
		counts = &n.Sent
	}
	if *counts == nil {
		*counts = map[model.Ref]model.Written{}
	}
	if w, known := (*counts)[pod]; known || len(*counts) < maxWriters {
		w.Before += int64(s.value)
		(*counts)[pod] = w
	}
	r.out.Nodes[node] = n
}

// spent keeps the CPU time of a pod's own group, which holds its containers'.
func (r *useReader) spent(node string, pod model.Ref, s sample) {
	if s.container != "" || s.cpu != "" && s.cpu != "total" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.out.Nodes[node]
	if n.Spent == nil {
		n.Spent = map[model.Ref]model.Spent{}
	}
	if _, known := n.Spent[pod]; known || len(n.Spent) < maxWriters {
		n.Spent[pod] = model.Spent{Before: s.value, At: s.at}
	}
	r.out.Nodes[node] = n
}

// maxWriters bounds the pods of one node of which this is kept.
const maxWriters = 1000

func (r *useReader) usage(key containerKey) *model.Usage {
	u := r.by[key]
	if u == nil {
		u = &model.Usage{Pod: key.pod, Container: key.container}
		r.by[key] = u
	}
	return u
}

// sample is one line of what a kubelet tells of its containers.
type sample struct {
	metric, namespace, pod, container string
	sandbox                           bool // of the container that holds the pod's network, which has no name
	value                             float64
	at                                time.Time
	cpu                               string // "total", or one of them
}

// metricWritten is a counter for each container and disk, metricSent for each pod
// and interface: it is counted where the sandbox is.
const (
	metricWritten = "container_fs_writes_bytes_total"
	metricSent    = "container_network_transmit_bytes_total"
	metricSpent   = "container_cpu_usage_seconds_total"
)

// cadvisorMetrics are those that are kept (github.com/google/cadvisor,
// docs/storage/prometheus.md).
var cadvisorMetrics = []string{
	"container_cpu_cfs_periods_total", "container_cpu_cfs_throttled_periods_total", "container_cpu_cfs_throttled_seconds_total", "container_oom_events_total", metricWritten, metricSent, metricSpent,
}

// readCadvisor finds these in the text format of Prometheus, a line a sample, and
// leaves out what is of no pod, and of the sandbox all but what it sent.
func readCadvisor(r io.Reader, add func(sample)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), 1<<20)
	for lines.Scan() {
		name, rest, ok := strings.Cut(lines.Text(), "{")
		if !ok || !slices.Contains(cadvisorMetrics, name) {
			continue
		}
		s := sample{metric: name}
		if rest, ok = s.labels(rest); !ok || s.pod == "" || s.sandbox != (name == metricSent) {
			continue
		}
		words := strings.Fields(rest)
		if len(words) == 0 {
			continue
		}
		value, err := strconv.ParseFloat(words[0], 64)
		if err != nil || value < 0 || value > 1<<53 {
			continue
		}
		s.value = value
		if len(words) > 1 {
			if ms, err := strconv.ParseInt(words[1], 10, 64); err == nil {
				s.at = time.UnixMilli(ms).UTC()
			}
		}
		add(s)
	}
	return lines.Err()
}

// labels reads `a="b",c="d"} …` and gives what follows.
func (s *sample) labels(text string) (rest string, ok bool) {
	named := false
	for {
		text = strings.TrimLeft(text, ", ")
		if after, found := strings.CutPrefix(text, "}"); found {
			s.sandbox = named && (s.container == "" || s.container == "POD")
			return after, true
		}
		key, quoted, found := strings.Cut(text, "=")
		value, err := strconv.QuotedPrefix(quoted)
		if !found || err != nil {
			return "", false
		}
		text = quoted[len(value):]
		if value, err = strconv.Unquote(value); err != nil {
			return "", false
		}
		switch key {
		case "namespace":
			s.namespace = value
		case "pod":
			s.pod = value
		case "container":
			s.container = value
		case "cpu":
			s.cpu = value
		case "name":
			named = value != ""
		}
	}
}

// podUsage is what the metrics API says of a pod
// (k8s.io/metrics/pkg/apis/metrics/v1beta1, PodMetrics).
type podUsage struct {
	Timestamp  time.Time
	Containers []struct {
		Name  string
		Usage map[string]string
	}
}

// containers reads what the containers of a pod use, from the metrics API.
func (r *useReader) containers(ctx context.Context, p *model.Pod) (doc podUsage, ok bool) {
	ok = r.get(ctx, &doc, "usage of "+string(p.Ref()), p.Ref(), "get pods.metrics.k8s.io in namespace "+p.Namespace, "/apis/metrics.k8s.io/v1beta1/namespaces", p.Namespace, "pods", p.Name)
	doc.Containers = doc.Containers[:min(len(doc.Containers), maxContainers)]
	return doc, ok
}

func (r *useReader) podMetrics(ctx context.Context, p *model.Pod) {
	doc, ok := r.containers(ctx, p)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range doc.Containers {
		u := r.usage(containerKey{p.Ref(), c.Name})
		u.CPU, u.Memory = quantity(c.Usage["cpu"]), int64(quantity(c.Usage["memory"]))
	}
}

// ReadMemory reads what the containers of pods use now, from the metrics API, which
// looks every 15 seconds or so; what is refused or absent is left out.
func ReadMemory(ctx context.Context, cs kubernetes.Interface, pods []*model.Pod) []model.Reading {
	api, ok := cs.CoreV1().RESTClient().(*rest.RESTClient)
	if !ok || api == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, usageLimit)
	defer cancel()
	var out []model.Reading
	for _, p := range pods {
		r := &useReader{api: api}
		doc, ok := r.containers(ctx, p)
		if !ok || doc.Timestamp.IsZero() {
			continue
		}
		reading := model.Reading{At: doc.Timestamp.UTC(), From: p.Ref(), Node: p.Node}
		for _, c := range doc.Containers {
			if used := quantity(c.Usage["memory"]); used > 0 {
				reading.Levels = append(reading.Levels, model.Level{Kind: model.LevelWorkingSet, Container: c.Name, Value: used})
			}
		}
		out = append(out, reading)
	}
	return out
}

// maxContainers bounds what one pod may be said to have.
const maxContainers = 100

func (r *useReader) nodeMetrics(ctx context.Context, node string) {
	var doc struct{ Usage map[string]string }
	ref := model.NewRef("node", node)
	if r.get(ctx, &doc, "usage of "+string(ref), ref, "get nodes.metrics.k8s.io", "/apis/metrics.k8s.io/v1beta1/nodes", node) {
		r.mu.Lock()
		defer r.mu.Unlock()
		n := r.out.Nodes[node]
		n.CPU, n.Memory = quantity(doc.Usage["cpu"]), int64(quantity(doc.Usage["memory"]))
		r.out.Nodes[node] = n
	}
}

// get reads a document of the metrics API. Where there is no such API, or nothing
// was measured yet, nothing is lacking.
func (r *useReader) get(ctx context.Context, doc any, what string, ref model.Ref, permission string, path ...string) bool {
	body, err := r.api.Get().AbsPath(path...).Stream(ctx)
	if err == nil {
		defer body.Close()
		err = json.NewDecoder(io.LimitReader(body, maxUsageDoc)).Decode(doc)
	}
	if apierrors.IsNotFound(err) || apierrors.IsServiceUnavailable(err) || ctx.Err() != nil {
		return false
	}
	if err != nil {
		r.gap(what+" (metrics API)", ref, fmt.Errorf("%w", err), permission)
		return false
	}
	return true
}

func quantity(text string) float64 {
	q, err := apiresource.ParseQuantity(text)
	if err != nil {
		return 0
	}
	return max(0, q.AsApproximateFloat64())
}
