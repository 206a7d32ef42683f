// Package rules is the catalogue of diagnoses: one file a rule, named after its
// id, with its cases in testdata. A new rule is those two files; all.go is
// generated from the folder.
package rules

//go:generate go test -run TestAllIsCurrent -update .
