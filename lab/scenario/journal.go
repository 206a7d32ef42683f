package scenario

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Inverse takes one step back. It is written down before the step is done, so
// that a later process can heal what a crash left behind.
type Inverse struct {
	What        string       `json:"what"`
	Done        bool         `json:"done"` // the step was done to its end
	ARMDelete   string       `json:"armDelete,omitempty"`
	ARMPut      []armDoc     `json:"armPut,omitempty"`
	KubeDelete  []kubeObject `json:"kubeDelete,omitempty"`
	KubeRestore []kubeObject `json:"kubeRestore,omitempty"`
	Kill        string       `json:"kill,omitempty"` // group of processes
	Unserve     string       `json:"unserve,omitempty"`
	Heal        []Step       `json:"heal,omitempty"`
}

type armDoc struct {
	ID   string         `json:"id"`
	Body map[string]any `json:"body"`
}

// Journal is what is injected in a lab, in a file of its state folder.
type Journal struct {
	Scenario string    `json:"scenario"`
	File     string    `json:"file"`
	Entries  []Inverse `json:"entries"`

	path string
}

func journalPath(state string) string { return filepath.Join(state, "inject.json") }

// openJournal reads a lab's journal; a lab without one has nothing injected.
func openJournal(state string) (*Journal, error) {
	j := &Journal{path: journalPath(state)}
	data, err := os.ReadFile(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, j); err != nil {
		return nil, fmt.Errorf("%s is not readable (%w): what was injected is not known; take the lab down and up", j.path, err)
	}
	return j, nil
}

// save writes the journal, whole or not at all; an empty one is no file.
func (j *Journal) save() error {
	if len(j.Entries) == 0 {
		if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(j.path), ".inject-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), j.path)
}
