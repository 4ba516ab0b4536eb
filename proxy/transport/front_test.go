package transport_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

func TestChannelIsJoinedAndGetsChanges(t *testing.T) {
	both(t, func(t *testing.T, v phoenix.Version) {
		g := newRig(t, nil)
		c := g.realtime(g.serve(), v)
		c.push("", phoenix.TopicPhoenix, phoenix.EventHeartbeat, "{}")
		m := c.receive()
		assert.Equal(t, `{"status":"ok","response":{}}`, string(m.Payload))
		ref := c.join(frontTopic, frontBinding)
		m = c.receive()
		assert.Equal(t, phoenix.EventReply, m.Event)
		assert.Equal(t, ref, m.Ref.String())
		if v == phoenix.V2 {
			assert.Equal(t, ref, m.JoinRef.String())
		}
		assert.Regexp(t, `^{"status":"ok","response":{"postgres_changes":\[{"id":\d+,"event":"INSERT","schema":"public",`+
			`"table":"chat_messages_v2"}\]}}$`, string(m.Payload))
		assert.Equal(t, `{"message":"Subscribed to PostgreSQL","status":"ok","extension":"postgres_changes","channel":"chat"}`,
			c.expect(frontTopic, phoenix.EventSystem))
		g.publish(1)
		m = c.receive()
		assert.True(t, m.Ref.IsNull() && m.JoinRef.IsNull())
		assert.Regexp(t, `^{"data":{"table":"chat_messages_v2","type":"INSERT","record":{"id": "row-1", "role": "assistant", `+
			`"content": {"text": "text 1", "type": "text"}, "created_at": "2026-01-02T03:04:05.001\+00:00", "sender_user_id": null, `+
			`"conversation_id": "conversation-1", "sender_agent_id": "agent-1"},"columns":\[.*\],"errors":null,"schema":"public",`+
			`"commit_timestamp":"2026-01-02T03:04:05.001Z"},"ids":\[\d+\]}$`, string(m.Payload))

		c.push(ref, frontTopic, phoenix.EventLeave, "{}")
		assert.Equal(t, `{"status":"ok","response":{}}`, c.expect(frontTopic, phoenix.EventReply))
		m = c.receive()
		assert.Equal(t, phoenix.EventClose, m.Event)
		assert.Equal(t, ref, m.Ref.String())
		g.publish(2)
		c.quiet()
	})
}
