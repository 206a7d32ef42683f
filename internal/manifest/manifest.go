// Package manifest reads a directory of Kubernetes objects, as they lie in a
// repository or as kubectl wrote them, into a World: before anything is
// applied, and without a cluster.
//
// Files end in .yaml, .yml or .json; they hold one object, several documents,
// or lists. What is not understood is an error that names the file, the
// document and the reason: an object that is silently left out would make every
// answer wrong. Objects of kinds that connections do not depend on are counted,
// not read.
package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

// Limits of what is read: input from outside may be anything.
const (
	maxFiles    = 1_000_000
	maxFile     = 1 << 30 // bytes of one file
	maxObjects  = 5_000_000
	maxProblems = 20 // told one by one
)

// Options say how to read.
type Options struct {
	Namespace string   // of objects that name none; "" means default
	Skip      []string // files that hold something else (a file of intents)
}

// Result is what a directory holds.
type Result struct {
	World   *model.World
	Files   int
	Objects int
	Ignored map[string]int // objects of kinds that connections do not depend on, by apiVersion and kind
}

// Read reads a directory and everything below it, or one file. The error joins
// everything that was wrong, in the order of the files.
func Read(path string, o Options) (*Result, error) {
	files, err := list(path, o)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no file in it ends in .yaml, .yml or .json", path)
	}
	parts := make([][]object, len(files))
	problems := make([][]error, len(files))
	var wg sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				parts[i], problems[i] = readFile(files[i], path, o)
			}
		})
	}
	for i := range files {
		next <- i
	}
	close(next)
	wg.Wait()
	b := newBuilder()
	bad := slices.Concat(problems...)
	for i := range parts {
		for j := range parts[i] {
			if err := b.add(&parts[i][j]); err != nil {
				bad = append(bad, err)
			}
		}
		parts[i] = nil
	}
	if len(bad) > 0 {
		return nil, join(bad)
	}
	b.finish()
	return &Result{World: b.w, Files: len(files), Objects: b.objects, Ignored: b.ignored}, nil
}

// join makes one error of many; a person reads the first ones.
func join(bad []error) error {
	if len(bad) > maxProblems {
		rest := len(bad) - maxProblems
		bad = append(slices.Clip(bad[:maxProblems]), fmt.Errorf("and %d more", rest))
	}
	return errors.Join(bad...)
}

// list names the files, in order.
func list(path string, o Options) ([]string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not there: name a folder or a file of manifests", path)
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var skip []os.FileInfo
	for _, name := range o.Skip {
		if info, err := os.Stat(name); err == nil {
			skip = append(skip, info)
		}
	}
	var files []string
	err = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if name != path && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir // .git and the like
			}
			return nil
		case !isManifest(d.Name()):
			return nil
		}
		info, err := os.Stat(name) // follows links, as kubectl does
		if err != nil {
			return err
		}
		if info.IsDir() || slices.ContainsFunc(skip, func(s os.FileInfo) bool { return os.SameFile(s, info) }) {
			return nil
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s: not a regular file", name)
		}
		if files = append(files, name); len(files) > maxFiles {
			return fmt.Errorf("%s: more than %d files", path, maxFiles)
		}
		return nil
	})
	return files, err
}

func isManifest(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return !strings.HasPrefix(name, ".")
	}
	return false
}

func readFile(name, root string, o Options) ([]object, []error) {
	shown, err := filepath.Rel(root, name)
	if err != nil || shown == "." {
		shown = name
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, []error{err}
	}
	if info.Size() > maxFile {
		return nil, []error{fmt.Errorf("%s: larger than %d MiB", shown, maxFile>>20)}
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, []error{err}
	}
	return documents(data, shown, o)
}

// hostIP is an address of a node, told by a pod on it.
type hostIP = netip.Addr

// builder puts objects together.
type builder struct {
	w       *model.World
	objects int
	ignored map[string]int
	raws    map[model.Ref]map[string]any
	where   map[model.Ref]string // of each object, for saying where it was defined before
	work    []pending
	replica map[model.Ref]model.Ref // ReplicaSets and Jobs → their owners
	owned   map[model.Ref]bool      // workloads that pods of the directory belong to
	hosts   map[string][]hostIP
}

func newBuilder() *builder {
	w := &model.World{Read: map[string]bool{}}
	k := &w.Kube
	k.Namespaces, k.Nodes = map[string]*model.Namespace{}, map[string]*model.Node{}
	k.Pods, k.Services = map[model.Ref]*model.Pod{}, map[model.Ref]*model.Service{}
	k.EndpointSlices, k.Policies = map[model.Ref]*model.EndpointSlice{}, map[model.Ref]*model.NetworkPolicy{}
	k.Workloads, k.Ingresses = map[model.Ref]*model.Workload{}, map[model.Ref]*model.Ingress{}
	for _, kind := range []string{"pod", "namespace", "service", "endpointslice", "networkpolicy", "ingress", "daemonset", "deployment", "serviceaccount"} {
		w.Read[kind] = true // the directory is all there is
	}
	for i := range policy.Kinds {
		w.Read[policy.Kinds[i].Kind] = true
	}
	return &builder{
		w: w, ignored: map[string]int{}, where: map[model.Ref]string{}, raws: map[model.Ref]map[string]any{}, replica: map[model.Ref]model.Ref{},
		owned: map[model.Ref]bool{}, hosts: map[string][]hostIP{},
	}
}

// put stores one object. The same object twice is fine if both say the same.
func put[K cmp.Ordered, V any](b *builder, m map[K]*V, key K, ref model.Ref, v *V, at string) error {
	if old, ok := m[key]; ok {
		if reflect.DeepEqual(old, v) {
			return nil
		}
		return fmt.Errorf("%s: %s is defined already, and differently, in %s: leave one of them", at, ref, b.where[ref])
	}
	m[key] = v
	b.where[ref] = at
	return nil
}
