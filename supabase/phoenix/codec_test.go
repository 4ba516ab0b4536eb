package phoenix_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

func TestParseVersionAcceptsPatchReleases(t *testing.T) {
	for in, want := range map[string]phoenix.Version{
		"": phoenix.V1, "1.0.0": phoenix.V1, "1.0.17": phoenix.V1, "2.0.0": phoenix.V2, "2.0.3": phoenix.V2,
	} {
		got, err := phoenix.ParseVersion(in)
		require.NoError(t, err, in)
		assert.Equal(t, want, got, in)
	}
	for _, in := range []string{"3.0.0", "1", "1.0", "1.0.", "1.0.x", "1.0.01", "1.1.0", "2.0.0-rc", " 2.0.0", "~> 2.0.0"} {
		_, err := phoenix.ParseVersion(in)
		assert.ErrorIs(t, err, phoenix.ErrVersion, in)
	}
}

func TestRefKeepsItsJSONType(t *testing.T) {
	type refs struct{ R phoenix.Ref }
	for in, text := range map[string]string{`null`: "", `"7"`: "7", `7`: "7", `""`: "", `"a\"b"`: `a"b`, `-1.50`: "-1.50"} {
		var r refs
		require.NoError(t, json.Unmarshal([]byte(`{"R":`+in+`}`), &r), in)
		assert.Equal(t, text, r.R.String(), in)
		out, err := json.Marshal(r)
		require.NoError(t, err)
		assert.Equal(t, `{"R":`+in+`}`, string(out))
	}
	for _, in := range []string{`true`, `{}`, `[]`} {
		var r refs
		assert.Error(t, json.Unmarshal([]byte(`{"R":`+in+`}`), &r), in)
	}
}

func TestRefsCompareByValue(t *testing.T) {
	m, err := phoenix.DecodeServer(false, []byte(`["\u0037",7,"t","e",{}]`))
	require.NoError(t, err)
	assert.True(t, m.JoinRef == phoenix.StringRef("7"))
	assert.False(t, m.Ref == phoenix.StringRef("7"))
	assert.True(t, phoenix.Ref{}.IsNull())
	assert.False(t, phoenix.StringRef("").IsNull())
}

func TestDecodeServerAcceptsBothTextShapes(t *testing.T) {
	want := phoenix.Message{Topic: "realtime:a", Event: "system", Payload: json.RawMessage(`{"x": 1}`)}
	for name, frame := range map[string]string{
		"array":             `[null,null,"realtime:a","system",{"x": 1}]`,
		"object":            `{"ref":null,"event":"system","topic":"realtime:a","payload":{"x": 1}}`,
		"other order":       ` { "payload" : {"x": 1} , "topic":"realtime:a","event":"system" } `,
		"escaped key":       `{"\u0074opic":"realtime:a","event":"system","payload":{"x": 1}}`,
		"join_ref is ours":  `{"join_ref":"1","event":"system","topic":"realtime:a","payload":{"x": 1}}`,
		"last value counts": `{"event":"no","event":"system","topic":"realtime:a","payload":{"x": 1}}`,
	} {
		got, err := phoenix.DecodeServer(false, []byte(frame))
		require.NoError(t, err, name)
		assert.Equal(t, want, got, name)
	}
}

func TestMalformedFramesAreRefused(t *testing.T) {
	texts := map[string]string{
		"empty": "", "scalar": "1", "unclosed array": `["1","1","t","e",{}`, "unclosed object": `{"topic":"t"`,
		"four elements": `[null,null,"t","e"]`, "trailing text": `[null,null,"t","e",{}]x`, "no commas": `[null null "t" "e" {}]`,
		"topic is a number": `[null,null,1,"e",{}]`, "event is null": `[null,null,"t",null,{}]`, "ref is an object": `[{},null,"t","e",{}]`,
		"ref is true": `[null,true,"t","e",{}]`, "bad payload": `[null,null,"t","e",{"a":}]`, "not UTF-8": "[null,null,\"\xff\",\"e\",{}]",
		"bare control byte": "[null,null,\"a\nb\",\"e\",{}]", "bad escape": `[null,null,"\x","e",{}]`, "number with a leading zero": `[null,01,"t","e",{}]`,
		"trailing comma": `[null,null,"t","e",{},]`, "too deep": `[null,null,"t","e",` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `]`,
	}
	for name, frame := range texts {
		_, err := phoenix.DecodeServer(false, []byte(frame))
		assert.ErrorIs(t, err, phoenix.ErrMalformed, name)
		_, err = phoenix.DecodeClient(phoenix.V2, false, []byte(frame))
		assert.ErrorIs(t, err, phoenix.ErrMalformed, name)
	}
	binaries := map[string][]byte{
		"empty": {}, "unknown kind": {9, 0, 0}, "header only": {3, 1}, "field runs over": {4, 200, 0, 0, 0, 'a'},
		"metadata is not JSON": append([]byte{4, 1, 1, 1, 1}, `tex{}`...), "payload is not JSON": append([]byte{4, 1, 1, 0, 1}, `te{`...),
		"topic is not UTF-8": {4, 1, 0, 0, 0, 0xff},
	}
	for name, frame := range binaries {
		_, err := phoenix.DecodeServer(true, frame)
		assert.ErrorIs(t, err, phoenix.ErrMalformed, name)
		_, err = phoenix.DecodeClient(phoenix.V2, true, frame)
		assert.ErrorIs(t, err, phoenix.ErrMalformed, name)
	}
}

func TestDecodeClientIsAsStrictAsTheServer(t *testing.T) {
	object, array := []byte(`{"topic":"t","event":"e","payload":{},"ref":"1","join_ref":"2"}`), []byte(`["2","1","t","e",{}]`)
	for v, frames := range map[phoenix.Version][2][]byte{phoenix.V1: {object, array}, phoenix.V2: {array, object}} {
		m, err := phoenix.DecodeClient(v, false, frames[0])
		require.NoError(t, err)
		assert.Equal(t, phoenix.StringRef("2"), m.JoinRef)
		_, err = phoenix.DecodeClient(v, false, frames[1])
		assert.ErrorIs(t, err, phoenix.ErrMalformed)
	}
	_, err := phoenix.DecodeClient(phoenix.V1, false, []byte(`{"topic":"t","event":"e","payload":{}}`))
	assert.ErrorIs(t, err, phoenix.ErrMalformed, "a ref is required, null or not")
	_, err = phoenix.DecodeClient(phoenix.V1, true, []byte{3, 0, 0, 0, 0, 0, 0})
	assert.ErrorIs(t, err, phoenix.ErrMalformed, "no binary frames on 1.0.0")
	_, err = phoenix.DecodeClient(phoenix.V2, false, []byte(`[null,null,"t","e",{},"more"]`))
	assert.NoError(t, err, "the server ignores further elements")
	_, err = phoenix.DecodeServer(false, []byte(`[null,null,"t","e",{},"more"]`))
	assert.ErrorIs(t, err, phoenix.ErrMalformed)
}

func TestPayloadBytesAreKept(t *testing.T) {
	payload := `{"b": 1,  "a":12345678901234567890.1200,"u":"\u2028` + "\u2028" + `<&>"}`
	for _, v := range []phoenix.Version{phoenix.V1, phoenix.V2} {
		frame, _, err := phoenix.EncodeServer(v, nil, phoenix.Message{Topic: "t<&\"\x01\n", Event: "e", Payload: json.RawMessage(payload)})
		require.NoError(t, err)
		require.True(t, json.Valid(frame))
		assert.Contains(t, string(frame), payload)
		assert.Contains(t, string(frame), `"t<&\"\u0001\n"`)
		m, err := phoenix.DecodeServer(false, frame)
		require.NoError(t, err)
		assert.Equal(t, payload, string(m.Payload))
		assert.Equal(t, "t<&\"\x01\n", m.Topic)
	}
}

func TestEncodingAppendsToTheGivenBuffer(t *testing.T) {
	frame, binary, err := phoenix.EncodeClient(phoenix.V2, []byte("x"), phoenix.Message{Ref: phoenix.StringRef("1"), Topic: "phoenix", Event: phoenix.EventHeartbeat})
	require.NoError(t, err)
	assert.False(t, binary)
	assert.Equal(t, `x[null,"1","phoenix","heartbeat",{}]`, string(frame))
}

func TestBinaryKindsSurviveARoundTrip(t *testing.T) {
	client := []string{
		"\x00\x01\x01\x01\x01jrte\xff\x00", "\x00\x00\x00\x00\x00",
		"\x03\x01\x01\x0f\x06\x00\x0168realtime:conv-1cursor{\"x\":1}", "\x03\x00\x00\x01\x01\x02\x00te{}\xff",
	}
	server := []string{
		"\x00\x01\x01\x01jte\xff", "\x01\x01\x01\x01\x02jrtok\xff", "\x02\x01\x01te\xff", "\x04\x01\x01\x02\x01te{}[1]",
	}
	for _, frame := range client {
		m, err := phoenix.DecodeClient(phoenix.V2, true, []byte(frame))
		require.NoError(t, err)
		got, binary, err := phoenix.EncodeClient(phoenix.V2, nil, m)
		require.NoError(t, err)
		assert.True(t, binary)
		assert.Equal(t, frame, string(got))
	}
	for _, frame := range server {
		m, err := phoenix.DecodeServer(true, []byte(frame))
		require.NoError(t, err)
		got, binary, err := phoenix.EncodeServer(phoenix.V2, nil, m)
		require.NoError(t, err)
		assert.True(t, binary)
		assert.Equal(t, frame, string(got))
	}
}

func TestUserBroadcastPushIsDecodedWhole(t *testing.T) {
	m, err := phoenix.DecodeClient(phoenix.V2, true, []byte("\x03\x01\x01\x0f\x06\x02\x0168realtime:conv-1cursor{}{\"x\":1}"))
	require.NoError(t, err)
	assert.Equal(t, phoenix.Message{
		JoinRef: phoenix.StringRef("6"), Ref: phoenix.StringRef("8"), Topic: "realtime:conv-1", Event: "broadcast",
		Binary: &phoenix.Binary{
			Kind: phoenix.KindUserBroadcastPush, UserEvent: "cursor", Meta: json.RawMessage("{}"), JSON: true, Payload: []byte(`{"x":1}`),
		},
	}, m)
}

func TestEncodeRefusesWhatHasNoFrame(t *testing.T) {
	user := func(kind byte, topic string) phoenix.Message {
		return phoenix.Message{Topic: topic, Event: "broadcast", Binary: &phoenix.Binary{Kind: kind, UserEvent: "e"}}
	}
	_, _, err := phoenix.EncodeServer(phoenix.V1, nil, user(phoenix.KindUserBroadcast, "t"))
	assert.ErrorIs(t, err, phoenix.ErrUnsupported, "no binary frames on 1.0.0")
	_, _, err = phoenix.EncodeServer(phoenix.V2, nil, user(phoenix.KindUserBroadcastPush, "t"))
	assert.ErrorIs(t, err, phoenix.ErrUnsupported, "clients push")
	_, _, err = phoenix.EncodeClient(phoenix.V2, nil, user(phoenix.KindUserBroadcast, "t"))
	assert.ErrorIs(t, err, phoenix.ErrUnsupported, "servers fan out")
	_, _, err = phoenix.EncodeServer(phoenix.V2, nil, user(phoenix.KindUserBroadcast, strings.Repeat("t", 255)))
	assert.NoError(t, err)
	_, _, err = phoenix.EncodeServer(phoenix.V2, nil, user(phoenix.KindUserBroadcast, strings.Repeat("t", 256)))
	assert.ErrorIs(t, err, phoenix.ErrTooLong)
	_, _, err = phoenix.EncodeServer(phoenix.V2, nil, phoenix.Message{Topic: "\xff", Event: "e"})
	assert.ErrorIs(t, err, phoenix.ErrUnsupported)
}

func TestConstructedMessagesLookLikeTheServers(t *testing.T) {
	one, topic := phoenix.StringRef("1"), "realtime:chat"
	for want, m := range map[string]phoenix.Message{
		`["1","1","realtime:chat","phx_reply",{"status":"ok","response":{}}]`: phoenix.Reply(one, one, topic, phoenix.StatusOK, nil),
		`["1",null,"realtime:chat","system",{"message":"Subscribed to PostgreSQL","status":"ok","extension":"postgres_changes","channel":"chat"}]`: phoenix.System(one, topic, phoenix.SystemPayload{
			Extension: phoenix.ExtensionPostgresChanges, Status: phoenix.StatusOK, Message: "Subscribed to PostgreSQL", Channel: "chat",
		}),
		`["1","1","realtime:chat","phx_close",{}]`: phoenix.Close(one, topic),
		`["1","1","realtime:chat","phx_error",{}]`: phoenix.ChannelError(one, topic),
	} {
		frame, _, err := phoenix.EncodeServer(phoenix.V2, nil, m)
		require.NoError(t, err)
		assert.Equal(t, want, string(frame))
	}
	frame, _, err := phoenix.EncodeServer(phoenix.V1, nil, phoenix.Close(one, topic))
	require.NoError(t, err)
	assert.Equal(t, `{"ref":"1","event":"phx_close","topic":"realtime:chat","payload":{}}`, string(frame))
}

func TestReplyPayloadReadsWhatReplyWrites(t *testing.T) {
	var p phoenix.ReplyPayload
	m := phoenix.Reply(phoenix.Ref{}, phoenix.StringRef("1"), "t", phoenix.StatusError, json.RawMessage(`{"reason":"unmatched topic"}`))
	require.NoError(t, json.Unmarshal(m.Payload, &p))
	assert.Equal(t, phoenix.StatusError, p.Status)
	assert.JSONEq(t, `{"reason":"unmatched topic"}`, string(p.Response))
}
