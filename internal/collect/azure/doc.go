// Package azure reads what the trace needs to know from Azure Resource Manager
// into a model.World: the managed cluster, its machines and everything that
// hangs on their network interfaces and subnets.
//
// It walks documents by their ids: a node's providerID names a machine, the
// machine's interface names a subnet, the subnet names its network security
// group, and so on. Only GETs are sent (and the one POST that reads a gateway's
// learned routes), each with its own deadline; what fails becomes a model.Gap
// that names the Azure action which would have allowed it.
//
// Documents are decoded by this package's own readers (decode.go), not by the
// SDK's types: Azure is not consistent in the case of ids and enums, old API
// versions leave fields out, and a reader must survive all of that.
package azure
