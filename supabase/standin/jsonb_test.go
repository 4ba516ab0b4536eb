package standin_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

func TestJSONBForm(t *testing.T) {
	for text, want := range map[string]string{
		`{"bb":1,"a":2,"c":{"z":[],"y":{}}}`:     `{"a": 2, "c": {"y": {}, "z": []}, "bb": 1}`,
		`[1.50,1e2,1.50e1,5e-3,-2E0]`:            `[1.50, 100, 15.0, 0.005, -2]`,
		`12345678901234567890.123456789`:         `12345678901234567890.123456789`,
		`"\u2028\u003c\u0026\u0001\b\f\n\r\t\\"`: "\"\u2028<&\\u0001\\b\\f\\n\\r\\t\\\\\"",
		`{"a":1,"a":2}`:                          `{"a": 2}`,
		`null`:                                   `null`,
	} {
		got, err := standin.JSONB(json.RawMessage(text))
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
	for _, text := range []string{``, `{`, `1 2`, `"\u0000"`} {
		_, err := standin.JSONB(json.RawMessage(text))
		assert.Error(t, err, text)
	}
}

func FuzzJSONB(f *testing.F) {
	for _, text := range []string{`{"b":1,"a":[1e3,null,true,"x"]}`, `1e-400`, `"\ud800"`, `{"":{"":0}}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once, err := standin.JSONB(json.RawMessage(text))
		if err != nil {
			return
		}
		if !json.Valid(once) {
			t.Fatalf("%q became %q", text, once)
		}
		twice, err := standin.JSONB(once)
		if err != nil || string(twice) != string(once) {
			t.Fatalf("%q became %q, then %q, %v", text, once, twice, err)
		}
	})
}

func FuzzBinding(f *testing.F) {
	for _, filter := range []string{"a=eq.1", "a=in.(1,2),b=not.is.null", "garbage", `a=eq."x,y\""`, "a=in.()"} {
		f.Add(filter)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		err := standin.BindingProblem(map[string]any{"schema": "public", "table": "t", "filter": filter})
		if err != nil && !strings.HasPrefix(err.Error(), "Error parsing `filter` params: ") {
			t.Fatal(err)
		}
	})
}
