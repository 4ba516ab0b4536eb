package phoenix_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

func seeds(f *testing.F, add func(binary bool, frame []byte)) {
	for _, s := range []string{
		`["6","6","realtime:c","phx_join",{"config":{"private":false}}]`, `[null,null,"t","postgres_changes",{"ids":[1],"data":{}}]`,
		`{"ref":7,"event":"phx_reply","topic":"phoenix","payload":{"status":"ok","response":{}}}`,
		`{"topic":"t","event":"e","payload":"str","ref":"11","join_ref":"11"}`, `{}`, `[]`, `null`, `["\ud800","\u0000","","",-1.5e-3,1]`,
	} {
		add(false, []byte(s))
	}
	for _, s := range []string{
		"\x00\x01\x02\x03", "\x03\x01\x01\x0f\x06\x00\x0168realtime:conv-1cursor{\"x\":1}", "\x04\x01\x01\x02\x01te{}[1]",
		"\x00\x01\x01\x01jte\xff", "\x01\x01\x01\x01\x02jrtok", "\x02\x01\x01te",
	} {
		add(true, []byte(s))
	}
}

func FuzzDecodeServer(f *testing.F) {
	seeds(f, func(binary bool, frame []byte) { f.Add(binary, frame) })
	f.Fuzz(func(t *testing.T, binary bool, frame []byte) {
		m, err := phoenix.DecodeServer(binary, frame)
		if err != nil {
			assert.ErrorIs(t, err, phoenix.ErrMalformed)
			return
		}
		out, outBinary, err := phoenix.EncodeServer(phoenix.V2, nil, m)
		require.NoError(t, err)
		require.Equal(t, binary, outBinary)
		again, err := phoenix.DecodeServer(binary, out)
		require.NoError(t, err)
		assert.Equal(t, m, again)
		if !binary {
			assert.True(t, json.Valid(frame))
			assert.True(t, json.Valid(m.Payload))
		}
	})
}

func FuzzDecodeClient(f *testing.F) {
	seeds(f, func(binary bool, frame []byte) { f.Add(true, binary, frame); f.Add(false, binary, frame) })
	f.Fuzz(func(t *testing.T, v2, binary bool, frame []byte) {
		v := phoenix.V1
		if v2 {
			v = phoenix.V2
		}
		m, err := phoenix.DecodeClient(v, binary, frame)
		if err != nil {
			assert.ErrorIs(t, err, phoenix.ErrMalformed)
			return
		}
		out, outBinary, err := phoenix.EncodeClient(v, nil, m)
		require.NoError(t, err)
		require.Equal(t, binary, outBinary)
		again, err := phoenix.DecodeClient(v, binary, out)
		require.NoError(t, err)
		assert.Equal(t, m, again)
	})
}

// FuzzScanner compares the scanner with encoding/json, which accepts invalid UTF-8 and is otherwise as strict.
func FuzzScanner(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e+3,-0,true,false,null,"\u00e9\n"]}`, `[1,]`, `{"a"}`, `01`, `-`, `1.`, `"\u12"`, ` [ ] `, "tru", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		assert.Equal(t, utf8.Valid(b) && json.Valid(b), phoenix.ValidJSON(b))
	})
}

func FuzzQuote(f *testing.F) {
	f.Add("a\"\\\x00\x1f\x7f\u2028<&>")
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		require.NoError(t, json.Unmarshal([]byte(phoenix.Quote(s)), &got))
		assert.Equal(t, string(bytes.ToValidUTF8([]byte(s), []byte("\uFFFD"))), got)
	})
}

func BenchmarkDecodeServerChange(b *testing.B) {
	frame := []byte(`[null,null,"realtime:chat","postgres_changes",{"data":{"table":"chat_messages_v2","type":"INSERT","record":{"id": "820bd210-b922-4f80-88ae-4f7e9c5e4c74", "seq": 1, "role": "user", "tags": null, "score": null, "content": "hello", "metadata": {"a": 1}, "created_at": "2026-11-22T18:25:26.022151+00:00", "conversation_id": "11111111-1111-4111-8111-111111111111"},"columns":[{"name": "id", "type": "uuid"}, {"name": "conversation_id", "type": "uuid"}],"errors":null,"schema":"public","commit_timestamp":"2026-11-22T18:25:26.023Z"},"ids":[128722523]}]`)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := phoenix.DecodeServer(false, frame); err != nil {
			b.Fatal(err)
		}
	}
}
