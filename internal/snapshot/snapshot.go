// Package snapshot keeps a model.Case in a file and reads it back, so that a
// case can be sent to somebody and diagnosed again without its cluster.
//
// docs/snapshot.md describes the format. What is written is redacted first
// (redact.go). What is read is taken for hostile (check.go): its size, depth,
// numbers, keys and characters are bounded before anything is built from it.
package snapshot

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Format and Version stand at the beginning of every snapshot.
const (
	Format  = "podpath-snapshot"
	Version = 1
)

// file is the document that a snapshot holds.
type file struct {
	Format   string      `json:"format"`
	Version  int         `json:"version"`
	Redacted []string    `json:"redacted,omitempty"` // what was taken out, for the eyes of who sends it
	Case     *model.Case `json:"case"`
}

// Save writes a case, redacted. The same case always gives the same bytes.
func Save(w io.Writer, c *model.Case) error { return SaveWith(w, c, Options{}) }

// SaveWith is Save with a choice.
func SaveWith(w io.Writer, c *model.Case, o Options) error {
	clean, redacted, err := Redact(c, o)
	if err != nil {
		return err
	}
	data, err := json.Marshal(file{Format: Format, Version: Version, Redacted: redacted, Case: clean})
	if err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	if o.HideIDs {
		data = hideIDs(data)
	}
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	return nil
}

// Load reads a case. The error of a snapshot that cannot be trusted or read
// says where in it the reason stands.
func Load(r io.Reader, l Limits) (*model.Case, error) {
	l = l.withDefaults()
	data, err := unpack(r, l)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if err := check(data, l); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("snapshot: %w", explain(err))
	}
	switch {
	case head.Format != Format:
		return nil, fmt.Errorf("snapshot: format: %q is not %q: this is no file that `podpath snapshot save` wrote", clip(head.Format), Format)
	case head.Version > Version:
		return nil, fmt.Errorf("snapshot: version: %d is newer than the %d that this podpath reads: use the one that wrote it", head.Version, Version)
	case head.Version < 1:
		return nil, fmt.Errorf("snapshot: version: %d is none", head.Version)
	}
	var f file
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("snapshot: %w", explain(err))
	}
	if f.Case == nil {
		return nil, errors.New("snapshot: case: there is none")
	}
	if err := checkCase(f.Case); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return f.Case, nil
}

// unpack reads the whole snapshot, gzipped or not, within its limits.
func unpack(r io.Reader, l Limits) ([]byte, error) {
	packed := &counter{r: r, left: l.Compressed}
	in := bufio.NewReader(packed)
	magic, err := in.Peek(2)
	if err != nil && len(magic) == 0 {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is empty")
		}
		return nil, err
	}
	var source io.Reader = in
	if slices.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("not gzip: %w", err)
		}
		z.Multistream(false) // one member: what follows is somebody's addition
		source = z
	}
	data, err := io.ReadAll(io.LimitReader(source, l.Uncompressed+1))
	switch {
	case packed.over:
		return nil, fmt.Errorf("it is larger than %d MiB", l.Compressed>>20)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("it is cut off after %d bytes of content", len(data))
	case err != nil:
		return nil, fmt.Errorf("not readable after %d bytes of content: %w", len(data), err)
	case int64(len(data)) > l.Uncompressed:
		return nil, fmt.Errorf("unpacked it is larger than %d MiB", l.Uncompressed>>20)
	}
	if source != io.Reader(in) {
		if _, err := in.ReadByte(); err == nil {
			return nil, errors.New("something follows the gzip stream")
		}
	}
	return data, nil
}

// counter lets only so many bytes pass.
type counter struct {
	r    io.Reader
	left int64
	over bool
}

func (c *counter) Read(p []byte) (int, error) {
	if c.left < 0 {
		c.over = true
		return 0, errors.New("too large")
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left+1)])
	if c.left -= int64(n); c.left < 0 {
		c.over = true
		return 0, errors.New("too large")
	}
	return n, err
}

// explain gives a decoding error its path.
func explain(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		field := wrong.Field
		if field == "" {
			field = "the document"
		}
		return fmt.Errorf("%s: %s does not fit (at byte %d)", field, wrong.Value, wrong.Offset)
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("field %s is not known to this podpath: use the one that wrote it", field)
	}
	return err
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
