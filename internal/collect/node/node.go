// Package node reads what the kernel of one machine says about forwarding
// packets: switches, counters, interfaces, routes and rules.
//
// It runs inside the network namespace that it reads. Read needs no privilege;
// ReadAll needs some, and says of each read which. Each read can fail alone and
// then leaves a gap; a file of a module that is
// not loaded is no failure. The package is linked into the probe and so uses
// nothing beyond the standard library and netlink.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/podpath/podpath/internal/model"
)

// maxFile bounds every file that is read.
const maxFile = 4 << 20

// Read reads the machine whose file system is at root ("/" or "" for this
// one). Interfaces, routes and rules are those of the caller's network
// namespace, whatever the root.
func Read(root string) *model.NodeFacts {
	r := &reader{root: root, facts: &model.NodeFacts{Node: os.Getenv("NODE_NAME")}}
	r.sysctls()
	r.counters()
	r.resolver()
	r.links()
	r.routes()
	r.rules()
	r.chains()
	r.neighbours()
	r.pressure()
	r.levels()
	r.virtualServers()
	return r.facts
}

// ReadAll reads what takes privileges too: the packet filter's rules and the
// connections that it translates (NET_ADMIN), kernel messages (SYSLOG), and the node's files as far as they are seen below
// host: its /usr, for the tools that know its packet filter, and its /etc, for
// sysctls and the configuration of kubelet and network plugin.
func ReadAll(ctx context.Context, root, host string) *model.NodeFacts {
	r := &reader{root: root, facts: Read(root)}
	r.filters(ctx, host)
	r.messages()
	r.translated()
	r.persisted(host)
	r.configuration(host)
	return r.facts
}

type reader struct {
	root  string
	facts *model.NodeFacts
}

// file reads one file below the root. A file that is not there is empty, and no error.
func (r *reader) file(path string) (string, error) {
	root := r.root
	if root == "" {
		root = "/"
	}
	f, err := os.Open(filepath.Join(root, path))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxFile {
		return "", fmt.Errorf("larger than %d MiB", maxFile>>20)
	}
	return string(data), nil
}

// gap records what could not be read.
func (r *reader) gap(what string, err error, permission string) {
	g := model.Gap{What: what, Reason: cause(err), Permission: permission}
	if !slices.Contains(r.facts.Gaps, g) {
		r.facts.Gaps = append(r.facts.Gaps, g)
	}
}

// cause is the errno's own words, without the path that What already names.
func cause(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return err.Error()
}
