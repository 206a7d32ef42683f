// Package model holds the nouns that everything else in podpath speaks:
// what was asked (Question), what was read (World, with a Gap for each read
// that failed), what should happen (Path), what did happen (Observation), and
// the Case that holds all four.
//
// The package is pure: standard library only, no I/O, no clock. The zero value
// of every judgement is "unknown".
package model
