package transport

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// holds reports whether an order of two values satisfies an operator.
func holds(op string, order int) bool {
	switch op {
	case "neq":
		return order != 0
	case "lt":
		return order < 0
	case "lte":
		return order <= 0
	case "gt":
		return order > 0
	case "gte":
		return order >= 0
	}
	return order == 0 // eq, in
}

func invalidSyntax(typ, text string) string {
	switch typ {
	case "timestamptz":
		return fmt.Sprintf("22007 (invalid_datetime_format) invalid input syntax for type timestamp with time zone: \"%s\"", text)
	case "jsonb":
		typ = "json"
	}
	return fmt.Sprintf("22P02 (invalid_text_representation) invalid input syntax for type %s: \"%s\"", typ, text)
}

// parseValue reads a text as PostgreSQL reads a value of the type: a time, or a text in the one form that compares. Where it is none,
// the text itself comes back.
func parseValue(typ, text string) (value any, ok bool) {
	switch typ {
	case "uuid":
		id, err := uuid.Parse(text)
		if err != nil {
			return strings.ToLower(text), false
		}
		return id.String(), true
	case "timestamptz":
		for _, layout := range []string{
			time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05Z07", "2006-01-02T15:04:05Z07",
			"2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly,
		} {
			if at, err := time.Parse(layout, text); err == nil {
				return at, true
			}
		}
		return text, false
	case "jsonb":
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var v any
		if d.Decode(&v) != nil || d.More() {
			return text, false
		}
		return string(encode(v)), true // with sorted keys
	}
	return text, true
}

func compareValues(a, b any) int {
	if at, ok := a.(time.Time); ok {
		if other, ok := b.(time.Time); ok {
			return at.Compare(other)
		}
		return -1
	}
	x, _ := a.(string)
	y, _ := b.(string)
	return cmp.Compare(x, y)
}

// isLike reports whether text matches a pattern of SQL's LIKE. It takes no memory, and no more time than the product of both lengths.
func isLike(pattern, text string) bool {
	p, t := 0, 0
	behind, tried := -1, 0 // the last % and the text from which what follows it was tried
	for t < len(text) {
		have, size := utf8.DecodeRuneInString(text[t:])
		want, width, wild := nextOfPattern(pattern[p:])
		switch {
		case wild && want == '%':
			p += width
			behind, tried = p, t
		case width > 0 && (wild || want == have):
			p, t = p+width, t+size
		case behind >= 0:
			_, size = utf8.DecodeRuneInString(text[tried:])
			tried += size
			p, t = behind, tried
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "%") == ""
}

// nextOfPattern is the character that comes next in a pattern, and whether it stands for others. width is 0 at the end.
func nextOfPattern(pattern string) (r rune, width int, wild bool) {
	r, width = utf8.DecodeRuneInString(pattern)
	if r == '\\' && width < len(pattern) {
		r, size := utf8.DecodeRuneInString(pattern[width:])
		return r, width + size, false
	}
	return r, width, width > 0 && (r == '%' || r == '_')
}
