package azure

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

// corpus is the folder of ARM documents to read: the one that is named, the
// one beside the repository, or the few that are kept here.
func corpus(t *testing.T) (string, bool) {
	if dir := os.Getenv("PODPATH_ARM_CORPUS"); dir != "" {
		return dir, true
	}
	beside := filepath.Join("..", "..", "..", "..", "shared", "azure")
	if info, err := os.Stat(beside); err == nil && info.IsDir() {
		return beside, true
	}
	return filepath.Join("testdata", "corpus"), false
}

func TestCorpus(t *testing.T) {
	dir, _ := corpus(t)
	count := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() || filepath.Ext(path) != ".json" || d.Name() == "manifest.json" {
			return nil
		}
		count++
		name, _ := filepath.Rel(dir, path)
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var az model.Azure
			kinds, err := Read(&az, data)
			var e *Error
			if errors.As(err, &e) {
				if !strings.Contains(name, "error") {
					t.Fatalf("read as an error: %v", e)
				}
				if e.Code == "" || e.Message == "" {
					t.Fatalf("an error without code or message: %+v", e)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(kinds) == 0 {
				t.Fatal("nothing was read")
			}
			t.Log(strings.Join(kinds, ", "))
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count < 15 {
		t.Fatalf("only %d documents in %s", count, dir)
	}
}
