package transport_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

func TestMessagesOfASessionAreLimitedInAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSendRig(t, 200, sent, func(o *transport.Options) { o.MessagesPerMinute = 3 })
		for range 3 {
			assert.Equal(t, 200, do(g.rig, "POST", sendPath, message("a", "clientMessageId", `"same"`)).Code)
		}
		assert.Equal(t, 200, do(g.rig, "POST", sendPath, message("b")).Code, "repeats do not count")
		time.Sleep(20 * time.Second)
		assert.Equal(t, 200, do(g.rig, "POST", sendPath, message("c")).Code)
		w := do(g.rig, "POST", sendPath, message("d", "clientMessageId", `"d"`))
		assert.Equal(t, 429, w.Code)
		assert.Equal(t, "40", w.Header().Get("Retry-After"))
		assert.JSONEq(t, `{"error":"Rate limit exceeded","code":"rate_limit_exceeded","current_count":3,"limit_per_minute":3,
			"reset_time":"2026-01-02T03:04:45.000Z","retry_after":40}`, withoutRequestID(t, w.Body.String()))
		other := strings.Replace(message("a"), "session-1", "session-2", 1)
		assert.Equal(t, 200, do(g.rig, "POST", sendPath, other).Code, "sessions are counted apart")
		time.Sleep(40 * time.Second)
		assert.Equal(t, 200, do(g.rig, "POST", sendPath, message("d", "clientMessageId", `"d"`)).Code, "a refused message may come again")
	})
}

func TestLinksOwnLimitBeatsTheDefault(t *testing.T) {
	g := newSendRig(t, 200, sent, nil)
	g.authorizer.authorize = func(_ context.Context, c chat.Credential) (*chat.Grant, error) {
		v := rigVisitor(rigSession)
		v.RateLimitPerMinute = 1
		return &chat.Grant{Visitor: v, Token: rigToken}, nil
	}
	body := `{"ticket":"t1.abc","message":"a"}`
	assert.Equal(t, 200, do(g.rig, "POST", sendPath, body).Code, "a ticket is a credential too")
	assert.Equal(t, 429, do(g.rig, "POST", sendPath, body).Code)
	assert.Contains(t, g.functions.all()[0].body, rigToken, "the function gets the token, not the ticket")
}

func TestSessionsThatAreCountedAreBounded(t *testing.T) {
	g := newSendRig(t, 200, sent, func(o *transport.Options) { o.MessagesPerMinute = 1 })
	g.authorizer.authorize = func(_ context.Context, c chat.Credential) (*chat.Grant, error) {
		return &chat.Grant{Visitor: &chat.Visitor{SessionID: c.Token.Reveal()}, Token: c.Token}, nil
	}
	send := func(session int) int {
		return do(g.rig, "POST", sendPath, fmt.Sprintf(`{"session_token":"s-%d","message":"a"}`, session)).Code
	}
	const most = 10_000
	for n := range most {
		require.Equal(t, 200, send(n))
	}
	assert.Equal(t, 429, send(0), "nobody is forgotten yet, and this one is the last to be now")
	assert.Equal(t, 200, send(most))
	assert.Equal(t, 200, send(1), "the one that was quiet the longest")
	assert.Equal(t, 429, send(0))
}
