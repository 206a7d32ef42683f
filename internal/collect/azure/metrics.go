package azure

import (
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// decodeMetric reads one element of a metrics answer. A point without a value
// is left out: no data is not zero.
func decodeMetric(x value) []model.Series {
	name := x.get("name", "value").str()
	unit := x.get("unit").str()
	resource, _, _ := strings.Cut(Key(x.get("id").str()), "/providers/microsoft.insights/")
	var out []model.Series
	for _, series := range x.get("timeseries").list() {
		dimension := map[string]string{}
		for _, d := range series.get("metadatavalues").list() {
			dimension[strings.ToLower(d.get("name", "value").str())] = d.get("value").str()
		}
		byAggregate := map[string]*model.Series{}
		for _, point := range series.get("data").list() {
			at := point.get("timeStamp").moment()
			for _, aggregate := range []string{"Total", "Average", "Maximum", "Minimum", "Count"} {
				v, ok := point.get(strings.ToLower(aggregate)).float()
				if !ok {
					continue
				}
				s := byAggregate[aggregate]
				if s == nil {
					s = &model.Series{Resource: resource, Metric: name, Unit: unit, Aggregate: aggregate, Dimension: dimension}
					byAggregate[aggregate] = s
				}
				s.Points = append(s.Points, model.Point{At: at, Value: v})
			}
		}
		for _, aggregate := range sorted(byAggregate) {
			out = append(out, *byAggregate[aggregate])
		}
	}
	return out
}
