package kube

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podpath/podpath/internal/model"
)

// NotFoundError says that what was asked about does not exist, and what is called nearly so.
type NotFoundError struct {
	What string   // "pod shop/chekout"
	Near []string // "deploy/checkout in namespace shop", nearest first
}

func (e *NotFoundError) Error() string {
	text := e.What + " does not exist"
	switch len(e.Near) {
	case 0:
	case 1:
		text += "; did you mean " + e.Near[0] + "?"
	default:
		text += "; did you mean one of " + strings.Join(e.Near, ", ") + "?"
	}
	return text
}

// AmbiguousError says that a name means more than one thing.
type AmbiguousError struct {
	What    string
	Choices []string
}

func (e *AmbiguousError) Error() string {
	return e.What + " is ambiguous: it could be " + strings.Join(e.Choices, " or ") + "; name its kind"
}

// ForbiddenError says that the API server refused a read without which nothing can be said.
type ForbiddenError struct {
	What       string
	Permission string // "get deployments.apps in namespace shop"
	Err        error
}

func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("not allowed to read %s: ask for the permission to %s", e.What, e.Permission)
}

func (e *ForbiddenError) Unwrap() error { return e.Err }

// UnauthorizedError says that the API server does not accept the credentials.
type UnauthorizedError struct {
	Server string
	Err    error
}

func (e *UnauthorizedError) Error() string {
	return fmt.Sprintf("the API server%s does not accept these credentials (%s): log in again, for AKS with `az aks get-credentials` or `kubelogin`", at(e.Server), brief(e.Err))
}

func (e *UnauthorizedError) Unwrap() error { return e.Err }

// UnreachableError says that the API server does not answer.
type UnreachableError struct {
	Server string
	Err    error
}

func (e *UnreachableError) Error() string {
	var untrusted *tls.CertificateVerificationError
	if errors.As(e.Err, &untrusted) {
		return fmt.Sprintf("the certificate of the API server%s is not accepted (%s): is certificate-authority-data of this context the cluster's, and does nothing on the way (a proxy that opens TLS) answer in its place?", at(e.Server), brief(untrusted.Err))
	}
	return fmt.Sprintf("the API server%s does not answer (%s): is the context right, does the cluster run, and for a private cluster, are you in its network?", at(e.Server), brief(e.Err))
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// ConfigError says that there is no usable kubeconfig.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string {
	if clientcmd.IsEmptyConfig(e.Err) {
		return "no kubeconfig: set KUBECONFIG, give --kubeconfig, or run `az aks get-credentials -g GROUP -n CLUSTER`"
	}
	return "the kubeconfig cannot be used: " + brief(e.Err)
}

func (e *ConfigError) Unwrap() error { return e.Err }

func at(server string) string {
	if server == "" {
		return ""
	}
	return " " + server
}

// errTimeout is the deadline of one call, told from the deadline of everything.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("timed out after %s", e.after) }

// brief is an error in one line, without Go's way of naming the request.
func brief(err error) string {
	if err == nil {
		return "no reason given"
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	line, _, _ := strings.Cut(model.WithoutUsers(err.Error()), "\n")
	if len(line) > 300 {
		line = line[:300] + "…"
	}
	return line
}

// away says that an error is the absence of an answer.
func away(err error) bool {
	var timeout *timeoutError
	var netErr net.Error
	var u *url.Error
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return false
	case errors.As(err, &timeout), errors.As(err, &netErr), errors.As(err, &u):
		return true
	}
	return apierrors.IsServerTimeout(err) || apierrors.IsServiceUnavailable(err)
}

// refusedLogin says that an error is about who asks, not about what.
func refusedLogin(err error) bool {
	return apierrors.IsUnauthorized(err) || strings.Contains(err.Error(), "getting credentials: ")
}

// reason is a failed read in the words of a Gap.
func reason(err error) string {
	switch {
	case apierrors.IsForbidden(err):
		return "403 Forbidden"
	case apierrors.IsUnauthorized(err):
		return "401 Unauthorized: the token was not accepted or has expired"
	case apierrors.IsNotFound(err):
		return "404 NotFound"
	case apierrors.IsTooManyRequests(err):
		return "429 TooManyRequests: the API server asked to wait longer than the deadline allows"
	}
	return brief(err)
}
