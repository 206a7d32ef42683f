package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/podpath/podpath/lab/arm"
	"github.com/podpath/podpath/lab/plan"
)

// storeHands are hands whose resource manager is a store without a lab.
func storeHands(s *arm.Store) *Hands {
	f := &fakeLab{docs: map[string]map[string]any{}}
	h := f.hands()
	refused := func(err error) error {
		var e *arm.Error
		if errors.As(err, &e) && e.Status == http.StatusNotFound {
			return fmt.Errorf("%w: %w", errNotFound, err)
		}
		return err
	}
	h.ARM = func(_ context.Context, method, id string, body any) (map[string]any, error) {
		switch method {
		case http.MethodGet:
			doc, ok := s.Get(id)
			if !ok {
				return nil, errNotFound
			}
			return doc, nil
		case http.MethodPut:
			doc, _ := body.(map[string]any)
			_, err := s.Put(id, deepCopy(doc))
			return nil, refused(err)
		case http.MethodDelete:
			return nil, refused(s.Delete(id))
		}
		return nil, fmt.Errorf("%s is not played here", method)
	}
	return h
}

// TestShippedScenariosOnARM plays the writes to Azure of every shipped scenario
// on the documents of its topology, and takes them back: the resource manager
// accepts both, and the documents are then what they were.
func TestShippedScenariosOnARM(t *testing.T) {
	all, err := ReadAll([]string{filepath.Join("..", "..", "scenarios")})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		p, err := plan.New("t", s.Topology)
		if err != nil {
			t.Fatal(err)
		}
		store := arm.NewStore()
		if err := arm.Seed(store, p); err != nil {
			t.Fatal(err)
		}
		before := fmt.Sprint(withoutEtags(store.All()))
		j, err := openJournal(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		h := storeHands(store)
		if err := h.play(t.Context(), s, j); err != nil {
			t.Errorf("inject: %v", err)
		}
		if err := h.heal(t.Context(), j); err != nil {
			t.Errorf("%s: heal: %v", s.Name, err)
		}
		if after := fmt.Sprint(withoutEtags(store.All())); after != before {
			t.Errorf("%s: the documents are not what they were:\n%s\n%s", s.Name, before, after)
		}
	}
}

// withoutEtags drops what a write changes by itself.
func withoutEtags(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, item := range v {
			if k != "etag" && k != "resourceGuid" {
				out[k] = withoutEtags(item)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = withoutEtags(item)
		}
		return out
	case []map[string]any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = withoutEtags(item)
		}
		return out
	}
	return v
}
