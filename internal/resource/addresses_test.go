package resource

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// turning is a name that was answered with one address in each of the tries; each
// first lookup named these.
func turning(named []string, tried ...string) *model.Case {
	c := &model.Case{Question: model.Question{To: model.Endpoint{Host: "files.example"}}}
	c.Observations = []model.Observation{{Vantage: model.VantagePod, Queries: []model.DNSQuery{{Type: "A", Answers: named}}}}
	for i, addr := range tried {
		at, failed := addr, strings.HasSuffix(addr, "!")
		if failed {
			at = strings.TrimSuffix(addr, "!")
		}
		t := model.Try{At: time.Unix(int64(i), 0), Vantage: model.VantagePod, Address: netip.AddrPortFrom(netip.MustParseAddr(at), 443), Result: model.OK}
		if failed {
			t.Result = model.TimedOut
		}
		c.Tries = append(c.Tries, t)
	}
	return c
}

func TestAddressesThatChange(t *testing.T) {
	changing := turning([]string{"192.0.2.1"}, "192.0.2.1", "192.0.2.1", "192.0.2.2!", "192.0.2.1")
	u := Kind(changing, Addresses)
	if len(u) != 1 || u[0].Used != 2 || u[0].State != Room || !strings.Contains(u[0].Says[0], "first seen after 2s: 192.0.2.1, 192.0.2.2 (1 of 1 tries fail)") {
		t.Errorf("%+v", u)
	}
	if Changing(changing, netip.MustParseAddr("192.0.2.2")) == nil {
		t.Error("the address that fails is one of those that change")
	}
	if Changing(changing, netip.MustParseAddr("192.0.2.1")) != nil {
		t.Error("no other address was reached")
	}
	for name, c := range map[string]*model.Case{
		"one answer names both": turning([]string{"192.0.2.1", "192.0.2.2"}, "192.0.2.1", "192.0.2.2!"),
		"one address":           turning([]string{"192.0.2.1"}, "192.0.2.1", "192.0.2.1!"),
		"never tried":           turning([]string{"192.0.2.1"}),
	} {
		if u := Kind(c, Addresses); len(u) > 0 {
			t.Errorf("%s: %+v", name, u)
		}
	}
}
