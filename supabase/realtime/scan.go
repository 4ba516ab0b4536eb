package realtime

import (
	"bytes"
	"encoding/json"
)

// The functions of this file walk over JSON that phoenix has validated, without validating it again. On anything else they
// may give nonsense, but they end and do not panic.

// members calls f with every key (without its quotes, as written) and value of an object. It reports false for other values.
func members(object []byte, f func(key, value []byte)) bool {
	i := skipSpace(object, 0)
	if i >= len(object) || object[i] != '{' {
		return false
	}
	for i = skipSpace(object, i+1); i < len(object) && object[i] == '"'; i = skipSpace(object, i+1) {
		end := skipString(object, i)
		key := object[i+1 : max(end-1, i+1)]
		i = skipSpace(object, end)
		start := skipSpace(object, min(i+1, len(object)))
		end = skipValue(object, start)
		f(key, object[start:end:end])
		if i = skipSpace(object, end); i >= len(object) || object[i] != ',' {
			break
		}
	}
	return true
}

// elements calls f with every element of an array. It reports false for other values.
func elements(array []byte, f func(value []byte)) bool {
	i := skipSpace(array, 0)
	if i >= len(array) || array[i] != '[' {
		return false
	}
	for i = skipSpace(array, i+1); i < len(array) && array[i] != ']'; i = skipSpace(array, i+1) {
		end := skipValue(array, i)
		f(array[i:end:end])
		if i = skipSpace(array, end); i >= len(array) || array[i] != ',' {
			break
		}
	}
	return true
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index after the string that begins at i.
func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// skipValue returns the index after the value that begins at i.
func skipValue(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = skipString(b, i)
		case '{', '[':
			depth++
			i++
		case '}', ']':
			if depth == 0 {
				return i // end of a number or word inside a container
			}
			depth--
			i++
		case ',', ':', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
			i++
			continue
		default:
			i = skipWord(b, i)
		}
		if depth == 0 {
			return i
		}
	}
	return len(b)
}

func skipWord(b []byte, i int) int {
	for ; i < len(b); i++ {
		switch b[i] {
		case ',', ':', ']', '}', ' ', '\t', '\n', '\r':
			return i
		}
	}
	return len(b)
}

// str returns the text of a string value, "" for anything else.
func str(value []byte) string {
	if len(value) < 2 || value[0] != '"' {
		return ""
	}
	body := value[1 : len(value)-1]
	if bytes.IndexByte(body, '\\') < 0 {
		return string(body)
	}
	var s string
	if json.Unmarshal(value, &s) != nil {
		return ""
	}
	return s
}

// present returns value, nil for null.
func present(value []byte) json.RawMessage {
	if len(value) == 0 || value[0] == 'n' {
		return nil
	}
	return value
}
