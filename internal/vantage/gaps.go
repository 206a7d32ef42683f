package vantage

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/podpath/podpath/internal/model"
)

// denied says whether the API server or an admission plugin refused.
func denied(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || rbac(err)
}

// rbac says whether it was for lack of a permission, not by an admission plugin.
// An exec's refusal comes as text alone.
func rbac(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return apierrors.IsUnauthorized(err) || (strings.Contains(text, " cannot ") && (apierrors.IsForbidden(err) || strings.Contains(text, "is forbidden: User")))
}

// explain makes a Gap of a place that could not be used: what, why in the
// server's words, and what would allow it.
func (s *session) explain(what string, ref model.Ref, err error, permission string) model.Gap {
	g := model.Gap{What: what, Ref: ref, Reason: oneLine(err.Error())}
	var start *startError
	switch {
	case rbac(err):
		g.Reason, g.Permission = "forbidden", permission
	case errors.Is(err, context.DeadlineExceeded):
		g.Reason = "no time left"
	case errors.Is(err, context.Canceled):
		g.Reason = "cancelled"
	case apierrors.IsNotFound(err) || errors.Is(err, errPodGone):
		g.Reason = "the pod was deleted meanwhile; ask again about one that runs"
	case strings.Contains(err.Error(), "violates PodSecurity"):
		g.Reason = "Pod Security refuses it: " + oneLine(err.Error())
	case strings.Contains(err.Error(), "exceeded quota"):
		g.Reason = "the namespace's quota is used up: " + oneLine(err.Error())
	case strings.Contains(err.Error(), "admission webhook"):
		g.Reason = "an admission webhook refuses it: " + oneLine(err.Error())
	case errors.As(err, &start):
		g.Reason = start.Error() + s.imageAdvice(start)
	}
	return g
}

// image says whether the node cannot have the image.
func (e *startError) image() bool { return strings.Contains(e.Reason, "Image") }

// imageAdvice says what to do about an image that a node cannot have.
func (s *session) imageAdvice(e *startError) string {
	if !e.image() {
		return ""
	}
	repository, _, _ := strings.Cut(s.req.Image, "@")
	short := repository[strings.LastIndex(repository, "/")+1:]
	return fmt.Sprintf(". The nodes cannot have the probe image %s: copy it into a registry that they reach "+
		"(`az acr import --name REGISTRY --source %s --image podpath/%s`, or `crane copy %s REGISTRY/podpath/%s`) and pass --probe-image REGISTRY/podpath/%s",
		s.req.Image, s.req.Image, short, s.req.Image, short, short)
}
