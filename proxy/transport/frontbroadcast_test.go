package transport_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/transport"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

const broadcastPath = "/realtime/v1/api/broadcast"

func (c *client) joinBroadcast(topic, config string) string {
	c.t.Helper()
	ref := c.joinWith(topic, `{"config":{"broadcast":`+config+`}}`)
	c.expect(topic, phoenix.EventReply)
	return ref
}

// pushBytes sends a broadcast as clients of vsn 2.0.0 do.
func (c *client) pushBytes(joinRef, topic, event string, json bool, payload string) {
	c.t.Helper()
	c.refs++
	frame, _, err := phoenix.EncodeClient(phoenix.V2, nil, phoenix.Message{
		JoinRef: phoenix.StringRef(joinRef), Ref: phoenix.StringRef(fmt.Sprint(c.refs)), Topic: topic,
		Binary: &phoenix.Binary{Kind: phoenix.KindUserBroadcastPush, UserEvent: event, JSON: json, Payload: []byte(payload)},
	})
	require.NoError(c.t, err)
	require.NoError(c.t, c.conn.WriteMessage(websocket.BinaryMessage, frame))
}

func TestBroadcastsReachTheSessionOnly(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	sender, second, old := g.realtime(base, phoenix.V2), g.realtime(base, phoenix.V2), g.realtime(base, phoenix.V1)
	stranger := g.realtimeWith(base, phoenix.V2, otherToken)
	ref := sender.joinBroadcast(frontTopic, `{}`)
	for _, c := range []*client{second, old, stranger} {
		c.joinBroadcast(frontTopic, `{}`)
	}
	second.joinBroadcast("realtime:other", `{}`)
	private := g.realtime(base, phoenix.V2)
	private.joinWith(frontTopic, `{"config":{"private":true}}`)
	private.expect(frontTopic, phoenix.EventReply)

	sender.pushBytes(ref, frontTopic, "typing", true, `{"on":true}`)
	m := second.receive()
	require.NotNil(t, m.Binary)
	assert.Equal(t, phoenix.KindUserBroadcast, m.Binary.Kind)
	assert.Equal(t, "typing", m.Binary.UserEvent)
	assert.Equal(t, `{"on":true}`, string(m.Binary.Payload))
	assert.Equal(t, `{"event":"typing","payload":{"on":true},"type":"broadcast"}`, old.expect(frontTopic, phoenix.EventBroadcast))

	sender.pushBytes(ref, frontTopic, "bytes", false, "\x00\x01")
	assert.Equal(t, "\x00\x01", string(second.receive().Binary.Payload))

	const text = `{"type":"broadcast","event":"x","payload":{"a":1}}`
	sender.push(ref, frontTopic, phoenix.EventBroadcast, text)
	assert.Equal(t, text, second.expect(frontTopic, phoenix.EventBroadcast))
	assert.Equal(t, text, old.expect(frontTopic, phoenix.EventBroadcast))
	for _, c := range []*client{sender, second, old, stranger, private} {
		c.quiet()
	}
}

func TestBroadcastsAreAcknowledgedAndEchoedWhereAsked(t *testing.T) {
	g := newRig(t, nil)
	c := g.realtime(g.serve(), phoenix.V2)
	ref := c.joinBroadcast(frontTopic, `{"ack":true,"self":"true"}`)
	c.pushBytes(ref, frontTopic, "x", true, `{}`)
	assert.Equal(t, "x", c.receive().Binary.UserEvent)
	m := c.receive()
	assert.Equal(t, phoenix.EventReply, m.Event)
	assert.Equal(t, fmt.Sprint(c.refs), m.Ref.String())
	c.push("other", frontTopic, phoenix.EventBroadcast, `{}`) // of a join that is no more
	c.push(ref, frontTopic, phoenix.EventBroadcast, `"text"`)
	c.quiet()
}

func TestTooManyBroadcastsEndTheChannel(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.BroadcastsPerSecond = 2 })
	c := g.realtime(g.serve(), phoenix.V1)
	ref := c.joinBroadcast(frontTopic, `{}`)
	for range 6 {
		c.push(ref, frontTopic, phoenix.EventBroadcast, `{}`)
	}
	assert.Equal(t, "Too many messages per second", c.closedFor(frontTopic))
	m := c.receive()
	assert.Contains(t, string(m.Payload), "unmatched topic")
	assert.EqualValues(t, 1, g.value("limits_reached_total", "limit", "broadcasts_per_second"))
}

func TestPresenceIsAnsweredAndNotShared(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	c, other := g.realtime(base, phoenix.V2), g.realtime(base, phoenix.V2)
	const join = `{"config":{"presence":{"enabled":true,"key":"ann"}}}`
	ref := c.joinWith(frontTopic, join)
	other.joinWith(frontTopic, join)
	for _, p := range []*client{c, other} {
		p.expect(frontTopic, phoenix.EventReply)
		assert.Equal(t, `{}`, p.expect(frontTopic, phoenix.EventPresenceState))
	}
	for payload, want := range map[string]string{
		`{"type":"presence","event":"track","payload":{"a":1}}`: `{"status":"ok","response":{}}`,
		`{"type":"presence","event":"track"}`:                   `{"status":"ok","response":{}}`,
		`{"type":"presence","event":"untrack"}`:                 `{"status":"ok","response":{}}`,
		`{"type":"presence","event":"track","payload":7}`:       `{"status":"error","response":{"reason":"Presence track payload must be a map"}}`,
	} {
		c.push(ref, frontTopic, phoenix.EventPresence, payload)
		assert.Equal(t, want, c.expect(frontTopic, phoenix.EventReply))
	}
	other.quiet()
}

func TestBroadcastsOverHTTP(t *testing.T) {
	const batch = `{"messages":[{"topic":"chat","event":"x","payload":{"a":1}},{"topic":"nobody","event":"x","payload":1}]}`
	const single = broadcastPath + "/chat/events/x%2Fy"
	tests := []struct {
		name, method, path, body string
		header                   http.Header
		status                   int
		heard                    string // by a client of vsn 1.0.0
	}{
		{"batch", "POST", broadcastPath, batch, http.Header{"Apikey": {rigToken}}, 202, `{"event":"x","payload":{"a":1},"type":"broadcast"}`},
		{
			"bearer beside the project's key", "POST", broadcastPath, batch,
			http.Header{"Apikey": {"the-anon-key"}, "Authorization": {"Bearer " + rigToken}}, 202, `{"event":"x","payload":{"a":1},"type":"broadcast"}`,
		},
		{
			"key beside the project's bearer", "POST", broadcastPath, batch,
			http.Header{"Apikey": {rigToken}, "Authorization": {"Bearer the-anon-key"}}, 202, `{"event":"x","payload":{"a":1},"type":"broadcast"}`,
		},
		{"single", "POST", single, `{"a":1}`, http.Header{"Apikey": {rigToken}}, 202, `{"event":"x/y","payload":{"a":1},"type":"broadcast"}`},
		{"bytes", "POST", single, "\x00", http.Header{"Apikey": {rigToken}, "Content-Type": {"application/octet-stream"}}, 202, ""},
		{"another session", "POST", broadcastPath, batch, http.Header{"Apikey": {otherToken}}, 202, ""},
		{"private", "POST", single + "?private=true", `{}`, http.Header{"Apikey": {rigToken}}, 202, ""},
		{"no key", "POST", broadcastPath, batch, nil, 403, ""},
		{"project's key", "POST", broadcastPath, batch, http.Header{"Apikey": {"the-anon-key"}}, 403, ""},
		{"service key", "POST", broadcastPath, batch, http.Header{"Apikey": {rigServiceKey}}, 403, ""},
		{"unknown", "POST", broadcastPath, batch, http.Header{"Apikey": {"wrong"}}, 403, ""},
		{"no JSON", "POST", broadcastPath, `{`, http.Header{"Apikey": {rigToken}}, 422, ""},
		{"no messages", "POST", broadcastPath, `{}`, http.Header{"Apikey": {rigToken}}, 422, ""},
		{"no event", "POST", broadcastPath, `{"messages":[{"topic":"chat","payload":1}]}`, http.Header{"Apikey": {rigToken}}, 422, ""},
		{"no JSON alone", "POST", single, `{`, http.Header{"Apikey": {rigToken}}, 422, ""},
		{"not UTF-8", "POST", broadcastPath, "{\"messages\":[{\"topic\":\"chat\",\"event\":\"x\",\"payload\":\"\xff\"}]}", http.Header{"Apikey": {rigToken}}, 422, ""},
		{"not UTF-8 alone", "POST", single, "\"\xff\"", http.Header{"Apikey": {rigToken}}, 422, ""},
		{"type", "POST", single, `{}`, http.Header{"Apikey": {rigToken}, "Content-Type": {"text/plain"}}, 415, ""},
		{"method", "GET", broadcastPath, "", http.Header{"Apikey": {rigToken}}, 405, ""},
		{"too much", "POST", broadcastPath, strings.Repeat(" ", 70_000), http.Header{"Apikey": {rigToken}}, 413, ""},
		{"too many", "POST", broadcastPath, `{"messages":[` + strings.Repeat(`{"topic":"a","event":"b","payload":1},`, 60) +
			`{"topic":"a","event":"b","payload":1}]}`, http.Header{"Apikey": {rigToken}}, 429, ""},
	}
	g, base := frontRig(t, nil)
	c := g.realtime(base, phoenix.V1)
	c.joinBroadcast(frontTopic, `{}`)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequest(tt.method, base+tt.path, strings.NewReader(tt.body))
			require.NoError(t, err)
			if req.Header = tt.header.Clone(); req.Header == nil {
				req.Header = http.Header{}
			}
			if req.Header.Get("Content-Type") == "" {
				req.Header.Set("Content-Type", "application/json")
			}
			req.Header.Set("Origin", "http://localhost:3000")
			res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
			require.NoError(t, err)
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			assert.Equal(t, tt.status, res.StatusCode, "%s", body)
			assert.Equal(t, "http://localhost:3000", res.Header.Get("Access-Control-Allow-Origin"))
			if tt.status == 202 {
				assert.Empty(t, body)
			}
			c.t = t
			if tt.heard != "" {
				assert.Equal(t, tt.heard, c.expect(frontTopic, phoenix.EventBroadcast))
			}
			c.quiet()
		})
	}
	assert.EqualValues(t, 1, g.value("limits_reached_total", "limit", "broadcasts_per_second"))
}

func TestPreflightOfTheBroadcastAPI(t *testing.T) {
	_, base := frontRig(t, nil)
	req, err := http.NewRequest(http.MethodOptions, base+broadcastPath, nil)
	require.NoError(t, err)
	req.Header.Set("Origin", "http://localhost:3000")
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	assert.Equal(t, 200, res.StatusCode)
	for _, header := range []string{"apikey", "authorization", "content-type", "x-client-info"} {
		assert.Contains(t, res.Header.Get("Access-Control-Allow-Headers"), header)
	}
}
