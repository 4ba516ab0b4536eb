package chat_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

func exampleControls() []chat.Control {
	return []chat.Control{
		{Type: "connected", Data: map[string]any{"session_id": idS, "resumed": false}, Cursor: "cursor1", At: start},
		{Type: "session_ended", Data: map[string]any{"reason": "The session has ended"}, At: start},
		{Type: "heartbeat", At: start},
		{Type: "error", Data: map[string]any{"code": "limit_reached", "message": "Too <many>\n\u2028"}, Flat: true, At: start},
		{Type: "connection", Data: map[string]any{"state": "live"}, Flat: true, At: start},
		{Type: "pong", Data: map[string]any{}, Flat: true, At: start},
		{Type: "reconnect", At: start},
	}
}

func TestControlsHaveTheirTextInEveryDialect(t *testing.T) {
	for d, name := range dialectNames {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			for _, c := range exampleControls() {
				b.WriteString("== " + c.Type + "\n")
				b.Write(c.Encode(d))
				b.WriteString("\n")
			}
			assertGolden(t, "control-"+name, b.String())
		})
	}
}

func TestControlsNeverReachAMessageHandler(t *testing.T) {
	for _, c := range exampleControls() {
		t.Run(c.Type, func(t *testing.T) {
			text := string(c.Encode(chat.DialectMessage))
			if c.Type == "heartbeat" {
				assert.Equal(t, ": keep-alive\n\n", text)
				return
			}
			_, fields := payload(t, chat.DialectMessage, []byte(text))
			assert.Equal(t, c.Type, fields["event"])
			body, fields := payload(t, chat.DialectEnvelope, c.Encode(chat.DialectEnvelope))
			assert.Equal(t, c.Type, body["type"])
			assert.NotContains(t, fields, "event")
		})
	}
}
