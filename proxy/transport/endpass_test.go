package transport_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// The tests here read from pipes, which have no buffer: a write waits until all of it is read. The first row's write lets the others
// queue up behind it; of those a first batch of more than 64 KiB is under way when the session ends.

// publishLarge brings a row live that makes half of a batch.
func (g *rig) publishLarge(n int) {
	row := rigRow(rigSession, n)
	row.Content.Text = strings.Repeat("x", 50<<10)
	g.store(row)
	g.hub.Publish(row, false)
}

// fill has a batch written that nobody reads yet: rows 2 and 3, with row 4 behind them. first reads row 1.
func (g *rig) fill(first func()) {
	synctest.Wait()
	g.publish(1)
	synctest.Wait()
	for n := 2; n <= 4; n++ {
		g.publishLarge(n)
	}
	first()
	synctest.Wait()
}

func TestNothingOfAStreamPassesItsEnd(t *testing.T) {
	t.Run("events", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t, nil)
			events, _ := g.pipe().events(t, eventsPath)
			events.must()
			events.must()
			g.fill(func() { assert.Contains(t, events.must().data, `"row-1"`) })
			g.endSession()
			for _, row := range []string{`"row-2"`, `"row-3"`} {
				assert.Contains(t, events.must().data, row, "it was under way")
			}
			assert.Equal(t, "session_ended", events.must().name)
			_, more := events.next()
			assert.False(t, more)
		})
	})
	t.Run("websocket", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t, nil)
			p := g.pipe().socket(t)
			p.authenticated()
			g.fill(func() { assert.Contains(t, p.next(), `"row-1"`) })
			g.endSession()
			code, _, before := p.closed()
			assert.Equal(t, 4410, code)
			if assert.Len(t, before, 3) {
				assert.Contains(t, before[0], `"row-2"`, "it was under way")
				assert.Contains(t, before[1], `"row-3"`)
				assert.Contains(t, before[2], `"session_ended"`)
			}
		})
	})
}

func TestNothingOfAChannelPassesItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		c := g.pipe().realtime(t)
		c.live(frontTopic, frontBinding)
		g.fill(func() { assert.Equal(t, "row-1", c.change(frontTopic)) })
		g.endSession()
		assert.Equal(t, "row-2", c.change(frontTopic), "it was under way")
		assert.Equal(t, "row-3", c.change(frontTopic))
		assert.Equal(t, "The session has ended", c.closedFor(frontTopic))
		c.quiet()
	})
}

func TestNoBroadcastPassesTheEndOfItsHearer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		l := g.pipe()
		sender, hearer := l.realtime(t), l.realtime(t)
		ref := sender.joinBroadcast(frontTopic, `{"ack":true}`)
		hearer.live(frontTopic, frontBinding)
		synctest.Wait()
		g.publish(1)
		synctest.Wait()
		sender.pushBytes(ref, frontTopic, "late", true, `{}`)
		sender.expect(frontTopic, phoenix.EventReply)
		g.endSession()
		assert.Equal(t, "row-1", hearer.change(frontTopic), "it was under way")
		assert.Equal(t, "The session has ended", hearer.closedFor(frontTopic))
		hearer.quiet()
	})
}

// The end of a session is final before it is written, which a client that does not read can put off.
func TestAnEndedChannelDoesNothingMore(t *testing.T) {
	for name, push := range map[string]struct{ event, payload string }{
		"broadcast": {phoenix.EventBroadcast, `{"type":"broadcast","event":"late","payload":{}}`},
		"track":     {phoenix.EventPresence, `{"type":"presence","event":"track","payload":{}}`},
		"token":     {phoenix.EventAccessToken, `{"access_token":"` + otherToken + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, nil)
				c := g.pipe().realtime(t)
				ref := c.joinWith(frontTopic, `{"config":{"broadcast":{"ack":true,"self":true},"postgres_changes":[`+frontBinding+`]}}`)
				c.answered(frontTopic)
				synctest.Wait()
				g.publish(1)
				synctest.Wait()
				g.endSession()
				g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
					assert.Fail(t, "a token was tried")
					return nil, chat.RefuseInvalid(nil)
				}
				c.push(ref, frontTopic, push.event, push.payload)
				synctest.Wait()
				assert.Equal(t, "row-1", c.change(frontTopic), "it was under way")
				assert.Equal(t, "The session has ended", c.closedFor(frontTopic))
				c.quiet()
			})
		})
	}
}

func TestSendThatWaitsWhileItsSessionEndsIsNotCarriedOut(t *testing.T) {
	for _, via := range []string{transport.SendViaFunction, transport.SendViaInsert} {
		t.Run(via, func(t *testing.T) {
			g := newSendRig(t, 200, sent, func(o *transport.Options) { o.SendVia = via })
			inserted := false
			g.store.insert = func(context.Context, map[string]any) error { inserted = true; return nil }
			g.store.count = func(context.Context) (int, error) {
				g.authorizer.active = func() error { return chat.RefuseEnded(nil) } // it ends while the messages are counted
				return 0, nil
			}
			w := do(g.rig, "POST", sendPath, message("a", "clientMessageId", `"c-1"`))
			assert.Equal(t, http.StatusGone, w.Code)
			assert.Contains(t, w.Body.String(), `"session_ended"`)
			assert.Empty(t, g.functions.all())
			assert.False(t, inserted)
		})
	}
}
