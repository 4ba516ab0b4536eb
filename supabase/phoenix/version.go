package phoenix

import (
	"errors"
	"fmt"
	"strings"
)

// Version is a serializer version, the vsn parameter of the socket's URL.
type Version string

// The two versions that Supabase Realtime serves.
const (
	V1 Version = "1.0.0" // JSON objects, text frames only
	V2 Version = "2.0.0" // JSON arrays and binary frames
)

// ErrVersion is returned for a version that is neither 1.0.x nor 2.0.x. The server refuses such a handshake with 403.
var ErrVersion = errors.New("unsupported vsn")

// maxVersionBytes bounds what an error repeats of a version that came from a URL.
const maxVersionBytes = 32

// ParseVersion reads the vsn parameter. Like the server it accepts any patch release of 1.0 and 2.0 and takes an absent
// parameter ("") for 1.0.0. Any other value gives an error that wraps ErrVersion.
func ParseVersion(s string) (Version, error) {
	if s == "" {
		return V1, nil
	}
	for _, v := range []Version{V1, V2} {
		if patch, ok := strings.CutPrefix(s, strings.TrimSuffix(string(v), "0")); ok && isNumber(patch) {
			return v, nil
		}
	}
	return "", fmt.Errorf("%w %q", ErrVersion, s[:min(len(s), maxVersionBytes)])
}

// isNumber reports whether s is a decimal number without leading zeros.
func isNumber(s string) bool {
	if s == "" || len(s) > 1 && s[0] == '0' {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}
