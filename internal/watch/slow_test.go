package watch

import (
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// A sender that does not run for much of the time makes its place late, though its
// tries, which begin late, are quick; one short look, or another place, does not.
func TestSenderThatIsHeldUp(t *testing.T) {
	tries := make([]model.Try, 20)
	for i := range tries {
		tries[i] = model.Try{At: time.Unix(int64(i), 0), Vantage: model.VantagePod, Result: model.OK, Took: 3 * time.Millisecond}
	}
	noise := func(v model.Vantage, held, over time.Duration) []model.Noise {
		return []model.Noise{{Vantage: v, Held: held, Over: over, LagMax: 800 * time.Millisecond}}
	}
	for name, c := range map[string]struct {
		noise []model.Noise
		want  bool
	}{
		"most of the time":  {noise(model.VantagePod, 9*time.Second, 12*time.Second), true},
		"now and then":      {noise(model.VantagePod, 3*time.Second, 12*time.Second), false},
		"too short to tell": {noise(model.VantagePod, 3*time.Second, 4*time.Second), false},
		"another place":     {noise(model.VantageOtherNode, 9*time.Second, 12*time.Second), false},
		"nobody looked":     {nil, false},
	} {
		s := Summarise(tries, c.noise, model.VantagePod, nil).Slow
		if got := s != nil && s.Phase == Sender; got != c.want {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
