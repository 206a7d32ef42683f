package model

import "time"

// Webhook is one admission webhook of a configuration: the API server calls it
// before it keeps an object.
type Webhook struct {
	Config    string   `json:"config"`              // the configuration's name
	Mutating  bool     `json:"mutating,omitempty"`  // of a MutatingWebhookConfiguration, else of a validating one
	Name      string   `json:"name"`                // its own name in the configuration
	Service   Ref      `json:"service,omitempty"`   // service/NS/NAME that is called; "": Host is
	Port      uint16   `json:"port,omitempty"`      // of the Service
	Host      string   `json:"host,omitempty"`      // of the URL that is called
	Fails     bool     `json:"fails"`               // failurePolicy Fail: what it cannot be asked about is refused
	Resources []string `json:"resources,omitempty"` // "pods", "deployments.apps", "*"
}

// Ref is webhook/CONFIG.
func (h *Webhook) Ref() Ref { return NewRef("webhook", h.Config) }

// APIService is a group of the API that another server than the API server serves.
type APIService struct {
	Name      string `json:"name"` // "v1beta1.metrics.k8s.io"
	Service   Ref    `json:"service,omitempty"`
	Available string `json:"available,omitempty"` // True, False, Unknown
	Reason    string `json:"reason,omitempty"`
	Message   string `json:"message,omitempty"`
}

// Certificate is who a certificate is for and how long; nothing of its key.
type Certificate struct {
	What      string    `json:"what"` // "the API server", "caBundle of webhook x"
	Of        Ref       `json:"of,omitempty"`
	Name      string    `json:"name,omitempty"` // subject's common name
	NotBefore time.Time `json:"notBefore,omitzero"`
	NotAfter  time.Time `json:"notAfter,omitzero"`
}

// DeprecatedAPI is a version of a resource that clients still asked for, as the
// API server's metrics say.
type DeprecatedAPI struct {
	Group    string `json:"group,omitempty"`
	Version  string `json:"version"`
	Resource string `json:"resource"`
	Removed  string `json:"removed,omitempty"` // the release without it: "1.32"
}
