package chat

import (
	"bytes"
	"slices"
)

// ScanField returns the raw JSON value of a top-level key of a JSON object, without decoding the rest. It is how the
// conversation of a change is found before anything is spent on the record (which may be a megabyte). The object is taken to be
// valid JSON; on anything else it returns false or some slice of the input, and never reads outside it. Keys with escapes do
// not match.
func ScanField(object []byte, key string) ([]byte, bool) {
	var found []byte
	scanObject(object, func(name, value []byte) bool {
		if string(name) == key {
			found = value
		}
		return found == nil
	})
	return found, found != nil
}

// scanFields returns the raw values of top-level keys of valid JSON, nil for those that are missing and for anything but an object.
// It agrees with encoding/json: of a repeated key the last counts, and escapes in keys are read.
func scanFields(object []byte, keys []string) [][]byte {
	values := make([][]byte, len(keys))
	scanObject(object, func(name, value []byte) bool {
		if bytes.IndexByte(name, '\\') >= 0 {
			name = []byte(text(slices.Concat([]byte{'"'}, name, []byte{'"'})))
		}
		for i := range keys {
			if string(name) == keys[i] {
				values[i] = value
			}
		}
		return true
	})
	return values
}

// scanObject calls each with the keys (without quotes) and raw values of a JSON object, until it returns false.
func scanObject(object []byte, each func(name, value []byte) bool) {
	i := skipSpace(object, 0)
	if i >= len(object) || object[i] != '{' {
		return
	}
	for more := true; more; {
		i = skipSpace(object, i+1)
		if i >= len(object) || object[i] != '"' {
			return
		}
		end := skipString(object, i)
		name := object[i+1 : max(i+1, end-1)]
		i = skipSpace(object, end)
		if i >= len(object) || object[i] != ':' {
			return
		}
		start := skipSpace(object, i+1)
		end = skipValue(object, start)
		if end <= start || !each(name, object[start:end]) {
			return
		}
		i = skipSpace(object, end)
		more = i < len(object) && object[i] == ','
	}
}

// ScanString is ScanField for a plain string value without escapes, as ids are.
func ScanString(object []byte, key string) (string, bool) {
	v, ok := ScanField(object, key)
	if !ok || len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"' || bytes.IndexByte(v, '\\') >= 0 {
		return "", false
	}
	return string(v[1 : len(v)-1]), true
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index after the string that starts at i.
func skipString(b []byte, i int) int {
	for i++; i < len(b); {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return len(b)
		}
		end := i + n
		slashes := 0
		for end-1-slashes >= i && b[end-1-slashes] == '\\' {
			slashes++
		}
		i = end + 1
		if slashes%2 == 0 {
			return i
		}
	}
	return len(b)
}

// skipValue returns the index after the value that starts at i.
func skipValue(b []byte, i int) int {
	if i >= len(b) {
		return i
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		depth := 0
		for i < len(b) {
			switch b[i] {
			case '"':
				i = skipString(b, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return len(b)
	}
	for i < len(b) {
		switch b[i] {
		case ',', '}', ']', ' ', '\n', '\t', '\r':
			return i
		}
		i++
	}
	return i
}
