package realtime_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

const update = `{"data":{"table":"messages","type":"UPDATE","record":{"id": 7, "n": 12345678901234567890.10, "t": "a\"},{\u2028<&>"},` +
	`"columns":[{"name": "id", "type": "int8"}],"errors":["Error 413: Payload Too Large"],"schema":"public",` +
	`"commit_timestamp":"2026-11-22T18:00:00.123Z","old_record":{"id": 7}},"ids":[33271642, 5]}`

func TestChangeKeepsRawValues(t *testing.T) {
	c, err := realtime.ParseChange(topicA, json.RawMessage(update))
	require.NoError(t, err)
	assert.Equal(t, realtime.Change{
		Topic: topicA, Type: "UPDATE", Schema: "public", Table: "messages", CommitTimestamp: "2026-11-22T18:00:00.123Z",
		IDs:     []int64{33271642, 5},
		Columns: json.RawMessage(`[{"name": "id", "type": "int8"}]`), Record: json.RawMessage(`{"id": 7, "n": 12345678901234567890.10, "t": "a\"},{\u2028<&>"}`),
		OldRecord: json.RawMessage(`{"id": 7}`), Errors: []string{"Error 413: Payload Too Large"},
	}, c)
}

func TestChangeWithErrorsHasNoTimestamp(t *testing.T) {
	c, err := realtime.ParseChange(topicA, json.RawMessage(
		` { "ids" : [ 1 ] , "data" : { "table" : "t", "type" : "INSERT", "record" : {}, "columns":[], "errors":["Error 401: Unauthorized"],`+
			`"schema":"public","commit_timestamp":null,"old_record":null } } `))
	require.NoError(t, err)
	assert.Equal(t, realtime.Change{
		Topic: topicA, Type: "INSERT", Schema: "public", Table: "t", IDs: []int64{1}, Columns: json.RawMessage("[]"), Record: json.RawMessage("{}"),
		Errors: []string{"Error 401: Unauthorized"},
	}, c)
}

func TestChangeWithoutDataIsAnError(t *testing.T) {
	for _, payload := range []string{`{}`, `[]`, `"x"`, `{"ids":[1]}`, `{"data":null}`, `{"data":{"type":"INSERT"}}`, `{"data":{"table":"t"}}`} {
		_, err := realtime.ParseChange(topicA, json.RawMessage(payload))
		assert.Error(t, err, payload)
	}
}

// FuzzParseChange compares with encoding/json, but for keys with escapes and doubled data: the server writes neither.
func FuzzParseChange(f *testing.F) {
	f.Add([]byte(update))
	f.Add([]byte(`{"ids":[1],"data":{"table":"t","type":"INSERT","record":{"a":[{},[],"]",1e5,true]},"errors":null}}`))
	f.Add([]byte(`{"data":{"table":"t","type":`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := realtime.ParseChange(topicA, payload) // must end and not panic on anything
		if !json.Valid(payload) || err != nil || bytes.Contains(payload, []byte(`\`)) || bytes.Count(payload, []byte(`"data"`)) != 1 {
			return
		}
		var top, want map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(payload, &top))
		require.NoError(t, json.Unmarshal(top["data"], &want))
		for key, got := range map[string]json.RawMessage{"record": c.Record, "old_record": c.OldRecord, "columns": c.Columns} {
			if string(want[key]) == "null" {
				want[key] = nil
			}
			assert.Equal(t, string(want[key]), string(got), key)
		}
	})
}

func BenchmarkParseChange(b *testing.B) {
	payload := json.RawMessage(update)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := realtime.ParseChange(topicA, payload); err != nil {
			b.Fatal(err)
		}
	}
}
