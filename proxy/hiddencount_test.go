package proxy_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// The functions count the rows of role user of the whole conversation, which on a link to the owner's own conversation are the owner's.
func TestHiddenRowsAreNotCountedForTheVisitor(t *testing.T) {
	w := newWorld(t, standin.Options{})
	for range 3 {
		w.store(fresh(w.fixture.Rows["m04"]))
	}
	w.say(w.fixture.Shared, "the visitor's only message")
	n := w.start(nil)
	token := w.fixture.Shared.Token
	for name, ask := range map[string]func(a *asker) string{
		"events": func(a *asker) string { return a.open("/temporary-chat-events?session_token=" + token).body },
		"envelopes": func(a *asker) string {
			return a.open("/functions/v1/temporary-chat-events?session_token=" + token).body
		},
		"poll": func(a *asker) string { return a.do("GET", "/temporary-chat-messages?session_token="+token, "").body },
		"websocket": func(a *asker) string {
			a.hear(a.dial("/temporary-chat-websocket", fmt.Sprintf(`{"type":"authenticate","sessionToken":%q}`, token)))
			return a.seen.String()
		},
		"validate-session": func(a *asker) string {
			return a.do("POST", "/temporary-chat-api/validate-session", fmt.Sprintf(`{"session_token":%q}`, token)).body
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, ask(&asker{t: t, ctx: w.ctx, base: n.base}), `"current_messages":1`)
		})
	}
}
