package standin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// keyOrder says how the keys of a JSON object are sorted and spaced.
type keyOrder uint8

const (
	jsonbText  keyOrder = iota // jsonb output: shorter keys first, then bytewise; ", " and ": "
	elixirText                 // maps re-encoded by the Realtime server: bytewise, no spaces
)

// decodeJSON reads one JSON value, numbers as json.Number.
func decodeJSON(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("trailing text after the JSON value")
	}
	return v, nil
}

// appendJSON appends a decoded JSON value in the given form.
func appendJSON(dst []byte, v any, order keyOrder) []byte {
	comma, colon := ",", ":"
	if order == jsonbText {
		comma, colon = ", ", ": "
	}
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case bool:
		if v {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	case json.Number:
		return append(dst, plainNumber(v.String())...)
	case string:
		return appendString(dst, v)
	case []any:
		dst = append(dst, '[')
		for i, item := range v {
			if i > 0 {
				dst = append(dst, comma...)
			}
			dst = appendJSON(dst, item, order)
		}
		return append(dst, ']')
	case map[string]any:
		dst = append(dst, '{')
		for i, key := range sortedKeys(v, order) {
			if i > 0 {
				dst = append(dst, comma...)
			}
			dst = appendString(dst, key)
			dst = append(dst, colon...)
			dst = appendJSON(dst, v[key], order)
		}
		return append(dst, '}')
	}
	panic(fmt.Sprintf("standin: %T is not a decoded JSON value", v))
}

func sortedKeys[V any](m map[string]V, order keyOrder) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	if order == jsonbText {
		slices.SortFunc(keys, compareKeys)
	} else {
		slices.Sort(keys)
	}
	return keys
}

// compareKeys is jsonb's key order: length first, then bytes.
func compareKeys(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// appendString escapes what JSON demands and nothing else: `<`, `&` and U+2028 stay as they are.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\b':
			dst = append(dst, `\b`...)
		case r == '\f':
			dst = append(dst, `\f`...)
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r < 0x20:
			dst = append(dst, `\u00`...)
			dst = append(dst, hex[r>>4], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// plainNumber writes out an exponent as PostgreSQL's numeric does: 1.50e1 is 15.0. A number beyond the range of numeric is left
// as it is.
func plainNumber(s string) string {
	mantissa, exponentText, ok := strings.Cut(strings.ToLower(s), "e")
	if !ok {
		return s
	}
	exponent, err := strconv.Atoi(exponentText)
	r, valid := new(big.Rat), false
	if err == nil && exponent > -1000 && exponent < 1000 {
		r, valid = r.SetString(s)
	}
	if !valid {
		return s
	}
	_, fraction, _ := strings.Cut(mantissa, ".")
	return r.FloatString(max(0, len(fraction)-exponent))
}

// compactJSON re-encodes raw as the Realtime server does with what clients send: keys sorted, no spaces.
func compactJSON(raw json.RawMessage) json.RawMessage {
	v, err := decodeJSON(raw)
	if err != nil {
		return raw
	}
	return appendJSON(nil, v, elixirText)
}

// JSONB marshals v as a jsonb column would print it: keys by length, then bytewise, with spaces behind commas and colons.
func JSONB(v any) (json.RawMessage, error) {
	stored, err := canonicalJSON(v)
	if err != nil {
		return nil, err
	}
	return stored.(json.RawMessage), nil
}
