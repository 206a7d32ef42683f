package scenario

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// results is what -o json prints.
type results struct {
	Scenarios []Row   `json:"scenarios"`
	Summary   Summary `json:"summary"`
}

func writeJSON(w io.Writer, rows []Row) error {
	if rows == nil {
		rows = []Row{}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(results{rows, summarize(rows)})
}

func (r Row) outcome() string {
	switch {
	case !r.Injected:
		return "NOT INJECTED"
	case r.Pass && r.Tries > 1:
		return fmt.Sprintf("pass (try %d)", r.Tries)
	case r.Pass:
		return "pass"
	}
	return "FAIL"
}

// writeReasons says why the rows that did not pass did not; rows with the same reasons share a paragraph.
func writeReasons(w io.Writer, rows []Row) {
	names := map[string][]string{}
	var order []string
	for _, r := range rows {
		if r.Pass && r.Injected {
			continue
		}
		why := r.outcome() + "\n  " + strings.ReplaceAll(strings.Join(r.Reasons, "\n"), "\n", "\n  ") + "\n"
		if names[why] == nil {
			order = append(order, why)
		}
		names[why] = append(names[why], r.Name)
	}
	for _, why := range order {
		fmt.Fprintf(w, "\n%s: %s", strings.Join(names[why], ", "), why)
	}
}

// writeTable prints a line a scenario, the confusion table, the summary and the
// reasons of those that did not pass: where only the end of a log is kept, they
// are in it. The last line is "N passed, N failed".
func writeTable(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "SCENARIO\tTOPOLOGY\tEXPECTED\tGOT\tRANK\tSECONDS\tRESULT")
	for _, r := range rows {
		got, rank := r.Got.String(), fmt.Sprint(r.Rank)
		if !r.Injected {
			got = "-"
		}
		if r.Rank == 0 {
			rank = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%.1f\t%s\n", r.Name, strings.TrimSuffix(r.Topology, "/none/nftables/2"), r.Expected, got, rank, r.Seconds, r.outcome())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if truth, named, count := confusion(rows); len(truth) > 1 {
		fmt.Fprintln(w, "\nHop that is true (rows) and hop that was named (columns):")
		t := tabwriter.NewWriter(w, 0, 8, 1, ' ', tabwriter.AlignRight)
		fmt.Fprintf(t, "\t%s\t\n", strings.Join(named, "\t"))
		for _, a := range truth {
			fmt.Fprintf(t, "%s\t", a)
			for _, b := range named {
				cell := "."
				if n := count[[2]string{a, b}]; n > 0 {
					cell = fmt.Sprint(n)
				}
				fmt.Fprintf(t, "%s\t", cell)
			}
			fmt.Fprintln(t)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	s := summarize(rows)
	fmt.Fprintf(w, "\ntop-1 %.0f %%, top-3 %.0f %%, precision %.2f over %d faults; %d false alarms on %d healthy; %d not injected\n",
		100*s.Top1, 100*s.Top3, s.Precision, s.Faults, s.FalseAlarms, s.Healthy, s.NotInjected)
	fmt.Fprintf(w, "podpath: median %.1f s, p95 %.1f s; of which its own computing: median %.3f s, p95 %.3f s\n", s.MedianSeconds, s.P95Seconds, s.OwnMedian, s.OwnP95)
	writeReasons(w, rows)
	_, err := fmt.Fprintf(w, "%d passed, %d failed\n", s.Passed, s.Failed)
	return err
}
