package phoenix

// ValidJSON exposes the validating scanner to be compared with encoding/json.
func ValidJSON(b []byte) bool { return validJSON(b) }

// Quote exposes the string writer.
func Quote(s string) string { return string(appendQuoted(nil, s)) }
