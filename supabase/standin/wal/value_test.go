package wal

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func FuzzConvertedValuesNeverPanic(f *testing.F) {
	for _, seed := range []string{`null`, `true`, `"text"`, `{"a": 1}`, `[1]`, `12.50`, `"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := (&valueType{name: "x"}).decode(text)
		assert.False(t, v != nil && err != nil)
	})
}

func TestLengthInTheWALCountsEscapes(t *testing.T) {
	for _, test := range []struct {
		typname string
		value   textValue
		want    int
	}{
		{"text", textValue{text: "ab"}, 4},
		{"text", textValue{text: "a\"b\\\n\x01"}, 16},
		{"int8", textValue{text: "12345"}, 5},
		{"jsonb", textValue{text: `{"a": 1}`}, 12},
		{"text", textValue{null: true}, 4},
	} {
		assert.Equal(t, test.want, test.value.jsonLength(&valueType{name: test.typname}), "%+v", test.value)
	}
}
