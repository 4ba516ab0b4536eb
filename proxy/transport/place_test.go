package transport_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

var errAway = errors.New("the database is away")

func onePlace(o *transport.Options) { o.Connections, o.ConnectionsPerAddress = 1, 1 }

// hasPlace waits until the only place is free again.
func hasPlace(t *testing.T, g *rig) {
	t.Helper()
	require.Eventually(t, func() bool { return do(g, "GET", pollPath+"?session_token="+rigToken, "").Code == http.StatusOK },
		10*time.Second, time.Millisecond)
}

// panicking serves a request as the HTTP server does, which recovers.
func panicking(g *rig, path string) (panicked bool) {
	defer func() { panicked = recover() != nil }()
	do(g, "GET", path, "")
	return false
}

func TestPlaceIsGivenBackWhen(t *testing.T) {
	for _, path := range []string{eventsPath, pollPath + "?session_token=" + rigToken} {
		t.Run("a token is refused at "+path[:len("/temporary-chat-events")], func(t *testing.T) {
			g := newRig(t, onePlace)
			authorize := g.authorizer.authorize
			g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) { return nil, chat.RefuseInvalid(nil) }
			require.Equal(t, 401, do(g, "GET", path, "").Code)
			g.authorizer.authorize = authorize
			hasPlace(t, g)
		})
		t.Run("a join fails at "+path[:len("/temporary-chat-events")], func(t *testing.T) {
			g := newRig(t, onePlace)
			g.backfiller.join = func() error { return errAway }
			require.Equal(t, 500, do(g, "GET", path, "").Code)
			g.backfiller.join = nil
			hasPlace(t, g)
		})
		t.Run("a join panics at "+path[:len("/temporary-chat-events")], func(t *testing.T) {
			g := newRig(t, onePlace)
			g.backfiller.join = func() error { panic("a fault") }
			require.True(t, panicking(g, path))
			g.backfiller.join = nil
			hasPlace(t, g)
		})
	}
	t.Run("a delivery panics", func(t *testing.T) {
		g := newRig(t, onePlace)
		var panicked atomic.Bool
		g.backfiller.deliver = func(context.Context) error {
			if !panicked.Swap(true) {
				panic(http.ErrAbortHandler)
			}
			return nil
		}
		stream := g.openEvents(g.serve() + eventsPath)
		for ok := true; ok; {
			_, ok = stream.next()
		}
		hasPlace(t, g)
	})
	t.Run("a delivery panics on a connection that stays the HTTP server's", func(t *testing.T) {
		g := newRig(t, onePlace)
		g.backfiller.deliver = func(context.Context) error { panic("a fault") }
		require.True(t, panicking(g, eventsPath))
		g.backfiller.deliver = nil
		hasPlace(t, g)
	})
	for _, path := range []string{socketPath, frontPath + "?vsn=2.0.0"} {
		t.Run("an upgrade fails at "+path, func(t *testing.T) {
			g := newRig(t, onePlace)
			w := do(g, "GET", path, "", "Connection", "Upgrade", "Upgrade", "websocket") // without a key
			require.Equal(t, 400, w.Code, w.Body.String())
			hasPlace(t, g)
		})
	}
}

func TestRealtimeSocketGivesThePlaceOfASessionBackWhenItsLastChannelHasLeft(t *testing.T) {
	const other = frontTopic + "-2"
	join := func(c *client, topic string) (ref string) {
		ref = c.joinWith(topic, `{"config":{},"access_token":"`+rigToken+`"}`)
		c.expect(topic, phoenix.EventReply)
		return ref
	}
	leave := func(c *client, topic, ref string) {
		c.push(ref, topic, phoenix.EventLeave, `{}`)
		c.expect(topic, phoenix.EventReply)
		c.expect(topic, phoenix.EventClose)
	}
	g := newRig(t, func(o *transport.Options) { o.ConnectionsPerSession = 1 })
	c := g.realtimeWith(g.serve(), phoenix.V2, "")
	first, second := join(c, frontTopic), join(c, other)
	leave(c, frontTopic, first)
	assert.Equal(t, 429, do(g, "GET", pollPath+"?session_token="+rigToken, "").Code, "the other channel is still there")
	leave(c, other, second)
	hasPlace(t, g)
	third := join(c, frontTopic)
	assert.Equal(t, 429, do(g, "GET", pollPath+"?session_token="+rigToken, "").Code)
	leave(c, frontTopic, third)
	hasPlace(t, g)
}

func TestRealtimeChannelThatCannotJoinGivesThePlaceOfItsSessionBack(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.ConnectionsPerSession, o.RefusalDelay = 1, time.Hour })
	asked := make(chan struct{}, 1)
	var joined atomic.Bool
	g.backfiller.join = func() error {
		if joined.Swap(true) {
			return nil
		}
		asked <- struct{}{}
		return errAway
	}
	c := g.realtimeWith(g.serve(), phoenix.V2, "")
	c.joinWith(frontTopic, `{"config":{},"access_token":"`+rigToken+`"}`)
	<-asked
	hasPlace(t, g)
}
