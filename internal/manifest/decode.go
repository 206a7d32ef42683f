package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	yaml "go.yaml.in/yaml/v3"
)

// object is one decoded object with where it stood.
type object struct {
	at               string // file and document
	apiVersion, kind string
	meta             meta
	parsed           any            // a pointer to one of the types of objects.go; nil for kinds that are not read
	raw              map[string]any // instead, for kinds that another package decodes
}

func (o *object) known() bool { return o.parsed != nil || o.raw != nil }

// named refuses names that a Ref cannot hold, and what no API server would take.
func (o *object) named() error {
	for _, s := range []string{o.meta.Name, o.meta.Namespace} {
		if len(s) > 253 || strings.ContainsFunc(s, func(r rune) bool { return r == '/' || r <= ' ' || r == 0x7f || unicode.IsControl(r) }) {
			return fmt.Errorf("metadata: %q is no name that Kubernetes takes", s)
		}
	}
	if o.meta.Name == "" {
		return errors.New("metadata.name is missing")
	}
	return nil
}

// documents reads those of a file.
func documents(data []byte, name string, o Options) ([]object, []error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	d := decoder{name: name, o: o}
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') && json.Valid(firstValue(trimmed)) {
		d.json(trimmed)
	} else {
		d.yaml(data)
	}
	return d.out, d.bad
}

// firstValue is the part of data that the first JSON value takes: flow-style
// YAML also starts with a brace, and is none.
func firstValue(data []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(data))
	var v json.RawMessage
	if dec.Decode(&v) != nil {
		return nil
	}
	return v
}

type decoder struct {
	name string
	o    Options
	out  []object
	bad  []error
	at   string
}

func (d *decoder) fail(format string, args ...any) {
	d.bad = append(d.bad, fmt.Errorf("%s: %w", d.at, fmt.Errorf(format, args...)))
}

// source is one document, however it is written.
type source interface {
	// kind tells what the document is; list says that it holds items.
	kind() (apiVersion, kind string, items []source, list bool, err error)
	into(v any) error
	untyped() (map[string]any, error)
}

type jsonSource []byte

func (s jsonSource) kind() (apiVersion, kind string, items []source, list bool, err error) {
	var head struct {
		APIVersion, Kind string
		Items            []json.RawMessage
	}
	if err := s.into(&head); err != nil {
		return "", "", nil, false, err
	}
	for _, item := range head.Items {
		items = append(items, jsonSource(item))
	}
	return head.APIVersion, head.Kind, items, isList(head.Kind, head.Items != nil), nil
}

func (s jsonSource) into(v any) error {
	err := json.Unmarshal(s, v)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s: a %s does not fit there", lower(wrong.Field), wrong.Value)
	}
	return err
}

// lower gives a path of Go fields the API's own spelling.
func lower(path string) string {
	parts := strings.Split(path, ".")
	for i, p := range parts {
		if p != "" {
			parts[i] = strings.ToLower(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, ".")
}

func (s jsonSource) untyped() (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(s))
	dec.UseNumber()
	var out map[string]any
	err := dec.Decode(&out)
	return out, err
}

// isList says whether a kind is that of a list: all of the API's are called SomethingList.
func isList(kind string, items bool) bool { return items && strings.HasSuffix(kind, "List") }

type yamlSource struct {
	node *yaml.Node
	line int // of the file, before the document's first
}

func (s yamlSource) kind() (apiVersion, kind string, items []source, list bool, err error) {
	n := s.node
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		return "", "", nil, false, fmt.Errorf("line %d: not an object with apiVersion and kind", n.Line+s.line)
	}
	hasItems := false
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch v := n.Content[i+1]; n.Content[i].Value {
		case "apiVersion":
			apiVersion = v.Value
		case "kind":
			kind = v.Value
		case "items":
			hasItems = true
			for _, item := range v.Content {
				items = append(items, yamlSource{item, s.line})
			}
		}
	}
	return apiVersion, kind, items, isList(kind, hasItems), nil
}

var lineNumber = regexp.MustCompile(`\bline (\d+)`)

// protect turns the panics of the library, which malformed input can cause, into errors.
func protect(line int, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("not readable as YAML: %v", p)
		}
	}()
	if err = f(); err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.ReplaceAll(strings.TrimPrefix(text, "unmarshal errors:\n  "), "\n  ", "; ")
	return errors.New(lineNumber.ReplaceAllStringFunc(text, func(m string) string {
		n, _ := strconv.Atoi(strings.TrimPrefix(m, "line "))
		return "line " + strconv.Itoa(n+line)
	}))
}

func (s yamlSource) into(v any) error {
	return protect(s.line, func() error { return s.node.Decode(v) })
}

func (s yamlSource) untyped() (map[string]any, error) {
	v, err := s.value(s.node, 0, new(int))
	if err != nil {
		return nil, err
	}
	out, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not an object")
	}
	return out, nil
}

// The bounds of an untyped document, after its aliases are followed.
const (
	maxDepth  = 100
	maxValues = 1_000_000
)

// value gives scalars as people mean them in manifests: only true and false are
// booleans, only whole numbers numbers; y, 895e3553 and 1.10 are texts.
func (s yamlSource) value(n *yaml.Node, depth int, count *int) (any, error) {
	if *count++; depth > maxDepth || *count > maxValues {
		return nil, fmt.Errorf("line %d: too deep or too large", n.Line+s.line)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return s.value(n.Alias, depth+1, count)
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, c := range n.Content {
			v, err := s.value(c, depth+1, count)
			if err != nil {
				return nil, err
			}
			out[i] = v
		}
		return out, nil
	case yaml.MappingNode:
		return s.mapping(n, depth, count)
	}
	switch n.Tag {
	case "!!null":
		return nil, nil
	case "!!int":
		if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return i, nil
		}
	case "!!bool":
		if n.Value == "true" || n.Value == "false" {
			return n.Value == "true", nil
		}
	}
	return n.Value, nil
}

func (s yamlSource) mapping(n *yaml.Node, depth int, count *int) (any, error) {
	out := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		v, err := s.value(n.Content[i+1], depth+1, count)
		if err != nil {
			return nil, err
		}
		if more, ok := v.(map[string]any); ok && n.Content[i].Tag == "!!merge" {
			for k, v := range more {
				if _, own := out[k]; !own {
					out[k] = v
				}
			}
			continue
		}
		if _, twice := out[key]; twice {
			return nil, fmt.Errorf("line %d: %q is there twice", n.Content[i].Line+s.line, key)
		}
		out[key] = v
	}
	return out, nil
}

func (d *decoder) json(data []byte) {
	dec := json.NewDecoder(bytes.NewReader(data))
	for i := 1; ; i++ {
		d.at = d.name
		if i > 1 {
			d.at = fmt.Sprintf("%s, document %d", d.name, i)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			d.fail("not JSON after byte %d: %w", dec.InputOffset(), err)
			return
		}
		if len(raw) > 0 && raw[0] == '[' {
			var items []json.RawMessage
			if err := json.Unmarshal(raw, &items); err != nil {
				d.fail("%w", err)
				return
			}
			d.items(len(items), func(j int) source { return jsonSource(items[j]) }, 0)
			continue
		}
		d.document(jsonSource(raw), 0)
	}
}

// yaml splits a file at its document markers. A line that starts with three
// dashes is one wherever it stands: text inside a document is indented.
func (d *decoder) yaml(data []byte) {
	n := 0
	for line := 0; len(data) > 0; {
		text, rest, lines := cutDocument(data)
		if n == 0 || !blank(text) {
			n++
		}
		d.at = d.name
		if n > 1 || len(rest) > 0 {
			d.at = fmt.Sprintf("%s, document %d (line %d)", d.name, n, line+1)
		}
		if !blank(text) {
			d.parse(text, line)
		}
		data, line = rest, line+lines
	}
}

// cutDocument returns the first document, what follows, and how many lines the first takes.
func cutDocument(data []byte) (text, rest []byte, lines int) {
	for i := 0; i < len(data); {
		end := bytes.IndexByte(data[i:], '\n')
		next := len(data)
		if end >= 0 {
			next = i + end + 1
		}
		line := data[i:next]
		if i > 0 && bytes.HasPrefix(line, []byte("---")) && (len(line) < 4 || strings.IndexByte(" \t\r\n", line[3]) >= 0) {
			return data[:i], data[i:], lines
		}
		lines++
		i = next
	}
	return data, nil, lines
}

// blank says whether a document holds nothing but comments and markers.
func blank(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && !bytes.Equal(line, []byte("---")) && !bytes.Equal(line, []byte("...")) && line[0] != '%' {
			return false
		}
	}
	return true
}

func (d *decoder) parse(text []byte, line int) {
	var n yaml.Node
	if err := protect(line, func() error { return yaml.Unmarshal(text, &n) }); err != nil {
		d.fail("%w", err)
		return
	}
	if len(n.Content) == 0 {
		return
	}
	root := n.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return
	}
	if root.Kind == yaml.SequenceNode { // a bare list of objects
		d.items(len(root.Content), func(i int) source { return yamlSource{root.Content[i], line} }, 0)
		return
	}
	d.document(yamlSource{root, line}, 0)
}

// document decodes one object, or the items of a list of them.
func (d *decoder) document(s source, depth int) {
	apiVersion, kind, items, isList, err := s.kind()
	switch {
	case err != nil:
		d.fail("%w", err)
		return
	case kind == "":
		d.fail("no kind: not a Kubernetes object (if it is something else, keep it out of the directory)")
		return
	case isList && depth >= 2:
		d.fail("a list in a list in a list")
		return
	case isList:
		d.items(len(items), func(i int) source { return items[i] }, depth)
		return
	}
	obj := object{at: d.at, apiVersion: apiVersion, kind: kind}
	if err := obj.decode(s); err != nil {
		d.fail("%s%s: %w", kind, of(obj.meta.Name), err)
		return
	}
	if obj.known() {
		if obj.meta.Name == "" {
			obj.meta.Name = obj.meta.GenerateName
		}
		if err := obj.named(); err != nil {
			d.fail("%s: %w", kind, err)
			return
		}
	}
	if obj.meta.Namespace == "" {
		obj.meta.Namespace = d.o.Namespace
	}
	if obj.meta.Namespace == "" {
		obj.meta.Namespace = "default"
	}
	d.out = append(d.out, obj)
}

func of(name string) string {
	if name == "" {
		return ""
	}
	return " " + name
}

func (d *decoder) items(n int, item func(int) source, depth int) {
	at := d.at
	for i := range n {
		d.at = fmt.Sprintf("%s, item %d", at, i+1)
		d.document(item(i), depth+1)
	}
	d.at = at
}
