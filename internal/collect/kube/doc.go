// Package kube reads from a cluster's API server what one question needs into
// a model.World.
//
// Lists are paged and bounded: of each kind the first page of the whole cluster
// is asked for, which is everything in most clusters; a cluster that is larger,
// or that does not allow cluster-wide lists, is read namespace by namespace,
// and only those of the question. Every read has a deadline of its own and can
// fail alone, which leaves a model.Gap with the RBAC rule that would have
// allowed it. Secrets are never read: a variable that comes from one is known
// by its reference only.
package kube
