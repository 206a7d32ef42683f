package cluster

import (
	"archive/tar"
	"bytes"
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
			{name: "coredns", mode: 0o755, from: filepath.Join(bin, "podpath-kube")},
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

// write stores the image as `docker save` does, which is what containerd imports.
func (i image) write(w io.Writer) error {
	var layer bytes.Buffer
	if err := i.writeLayer(&layer); err != nil {
		return fmt.Errorf("image %s: %w", i.name, err)
	}
	sum := sha256.Sum256(layer.Bytes())
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": time.Unix(0, 0).UTC(),
		"config": map[string]any{"Entrypoint": i.entrypoint, "User": i.user, "WorkingDir": "/"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{
		"Config": "config.json", "RepoTags": []string{i.name}, "Layers": []string{"layer.tar"},
	}})
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	for _, f := range []file{
		{name: "layer.tar", content: layer.Bytes()}, {name: "config.json", content: config}, {name: "manifest.json", content: manifest},
	} {
		if err := add(out, f.name, 0o644, f.content); err != nil {
			return err
		}
	}
	return out.Close()
}

func (i image) writeLayer(w io.Writer) error {
	layer := tar.NewWriter(w)
	for _, dir := range []string{"tmp/"} {
		if err := layer.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o1777}); err != nil {
			return err
		}
	}
	for _, f := range i.files {
		content := f.content
		if f.from != "" {
			var err error
			if content, err = os.ReadFile(f.from); err != nil {
				return err
			}
		}
		if err := add(layer, f.name, f.mode, content); err != nil {
			return err
		}
	}
	return layer.Close()
}

func add(w *tar.Writer, name string, mode int64, content []byte) error {
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

// writeImages makes the archive that each node imports.
func writeImages(dir string, list []image) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var paths []string
	for _, i := range list {
		path := filepath.Join(dir, filepath.Base(i.entrypoint[0])+".tar")
		f, err := os.Create(path)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(i.write(f), f.Close()); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}
