package transport_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
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
