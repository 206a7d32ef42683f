package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Mermaid draws the first path as a flowchart: one node a hop, the one where
// the packet dies in red, those that could not be judged dashed.
func Mermaid(w io.Writer, r *Report) error {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	fmt.Fprintf(&b, "  from([%s])\n", label(r.Question.From.Raw))
	last := "from"
	if len(r.Paths) > 0 {
		broken := false
		for i, s := range r.Paths[0].Steps {
			id := fmt.Sprintf("s%d", i)
			text := string(s.Hop) + ": " + s.Title
			if s.Decided != "" {
				text += " · " + string(s.Decided)
			}
			edge := "-->"
			if broken || s.Verdict == model.Unknown {
				edge = "-.->"
			}
			fmt.Fprintf(&b, "  %s %s %s[%s]\n", last, edge, id, label(text))
			fmt.Fprintf(&b, "  class %s %s\n", id, s.Verdict)
			broken = broken || s.Verdict == model.Drop || s.Verdict == model.Reject
			last = id
		}
		if broken {
			fmt.Fprintf(&b, "  %s -.-x to([%s])\n", last, label(r.Question.To.Raw))
		} else {
			fmt.Fprintf(&b, "  %s --> to([%s])\n", last, label(r.Question.To.Raw))
		}
	} else {
		fmt.Fprintf(&b, "  from -.-> to([%s])\n", label(r.Question.To.Raw))
	}
	b.WriteString("  classDef pass stroke:#2e7d32\n  classDef drop stroke:#c62828,stroke-width:3px\n" +
		"  classDef reject stroke:#c62828,stroke-width:3px\n  classDef unknown stroke-dasharray:4\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// label quotes a text for Mermaid: its own entity codes for what would end or change the label.
func label(s string) string {
	r := strings.NewReplacer(`"`, "#quot;", "#", "#35;", "<", "#lt;", ">", "#gt;", "`", "#96;", "\\", "#92;")
	return `"` + r.Replace(model.Printable(s)) + `"`
}
