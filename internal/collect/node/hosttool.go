package node

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// hostFS is the part of the node's file system that can be seen: its /usr and
// /etc below a folder.
type hostFS struct{ root string }

// merged are the folders that are links into /usr on every distribution that AKS
// and others have had since 2020; only /usr is mounted.
var merged = []string{"/lib64/", "/lib32/", "/lib/", "/sbin/", "/bin/"}

// maxLinks bounds a chain of symbolic links.
const maxLinks = 16

// resolve finds where a path of the node is seen, following links as the node would.
func (h hostFS) resolve(path string) (string, error) {
	for range maxLinks {
		path = filepath.Clean("/" + path)
		for _, m := range merged {
			if strings.HasPrefix(path, m) {
				path = "/usr" + path
			}
		}
		seen := filepath.Join(h.root, path)
		info, err := os.Lstat(seen)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return seen, nil
		}
		target, err := os.Readlink(seen)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	return "", fmt.Errorf("%s: too many links", path)
}

// errNoTool says that the node has no such program.
var errNoTool = errors.New("the node has no such program")

// Bounds of what a tool of the node may take and answer.
const (
	toolTime = 8 * time.Second
	maxDump  = 12 << 20
)

// tool runs a program of the node. The node's own loader starts it with the
// node's own libraries: no chroot, and so no capability for one, and only /usr
// has to be seen.
func (h hostFS) tool(ctx context.Context, name string, args ...string) (string, error) {
	program := ""
	for _, dir := range []string{"/usr/sbin/", "/usr/bin/", "/usr/local/sbin/"} {
		if p, err := h.resolve(dir + name); err == nil {
			program = p
			break
		}
	}
	if program == "" {
		return "", fmt.Errorf("%s: %w", name, errNoTool)
	}
	words, err := h.loaded(program)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, toolTime)
	defer cancel()
	words = append(words, args...)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/", "XTABLES_LIBDIR=" + strings.Join(h.globs("/usr/lib/*/xtables", "/usr/lib64/xtables", "/usr/lib/xtables"), ":")}
	out, errText := &bounded{max: maxDump}, &bounded{max: 4 << 10}
	cmd.Stdout, cmd.Stderr = out, errText
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(errText.String()); text != "" {
			first, _, _ := strings.Cut(text, "\n")
			return "", fmt.Errorf("%s: %s", name, first)
		}
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if out.over {
		return "", fmt.Errorf("%s: its rules are more than %d MiB", name, maxDump>>20)
	}
	return out.String(), nil
}

// loaded is the command line that starts a program with the node's loader; one
// that needs no loader is started by itself.
func (h hostFS) loaded(program string) ([]string, error) {
	f, err := elf.Open(program)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > 4096 {
			continue
		}
		data := make([]byte, p.Filesz)
		if _, err := p.ReadAt(data, 0); err != nil {
			return nil, err
		}
		loader, err := h.resolve(strings.TrimRight(string(data), "\x00"))
		if err != nil {
			return nil, err
		}
		libraries := h.globs("/usr/lib/*-linux-gnu*", "/usr/lib64", "/usr/lib")
		return []string{loader, "--library-path", strings.Join(libraries, ":"), program}, nil
	}
	return []string{program}, nil
}

func (h hostFS) globs(patterns ...string) []string {
	var out []string
	for _, p := range patterns {
		if found, err := filepath.Glob(filepath.Join(h.root, p)); err == nil {
			out = append(out, found...)
		}
	}
	return out
}

// bounded keeps the first max bytes.
type bounded struct {
	strings.Builder
	max  int
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.max - b.Len(); room < len(p) {
		b.over = true
		b.Builder.Write(p[:max(0, room)])
		return len(p), nil
	}
	return b.Builder.Write(p)
}
