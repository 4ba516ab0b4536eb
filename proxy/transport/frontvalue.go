package transport

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

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

// likePattern is SQL's LIKE as an expression that takes no more than linear time.
func likePattern(pattern string, fold bool) *regexp.Regexp {
	var b bytes.Buffer
	b.WriteString("(?s)")
	if fold {
		b.WriteString("(?i)")
	}
	b.WriteByte('^')
	escaped := false
	for _, r := range pattern {
		switch {
		case !escaped && r == '\\':
			escaped = true
			continue
		case !escaped && r == '%':
			b.WriteString(".*")
		case !escaped && r == '_':
			b.WriteByte('.')
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
		escaped = false
	}
	b.WriteByte('$')
	return regexp.MustCompile(b.String())
}
