package chat_test

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

func TestASlowStreamEndsAndHoldsUpNobody(t *testing.T) {
	for name, bound := range map[string]chat.SubscriberOptions{
		"by events": {MaxEvents: 3, MaxBytes: 1 << 20}, "by bytes": {MaxEvents: 1000, MaxBytes: 2000},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, newClock(), 1, nil)
			quick := n.join(visitorS(), "", nil, nil)
			slow := &stream{t: t}
			o := streamOptions(slow)
			o.MaxEvents, o.MaxBytes = bound.MaxEvents, bound.MaxBytes
			slow.Attachment = n.Attach(visitorS(), "", o)
			slow.toLive(nil, nil)
			for i := range 20 {
				n.Publish(mine(rowName(i), start), false)
				quick.take()
			}
			assert.Equal(t, chat.SlowConsumer, slow.Subscriber.Ended())
			assert.Equal(t, chat.SlowConsumer, slow.ended())
			assert.Len(t, slow.items, 1, "something is written beside the end")
			assert.Len(t, quick.events, 20)
			assert.Nil(t, quick.Subscriber.Ended())
		})
	}
}

func TestOneItemLargerThanTheQueueIsTaken(t *testing.T) {
	s := chat.NewTestSubscriber(visitorS(), chat.Rule{}, nil, chat.SubscriberOptions{MaxEvents: 10, MaxBytes: 100, Wake: func() {}})
	s.Push([]byte(strings.Repeat("x", 1000)))
	assert.Nil(t, s.Ended())
	s.Push([]byte("y"))
	assert.Equal(t, chat.SlowConsumer, s.Ended())
}

func TestTheEndDropsWhatWaitsAndNothingFollows(t *testing.T) {
	m := chat.NewMetrics(prometheus.NewRegistry())
	s := chat.NewTestSubscriber(visitorS(), chat.Rule{}, m, chat.SubscriberOptions{
		MaxEvents: 10, MaxBytes: 1000, Wake: func() {}, Dialect: chat.DialectWebSocket,
	})
	s.Push([]byte("one"))
	s.PushControl(chat.Control{Type: "heartbeat"})
	s.End(chat.MaxAge, &chat.Control{Type: "reconnect"})
	s.End(chat.SessionEnded, &chat.Control{Type: "session_ended"})
	s.Push([]byte("two"))
	items, more := s.Take(nil)
	require.True(t, more)
	assert.Equal(t, []chat.Item{{Frame: []byte(`{"type":"reconnect"}`)}, {End: chat.MaxAge}}, items)
	items, more = s.Take(nil)
	assert.False(t, more)
	assert.Empty(t, items)
	assert.Equal(t, chat.MaxAge, s.Ended())
	assert.Equal(t, 2.0, testutil.ToFloat64(m.Dropped))
}

func TestFramesWaitUntilTheStreamIsLive(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.attach(visitorS(), "", nil, nil)
	s.Resume()
	s.Subscriber.Push([]byte("frame"))
	n.Publish(mine("a", start), false)
	assert.Zero(t, s.wakes)
	s.toLive(nil, nil)
	assert.Equal(t, 1, s.wakes)
	assert.Equal(t, []string{"message a"}, s.log())
	assert.Equal(t, "frame", string(s.items[0].Frame))
}

func TestWakeComesOnceUntilTheQueueWasFoundEmpty(t *testing.T) {
	wakes := 0
	s := chat.NewTestSubscriber(visitorS(), chat.Rule{}, nil, chat.SubscriberOptions{MaxEvents: 10, MaxBytes: 1000, Wake: func() { wakes++ }})
	s.Push([]byte("a"))
	s.Push([]byte("b"))
	assert.Equal(t, 1, wakes)
	_, more := s.Take(nil)
	assert.True(t, more)
	s.Push([]byte("c"))
	assert.Equal(t, 1, wakes, "woken while somebody flushes")
	_, more = s.Take(nil)
	assert.True(t, more)
	_, more = s.Take(nil)
	assert.False(t, more)
	s.Push([]byte("d"))
	assert.Equal(t, 2, wakes)
}

func TestNoItemIsStranded(t *testing.T) {
	const writers, each = 4, 2000
	var flushers, pushers sync.WaitGroup
	var s *chat.Subscriber
	var got, wakes atomic.Int64
	flush := func() {
		for more := true; more; {
			var items []chat.Item
			items, more = s.Take(nil)
			got.Add(int64(len(items)))
			runtime.Gosched()
		}
	}
	s = chat.NewTestSubscriber(visitorS(), chat.Rule{}, nil, chat.SubscriberOptions{
		MaxEvents: writers*each + 1, MaxBytes: 1 << 30,
		Wake: func() { wakes.Add(1); flushers.Go(flush) },
	})
	for range writers {
		pushers.Go(func() {
			for range each {
				s.Push([]byte("x"))
			}
		})
	}
	pushers.Wait()
	flushers.Wait()
	assert.EqualValues(t, writers*each, got.Load())
	assert.LessOrEqual(t, wakes.Load(), got.Load())
}

func TestGuardRefusesWhatTheRuleShouldHaveHidden(t *testing.T) {
	session, conversation := chat.Rule{}, chat.Rule{Mode: chat.ModeConversation}
	identified := mine("a", start)
	identified.SenderUserID = idX
	tests := []struct {
		name  string
		rule  chat.Rule
		event *chat.Event
		want  bool
	}{
		{"own row", session, chat.EventOf(mine("a", start), ""), true},
		{"untagged row", session, chat.EventOf(untaggedRow("a", idC1, start), ""), true},
		{"another conversation", session, chat.EventOf(taggedRow("a", idC2, idS, start), ""), false},
		{"no conversation", session, chat.EventOf(taggedRow("a", "", idS, start), ""), false},
		{"another session", session, chat.EventOf(taggedRow("a", idC1, idSOther, start), ""), false},
		{"an identified sender", session, chat.EventOf(identified, ""), false},
		{"an unstored reply of another session", session, chat.EventOf(untaggedRow("a", idC1, start), idSOther), false},
		{"an own unstored reply", session, chat.EventOf(untaggedRow("a", idC1, start), idS), true},
		{"another session in conversation mode", conversation, chat.EventOf(taggedRow("a", idC1, idSOther, start), ""), true},
		{"another conversation in conversation mode", conversation, chat.EventOf(taggedRow("a", idC2, idS, start), ""), false},
		{"another session's unstored reply in conversation mode", conversation, chat.EventOf(untaggedRow("a", idC1, start), idSOther), false},
		{"an identified sender in conversation mode", conversation, chat.EventOf(identified, ""), false},
		{"an identified sender where senders are trusted", chat.Rule{Mode: chat.ModeConversation, TrustSenders: true},
			chat.EventOf(identified, ""), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := chat.NewMetrics(prometheus.NewRegistry())
			s := chat.NewTestSubscriber(visitorS(), tt.rule, m, chat.SubscriberOptions{MaxEvents: 1, MaxBytes: 1, Wake: func() {}})
			assert.Equal(t, tt.want, s.Guard(tt.event))
			refused := 1.0
			if tt.want {
				refused = 0
			}
			assert.Equal(t, refused, testutil.ToFloat64(m.Guarded))
		})
	}
}

// A deletion holds nothing but an id; whose row it was, the guard still knows.
func TestGuardKnowsWhoseUpdatesAndDeletionsAre(t *testing.T) {
	trusting := chat.Rule{Mode: chat.ModeConversation, TrustSenders: true}
	identified := mine("a", start)
	identified.SenderUserID = idX
	other, elsewhere := visitorS(), visitorS()
	other.SessionID, elsewhere.ConversationID = idSOther, idC2
	for name, tt := range map[string]struct {
		rule, guard chat.Rule
		row         *chat.Row
		visitor     *chat.Visitor
		want        bool
	}{
		"own":                  {chat.Rule{}, chat.Rule{}, mine("a", start), visitorS(), true},
		"another session":      {chat.Rule{}, chat.Rule{}, mine("a", start), other, false},
		"another conversation": {chat.Rule{}, chat.Rule{}, mine("a", start), elsewhere, false},
		"an identified sender": {trusting, chat.Rule{}, identified, visitorS(), false},
		"a trusted sender":     {trusting, trusting, identified, visitorS(), true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, newClock(), 1, func(o *chat.Options) { o.Rule = tt.rule })
			s := n.join(visitorS(), "", nil, nil)
			n.Publish(tt.row, false)
			changed := *tt.row
			changed.Content.Text, changed.UpdatedAt = "changed", start.Add(time.Second)
			n.Publish(&changed, true)
			n.Delete("a")
			require.Equal(t, []string{"message a", "message_updated a", "message_deleted a"}, s.log())
			guard := chat.NewTestSubscriber(tt.visitor, tt.guard, chat.NewMetrics(prometheus.NewRegistry()),
				chat.SubscriberOptions{MaxEvents: 1, MaxBytes: 1, Wake: func() {}})
			for _, e := range s.events {
				assert.Equal(t, tt.want, guard.Guard(e), e.Kind)
			}
		})
	}
}
