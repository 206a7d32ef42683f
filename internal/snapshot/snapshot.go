// Package snapshot keeps a model.Case in a file and reads it back, so that a
// case can be sent to somebody and diagnosed again without its cluster.
//
// docs/snapshot.md describes the format. What is written is redacted first
// (redact.go). What is read is taken for hostile (check.go): its size, depth,
// numbers, keys and characters are bounded before anything is built from it.
package snapshot

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
