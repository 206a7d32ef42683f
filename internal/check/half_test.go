package check

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// TestHalf takes one part after the other out of a healthy cluster, as a missing
// permission does: no check falls over, and none calls wrong what was not read.
func TestHalf(t *testing.T) {
	for _, base := range [][2]string{{"azure-overlay", "loadBalancer"}, {"kubenet", "userDefinedRouting"}, {"azure-pod-subnet", "managedNATGateway"}} {
		whole, err := json.Marshal(healthy(base[0], base[1]))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range [][]string{{"kube"}, {"azure"}, {"nodes"}} {
			var doc map[string]json.RawMessage
			_ = json.Unmarshal(whole, &doc)
			var inner map[string]json.RawMessage
			_ = json.Unmarshal(doc[part[0]], &inner)
			for _, key := range slices.Sorted(maps.Keys(inner)) {
				less := maps.Clone(inner)
				delete(less, key)
				doc[part[0]], _ = json.Marshal(less)
				text, _ := json.Marshal(doc)
				w := &model.World{}
				if err := json.Unmarshal(text, w); err != nil {
					t.Fatal(err)
				}
				Run(w, Options{Now: now}) // it may say that there is none of it
				w.Read = nil
				for _, f := range Run(w, Options{Now: now}).Causes {
					if f.Confidence >= diagnose.Likely {
						t.Errorf("%s without %s.%s, and nothing known to be whole: %s: %s", base, part[0], key, f.Rule, f.Title)
					}
				}
			}
		}
	}
}
