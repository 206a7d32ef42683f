package scenario

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// report is the part of podpath's JSON that is judged.
type report struct {
	Works       string    `json:"works"`
	Persistence string    `json:"persistence"`
	Causes      []finding `json:"causes"`
	AlsoNoticed []finding `json:"alsoNoticed"`
	Resources   []finding `json:"resources"` // what can run out
	ExitCode    int       `json:"exitCode"`
	Timing      struct {
		TotalMillis int64 `json:"totalMillis"`
		OwnMillis   int64 `json:"ownMillis"`
	} `json:"timing"`
}

type finding struct {
	Rule       string          `json:"rule"`
	Subject    string          `json:"subject"`
	Hop        string          `json:"hop"`
	Confidence string          `json:"confidence"`
	Title      string          `json:"title"`
	Source     string          `json:"source"` // of what can run out
	Foretold   int64           `json:"left"`   // the same: in how long it will be gone
	Raw        json.RawMessage `json:"-"`
}

func (f *finding) UnmarshalJSON(data []byte) error {
	type plainFinding finding
	if err := json.Unmarshal(data, (*plainFinding)(f)); err != nil {
		return err
	}
	f.Raw = slices.Clone(data)
	return nil
}

// text is everything that a finding says, for evidence to be looked up in.
func (f finding) text() string {
	var all strings.Builder
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			all.WriteString(v + "\n")
		case float64, bool:
			fmt.Fprintln(&all, v)
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			keys := make([]string, 0, len(v))
			for k := range v {
				keys = append(keys, k)
			}
			sort.Strings(keys)
			for _, k := range keys {
				walk(v[k])
			}
		}
	}
	var v any
	if json.Unmarshal(f.Raw, &v) == nil {
		walk(v)
	}
	return strings.ToLower(all.String() + f.Rule + "\n" + f.Subject + "\n" + f.Title)
}

func (f finding) likely() bool { return f.Confidence == "likely" || f.Confidence == "proven" }

// Row is what one run of one scenario came to.
type Row struct {
	Name        string   `json:"name"`
	Topology    string   `json:"topology"`
	Verb        string   `json:"verb,omitempty"` // why, watch, check, reach
	Injected    bool     `json:"injected"`
	Expected    Verdict  `json:"expected"`
	Got         Verdict  `json:"got"`
	Rank        int      `json:"rank"` // of the true cause in the list; 0 where it is not there
	Works       string   `json:"works"`
	Persistence string   `json:"persistence"`
	Seconds     float64  `json:"seconds"`
	OwnSeconds  float64  `json:"ownSeconds"`
	Pass        bool     `json:"pass"`
	Reasons     []string `json:"reasons,omitempty"` // why not
	Tries       int      `json:"tries,omitempty"`   // runs until this outcome, with --tries

	fault, healthy, alarm bool
	share                 float64
	top3                  bool
}

// Verdict is a truth, or podpath's first answer.
type Verdict struct {
	Works       string   `json:"works,omitempty"`
	Persistence string   `json:"persistence,omitempty"`
	Cause       string   `json:"cause,omitempty"`
	Subject     string   `json:"subject,omitempty"`
	Hop         string   `json:"hop,omitempty"`
	Causes      []string `json:"causes,omitempty"`
	Subjects    []string `json:"subjects,omitempty"`
	Hops        []string `json:"hops,omitempty"`
}

func (e Expect) verdict() Verdict {
	return Verdict{e.Works, e.Persistence, e.Cause, e.Subject, e.Hop, e.Causes, e.Subjects, e.Hops}
}

// String is the verdict in one cell.
func (v Verdict) String() string {
	subject, hop, cause := v.Subject, v.Hop, v.Cause
	if subject == "" {
		subject = strings.Join(v.Subjects, "+")
	}
	if hop == "" {
		hop = strings.Join(v.Hops, "+")
	}
	if subject == "" && hop == "" {
		subject = cmpOr(cause, strings.Join(v.Causes, "+"))
		if subject == "" {
			return "no finding"
		}
	}
	if hop != "" {
		return strings.TrimSpace(subject + " @" + hop)
	}
	return subject
}

// owners says which workload a pod belongs to: pod/NS/NAME → deployment/NS/NAME.
type owners map[string]string

// same compares subjects: case does not count, and a workload and its pods score alike.
func (o owners) same(a, b string) bool {
	norm := func(ref string) string {
		ref = canonicalRef(ref)
		for i := 0; i < 3; i++ {
			owner, ok := o[ref]
			if !ok {
				break
			}
			ref = owner
		}
		return ref
	}
	return norm(a) == norm(b)
}

var refKinds = map[string]string{"deploy": "deployment", "svc": "service", "po": "pod", "ds": "daemonset", "sts": "statefulset", "cm": "configmap", "ns": "namespace", "netpol": "networkpolicy", "ing": "ingress"}

func canonicalRef(ref string) string {
	ref = strings.ToLower(strings.TrimSpace(ref))
	kind, rest, ok := strings.Cut(ref, "/")
	if long, known := refKinds[kind]; ok && known {
		return long + "/" + rest
	}
	return ref
}

// judge compares a report with the truth.
func judge(e Expect, r report, o owners) Row {
	row := Row{Expected: e.verdict(), Works: r.Works, Persistence: r.Persistence, fault: e.Fault(), healthy: e.Healthy()}
	row.Got = Verdict{Works: r.Works, Persistence: r.Persistence}
	if len(r.Causes) > 0 {
		row.Got.Cause, row.Got.Subject, row.Got.Hop = r.Causes[0].Rule, r.Causes[0].Subject, r.Causes[0].Hop
	}
	wrong := func(format string, args ...any) { row.Reasons = append(row.Reasons, fmt.Sprintf(format, args...)) }
	if e.Works != "" && e.Works != r.Works {
		wrong("works is %s, not %s", cmpOr(r.Works, "not said"), e.Works)
	}
	if e.Persistence != "" && e.Persistence != r.Persistence {
		wrong("persistence is %s, not %s", cmpOr(r.Persistence, "not said"), e.Persistence)
	}
	if row.healthy {
		for _, u := range r.Resources {
			if u.Foretold > 0 && (u.Source == "pod" || u.Source == "node") { // by what moved while it was watched; Azure Monitor's history may be of the scenario before
				wrong("false alarm: it is said to run out: %s", u.Raw)
			}
		}
		row.alarm = falseAlarm(r)
		if row.alarm {
			wrong("false alarm: %s", alarmText(r))
		}
		if r.ExitCode != 0 {
			wrong("exit code %d", r.ExitCode)
		}
	}
	judgeCauses(e, r, o, &row, wrong)
	judgeLists(e, r, o, wrong)
	row.Pass = len(row.Reasons) == 0
	return row
}

func falseAlarm(r report) bool {
	return len(r.Causes) > 0 || slices.ContainsFunc(r.AlsoNoticed, finding.likely)
}

func alarmText(r report) string {
	var parts []string
	for _, f := range append(slices.Clone(r.Causes), r.AlsoNoticed...) {
		parts = append(parts, fmt.Sprintf("%s %s (%s)", f.Rule, f.Subject, f.Confidence))
	}
	return strings.Join(parts, ", ")
}

// truth says whether a finding is what the scenario is about.
func (e Expect) truth(f finding, o owners) bool {
	subjects, hops, causes := e.Subjects, e.Hops, e.Causes
	if e.Subject != "" {
		subjects = []string{e.Subject}
	}
	if e.Hop != "" {
		hops = []string{e.Hop}
	}
	if e.Cause != "" {
		causes = []string{e.Cause}
	}
	ok := true
	if len(subjects) > 0 {
		ok = ok && slices.ContainsFunc(subjects, func(s string) bool { return o.same(s, f.Subject) })
	}
	if len(hops) > 0 {
		ok = ok && slices.Contains(hops, f.Hop)
	}
	if len(subjects) == 0 && len(hops) == 0 && len(causes) > 0 {
		ok = slices.Contains(causes, f.Rule)
	}
	return ok
}

func judgeCauses(e Expect, r report, o owners, row *Row, wrong func(string, ...any)) {
	if !row.fault {
		if e.Evidence != nil && !evident(e.Evidence, slices.Concat(r.Causes, r.AlsoNoticed, r.Resources)) {
			wrong("no finding, and nothing that can run out, holds the evidence %v", e.Evidence)
		}
		return
	}
	hits := 0
	for i, f := range r.Causes {
		if e.truth(f, o) {
			hits++
			if row.Rank == 0 {
				row.Rank = i + 1
			}
		}
	}
	if row.Rank > 0 {
		row.share = float64(hits) / float64(len(r.Causes))
		row.top3 = row.Rank <= 3
	}
	if row.Rank != 1 {
		if len(r.Causes) == 0 {
			wrong("no cause was ranked")
		} else {
			wrong("the first cause is %s @%s (%s)", r.Causes[0].Subject, r.Causes[0].Hop, r.Causes[0].Rule)
		}
	}
	if e.Cause != "" && (len(r.Causes) == 0 || r.Causes[0].Rule != e.Cause) {
		wrong("the first cause's rule is not %s", e.Cause)
	}
	equal := func(what string, want []string, get func(finding) string, same func(a, b string) bool) {
		if want == nil {
			return
		}
		var got []string
		for _, f := range r.Causes {
			if !slices.ContainsFunc(got, func(g string) bool { return same(g, get(f)) }) {
				got = append(got, get(f))
			}
		}
		match := len(got) == len(want)
		for _, w := range want {
			match = match && slices.ContainsFunc(got, func(g string) bool { return same(g, w) })
		}
		if !match {
			wrong("%s are %v, not %v", what, got, want)
		}
	}
	exact := func(a, b string) bool { return a == b }
	equal("causes", e.Causes, func(f finding) string { return f.Rule }, exact)
	equal("subjects", e.Subjects, func(f finding) string { return f.Subject }, o.same)
	equal("hops", e.Hops, func(f finding) string { return f.Hop }, exact)
	if len(e.Evidence) > 0 && row.Rank > 0 && !evident(e.Evidence, r.Causes[row.Rank-1:row.Rank]) {
		wrong("the finding does not hold all of the evidence %v", e.Evidence)
	}
}

// evident says whether one finding holds all the evidence; "a|b" is either.
func evident(evidence []string, findings []finding) bool {
	return slices.ContainsFunc(findings, func(f finding) bool {
		text := f.text()
		for _, want := range evidence {
			if !slices.ContainsFunc(strings.Split(strings.ToLower(want), "|"), func(w string) bool { return strings.Contains(text, strings.TrimSpace(w)) }) {
				return false
			}
		}
		return true
	})
}

func judgeLists(e Expect, r report, o owners, wrong func(string, ...any)) {
	further := slices.Clone(r.AlsoNoticed)
	if len(r.Causes) > 1 {
		further = append(further, r.Causes[1:]...)
	}
	if !e.Fault() {
		further = append(further, r.Causes...)
	}
	for _, also := range e.Also {
		if !slices.ContainsFunc(further, func(f finding) bool { return o.same(also, f.Subject) || f.Rule == also }) {
			wrong("%s is not noticed", also)
		}
	}
	for _, f := range r.Causes {
		if slices.Contains(e.Not, f.Rule) {
			wrong("%s is ranked as a cause", f.Rule)
		}
		if slices.ContainsFunc(e.NotSubjects, func(s string) bool { return o.same(s, f.Subject) }) {
			wrong("%s is ranked as a cause", f.Subject)
		}
	}
}

// Summary is what all rows came to.
type Summary struct {
	Total         int     `json:"total"`
	NotInjected   int     `json:"notInjected"`
	Passed        int     `json:"passed"`
	Failed        int     `json:"failed"`
	Faults        int     `json:"faults"` // injected
	Healthy       int     `json:"healthy"`
	Top1          float64 `json:"top1"`      // share of the injected faults
	Top3          float64 `json:"top3"`      // likewise
	Precision     float64 `json:"precision"` // mean over the injected faults
	FalseAlarms   int     `json:"falseAlarms"`
	MedianSeconds float64 `json:"medianSeconds"`
	P95Seconds    float64 `json:"p95Seconds"`
	OwnMedian     float64 `json:"ownMedianSeconds"`
	OwnP95        float64 `json:"ownP95Seconds"`
}

func summarize(rows []Row) Summary {
	s := Summary{Total: len(rows)}
	var seconds, own []float64
	top1, top3, share := 0, 0, 0.0
	for _, r := range rows {
		if !r.Injected {
			s.NotInjected++ // counts for nobody, but the bench does not end well either
			continue
		}
		if r.Pass {
			s.Passed++
		} else {
			s.Failed++
		}
		if r.Seconds > 0 && r.Verb != "watch" { // which takes as long as it was told to
			seconds, own = append(seconds, r.Seconds), append(own, r.OwnSeconds)
		}
		if r.healthy {
			s.Healthy++
			if r.alarm {
				s.FalseAlarms++
			}
		}
		if r.fault {
			s.Faults++
			share += r.share
			if r.Rank == 1 {
				top1++
			}
			if r.top3 {
				top3++
			}
		}
	}
	if s.Faults > 0 {
		n := float64(s.Faults)
		s.Top1, s.Top3, s.Precision = float64(top1)/n, float64(top3)/n, share/n
	}
	s.MedianSeconds, s.P95Seconds = quantile(seconds, 0.5), quantile(seconds, 0.95)
	s.OwnMedian, s.OwnP95 = quantile(own, 0.5), quantile(own, 0.95)
	return s
}

// quantile is the nearest-rank quantile.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	i := int(q*float64(len(sorted)) + 0.999999)
	return sorted[min(max(i, 1), len(sorted))-1]
}

// confusion counts, for the hop that is true, the hop that was named first.
func confusion(rows []Row) (truth, named []string, count map[[2]string]int) {
	count = map[[2]string]int{}
	order := func(list *[]string, s string) {
		if !slices.Contains(*list, s) {
			*list = append(*list, s)
		}
	}
	for _, r := range rows {
		if !r.Injected {
			continue
		}
		want := cmpOr(r.Expected.Hop, strings.Join(r.Expected.Hops, "+"))
		if want == "" {
			want = "none"
			if r.fault {
				want = "any"
			}
		}
		got := cmpOr(r.Got.Hop, "none")
		order(&truth, want)
		order(&named, got)
		count[[2]string{want, got}]++
	}
	byHop := func(list []string) {
		rank := func(s string) int {
			if i := slices.Index(Hops, s); i >= 0 {
				return i
			}
			return len(Hops)
		}
		slices.SortFunc(list, func(a, b string) int {
			if d := rank(a) - rank(b); d != 0 {
				return d
			}
			return strings.Compare(a, b)
		})
	}
	byHop(truth)
	byHop(named)
	return truth, named, count
}

func secondsOf(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
