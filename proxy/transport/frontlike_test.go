package transport

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

// likeExpression states SQL's LIKE as a regular expression.
func likeExpression(pattern string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("(?s)^")
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
	return regexp.MustCompile(b.String() + "$")
}

func FuzzLike(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""}, {"%", ""}, {"%", "a"}, {"a", ""}, {"a%", "ab"}, {"%b", "aab"}, {"%a_c%", "xxabcabd"}, {"a%b%c", "abbcbc"}, {"_", "é"}, {"__", "é"},
		{`\%`, "%"}, {`\%`, "a"}, {`a\_b`, "a_b"}, {`a\_b`, "axb"}, {`%\\%`, `a\b`}, {"%%%", "x"}, {"%ab", "aab"}, {"a\nb", "a\nb"}, {"%\n%", "a\nb"},
		{"%é_", "aéé"}, {`\\`, `\`}, {"a_", "a"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 200 || !utf8.ValidString(pattern) || !utf8.ValidString(text) {
			return
		}
		if slashes := len(pattern) - len(strings.TrimRight(pattern, `\`)); slashes%2 == 1 {
			return // PostgreSQL refuses an escape of nothing
		}
		assert.Equal(t, likeExpression(pattern).MatchString(text), isLike(pattern, text), "%q %q", pattern, text)
	})
}

func TestInspectedValuesAreCut(t *testing.T) {
	deep := strings.Repeat("[", 9000) + `"x"` + strings.Repeat("]", 9000)
	for name, tt := range map[string]struct{ raw, want string }{
		"null":       {`null`, "nil"},
		"number":     {`1.50`, "1.50"},
		"list":       {`[1,"a",true,[]]`, `[1, "a", true, []]`},
		"object":     {`{"b":{},"a":null}`, `%{"a" => nil, "b" => %{}}`},
		"no JSON":    {`{`, "nil"},
		"deep":       {deep, strings.Repeat("[", maxInspected) + "..."},
		"long":       {`"` + strings.Repeat("x", 9000) + `"`, `"` + strings.Repeat("x", maxInspected-1) + "..."},
		"cut within": {`"x` + strings.Repeat("é", 9000) + `"`, `"x` + strings.Repeat("é", maxInspected/2-1) + "..."},
		"many":       {"[" + strings.Repeat(`1,`, 9000) + "1]", "[" + strings.Repeat("1, ", 341) + "..."},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, inspectJSON([]byte(tt.raw))) })
	}
}
