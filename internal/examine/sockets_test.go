package examine

import (
	"slices"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

func TestOwnConnections(t *testing.T) {
	c := question(t, "203.0.113.10:443")
	c.Question.Via = "app"
	to := seen(model.VantagePod, "203.0.113.10:443", model.OK).Address
	c.World.Sockets = map[model.Ref][]model.Connection{"pod/shop/web-0": {
		{Remote: to, State: "ESTABLISHED", Retries: 4},
		{Remote: to, State: "ESTABLISHED"},
		{Remote: to, State: "SYN-SENT"},
		{Remote: seen(model.VantagePod, "203.0.113.11:443", model.OK).Address, State: "ESTABLISHED"},
	}}
	want := []string{"pod/shop/web-0 has connections of its own to 203.0.113.10: 2 ESTABLISHED, 1 SYN-SENT; 1 of them sent again without an answer: what they were kept by has forgotten them, or drops them"}
	if got := ownConnections(c); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	c.World.Sockets = map[model.Ref][]model.Connection{"pod/shop/web-0": {}}
	if got := ownConnections(c); !slices.Equal(got, []string{"pod/shop/web-0 has no connection of its own to 203.0.113.10 at the moment"}) {
		t.Errorf("%q", got)
	}
}
