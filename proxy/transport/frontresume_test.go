package transport_test

import (
	"context"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// acknowledged waits until the proxy knows that the client has read what came before.
func (g *rig) acknowledged(c *client) {
	g.t.Helper()
	c.quiet() // reads the ping
	c.quiet() // went out behind the pong
}

func TestLostChannelGoesOnWhereItWas(t *testing.T) {
	both(t, func(t *testing.T, v phoenix.Version) {
		g := newRig(t, nil)
		base := g.serve()
		c := g.realtime(base, v)
		c.live(frontTopic, frontBinding)
		g.publish(1)
		assert.Equal(t, "row-1", c.change(frontTopic))
		g.acknowledged(c)
		c.drop()
		g.tracked.Wait()
		g.publish(2)
		g.publish(3)

		c = g.realtime(base, v)
		c.live(frontTopic, frontBinding)
		assert.Equal(t, "row-2", c.change(frontTopic))
		assert.Equal(t, "row-3", c.change(frontTopic))
		g.publish(4)
		assert.Equal(t, "row-4", c.change(frontTopic))
		c.quiet()
	})
}

func TestEachLostChannelIsResumedOnce(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	c := g.realtime(base, phoenix.V2)
	c.live(frontTopic, frontBinding)
	c.live("realtime:other", frontBinding)
	g.acknowledged(c)
	c.drop()
	g.tracked.Wait()
	g.publish(-1) // created before any further join
	c = g.realtime(base, phoenix.V2)
	c.live(frontTopic, frontBinding)
	assert.Equal(t, "row--1", c.change(frontTopic))
	c.live("realtime:other", frontBinding)
	assert.Equal(t, "row--1", c.change("realtime:other"))
	c.live("realtime:third", frontBinding)
	second := g.realtime(base, phoenix.V2)
	second.live(frontTopic, frontBinding)
	c.quiet()
	second.quiet()
}

func TestLeftChannelIsForgotten(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	c := g.realtime(base, phoenix.V2)
	ref := c.live(frontTopic, frontBinding)
	c.push(ref, frontTopic, phoenix.EventLeave, "{}")
	c.expect(frontTopic, phoenix.EventReply)
	c.expect(frontTopic, phoenix.EventClose)
	g.hub.Publish(rigRow(rigSession, -1), false) // created before the next join, and not stored
	c.live(frontTopic, frontBinding)
	c.quiet()
}

func TestLostChannelIsForgottenAfterTheWindow(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.ResumeWindow = time.Nanosecond })
	base := g.serve()
	c := g.realtime(base, phoenix.V2)
	c.live(frontTopic, frontBinding)
	c.drop()
	g.tracked.Wait()
	g.hub.Publish(rigRow(rigSession, -1), false)
	c = g.realtime(base, phoenix.V2)
	c.live(frontTopic, frontBinding)
	c.quiet()
}

func TestWhatWasWrittenButNotReadComesAgain(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	c := g.realtime(base, phoenix.V2)
	c.conn.SetPingHandler(func(string) error { return nil }) // as if the line were dead
	c.live(frontTopic, frontBinding)
	g.publish(1)
	assert.Equal(t, "row-1", c.change(frontTopic))
	c.drop()
	g.tracked.Wait()
	c = g.realtime(base, phoenix.V2)
	c.live(frontTopic, frontBinding)
	assert.Equal(t, "row-1", c.change(frontTopic))
	c.quiet()
}

func TestWhatIsReadWhileAnAnswerIsAwaitedIsConfirmedByTheNext(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	c := g.realtime(base, phoenix.V2)
	c.live(frontTopic, frontBinding)
	var late []string
	answer := c.conn.PingHandler()
	c.conn.SetPingHandler(func(payload string) error { late = append(late, payload); return nil })
	for n := 1; n <= 3; n++ {
		g.publish(n)
		c.change(frontTopic)
	}
	c.quiet()
	require.Len(t, late, 1, "one ping at a time")
	c.conn.SetPingHandler(answer)
	require.NoError(t, answer(late[0]))
	for range 2 {
		g.acknowledged(c) // the second ping follows the first pong
	}
	c.drop()
	g.tracked.Wait()
	g.publish(4)
	c = g.realtime(base, phoenix.V2)
	c.live(frontTopic, frontBinding)
	assert.Equal(t, "row-4", c.change(frontTopic))
}

func TestRowsBetweenTheJoinAndLiveAreDelivered(t *testing.T) {
	both(t, func(t *testing.T, v phoenix.Version) {
		g := newRig(t, nil)
		g.store(rigRow(rigSession, -5))
		stage := 0
		g.backfiller.join = func() error { // behind the join, ahead of the baseline
			stage++
			g.store(rigRow(rigSession, stage))
			return nil
		}
		c := g.realtime(g.serve(), v)
		c.live(frontTopic, frontBinding)
		assert.Equal(t, "row-1", c.change(frontTopic))
		c.quiet()
	})
}

func TestRowsOfAnUncertainClockAreDeliveredRatherThanLost(t *testing.T) {
	g := newRig(t, func(o *transport.Options) {
		o.Reached = func() time.Time { return rigTime.Add(-4 * time.Millisecond) }
	})
	g.store(rigRow(rigSession, -5))
	g.store(rigRow(rigSession, -3))
	c := g.realtime(g.serve(), phoenix.V2)
	c.live(frontTopic, frontBinding)
	assert.Equal(t, "row--3", c.change(frontTopic))
	c.quiet()
}

func TestReplacedChannelLosesAndDoublesNothing(t *testing.T) {
	both(t, func(t *testing.T, v phoenix.Version) {
		g := newRig(t, nil)
		c := g.realtime(g.serve(), v)
		first := c.live(frontTopic, frontBinding)
		g.publish(1)
		assert.Equal(t, "row-1", c.change(frontTopic))
		g.backfiller.join = func() error { g.publish(2); return nil }
		c.join(frontTopic, frontBinding)
		assert.Contains(t, c.expect(frontTopic, phoenix.EventReply), `"ok"`)
		m := c.receive()
		assert.Equal(t, phoenix.EventClose, m.Event)
		assert.Equal(t, first, m.Ref.String(), "the close of the old one comes behind the answer to the new one")
		c.expect(frontTopic, phoenix.EventSystem)
		assert.Equal(t, "row-2", c.change(frontTopic))
		g.publish(3)
		assert.Equal(t, "row-3", c.change(frontTopic))
		c.quiet()
	})
}

func TestChannelGoesOnAfterACloseFrame(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	c := g.realtime(base, phoenix.V2)
	c.live(frontTopic, frontBinding)
	g.publish(1)
	c.change(frontTopic)
	g.acknowledged(c)
	frame := websocket.FormatCloseMessage(websocket.CloseGoingAway, "")
	require.NoError(t, c.conn.WriteControl(websocket.CloseMessage, frame, time.Now().Add(time.Second)))
	code, _, _ := c.closed()
	assert.Equal(t, websocket.CloseGoingAway, code)
	g.tracked.Wait()
	g.publish(2)
	c = g.realtime(base, phoenix.V2)
	c.live(frontTopic, frontBinding)
	assert.Equal(t, "row-2", c.change(frontTopic))
}

// ticketOnce accepts a ticket for the first time, and then beside a cursor of its session.
func ticketOnce(g *rig, uses *int) func(context.Context, chat.Credential) (*chat.Grant, error) {
	return func(_ context.Context, c chat.Credential) (*chat.Grant, error) {
		v := rigVisitor(rigSession)
		if *uses++; c.Ticket == "" || *uses > 1 && !g.hub.Vouches(v, c.Cursor) {
			return nil, chat.RefuseInvalid(nil)
		}
		return &chat.Grant{Visitor: v}, nil
	}
}

func TestTicketLetsItsClientInAgain(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	tickets := 0
	g.authorizer.authorize = ticketOnce(g, &tickets)
	c := g.realtimeWith(base, phoenix.V2, "t1.a.b")
	c.live(frontTopic, frontBinding)
	c.live("realtime:second", frontBinding)
	c.drop()
	g.tracked.Wait()
	c = g.realtimeWith(base, phoenix.V2, "t1.a.b")
	c.live(frontTopic, frontBinding)
	assert.Equal(t, 3, tickets)
}
