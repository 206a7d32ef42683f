package reach

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"

	"github.com/podpath/podpath/internal/model"
)

// Formats are the output formats.
var Formats = []string{"table", "json", "yaml", "csv", "dot"}

// View is something that can be written in every format.
type View interface {
	// Table is a heading and rows, for people and for CSV.
	Table() (head []string, rows [][]string)
	// Edges are from, to and what stands on the arrow, for DOT.
	Edges() [][3]string
	// Text is what stands before and after the table, for people alone.
	Text(color bool) (before, after string)
}

// Write writes a view in a format.
func Write(w io.Writer, format string, v View, color bool) error {
	switch format {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		data, err := yaml.Marshal(v)
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	case "csv":
		head, rows := v.Table()
		out := csv.NewWriter(w)
		if err := out.Write(head); err != nil {
			return err
		}
		for _, row := range rows {
			for i := range row {
				row[i] = formula(model.Printable(row[i]))
			}
		}
		return out.WriteAll(rows)
	case "dot":
		return dot(w, v.Edges())
	case "", "table":
		return table(w, v, color)
	}
	return fmt.Errorf("unknown output format %q: use one of %s", format, strings.Join(Formats, ", "))
}

// formula keeps spreadsheets from running what a name says.
func formula(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

func table(w io.Writer, v View, color bool) error {
	before, after := v.Text(color)
	if _, err := io.WriteString(w, before); err != nil {
		return err
	}
	head, rows := v.Table()
	if len(rows) > 0 {
		out := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
		fmt.Fprintln(out, strings.Join(head, "\t"))
		for _, row := range rows {
			for i := range row {
				row[i] = model.Printable(row[i])
			}
			fmt.Fprintln(out, strings.Join(row, "\t"))
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, after)
	return err
}

func dot(w io.Writer, edges [][3]string) error {
	var b strings.Builder
	b.WriteString("digraph reach {\n  rankdir=LR;\n  node [shape=box];\n")
	quote := func(s string) string {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(model.Printable(s)) + `"`
	}
	for _, e := range edges {
		fmt.Fprintf(&b, "  %s -> %s [label=%s];\n", quote(e[0]), quote(e[1]), quote(e[2]))
		if b.Len() > 1<<20 {
			if _, err := io.WriteString(w, b.String()); err != nil {
				return err
			}
			b.Reset()
		}
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}
