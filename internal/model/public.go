package model

import (
	"net/url"
	"regexp"
	"strings"
)

// Hidden stands where something was taken out.
const Hidden = "[redacted]"

// user is what stands before the host of a URL in a text: a name, a password or
// a token. Passwords that are written raw may hold further @.
var user = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^\s/'"<>?#]+@`)

// WithoutUsers takes users and passwords out of the URLs of a text.
func WithoutUsers(text string) string { return user.ReplaceAllString(text, "${1}") }

// PublicURL is a URL that may be shown: without user and fragment, and with the
// names of its query but not their values, which may be tokens. What has none of
// these stays as it is written; a text that is no URL loses what looks like them.
func PublicURL(text string) string {
	text = WithoutUsers(text)
	text, _, _ = strings.Cut(text, "#")
	base, query, ok := strings.Cut(text, "?")
	if !ok {
		return text
	}
	return base + "?" + publicQuery(query)
}

// publicQuery keeps the names. A part without "=" may be a token itself.
func publicQuery(query string) string {
	parts := strings.Split(query, "&")
	for i, part := range parts {
		name, value, ok := strings.Cut(part, "=")
		switch {
		case ok && value != "":
			parts[i] = name + "=" + Hidden
		case !ok && part != "":
			parts[i] = Hidden
		}
	}
	return strings.Join(parts, "&")
}

// publicOf is PublicURL, of one that was read.
func publicOf(u *url.URL, raw string) string {
	if u.User == nil {
		return PublicURL(raw)
	}
	bare := *u
	bare.User = nil
	return PublicURL(bare.String())
}

// Public is the endpoint as it may be shown and kept: the values of its query
// were needed for probing alone.
func (e Endpoint) Public() Endpoint {
	e.Raw, e.Path = PublicURL(e.Raw), PublicURL(e.Path)
	return e
}
