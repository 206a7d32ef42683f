package model

import "net/netip"

// Ingress is an Ingress: hosts whose requests a controller sends on to Services.
type Ingress struct {
	Namespace string           `json:"namespace"`
	Name      string           `json:"name"`
	Class     string           `json:"class,omitempty"`
	Hosts     []string         `json:"hosts,omitempty"` // "*": any
	Backends  []IngressBackend `json:"backends,omitempty"`
	Addresses []netip.Addr     `json:"addresses,omitempty"` // status.loadBalancer.ingress
}

// Ref is ingress/NS/NAME.
func (i *Ingress) Ref() Ref { return NewRef("ingress", i.Namespace, i.Name) }

// IngressBackend is a Service of the Ingress's namespace with the number or the name of its port.
type IngressBackend struct {
	Service string `json:"service"`
	Port    string `json:"port,omitempty"`
}
