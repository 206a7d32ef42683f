package kube

import (
	"slices"
	"strings"
)

// candidate is something that exists, beside what was asked for.
type candidate struct{ kind, namespace, name string }

// short are the kinds as people type them.
var short = map[string]string{
	"deployment": "deploy", "statefulset": "sts", "daemonset": "ds", "service": "svc", "replicaset": "rs",
}

// nearest are up to five candidates whose names are close to the one that was
// asked for, in the form that podpath takes, nearest first.
func nearest(all []candidate, kind, namespace, name string) []string {
	if s, ok := short[kind]; ok {
		kind = s
	}
	type scored struct {
		candidate
		score int
	}
	var found []scored
	for _, c := range all {
		d := distance(strings.ToLower(c.name), strings.ToLower(name))
		switch {
		case d == 0:
		case c.kind == "pod" && strings.HasPrefix(c.name, name+"-"):
			d = 1 // the workload's name given where its pod's was due
		case d > 1+len(name)/4:
			continue
		}
		score := d * 4
		if c.namespace != namespace {
			score += 2
		}
		if c.kind != kind {
			score++
		}
		if score == 0 {
			continue // the very thing: it came into being meanwhile
		}
		found = append(found, scored{c, score})
	}
	slices.SortFunc(found, func(a, b scored) int {
		if a.score != b.score {
			return a.score - b.score
		}
		return strings.Compare(a.namespace+"/"+a.kind+"/"+a.name, b.namespace+"/"+b.kind+"/"+b.name)
	})
	var out []string
	var owners []candidate
	for _, f := range found {
		if f.kind == "pod" && slices.ContainsFunc(owners, func(o candidate) bool {
			return o.namespace == f.namespace && strings.HasPrefix(f.name, o.name+"-")
		}) {
			continue // its workload stands there already
		}
		if f.kind != "pod" {
			owners = append(owners, f.candidate)
		}
		text := f.namespace + "/" + f.kind + "/" + f.name
		if f.namespace == "" {
			text = f.kind + "/" + f.name
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
		if len(out) == 5 {
			break
		}
	}
	return out
}

// distance is how many letters must be put in, taken out, changed or swapped with their neighbour.
func distance(a, b string) int {
	if len(a) > 256 || len(b) > 256 {
		return 256
	}
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
