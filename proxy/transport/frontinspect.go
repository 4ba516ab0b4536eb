package transport

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// maxInspected bounds what is shown of a value, in bytes. A refusal waits with its text, for whoever sends it the value.
const maxInspected = 1 << 10

// inspectJSON shows a JSON value as the real server's language does, cut where it is long.
func inspectJSON(raw []byte) string {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return "nil"
	}
	text := appendInspected(nil, v)
	if len(text) > maxInspected {
		return string(bytes.ToValidUTF8(text[:maxInspected], nil)) + "..."
	}
	return string(text)
}

// appendInspected appends at least as much of a value as will be shown.
func appendInspected(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "nil"...)
	case string:
		return append(dst, quoted(v)...)
	case []any:
		dst = append(dst, '[')
		for i, item := range v {
			if len(dst) > maxInspected {
				return dst
			}
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendInspected(dst, item)
		}
		return append(dst, ']')
	case map[string]any:
		dst = append(dst, "%{"...)
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if len(dst) > maxInspected {
				return dst
			}
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = append(append(dst, quoted(key)...), " => "...)
			dst = appendInspected(dst, v[key])
		}
		return append(dst, '}')
	}
	return fmt.Append(dst, v) // a number or a truth value
}
