package kube

import (
	"bufio"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/podpath/podpath/internal/model"
)

var (
	validating  = resource{"webhook", "validatingwebhookconfigurations.admissionregistration.k8s.io"}
	mutating    = resource{"webhook", "mutatingwebhookconfigurations.admissionregistration.k8s.io"}
	apiServices = resource{"apiservice", "apiservices.apiregistration.k8s.io"}
)

// webhooks reads both kinds of admission webhooks.
func (r *reader) webhooks(ctx context.Context) {
	api := r.cs.AdmissionregistrationV1()
	_, err := paged(ctx, r, "", metav1.ListOptions{}, false, func(ctx context.Context, _ string, o metav1.ListOptions) (*admissionv1.ValidatingWebhookConfigurationList, error) {
		return api.ValidatingWebhookConfigurations().List(ctx, o)
	}, func(l *admissionv1.ValidatingWebhookConfigurationList) {
		for i := range l.Items {
			for _, h := range l.Items[i].Webhooks {
				r.keepWebhook(model.Webhook{Config: l.Items[i].Name, Name: h.Name}, h.ClientConfig, h.FailurePolicy, h.Rules)
			}
		}
	})
	if err != nil {
		r.failed("list", validating, "", "", err)
	}
	_, err2 := paged(ctx, r, "", metav1.ListOptions{}, false, func(ctx context.Context, _ string, o metav1.ListOptions) (*admissionv1.MutatingWebhookConfigurationList, error) {
		return api.MutatingWebhookConfigurations().List(ctx, o)
	}, func(l *admissionv1.MutatingWebhookConfigurationList) {
		for i := range l.Items {
			for _, h := range l.Items[i].Webhooks {
				r.keepWebhook(model.Webhook{Config: l.Items[i].Name, Name: h.Name, Mutating: true}, h.ClientConfig, h.FailurePolicy, h.Rules)
			}
		}
	})
	if err2 != nil {
		r.failed("list", mutating, "", "", err2)
	}
	r.complete("webhook", err == nil && err2 == nil)
}

// keepWebhook keeps a webhook, and the dates of the authorities that the API
// server trusts for it. The lock is held.
func (r *reader) keepWebhook(h model.Webhook, to admissionv1.WebhookClientConfig, policy *admissionv1.FailurePolicyType, rules []admissionv1.RuleWithOperations) {
	h.Fails = policy == nil || *policy == admissionv1.Fail
	if s := to.Service; s != nil {
		h.Service, h.Port = model.NewRef("service", s.Namespace, s.Name), 443
		if s.Port != nil && *s.Port > 0 && *s.Port < 1<<16 {
			h.Port = uint16(*s.Port)
		}
	} else if to.URL != nil {
		if u, err := url.Parse(*to.URL); err == nil {
			h.Host = u.Host
		}
	}
	for _, rule := range rules {
		for _, x := range rule.Resources {
			for _, group := range rule.APIGroups {
				if group != "" && group != "*" {
					x += "." + group
				}
				if !slices.Contains(h.Resources, x) {
					h.Resources = append(h.Resources, x)
				}
			}
		}
	}
	r.w.Kube.Webhooks = append(r.w.Kube.Webhooks, h)
	r.w.Kube.Certificates = append(r.w.Kube.Certificates, certificates("caBundle of webhook "+h.Name, h.Ref(), to.CABundle)...)
}

// maxCertificates bounds how many certificates of one bundle are looked at.
const maxCertificates = 64

// certificates reads the dates of a bundle; what is no certificate is passed over.
func certificates(what string, of model.Ref, bundle []byte) []model.Certificate {
	var out []model.Certificate
	for range maxCertificates {
		block, rest := pem.Decode(bundle)
		if block == nil {
			return out
		}
		bundle = rest
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			out = append(out, dates(what, of, c))
		}
	}
	return out
}

func dates(what string, of model.Ref, c *x509.Certificate) model.Certificate {
	return model.Certificate{What: what, Of: of, Name: c.Subject.CommonName, NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC()}
}

// apiServices reads which parts of the API other servers serve. There are no types for it here.
func (r *reader) apiServices(ctx context.Context) {
	client := r.raw()
	if client == nil {
		return
	}
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct {
				Service  *struct{ Namespace, Name string }
				CABundle []byte
			}
			Status struct{ Conditions []metav1.Condition }
		}
	}
	if err := r.get(ctx, client, "/apis/apiregistration.k8s.io/v1/apiservices", &list); err != nil {
		r.failed("list", apiServices, "", "", err)
		r.complete("apiservice", false)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, item := range list.Items {
		if item.Spec.Service == nil {
			continue // the API server's own
		}
		s := model.APIService{Name: item.Metadata.Name, Service: model.NewRef("service", item.Spec.Service.Namespace, item.Spec.Service.Name)}
		for _, c := range item.Status.Conditions {
			if c.Type == "Available" {
				s.Available, s.Reason, s.Message = string(c.Status), c.Reason, c.Message
			}
		}
		r.w.Kube.APIServices = append(r.w.Kube.APIServices, s)
		r.w.Kube.Certificates = append(r.w.Kube.Certificates, certificates("caBundle of APIService "+s.Name, model.NewRef("apiservice", s.Name), item.Spec.CABundle)...)
	}
	r.w.Read["apiservice"] = true
}

// deprecated reads which deprecated versions clients asked the API server for
// since it started: a metric that it shows with its others.
// https://kubernetes.io/docs/reference/using-api/deprecation-guide/
func (r *reader) deprecated(ctx context.Context) {
	client := r.raw()
	if client == nil {
		return
	}
	var found []model.DeprecatedAPI
	err := r.call(ctx, func(ctx context.Context) error {
		stream, err := client.Get().AbsPath("/metrics").SetHeader("Accept", "text/plain").Stream(ctx)
		if err != nil {
			return err
		}
		defer stream.Close()
		found, err = readDeprecated(stream)
		return err
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.w.Read["deprecatedapi"] = err == nil
	if err != nil {
		g := model.Gap{What: "deprecated versions of the API that clients ask for", Ref: "deprecatedapi", Reason: reason(err)}
		if apierrors.IsForbidden(err) {
			g.Permission = "get /metrics (nonResourceURLs)"
		}
		r.w.Gaps = append(r.w.Gaps, g)
		return
	}
	r.w.Kube.Deprecated = found
}

// Bounds of the API server's metrics: those of a large cluster take some ten MiB.
const (
	maxMetrics    = 128 << 20
	maxDeprecated = 200
)

var metricLabel = regexp.MustCompile(`([a-z_]+)="([^"\\]*)"`)

// readDeprecated picks apiserver_requested_deprecated_apis out of a page of metrics.
func readDeprecated(in io.Reader) ([]model.DeprecatedAPI, error) {
	var out []model.DeprecatedAPI
	lines := bufio.NewScanner(io.LimitReader(in, maxMetrics))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		labels, ok := strings.CutPrefix(lines.Text(), "apiserver_requested_deprecated_apis{")
		if !ok || len(out) >= maxDeprecated {
			continue
		}
		var d model.DeprecatedAPI
		for _, m := range metricLabel.FindAllStringSubmatch(labels, -1) {
			switch m[1] {
			case "group":
				d.Group = m[2]
			case "version":
				d.Version = m[2]
			case "resource":
				d.Resource = m[2]
			case "removed_release":
				d.Removed = m[2]
			}
		}
		if d.Resource != "" && !slices.Contains(out, d) { // a line for each subresource
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b model.DeprecatedAPI) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Version, b.Version))
	})
	return out, lines.Err()
}

// ServerCertificate reads what the API server shows who it is by, through
// whatever lies between (a proxy that opens TLS shows its own).
func ServerCertificate(ctx context.Context, config *rest.Config) ([]model.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultCallTimeout)
	defer cancel()
	// Without credentials: nobody needs to log in for this.
	anonymous := rest.AnonymousClientConfig(config)
	anonymous.Timeout = DefaultCallTimeout
	client, err := rest.HTTPClientFor(anonymous)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's certificate: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(anonymous)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's certificate: %w", err)
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("version").String(), nil)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's certificate: %w", err)
	}
	answer, err := client.Do(q)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.TLS == nil || len(answer.TLS.PeerCertificates) == 0 {
		return nil, errors.New("it does not speak TLS")
	}
	return []model.Certificate{dates("the API server "+base.Host, "", answer.TLS.PeerCertificates[0])}, nil
}

// Unreadable is the gap of an API server's certificate.
func Unreadable(err error) model.Gap {
	return model.Gap{What: "certificate of the API server", Ref: "certificate", Reason: reason(err)}
}
