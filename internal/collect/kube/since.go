package kube

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/podpath/podpath/internal/model"
)

// maxSince bounds how many events are looked at: a cluster in trouble writes many.
const maxSince = 2000

// Since are the cluster's events from a moment on, the oldest first, without
// those about podpath's own pods; or why they cannot be had.
func Since(ctx context.Context, cs kubernetes.Interface, from time.Time) ([]model.Event, *model.Gap) {
	list, err := cs.CoreV1().Events(metav1.NamespaceAll).List(ctx, metav1.ListOptions{Limit: maxSince})
	if err != nil {
		return nil, &model.Gap{What: "what happened in the cluster meanwhile (events)", Reason: err.Error(), Permission: "list events (cluster scope)"}
	}
	var out []model.Event
	for i := range list.Items {
		if e := convertEvent(&list.Items[i]); !e.Last.Before(from) && !ours(&list.Items[i]) {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b model.Event) int { return a.Last.Compare(b.Last) })
	return out, nil
}

// ours says that an event is about a pod or container of a probe.
func ours(e *corev1.Event) bool {
	return strings.HasPrefix(e.InvolvedObject.Name, "podpath-") || strings.Contains(e.InvolvedObject.FieldPath, "{podpath-probe}")
}
