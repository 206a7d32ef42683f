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
	case errors.As(err, &start) && start.image():
		g.Reason = "the node cannot have the probe image (" + start.Reason + ")"
		s.imageOnce.Do(func() { s.gap(s.imageAdvice(start)) })
	case errors.As(err, &start):
		g.Reason = start.Error()
	}
	return g
}

// image says whether the node cannot have the image.
func (e *startError) image() bool { return strings.Contains(e.Reason, "Image") }

// imageAdvice says what to do about an image that nodes cannot have: once, however many they are.
func (s *session) imageAdvice(e *startError) model.Gap {
	repository, _, _ := strings.Cut(s.req.Image, "@")
	short := repository[strings.LastIndex(repository, "/")+1:]
	why := oneLine(e.Message)
	if r := []rune(why); len(r) > 120 { // the end says why, the rest repeats the image's name
		why = "…" + string(r[len(r)-120:])
	}
	return model.Gap{
		What: "probe image " + s.req.Image, Reason: strings.TrimSuffix(e.Reason+": "+why, ": "),
		Permission: fmt.Sprintf("a copy in a registry that the nodes reach (`az acr import --name REGISTRY --source %s --image podpath/%s`, or `crane copy %s REGISTRY/podpath/%s`) and --probe-image REGISTRY/podpath/%s",
			s.req.Image, short, s.req.Image, short, short),
	}
}
