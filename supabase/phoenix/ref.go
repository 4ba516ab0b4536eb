package phoenix

import (
	"encoding/json"
	"fmt"
)

// Ref is a Phoenix reference: null, a string, or a number (sent by some 1.0.0 clients, which expect the number back).
// The zero value is null. Two refs are equal (==) when they are the same JSON value written the same way; the number 7 and
// the string "7" differ.
type Ref struct {
	raw string // JSON token, "" = null
}

// StringRef returns the reference with the text s, which may be empty. Invalid UTF-8 is replaced by U+FFFD.
func StringRef(s string) Ref {
	return Ref{raw: string(appendQuoted(nil, s))}
}

// IsNull reports whether r is null.
func (r Ref) IsNull() bool { return r.raw == "" }

// String returns the text of a string, the digits of a number, and "" for null.
func (r Ref) String() string {
	if r.raw == "" || r.raw[0] != '"' {
		return r.raw
	}
	s, err := unquote([]byte(r.raw))
	if err != nil {
		return ""
	}
	return s
}

// MarshalJSON writes the reference as the JSON value it came from.
func (r Ref) MarshalJSON() ([]byte, error) {
	return r.append(nil), nil
}

// UnmarshalJSON reads null, a string or a number.
func (r *Ref) UnmarshalJSON(b []byte) error {
	if !json.Valid(b) {
		return fmt.Errorf("%w: ref is not JSON", ErrMalformed)
	}
	ref, err := parseRef(b)
	if err != nil {
		return err
	}
	*r = ref
	return nil
}

func (r Ref) append(dst []byte) []byte {
	if r.raw == "" {
		return append(dst, "null"...)
	}
	return append(dst, r.raw...)
}

// parseRef takes one valid JSON token. Strings get one spelling, so that equal refs compare equal.
func parseRef(token []byte) (Ref, error) {
	switch c := token[0]; {
	case c == 'n':
		return Ref{}, nil
	case c == '"':
		s, err := unquote(token)
		if err != nil {
			return Ref{}, err
		}
		return StringRef(s), nil
	case c == '-' || c >= '0' && c <= '9':
		return Ref{raw: string(token)}, nil
	default:
		return Ref{}, fmt.Errorf("%w: ref is not a string, a number or null", ErrMalformed)
	}
}
