package cluster

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/podpath/podpath/lab/pki"
)

// Names of the images that every node has. No registry is asked for them.
const (
	AppImage   = "docker.io/podpath-lab/app:latest"
	PauseImage = "mcr.microsoft.com/oss/kubernetes/pause:3.6"
	DNSImage   = "docker.io/podpath-lab/coredns:latest"
	ProbeImage = "docker.io/podpath/probe:dev"
)

// file is one file of an image: content, or a file of this machine.
type file struct {
	name    string
	mode    int64
	content []byte
	from    string
}

// image is a scratch image of one static program and what it needs.
type image struct {
	name       string
	entrypoint []string
	user       string
	files      []file
}

// images are those that this machine can make: the probe's only where its program was built.
func images(bin string, ca *pki.CA) ([]image, error) {
	between, err := ca.NewIntermediate("podpath lab pods")
	if err != nil {
		return nil, err
	}
	key, err := between.KeyPEM()
	if err != nil {
		return nil, err
	}
	base := []file{
		{name: "etc/passwd", mode: 0o644, content: []byte("root:x:0:0:root:/:/\napp:x:10001:10001:app:/:/\n")},
		{name: "etc/group", mode: 0o644, content: []byte("root:x:0:\napp:x:10001:\n")},
		{name: "etc/nsswitch.conf", mode: 0o644, content: []byte("hosts: files dns\n")},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, content: ca.PEM()},
	}
	list := []image{
		{AppImage, []string{"/app"}, "10001:10001", append([]file{
			{name: "app", mode: 0o755, from: filepath.Join(bin, "app")},
			{name: "etc/podpath-lab/ca/ca.crt", mode: 0o644, content: between.PEM()},
			{name: "etc/podpath-lab/ca/ca.key", mode: 0o644, content: key},
		}, base...)},
		{PauseImage, []string{"/pause"}, "", []file{{name: "pause", mode: 0o755, from: filepath.Join(bin, "app")}}},
		{DNSImage, []string{"/coredns"}, "", append([]file{
			{name: "coredns", mode: 0o755, from: filepath.Join(bin, "coredns")},
		}, base...)},
	}
	probe := filepath.Join(bin, "podpath-probe")
	if _, err := os.Stat(probe); err == nil {
		list = append(list, image{ProbeImage, []string{"/podpath-probe"}, "10001:10001", append([]file{
			{name: "podpath-probe", mode: 0o755, from: probe},
		}, base...)})
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return list, nil
}

// writeImages makes one archive of all images, as `docker save` does, which is what containerd imports.
func writeImages(dir string, list []image) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	f, err := os.Create(filepath.Join(dir, "images.tar"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	archive := tar.NewWriter(f)
	var manifest []any
	for _, i := range list {
		entry, err := i.write(archive, dir)
		if err != nil {
			return "", fmt.Errorf("image %s: %w", i.name, err)
		}
		manifest = append(manifest, entry)
	}
	data, err := json.Marshal(manifest)
	if err != nil {
		return "", err
	}
	if err := add(archive, "manifest.json", 0o644, data); err != nil {
		return "", err
	}
	return f.Name(), errors.Join(archive.Close(), f.Close())
}

// write adds the image's layer and configuration to the archive and returns its line of the manifest.
func (i image) write(archive *tar.Writer, dir string) (any, error) {
	layer, err := os.CreateTemp(dir, "layer")
	if err != nil {
		return nil, err
	}
	defer os.Remove(layer.Name())
	defer layer.Close()
	sum := sha256.New()
	if err := i.writeLayer(io.MultiWriter(layer, sum)); err != nil {
		return nil, err
	}
	id := filepath.Base(i.entrypoint[0])
	if err := copyIn(archive, file{name: id + ".tar", mode: 0o644, from: layer.Name()}); err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": time.Unix(0, 0).UTC(),
		"config": map[string]any{"Entrypoint": i.entrypoint, "User": i.user, "WorkingDir": "/"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum.Sum(nil))}},
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"Config": id + ".json", "RepoTags": []string{i.name}, "Layers": []string{id + ".tar"}},
		add(archive, id+".json", 0o644, config)
}

func (i image) writeLayer(w io.Writer) error {
	layer := tar.NewWriter(w)
	if err := layer.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}); err != nil {
		return err
	}
	for _, f := range i.files {
		if err := copyIn(layer, f); err != nil {
			return err
		}
	}
	return layer.Close()
}

// copyIn adds a file, whose content may be another file's.
func copyIn(w *tar.Writer, f file) error {
	if f.from == "" {
		return add(w, f.name, f.mode, f.content)
	}
	from, err := os.Open(f.from)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(w, from)
	return err
}

func add(w *tar.Writer, name string, mode int64, content []byte) error {
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}
