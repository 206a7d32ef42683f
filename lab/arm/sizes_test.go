package arm

import "testing"

// TestSKUs: the list has the size of the lab's own machines, with its limits as
// strings, for the region that a filter names, and refuses other filters.
func TestSKUs(t *testing.T) {
	s := newSite(t, nil)
	s.token = s.sign("x")
	ask := func(filter string) (int, []Doc) {
		r, d := s.do("GET", "/subscriptions/00000000-0000-0000-0000-000000000001/providers/Microsoft.Compute/skus?api-version=2021-07-01"+filter, nil)
		return r.StatusCode, Items(d, "value")
	}
	status, list := ask("&$filter=location%20eq%20'westeurope'")
	found := map[string]any{}
	for _, d := range list {
		if d["name"] == vmSize {
			for _, c := range Items(d, "capabilities") {
				found[Str(c, "name")] = c["value"]
			}
		}
	}
	if status != 200 || found["UncachedDiskIOPS"] != "3750" || found["UncachedDiskBytesPerSecond"] != "85000000" {
		t.Errorf("%d, %v of %d", status, found, len(list))
	}
	if status, list := ask("&$filter=location%20eq%20'northeurope'"); status != 200 || len(list) != 0 {
		t.Errorf("another region: %d, %v", status, list)
	}
	if status, _ := ask("&$filter=name%20eq%20'x'"); status != 400 {
		t.Errorf("another filter: %d", status)
	}
}
