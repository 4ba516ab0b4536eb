package transport_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// realtime connects over a pipe, for bubbles.
func (l *pipeListener) realtime(t testing.TB) *client {
	t.Helper()
	conn := l.dial()
	d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return conn, nil }}
	ws, _, err := d.Dial("ws://proxy.test"+frontPath+"?vsn=2.0.0&apikey="+rigToken, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ws.Close() })
	return &client{peer: &peer{t: t, conn: ws}, version: phoenix.V2}
}

func TestEndOfASessionClosesItsChannelsForGood(t *testing.T) {
	both(t, func(t *testing.T, v phoenix.Version) {
		g := newRig(t, nil)
		c := g.realtime(g.serve(), v)
		c.live(frontTopic, frontBinding)
		c.live("realtime:plain")
		g.endSession()
		g.publish(1)
		ends := make(map[string]int)
		for range 4 {
			m := c.receive()
			ends[m.Topic+" "+m.Event]++
			if m.Event == phoenix.EventSystem {
				assert.Contains(t, string(m.Payload), `"The session has ended"`)
			}
		}
		for _, topic := range []string{frontTopic, "realtime:plain"} {
			assert.Equal(t, 1, ends[topic+" "+phoenix.EventSystem])
			assert.Equal(t, 1, ends[topic+" "+phoenix.EventClose])
		}
		c.quiet()
		g.tracked.Wait()
		assert.Empty(t, g.hub.Visitors())
	})
}

func TestChannelWithoutBindingsIsJoined(t *testing.T) {
	g := newRig(t, nil)
	c := g.realtime(g.serve(), phoenix.V2)
	c.join(frontTopic)
	assert.Equal(t, `{"status":"ok","response":{"postgres_changes":[]}}`, c.expect(frontTopic, phoenix.EventReply))
	g.publish(1)
	c.quiet()
}

func TestSessionThatCannotBeConfirmedJoinsAgainAndGoesOn(t *testing.T) {
	g := newRig(t, nil)
	c := g.realtime(g.serve(), phoenix.V2)
	ref := c.live(frontTopic, frontBinding)
	g.hub.EndSession(rigConversation, rigSession, chat.Unavailable, &chat.Control{Type: "error", At: rigTime})
	m := c.receive()
	assert.Equal(t, phoenix.EventError, m.Event)
	assert.Equal(t, ref, m.Ref.String())
	g.tracked.Wait()
	g.store(rigRow(rigSession, 1))
	c.live(frontTopic, frontBinding)
	assert.Equal(t, "row-1", c.change(frontTopic))
}

func TestSessionThatEndsWhileItsChannelCatchesUp(t *testing.T) {
	g := newRig(t, nil)
	g.backfiller.deliver = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	c := g.realtime(g.serve(), phoenix.V2)
	c.live(frontTopic, frontBinding)
	begun := time.Now()
	g.endSession()
	assert.Equal(t, "The session has ended", c.closedFor(frontTopic))
	assert.Less(t, time.Since(begun), 3*time.Second)
	c.quiet()
	g.tracked.Wait()
}

func TestDeliveryThatFailsMakesTheClientJoinAgain(t *testing.T) {
	g := newRig(t, nil)
	g.backfiller.deliver = func(context.Context) error { return chat.RefuseUnavailable(time.Second, nil) }
	c := g.realtime(g.serve(), phoenix.V2)
	c.join(frontTopic, frontBinding)
	assert.Contains(t, c.expect(frontTopic, phoenix.EventReply), `"ok"`)
	m := c.receive()
	if m.Event == phoenix.EventSystem { // void when the end overtakes it
		m = c.receive()
	}
	assert.Equal(t, phoenix.EventError, m.Event)
	g.tracked.Wait()
	g.backfiller.deliver = nil
	g.store(rigRow(rigSession, 1))
	c.live(frontTopic, frontBinding)
	assert.Equal(t, "row-1", c.change(frontTopic))
}

func TestDrainClosesRealtimeSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		l := g.pipe()
		silent, joined, joining := l.realtime(t), l.realtime(t), l.realtime(t)
		joined.live(frontTopic, frontBinding)
		g.authorizer.authorize = hangingAuthorize
		joining.join(frontTopic, frontBinding)
		synctest.Wait()
		done := make(chan struct{})
		go func() { g.server.Drain(t.Context()); close(done) }()
		var peers sync.WaitGroup
		for _, p := range []*client{silent, joined, joining} {
			peers.Go(func() {
				code, reason, before := p.closed()
				assert.Equal(t, 1012, code)
				assert.NotEmpty(t, reason)
				assert.Empty(t, before)
			})
		}
		peers.Wait()
		<-done
		g.tracked.Wait()
	})
}

func TestRunCutsRealtimeSockets(t *testing.T) {
	g := newRig(t, nil)
	c := g.realtime(g.serve(), phoenix.V2)
	c.live(frontTopic, frontBinding)
	g.stop()
	_, _, err := c.conn.ReadMessage()
	assert.Error(t, err)
	assert.Empty(t, g.hub.Visitors())
}

func TestGuardStandsInFrontOfChannels(t *testing.T) {
	g := newSendRig(t, 200, "", nil)
	other, err := g.backfiller.Join(t.Context(), rigVisitor("session-2"), "", chat.SubscriberOptions{})
	require.NoError(t, err)
	defer other.Close()
	g.hub.Publish(rigRow("session-2", 1), false)
	g.catching.stray, _, _ = other.Next(1 << 20) // a fault that must not become a leak
	require.Len(t, g.catching.stray, 1)
	c := g.realtime(g.serve(), phoenix.V2)
	c.live(frontTopic, frontBinding)
	g.publish(2)
	assert.Equal(t, "row-2", c.change(frontTopic))
	assert.EqualValues(t, 1, g.sample("hub_guard_refusals_total"))
}

func TestSlowRealtimeClientIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(o *transport.Options) { o.QueueEvents = 3 })
		c := g.pipe().realtime(t)
		c.live(frontTopic, frontBinding)
		synctest.Wait()
		for n := range 6 { // a pipe has no buffer: the first write waits for the reader
			g.publish(n + 1)
			synctest.Wait()
		}
		code, _, before := c.closed()
		assert.Equal(t, 1013, code)
		assert.Len(t, before, 1)
		g.tracked.Wait()
	})
}

func TestClientThatDoesNotReadIsCutAfterTheWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		c := g.pipe().realtime(t)
		c.live(frontTopic, frontBinding)
		synctest.Wait()
		begun := time.Now()
		g.publish(1)
		g.tracked.Wait()
		within(t, begun, 5*time.Second)
		g.stop()
		assert.Contains(t, g.logs.String(), "reason=slow_consumer")
	})
}

func TestRealtimeSocketLivesByPingsAndEndsAtItsGreatestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(o *transport.Options) { o.MaxAge, o.Rand = 10*time.Minute, func() float64 { return 0 } })
		c := g.pipe().realtime(t)
		begun := time.Now()
		c.live(frontTopic, frontBinding)
		pings := 0
		answer := c.conn.PingHandler()
		c.conn.SetPingHandler(func(payload string) error { pings++; return answer(payload) })
		code, _, before := c.closed()
		assert.Equal(t, 1012, code)
		assert.Empty(t, before)
		within(t, begun, 10*time.Minute)
		assert.InDelta(t, 24, pings, 2)
	})
}

func TestRealtimeSocketWithoutPongsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		c := g.pipe().realtime(t)
		c.live(frontTopic, frontBinding)
		c.conn.SetPingHandler(func(string) error { return nil })
		begun := time.Now()
		_, _, err := c.conn.ReadMessage()
		require.Error(t, err)
		within(t, begun, 2*25*time.Second+10*time.Second)
	})
}

func TestSocketWithoutChannelsIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		c := g.pipe().realtime(t)
		ref := c.live(frontTopic, frontBinding)
		time.Sleep(20 * time.Second)
		c.push(ref, frontTopic, phoenix.EventLeave, "{}")
		c.expect(frontTopic, phoenix.EventReply)
		c.expect(frontTopic, phoenix.EventClose)
		begun := time.Now()
		code, _, _ := c.closed()
		assert.Equal(t, websocket.CloseNormalClosure, code)
		within(t, begun, 90*time.Second)
		_ = g
	})
}

func TestChatSocketLimitsItsFrames(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.FramesPerSecond = 5 })
	p := g.dial(g.serve(), socketPath, nil)
	p.authenticated()
	for range 20 {
		_ = p.conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"ping"}`))
	}
	code, reason, before := p.closed()
	assert.Equal(t, 4429, code)
	assert.NotEmpty(t, reason)
	assert.Contains(t, before[len(before)-1], `"code":"limit_reached","message":"Too many messages per second"`)
}

func TestRealtimeIsCountedAsATransport(t *testing.T) {
	g := newRig(t, nil)
	c := g.realtime(g.serve(), phoenix.V2)
	c.live(frontTopic, frontBinding)
	g.publish(1)
	c.change(frontTopic)
	assert.EqualValues(t, 1, g.value("streams", "transport", "realtime"))
	c.drop()
	g.tracked.Wait()
	g.stop()
	assert.Zero(t, g.value("streams", "transport", "realtime"))
	assert.EqualValues(t, 1, g.value("events_written_total", "transport", "realtime"))
	assert.GreaterOrEqual(t, g.value("writes_total", "transport", "realtime"), 2.0)
	assert.Positive(t, g.value("written_bytes_total", "transport", "realtime"))
	assert.EqualValues(t, 1, g.value("streams_ended_total", "transport", "realtime", "reason", "gone"))
	assert.EqualValues(t, 1, g.value("streams_opened_total", "transport", "realtime"))
}

func TestNoKeyOfARealtimeSocketReachesTheLog(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.RefusalDelay = soon })
	base := g.serve()
	c := g.realtime(base, phoenix.V2)
	c.live(frontTopic, frontBinding)
	c.drop()
	c = g.realtimeWith(base, phoenix.V2, "t1.secret-ticket")
	c.join(frontTopic, frontBinding)
	c.expect(frontTopic, phoenix.EventReply)
	g.stop()
	logs := g.logs.String()
	assert.Contains(t, logs, "channel refused")
	assert.NotContains(t, logs, rigToken)
	assert.NotContains(t, logs, "secret-ticket")
}
