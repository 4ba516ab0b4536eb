package config

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a string that prints as [redacted] wherever it is formatted, logged or marshalled. An empty Secret prints
// as nothing, so that output still tells whether one is set.
type Secret string

const redacted = "[redacted]"

// Reveal returns the secret itself. Its result must not reach a log, an error or a URL that is printed.
func (s Secret) Reveal() string { return string(s) }

// String returns the redacted form.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString returns the redacted form in quotes, for %#v.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// Format writes the redacted form for every verb; without it a wrong one such as %d would print the value.
func (s Secret) Format(f fmt.State, verb rune) {
	text := s.String()
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		text = s.GoString()
	}
	_, _ = io.WriteString(f, text) // fmt.State reports no write errors
}

// MarshalText returns the redacted form. It is not asked for a map's key, which encoding/json writes as it is.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns the redacted form.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(s.GoString()), nil }

// MarshalYAML returns the redacted form.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue returns the redacted form for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
