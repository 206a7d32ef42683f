package corefile

import "strings"

// token is one word with where it stands.
type token struct {
	text   string
	quoted bool
	pos    Pos
}

func (t token) is(word string) bool { return t.text == word && !t.quoted }

func (t token) sameLine(o token) bool { return t.pos == o.pos }

// lex splits a text as Caddy's lexer does: words end at white space, a quote at
// a word's begin holds everything to the next one, # begins a comment where a
// word could begin.
func lex(s Source) []token {
	var out []token
	var word strings.Builder
	line, start := 1, 1
	in, quoted, comment, escaped := false, false, false, false
	end := func(wasQuoted bool) {
		if in {
			out = append(out, token{word.String(), wasQuoted, Pos{s.ConfigMap, s.Key, start}})
		}
		word.Reset()
		in, quoted = false, false
	}
	for _, r := range s.Text {
		switch {
		case quoted && escaped:
			if r != '"' {
				word.WriteByte('\\')
			}
			word.WriteRune(r)
			escaped = false
		case quoted && r == '\\':
			escaped = true
		case quoted && r == '"':
			end(true)
		case quoted:
			word.WriteRune(r)
		case r == '\n':
			end(false)
			comment = false
		case comment:
		case r == ' ' || r == '\t' || r == '\r':
			end(false)
		case !in && r == '#':
			comment = true
		case !in && r == '"':
			in, quoted, start = true, true, line
		default:
			if !in {
				in, start = true, line
			}
			word.WriteRune(r)
		}
		if r == '\n' {
			line++
		}
	}
	end(quoted)
	return out
}
