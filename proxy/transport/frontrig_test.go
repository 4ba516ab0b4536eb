package transport_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

const (
	frontPath    = "/realtime/v1/websocket"
	frontTopic   = "realtime:chat"
	frontBinding = `{"event":"INSERT","schema":"public","table":"chat_messages_v2"}`
	otherToken   = "token-of-session-2-0123456789"
)

// client is a bare client of the Realtime protocol.
type client struct {
	*peer
	version phoenix.Version
	refs    int
}

// realtime connects with the key of the rig's session.
func (g *rig) realtime(base string, v phoenix.Version) *client {
	g.t.Helper()
	return g.realtimeWith(base, v, rigToken)
}

func (g *rig) realtimeWith(base string, v phoenix.Version, key string) *client {
	g.t.Helper()
	p := g.dial(base, fmt.Sprintf("%s?apikey=%s&vsn=%s", frontPath, key, v), http.Header{})
	return &client{peer: p, version: v}
}

// push sends a message and returns its ref.
func (c *client) push(joinRef, topic, event, payload string) string {
	c.t.Helper()
	c.refs++
	m := phoenix.Message{Topic: topic, Event: event, Payload: json.RawMessage(payload), Ref: phoenix.StringRef(fmt.Sprint(c.refs))}
	if joinRef != "" {
		m.JoinRef = phoenix.StringRef(joinRef)
	}
	frame, _, err := phoenix.EncodeClient(c.version, nil, m)
	require.NoError(c.t, err)
	require.NoError(c.t, c.conn.WriteMessage(websocket.TextMessage, frame))
	return m.Ref.String()
}

// join sends a phx_join with bindings and returns its ref, which is the join ref.
func (c *client) join(topic string, bindings ...string) string {
	c.t.Helper()
	return c.joinWith(topic, `{"config":{"postgres_changes":[`+strings.Join(bindings, ",")+`]}}`)
}

func (c *client) joinWith(topic, payload string) string {
	c.t.Helper()
	ref := fmt.Sprint(c.refs + 1)
	return c.push(ref, topic, phoenix.EventJoin, payload)
}

// receive returns the next message.
func (c *client) receive() phoenix.Message {
	c.t.Helper()
	require.NoError(c.t, c.conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	kind, frame, err := c.conn.ReadMessage()
	require.NoError(c.t, err)
	require.NoError(c.t, c.conn.SetReadDeadline(time.Time{}))
	m, err := phoenix.DecodeServer(kind == websocket.BinaryMessage, frame)
	require.NoError(c.t, err)
	return m
}

// expect returns the payload of the next message, which must be of a topic and an event.
func (c *client) expect(topic, event string) string {
	c.t.Helper()
	m := c.receive()
	require.Equal(c.t, topic+" "+event, m.Topic+" "+m.Event, "%s", m.Payload)
	return string(m.Payload)
}

// live joins and reads up to the system message, which there is only with bindings.
func (c *client) live(topic string, bindings ...string) (joinRef string) {
	c.t.Helper()
	joinRef = c.join(topic, bindings...)
	if len(bindings) > 0 {
		c.answered(topic)
	} else {
		require.Contains(c.t, c.expect(topic, phoenix.EventReply), `{"status":"ok"`)
	}
	return joinRef
}

// answered reads the ok of a join and the system message.
func (c *client) answered(topic string) {
	c.t.Helper()
	require.Contains(c.t, c.expect(topic, phoenix.EventReply), `{"status":"ok"`)
	require.Contains(c.t, c.expect(topic, phoenix.EventSystem), `"Subscribed to PostgreSQL"`)
}

// change reads a change and returns the id of its row.
func (c *client) change(topic string) string {
	c.t.Helper()
	return changedRow(c.t, c.expect(topic, phoenix.EventPostgresChanges))
}

func changedRow(t testing.TB, payload string) string {
	t.Helper()
	var p struct {
		Data struct {
			Record    struct{ ID string }
			OldRecord struct{ ID string } `json:"old_record"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(payload), &p))
	if p.Data.Record.ID == "" {
		return p.Data.OldRecord.ID
	}
	return p.Data.Record.ID
}

// quiet asserts that nothing came before the answer to a heartbeat.
func (c *client) quiet() {
	c.t.Helper()
	ref := c.push("", phoenix.TopicPhoenix, phoenix.EventHeartbeat, "{}")
	m := c.receive()
	require.Equal(c.t, phoenix.TopicPhoenix+" "+phoenix.EventReply, m.Topic+" "+m.Event, "%s", m.Payload)
	require.Equal(c.t, ref, m.Ref.String())
}

// drop ends the connection as a lost network does.
func (c *client) drop() {
	c.t.Helper()
	require.NoError(c.t, c.conn.NetConn().Close())
}

// both runs a test in both versions of the protocol.
func both(t *testing.T, test func(t *testing.T, v phoenix.Version)) {
	for _, v := range []phoenix.Version{phoenix.V1, phoenix.V2} {
		t.Run(string(v), func(t *testing.T) { test(t, v) })
	}
}

// soon makes the refusals of a test quick.
const soon = 20 * time.Millisecond
