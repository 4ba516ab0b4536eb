package standin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Row is one table row. Values going in may be any Go value that fits the column; a jsonb column takes anything that
// encoding/json can marshal, a json.RawMessage as it is. Values coming out are nil, string, bool, json.Number, time.Time (UTC,
// microseconds) or, for jsonb and array columns, json.RawMessage in PostgreSQL's own form.
type Row map[string]any

func (r Row) clone() Row {
	c := make(Row, len(r))
	for k, v := range r {
		c[k] = v
	}
	return c
}

// text gives the string value of a column, "" when NULL.
func (r Row) text(column string) string {
	s, _ := r[column].(string)
	return s
}

func (r Row) integer(column string) int {
	n, _ := r[column].(json.Number)
	i, _ := strconv.Atoi(n.String())
	return i
}

func (r Row) instant(column string) time.Time {
	t, _ := r[column].(time.Time)
	return t
}

// canonical converts v to the form in which a column of this type is stored.
func (c *Column) canonical(v any) (any, error) {
	switch p := v.(type) {
	case nil:
		return nil, nil
	case *string:
		if p == nil {
			return nil, nil
		}
		v = *p
	case *time.Time:
		if p == nil {
			return nil, nil
		}
		v = *p
	}
	switch {
	case c.Type == "jsonb":
		return canonicalJSON(v)
	case strings.HasPrefix(c.Type, "_"):
		return c.canonicalArray(v)
	case c.Type == "timestamptz":
		if t, ok := v.(time.Time); ok {
			return t.UTC().Round(0).Truncate(time.Microsecond), nil
		}
	case c.Type == "bool":
		if b, ok := v.(bool); ok {
			return b, nil
		}
	}
	s, err := scalarText(v)
	if err != nil {
		return nil, pgErrorf("42804", "column %q is of type %s", c.Name, c.Type)
	}
	return c.parse(s)
}

func scalarText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	case time.Time:
		return formatInstant(v), nil
	case fmt.Stringer:
		return v.String(), nil
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v), nil
	case float32, float64:
		return plainNumber(fmt.Sprint(v)), nil
	}
	if b, err := json.Marshal(v); err == nil && len(b) > 0 && b[0] == '"' { // named string types
		var s string
		return s, json.Unmarshal(b, &s)
	}
	return "", errors.New("not a scalar")
}

func canonicalJSON(v any) (any, error) {
	raw, ok := v.(json.RawMessage)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, pgErrorf("22P02", "invalid input syntax for type json")
		}
		raw = b
	}
	decoded, err := decodeJSON(raw)
	if err != nil {
		return nil, pgErrorf("22P02", "invalid input syntax for type json")
	}
	if bytes.Contains(raw, []byte(`\u0000`)) {
		return nil, pgErrorf("22P05", "unsupported Unicode escape sequence")
	}
	return json.RawMessage(appendJSON(nil, decoded, jsonbText)), nil
}

func (c *Column) canonicalArray(v any) (any, error) {
	raw, err := canonicalJSON(v)
	if err != nil {
		return nil, err
	}
	text := raw.(json.RawMessage)
	if string(text) == "null" {
		return nil, nil
	}
	if text[0] != '[' {
		return nil, pgErrorf("22P02", "malformed array literal")
	}
	return text, nil
}

// parse reads the text form of a scalar, as a filter value or an unknown literal is read.
func (c *Column) parse(s string) (any, error) {
	if c.cast != nil {
		return c.cast(s)
	}
	switch c.Type {
	case "uuid":
		id, err := uuid.Parse(s)
		if err != nil || len(s) > 38 {
			return nil, invalidSyntax(c.Type, s)
		}
		return id.String(), nil
	case "int2", "int4", "int8":
		bits := map[string]int{"int2": 16, "int4": 32, "int8": 64}[c.Type]
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, bits)
		if errors.Is(err, strconv.ErrRange) {
			return nil, pgErrorf("22003", "value %q is out of range for type %s", s, pgTypeName(c.Type))
		} else if err != nil {
			return nil, invalidSyntax(c.Type, s)
		}
		return json.Number(strconv.FormatInt(n, 10)), nil
	case "numeric":
		r, ok := new(big.Rat).SetString(s)
		if !ok || strings.Contains(s, "/") {
			return nil, invalidSyntax(c.Type, s)
		}
		if c.Scale > 0 {
			return json.Number(r.FloatString(c.Scale)), nil
		}
		return json.Number(plainNumber(s)), nil
	case "bool":
		return parseBool(s)
	case "timestamptz":
		t, err := parseInstant(s)
		if err != nil {
			return nil, invalidSyntax(c.Type, s)
		}
		return t, nil
	case "inet":
		if _, err := netip.ParseAddr(s); err != nil {
			if _, err := netip.ParsePrefix(s); err != nil {
				return nil, invalidSyntax(c.Type, s)
			}
		}
		return s, nil
	case "jsonb":
		return canonicalJSON(json.RawMessage(s))
	}
	if strings.HasPrefix(c.Type, "_") {
		return nil, pgErrorf("22P02", "malformed array literal: %q", s)
	}
	if c.MaxLength > 0 && len([]rune(s)) > c.MaxLength {
		return nil, pgErrorf("22001", "value too long for type character varying(%d)", c.MaxLength)
	}
	return s, nil
}

func parseBool(s string) (any, error) {
	switch strings.ToLower(s) {
	case "true", "t", "yes", "on", "1":
		return true, nil
	case "false", "f", "no", "off", "0":
		return false, nil
	}
	return nil, invalidSyntax("bool", s)
}

func parseInstant(s string) (time.Time, error) {
	for _, layout := range []string{
		"2006-01-02T15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999Z0700",
		"2006-01-02 15:04:05.999999999Z07", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Round(time.Microsecond), nil
		}
	}
	return time.Time{}, errors.New("not a timestamp")
}

// formatInstant is to_json(timestamptz) in time zone UTC: microseconds with the zeros cut.
func formatInstant(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05.999999") + "+00:00"
}

// appendValue appends the JSON form of a stored value.
func appendValue(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case string:
		return appendString(dst, v)
	case bool:
		return strconv.AppendBool(dst, v)
	case json.Number:
		return append(dst, v...)
	case time.Time:
		return append(append(append(dst, '"'), formatInstant(v)...), '"')
	case json.RawMessage:
		return append(dst, v...)
	}
	panic(fmt.Sprintf("standin: %T is not a stored value", v))
}
