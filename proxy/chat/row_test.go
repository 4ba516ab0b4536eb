package chat_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// record is a change record as Realtime writes it: a space behind colons and commas.
const record = `{"id": "e1516a30-b0c6-4818-bb97-b8531e037b02", "role": "assistant", "audit": null, "tools": null, "content": {"text": "hello", "type": "text", "metadata": {"session_id": "s-1", "is_initial_greeting": true}}, "metadata": {"secret": "prompt"}, "created_at": "2026-11-22T19:02:03.2817+00:00", "session_id": "e1516a30-0000-4818-bb97-b8531e037b02", "updated_at": "2026-11-22T20:02:04+01:00", "sender_user_id": null, "conversation_id": "11111111-1111-4111-8111-111111111111", "sender_agent_id": "22222222-2222-4222-8222-222222222222"}`

func TestDecodeRowReadsARealtimeRecord(t *testing.T) {
	row, err := chat.DecodeRow([]byte(record), nil)
	require.NoError(t, err)
	assert.Equal(t, &chat.Row{
		ID:             "e1516a30-b0c6-4818-bb97-b8531e037b02",
		ConversationID: "11111111-1111-4111-8111-111111111111",
		SessionID:      "e1516a30-0000-4818-bb97-b8531e037b02",
		Role:           "assistant",
		SenderAgentID:  "22222222-2222-4222-8222-222222222222",
		CreatedAt:      time.Date(2026, 11, 22, 19, 2, 3, 281_700_000, time.UTC),
		UpdatedAt:      time.Date(2026, 11, 22, 19, 2, 4, 0, time.UTC),
		Content:        chat.Content{Type: "text", Text: "hello", SessionTag: "s-1", Greeting: true},
	}, row)
}

func TestDecodeRowCallsARowPartialWhenTheRuleLacksAColumn(t *testing.T) {
	without := func(key string) string {
		var fields map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(record), &fields))
		delete(fields, key)
		return jsonOf(t, fields)
	}
	with := func(old, now string) string {
		require.Contains(t, record, old)
		return strings.Replace(record, old, now, 1)
	}
	tests := []struct {
		name, record string
		partial      bool
	}{
		{"whole", record, false},
		{"content left out as an unchanged large value", without("content"), true},
		{"no conversation", without("conversation_id"), true},
		{"no session", without("session_id"), true},
		{"no role", without("role"), true},
		{"no sender", without("sender_user_id"), true},
		{"no agent", without("sender_agent_id"), true},
		{"no created_at", without("created_at"), true},
		{"no updated_at, which older tables lack", without("updated_at"), false},
		{"a change over 1 MiB", `{"id": "55c6b6a1-58c8-40e6-acdd-859d7370e3fc", "role": "user", "created_at": "2026-11-22T18:26:43.20879+00:00", "conversation_id": "11111111-1111-4111-8111-111111111111"}`, true},
		{"created_at null", with(`"2026-11-22T19:02:03.2817+00:00"`, `null`), true},
		{"created_at infinite", with(`"2026-11-22T19:02:03.2817+00:00"`, `"infinity"`), true},
		{"created_at in a year that JSON has not", with(`"2026-11-22T19:02:03.2817+00:00"`, `"9999-12-31T23:59:59-05:00"`), true},
		{"a sender that is no string", with(`"sender_user_id": null`, `"sender_user_id": 7`), true},
		{"content null", with(`"content": {`, `"content": null, "c": {`), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			row, err := chat.DecodeRow([]byte(tt.record), nil)
			require.NoError(t, err)
			assert.Equal(t, tt.partial, row.Partial)
			assert.True(t, row.CreatedAt.IsZero() || !tt.partial || row.CreatedAt.Year() == 2026)
		})
	}
}

func TestDecodeRowRefusesWhatHasNoID(t *testing.T) {
	for _, text := range []string{``, `null`, `[]`, `7`, `"x"`, `{}`, `{"id":null}`, `{"id":7}`, `{"id":""}`, `{"id":"x"`} {
		row, err := chat.DecodeRow([]byte(text), nil)
		assert.Nil(t, row, text)
		assert.ErrorIs(t, err, chat.ErrRow, text)
	}
}

func TestDecodeRowFollowsRenamedColumns(t *testing.T) {
	columns := chat.Columns{"id": "message_id", "conversation_id": "thread", "content": "body", "role": ""}
	text := `{"message_id":"m","id":"other","thread":"t","conversation_id":"other","session_id":null,"role":"user",` +
		`"body":"hi","content":"other","sender_user_id":null,"sender_agent_id":null,"created_at":"2026-03-02T10:00:00Z"}`
	row, err := chat.DecodeRow([]byte(text), columns)
	require.NoError(t, err)
	assert.False(t, row.Partial)
	assert.Equal(t, []string{"m", "t", "user", "hi"}, []string{row.ID, row.ConversationID, row.Role, row.Content.Text})
	assert.Equal(t, "thread", columns.Name("conversation_id"))
	assert.Equal(t, "role", columns.Name("role"))
	assert.Equal(t, "id", chat.Columns(nil).Name("id"))
}

func TestDecodeRowReadsEveryShapeOfContent(t *testing.T) {
	tests := []struct {
		name, content string
		want          chat.Content
	}{
		{"string", `"plain"`, chat.Content{Type: "text", Text: "plain"}},
		{"null", `null`, chat.Content{}},
		{"number", `7`, chat.Content{}},
		{"array", `["a"]`, chat.Content{}},
		{"text that is no string", `{"type":"text","text":{"a":1}}`, chat.Content{Type: "text"}},
		{"type that is no string", `{"type":1,"text":"a"}`, chat.Content{Text: "a"}},
		{"unknown type with text", `{"type":"card","text":"a"}`, chat.Content{Type: "card", Text: "a"}},
		{"unknown type with parts only", `{"type":"card","parts":[{"type":"text","content":"a"}]}`, chat.Content{Type: "card"}},
		{"escaped keys", `{"t\u0065xt":"a","m\u0065tadata":{"temp_session_i\u0064":"s"}}`, chat.Content{Text: "a", SessionTag: "s"}},
		{"a key written twice", `{"text":"a","text":"b","metadata":{"temp_session_id":"s","temp_session_id":"t"}}`, chat.Content{Text: "b", SessionTag: "t"}},
		{"bytes that are no text", "\"a\xffb\"", chat.Content{Type: "text", Text: "a\ufffdb"}},
		{"keys in another case", `{"Type":"text","TEXT":"a"}`, chat.Content{}},
		{"structured", `{"type":"structured","parts":[{"type":"text","content":"a"},{"type":"text","text":"b"}]}`,
			chat.Content{Type: "structured", Text: "a\nb"}},
		{"multimodal with odd parts", `{"type":"multimodal","parts":["x",7,null,{"type":1},{"type":"text"},{"type":"text","content":{"a":1},"text":"a"},` +
			`{"type":"data","content":1e999},{"type":"image","content":"https://files.example/x.png"},{"type":"text","content":"b"}]}`,
			chat.Content{Type: "multimodal", Text: "a\nb"}},
		{"multimodal with text", `{"type":"multimodal","text":"t","parts":[{"type":"text","content":"a"}]}`,
			chat.Content{Type: "multimodal", Text: "t"}},
		{"parts that are no array", `{"type":"multimodal","parts":{"type":"text"}}`, chat.Content{Type: "multimodal"}},
		{"metadata that is no object", `{"type":"text","text":"a","metadata":["temp_session_id"]}`, chat.Content{Type: "text", Text: "a"}},
		{"marks", `{"type":"text","text":"a","metadata":{"temp_session_id":"s","session_id":"t","original_role":"user","client_message_id":"c"}}`,
			chat.Content{Type: "text", Text: "a", SessionTag: "s", Visitor: true, ClientMessageID: "c"}},
		{"an empty mark gives way to the old one", `{"type":"text","text":"a","metadata":{"temp_session_id":"","session_id":"t"}}`,
			chat.Content{Type: "text", Text: "a", SessionTag: "t"}},
		{"flags of wrong types", `{"type":"text","text":"a","metadata":{"is_anonymous_user":1,"original_role":["user"],"is_initial_greeting":"true","client_message_id":7}}`,
			chat.Content{Type: "text", Text: "a"}},
		{"escapes and separators", `"a\u2028\u0000\n<b>\"\ud83c\udf89"`, chat.Content{Type: "text", Text: "a\u2028\x00\n<b>\"🎉"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			row, err := chat.DecodeRow([]byte(`{"id":"m","content":`+tt.content+`}`), nil)
			require.NoError(t, err)
			assert.Equal(t, tt.want, row.Content)
		})
	}
}

func TestScanFieldFindsTopLevelValuesOnly(t *testing.T) {
	object := []byte(` { "a" : {"conversation_id": "inner", "x": "}\\\"{"}, "b":[1,{"c":"]"}], "s":"q\"]}" , "n": -1.5e3,"t":true,"conversation_id": "outer" } `)
	tests := []struct{ key, want string }{
		{"a", `{"conversation_id": "inner", "x": "}\\\"{"}`}, {"b", `[1,{"c":"]"}]`}, {"s", `"q\"]}"`}, {"n", `-1.5e3`},
		{"t", `true`}, {"conversation_id", `"outer"`},
	}
	for _, tt := range tests {
		got, ok := chat.ScanField(object, tt.key)
		assert.True(t, ok, tt.key)
		assert.Equal(t, tt.want, string(got), tt.key)
	}
	_, ok := chat.ScanField(object, "c")
	assert.False(t, ok, "a nested key was found")
	id, ok := chat.ScanString(object, "conversation_id")
	assert.True(t, ok)
	assert.Equal(t, "outer", id)
	for _, key := range []string{"s", "n", "a", "missing"} {
		_, ok := chat.ScanString(object, key)
		assert.False(t, ok, key)
	}
}

func FuzzDecodeRow(f *testing.F) {
	f.Add([]byte(record))
	for _, text := range exampleRows {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		row, err := chat.DecodeRow(data, nil)
		if err != nil {
			assert.ErrorIs(t, err, chat.ErrRow)
			assert.Nil(t, row)
			return
		}
		assert.NotEmpty(t, row.ID)
		assert.True(t, json.Valid(data))
		_, err = json.Marshal([]time.Time{row.CreatedAt, row.UpdatedAt})
		assert.NoError(t, err, "a time that cannot be sent")
	})
}

func FuzzScanField(f *testing.F) {
	f.Add([]byte(record), "conversation_id")
	f.Add([]byte(`{"a":"\\\"","b":[{}]}`), "b")
	f.Add([]byte(`{"a":1,`), "b")
	f.Fuzz(func(t *testing.T, data []byte, key string) {
		got, ok := chat.ScanField(data, key)
		if ok {
			assert.True(t, bytes.Contains(data, got))
		}
		if s, ok := chat.ScanString(data, key); ok {
			assert.Equal(t, `"`+s+`"`, string(got))
		}
		want, comparable := firstField(data, key)
		if !comparable {
			return
		}
		require.Equal(t, want != nil, ok)
		if ok {
			assert.Equal(t, string(want), string(got))
		}
	})
}

// firstField is ScanField with encoding/json. Objects with an escaped or invalid key, or a key to look for that cannot be written
// without escapes, are not comparable.
func firstField(data []byte, key string) (value json.RawMessage, comparable bool) {
	if !json.Valid(data) || len(bytes.TrimSpace(data)) == 0 || bytes.TrimSpace(data)[0] != '{' {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		return nil, false
	}
	for d.More() {
		before := d.InputOffset()
		k, err := d.Token()
		if err != nil {
			return nil, false
		}
		name, _ := k.(string)
		if !bytes.HasSuffix(bytes.TrimSpace(data[before:d.InputOffset()]), []byte(`"`+name+`"`)) {
			return nil, false
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, false
		}
		if name == key && value == nil {
			value = v
		}
	}
	return value, true
}
