package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/podpath/podpath/internal/model"
)

// Limits bound what a snapshot may be. Zero means the default.
type Limits struct {
	Compressed   int64 // bytes of the file; default 64 MiB
	Uncompressed int64 // bytes of its content; default 128 MiB
	Depth        int   // of nested objects and lists; default 40
	String       int   // bytes of one string; default 2 MiB
	Elements     int   // values in all; default 2 million
	List         int   // elements of one list; default 200,000
}

func (l Limits) withDefaults() Limits {
	if l.Compressed == 0 {
		l.Compressed = 64 << 20
	}
	if l.Uncompressed == 0 {
		l.Uncompressed = 128 << 20
	}
	if l.Depth == 0 {
		l.Depth = 40
	}
	if l.String == 0 {
		l.String = 2 << 20
	}
	if l.Elements == 0 {
		l.Elements = 2_000_000
	}
	if l.List == 0 {
		l.List = 200_000
	}
	return l
}

// level is one object or list that the check is inside of.
type level struct {
	object bool
	keys   map[string]bool
	key    string // the member that comes or is being read
	index  int
}

// checker walks the tokens of a document before anything is built from them.
type checker struct {
	l     Limits
	stack []level
	count int
}

// path says where the check stands: case.world.kube.pods["pod/a/b"].ips[1].
func (c *checker) path() string {
	var out strings.Builder
	for _, s := range c.stack {
		switch {
		case !s.object:
			out.WriteString("[" + strconv.Itoa(s.index) + "]")
		case s.key == "":
		case strings.ContainsAny(s.key, "./[]\" ") || len(s.key) > 60 || unwanted(s.key) >= 0:
			out.WriteString("[" + strconv.QuoteToASCII(clip(s.key)) + "]")
		default:
			if out.Len() > 0 {
				out.WriteByte('.')
			}
			out.WriteString(s.key)
		}
	}
	if out.Len() == 0 {
		return "the document"
	}
	return out.String()
}

func (c *checker) fail(format string, args ...any) error {
	return fmt.Errorf("%s: %s", c.path(), fmt.Sprintf(format, args...))
}

// check bounds a document and refuses what an honest writer does not write.
func check(data []byte, l Limits) error {
	if !utf8.Valid(data) {
		return errors.New("it is not UTF-8")
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return fmt.Errorf("a zero byte stands at byte %d", i)
	}
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return errors.New("it is no JSON object")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	c := &checker{l: l}
	for {
		t, err := dec.Token()
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return c.fail("it ends in the middle, after %d bytes", len(data))
			}
			return c.fail("%v (at byte %d)", err, dec.InputOffset())
		}
		if err := c.token(t); err != nil {
			return err
		}
		if len(c.stack) == 0 {
			break
		}
	}
	if rest := bytes.TrimSpace(data[dec.InputOffset():]); len(rest) > 0 {
		return fmt.Errorf("something follows the document at byte %d", dec.InputOffset())
	}
	return nil
}

func (c *checker) token(t json.Token) error {
	if c.count++; c.count > c.l.Elements {
		return c.fail("more than %d values", c.l.Elements)
	}
	top := len(c.stack) - 1
	if d, ok := t.(json.Delim); ok && (d == '}' || d == ']') {
		c.stack = c.stack[:top]
		c.done()
		return c.long()
	}
	if top >= 0 && c.stack[top].object && c.stack[top].key == "" {
		return c.member(t.(string))
	}
	switch t := t.(type) {
	case json.Delim:
		if len(c.stack) >= c.l.Depth {
			return c.fail("nested deeper than %d", c.l.Depth)
		}
		c.stack = append(c.stack, level{object: t == '{'})
		return nil
	case string:
		if err := c.text(t); err != nil {
			return err
		}
	case json.Number:
		if err := c.number(t.String()); err != nil {
			return err
		}
	}
	c.done()
	return c.long()
}

// long refuses a list of more elements than any that is written.
func (c *checker) long() error {
	if top := len(c.stack) - 1; top >= 0 && !c.stack[top].object && c.stack[top].index > c.l.List {
		return c.fail("a list of more than %d elements", c.l.List)
	}
	return nil
}

// member takes an object's key.
func (c *checker) member(key string) error {
	top := &c.stack[len(c.stack)-1]
	if top.keys[key] {
		top.key = key
		return c.fail("this key stands here twice")
	}
	if key == "" {
		return c.fail("an empty key")
	}
	if top.keys == nil {
		top.keys = map[string]bool{}
	}
	top.keys[key] = true
	top.key = key
	if len(key) > 4096 {
		return c.fail("a key of %d bytes", len(key))
	}
	if unwanted(key) >= 0 {
		return c.fail("the key holds a control character")
	}
	return nil
}

// done goes on to the next member or element.
func (c *checker) done() {
	if len(c.stack) == 0 {
		return
	}
	top := &c.stack[len(c.stack)-1]
	top.key = ""
	top.index++
}

func (c *checker) text(s string) error {
	if len(s) > c.l.String {
		return c.fail("a string of %d bytes; %d are allowed", len(s), c.l.String)
	}
	if i := unwanted(s); i >= 0 {
		r, _ := utf8.DecodeRuneInString(s[i:])
		return c.fail("the string holds the control character %U", r)
	}
	return nil
}

// number refuses numbers that no field could hold, before anything computes with them.
func (c *checker) number(s string) error {
	if len(s) > 32 {
		return c.fail("a number of %d digits", len(s))
	}
	if _, err := strconv.ParseFloat(s, 64); err != nil {
		return c.fail("the number %s is too large", s)
	}
	return nil
}

// unwanted is where the first character stands that could steer a terminal or
// reorder text, or -1. Line ends and tabs are allowed: configuration has them.
func unwanted(s string) int {
	for i, r := range s {
		if r == '\n' || r == '\t' {
			continue
		}
		if r < 0x20 || r >= 0x7f && r <= 0x9f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0x2028 || r == 0x2029 {
			return i
		}
	}
	return -1
}

// checkCase refuses what JSON can say and the nouns cannot mean: an element that is null.
func checkCase(c *model.Case) error { return noNil(reflect.ValueOf(c).Elem(), "case") }

var modelPath = reflect.TypeFor[model.Case]().PkgPath()

func noNil(v reflect.Value, path string) error {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil // a field that is not set
		}
		return noNil(v.Elem(), path)
	case reflect.Struct:
		if v.Type().PkgPath() != modelPath {
			return nil // times and addresses
		}
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if err := noNil(v.Field(i), path+"."+name); err != nil {
				return err
			}
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			e := v.MapIndex(key)
			at := path + "[" + strconv.QuoteToASCII(clip(key.String())) + "]"
			if e.Kind() == reflect.Pointer && e.IsNil() {
				return fmt.Errorf("%s: null where an object was due", at)
			}
			if err := noNil(e, at); err != nil {
				return err
			}
		}
	case reflect.Slice:
		if k := v.Type().Elem().Kind(); k != reflect.Struct && k != reflect.Pointer && k != reflect.Map && k != reflect.Slice {
			return nil
		}
		for i := range v.Len() {
			e := v.Index(i)
			at := path + "[" + strconv.Itoa(i) + "]"
			if e.Kind() == reflect.Pointer && e.IsNil() {
				return fmt.Errorf("%s: null where an object was due", at)
			}
			if err := noNil(e, at); err != nil {
				return err
			}
		}
	}
	return nil
}
