package chat_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// mine is a row of S's that names S.
func mine(id string, created time.Time) *chat.Row { return taggedRow(id, idC1, idS, created) }

func TestHubPublishesInOrder(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	// Rows keep the order of their commits, whatever created_at says.
	n.Publish(mine("a", start.Add(3*time.Second)), false)
	n.Publish(mine("b", start.Add(1*time.Second)), false)
	n.Publish(mine("c", start.Add(2*time.Second)), false)
	assert.Equal(t, []string{"message a", "message b", "message c"}, s.log())
	assert.Equal(t, 1, s.wakes, "woken again before the queue was found empty")
	assert.Equal(t, []uint64{1, 2, 3}, seqs(s.events))
}

func TestHubKeepsNothingOfConversationsThatNobodyWatches(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	row := untaggedRow("a", idC1, start)
	n.Publish(row, false)
	assert.Zero(t, n.Recover(idC1, []*chat.Row{row}, isolatedScope(), nil))
	n.Delete("a")
	n.Hold([]string{idC1})()
	n.SetScope(idC1, n.BeginScope(idC1), isolatedScope())
	n.SetProved(idC1, start, time.Minute)
	n.PublishUnstored(visitorS(), "u", "text")
	assert.False(t, n.WantsScope(idC1, []*chat.Row{row}))
	assert.Zero(t, n.EndSession(idC1, idS, chat.SessionEnded, nil))
	assert.False(t, n.Watched(idC1))
	assert.Empty(t, n.Interests())
	assert.Empty(t, n.asked)
	assert.Zero(t, testing.AllocsPerRun(100, func() { n.Publish(row, false) }))
}

func TestHubShowsARowOnce(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	row := mine("a", start)
	n.Publish(row, false)
	n.Publish(row, false)
	assert.Zero(t, n.Recover(idC1, []*chat.Row{row}, nil, nil))
	n.Publish(changed(row, row.Content.Text, start.Add(time.Second)), true)
	assert.Equal(t, []string{"message a"}, s.log(), "an update that changes nothing public is no event")
}

func TestHubTellsUpdatesFromMessages(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	row := mine("a", start)
	n.Publish(row, false)
	n.Publish(changed(row, "second", start.Add(time.Second)), true)
	n.Publish(changed(row, "stale", start), true)
	assert.Equal(t, 1, n.Recover(idC1, []*chat.Row{changed(row, "third", start.Add(2*time.Second))}, nil, nil))
	assert.Zero(t, n.Recover(idC1, []*chat.Row{changed(row, "stale", start.Add(time.Second))}, nil, nil))
	assert.Equal(t, []string{"message a", "message_updated a", "message_updated a"}, s.log())
	assert.Equal(t, "third", s.events[2].Message.Content)
}

func TestHubShowsARowWhenItIsFilled(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	row := mine("a", start)
	n.Publish(changed(row, " ", start), false)
	assert.Empty(t, s.log())
	n.Publish(changed(row, "filled", start.Add(time.Second)), true)
	n.Publish(changed(row, "", start.Add(2*time.Second)), true)
	n.Publish(changed(row, "again", start.Add(3*time.Second)), true)
	assert.Equal(t, []string{"message a", "message_deleted a", "message a"}, s.log())
}

func TestHubIgnoresAPartialStateOfAShownRow(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	n.Publish(mine("a", start), false)
	n.Publish(&chat.Row{ID: "a", ConversationID: idC1, UpdatedAt: start.Add(time.Second), Partial: true}, true)
	assert.Equal(t, []string{"message a"}, s.log())
}

func TestHubUpdatesAnOldRowWithoutShowingItAsNew(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	old := mine("old", start.Add(-time.Hour))
	s := n.join(visitorS(), "", []*chat.Row{old}, nil)
	n.Publish(changed(old, "changed", start), true)
	assert.Equal(t, []string{"message_updated old"}, s.log())
}

func TestHiddenRowsLeaveNoTrace(t *testing.T) {
	m := chat.NewMetrics(prometheus.NewRegistry())
	n := newNode(t, newClock(), 1, func(o *chat.Options) { o.Metrics = m })
	s := n.join(visitorS(), "", nil, nil)
	n.Publish(mine("a", start), false)
	before := s.LiveCursor()
	n.clock.advance(time.Second)
	n.Publish(taggedRow("x", idC1, idSOther, n.clock.now()), false)
	n.Publish(decodeExample(t, exampleRows["m13"]), false)
	n.Recover(idC1, []*chat.Row{taggedRow("y", idC1, idSOther, start)}, isolatedScope(), nil)
	n.Delete("x")
	n.Delete("nobody knows it")
	assert.Equal(t, before, s.LiveCursor())
	assert.Equal(t, []string{"message a"}, s.log())
	assert.Equal(t, 3.0, testutil.ToFloat64(m.Hidden))
	assert.Zero(t, testutil.ToFloat64(m.Guarded))
	assert.Equal(t, 1.0, testutil.ToFloat64(m.Events.WithLabelValues("message")))
}

func TestEndSessionEndsEveryStreamOfTheSession(t *testing.T) {
	for _, mode := range []chat.Mode{chat.ModeSession, chat.ModeConversation} {
		n := newNode(t, newClock(), 1, func(o *chat.Options) { o.Rule.Mode = mode })
		one, two := n.join(visitorS2(), "", nil, nil), n.join(visitorS2(), "", nil, nil)
		other := n.join(visitorOther(), "", nil, nil)
		n.Publish(taggedRow("a", idC2, idS2, start), false)
		last := &chat.Control{Type: "session_ended"}
		assert.Equal(t, 2, n.EndSession(idC2, idS2, chat.SessionEnded, last))
		n.Publish(taggedRow("b", idC2, idS2, start), false)
		n.Publish(taggedRow("c", idC2, idSOther, start), false)
		n.PublishUnstored(visitorS2(), "u", "text")
		for _, s := range []*stream{one, two} {
			assert.Equal(t, chat.SessionEnded, s.ended())
			assert.Empty(t, s.events, "events follow the end")
			require.Len(t, s.items, 2)
			assert.Equal(t, last.Encode(chat.DialectMessage), s.items[0].Frame)
			s.Close()
			s.Close()
		}
		assert.Nil(t, other.ended())
		assert.Contains(t, other.log(), "message c")
		other.Close()
	}
}

func TestSweepForgetsAfterTheResumeWindow(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	n.clock.advance(time.Hour)
	n.Sweep()
	assert.True(t, n.Watched(idC1), "swept with a subscriber")
	s.Close()
	n.clock.advance(2 * time.Minute)
	n.Sweep()
	assert.True(t, n.Watched(idC1), "swept within the resume window")
	assert.Len(t, n.Interests(), 1, "the window is fed while nobody is there")
	n.clock.advance(time.Second)
	n.Sweep()
	assert.False(t, n.Watched(idC1))
}

func TestInterestsListWatchedConversations(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s, other, second := n.join(visitorS(), "", nil, nil), n.join(visitorOther(), "", nil, nil), n.join(visitorS2(), "", nil, nil)
	building := n.Attach(&chat.Visitor{SessionID: idX, ConversationID: idX}, "", streamOptions(&stream{}))
	n.clock.advance(time.Second)
	n.Publish(mine("a", start), false)
	n.SetProved(idC2, start.Add(time.Minute), time.Minute)
	n.SetProved(idC2, start, time.Minute)
	n.SetLooked(idC2, start.Add(time.Hour))
	n.SetLooked(idC2, start.Add(time.Second))
	n.SetLooked("nobody's", start)
	assert.Equal(t, []chat.Interest{
		{ConversationID: idC1, Proved: start, Looked: start, Activity: start.Add(time.Second), Subscribers: 1},
		{ConversationID: idC2, Proved: start.Add(time.Minute), Looked: start.Add(time.Hour), Subscribers: 2},
	}, n.Interests())
	assert.Equal(t, n.Interests()[1:], n.InterestsOf([]string{idX, idC2, "nobody's"}), "one is not ready, one is not watched")
	var ids []string
	for _, v := range n.Visitors() {
		ids = append(ids, v.SessionID)
	}
	assert.ElementsMatch(t, []string{idS, idS2, idSOther, idX}, ids)
	for _, a := range []*chat.Attachment{s.Attachment, other.Attachment, second.Attachment, building} {
		a.Close()
	}
	assert.Empty(t, n.Visitors())
}

func TestProvedReadsBoundWhatAClassRemembers(t *testing.T) {
	n := newNode(t, newClock(), 1, func(o *chat.Options) { o.WindowEvents = 1 })
	s := n.join(visitorS(), "", nil, nil)
	n.Publish(mine("old", start), false)
	n.clock.advance(20 * time.Minute)
	n.Publish(mine("young", n.clock.now()), false)
	n.SetProved(idC1, n.clock.now(), 5*time.Minute)
	_, known := n.Waiting(idC1)
	assert.Equal(t, 1, known)
	assert.Zero(t, n.Recover(idC1, []*chat.Row{mine("old", start), mine("young", n.clock.now())}, nil, nil))
	assert.Equal(t, []string{"message old", "message young"}, s.log())
}

func TestMessagesInTheWindowAreUpdatedAndDeletedHoweverOldTheyAre(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	n.Publish(mine("a", start), false)
	n.Publish(mine("b", start.Add(time.Second)), false)
	n.clock.advance(20 * time.Minute)
	n.SetProved(idC1, n.clock.now(), 5*time.Minute)
	assert.Equal(t, []string{"b", "a"}, n.Known(idC1, 10), "newest first")
	assert.Equal(t, []string{"b"}, n.Known(idC1, 1))
	assert.Equal(t, 1, n.Recover(idC1, []*chat.Row{changed(mine("a", start), "changed", n.clock.now())}, nil, nil))
	n.Delete("b")
	assert.Equal(t, []string{"a"}, n.Known(idC1, 10), "a deleted row does not count as existing")
	assert.Equal(t, []string{"message a", "message b", "message_updated a", "message_deleted b"}, s.log())
	assert.Empty(t, n.Known(idC2, 10))
	n.Publish(untaggedRow("waits", idC1, start.Add(time.Minute)), false)
	assert.Equal(t, []string{"waits", "a"}, n.Known(idC1, 10))
}

func TestRecoveredRowsCountAsActivity(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	n.join(visitorS(), "", nil, nil)
	n.clock.advance(time.Minute)
	n.Recover(idC1, []*chat.Row{mine("a", start)}, nil, nil)
	assert.Equal(t, n.clock.now(), n.Interests()[0].Activity)
	n.clock.advance(time.Minute)
	n.Recover(idC1, []*chat.Row{mine("a", start)}, nil, nil)
	assert.Equal(t, n.clock.now().Add(-time.Minute), n.Interests()[0].Activity, "a known row is none")
}

func TestAClassRemembersABoundedNumberOfRows(t *testing.T) {
	for name, step := range map[string]time.Duration{"one after another": time.Millisecond, "in one transaction": 0} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, newClock(), 1, nil)
			s := n.attach(visitorS(), "", nil, nil)
			rows := chat.MaxKnown + 100
			for i := range rows {
				n.Publish(mine(rowName(i), start.Add(time.Duration(i)*step)), false)
			}
			_, known := n.Waiting(idC1)
			assert.LessOrEqual(t, known, chat.MaxKnown)
			last := s.LiveCursor()
			n.Publish(mine(rowName(rows-1), start.Add(time.Duration(rows-1)*step)), false)
			assert.Equal(t, last, s.LiveCursor(), "the newest row was forgotten")
		})
	}
}

func rowName(i int) string { return name("row", i) }

func TestRepliesWithoutARowReachTheirSessionOnly(t *testing.T) {
	for _, mode := range []chat.Mode{chat.ModeSession, chat.ModeConversation} {
		n := newNode(t, newClock(), 1, func(o *chat.Options) { o.Rule.Mode = mode })
		s, again, other := n.join(visitorS2(), "", nil, nil), n.join(visitorS2(), "", nil, nil), n.join(visitorOther(), "", nil, nil)
		n.PublishUnstored(visitorS2(), "u1", "only here")
		for _, s := range []*stream{s, again} {
			assert.Equal(t, []string{"message u1 unstored"}, s.log())
			assert.Equal(t, "only here", s.events[0].Message.Content)
			assert.Equal(t, idA, *s.events[0].Message.AgentID)
		}
		assert.Empty(t, other.log())
		back := n.join(visitorS2(), s.cursor, nil, nil)
		assert.Empty(t, back.log(), "an unstored reply was resumed")
	}
}

func TestReplyAfterFindsTheStoredReply(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	v := visitorS()
	n.join(v, "", nil, nil)
	n.Publish(mine("before", start), false)
	mark := n.Mark(v)
	assert.Equal(t, uint64(1), mark)
	_, ok := n.ReplyAfter(v, mark, "text of before")
	assert.False(t, ok)
	n.Publish(mine("after", start), false)
	id, ok := n.ReplyAfter(v, mark, " text of after\n")
	assert.True(t, ok)
	assert.Equal(t, "after", id)
	assert.Zero(t, n.Mark(visitorOther()))
}

func TestHubTellsOfEachVisitorMessageOnce(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	n.join(visitorS(), "", nil, nil)
	row := decodeExample(t, exampleRows["m02"])
	n.Publish(row, false)
	n.Publish(row, false)
	n.Publish(changed(row, "", start), true)
	n.Publish(changed(row, "back", start.Add(time.Second)), true)
	assert.Equal(t, []string{"c-17"}, n.wrote)
}

func TestANewerReadingOfTheVisitorJudgesTheRowsToCome(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	unknown := visitorS()
	unknown.LinkKnown = false
	s := n.join(unknown, "", nil, nil)
	n.Publish(untaggedRow("a", idC1, start), false)
	assert.Empty(t, n.asked)
	n.UpdateVisitor(visitorS())
	n.Publish(untaggedRow("b", idC1, start), false)
	n.SetScope(idC1, n.BeginScope(idC1), isolatedScope())
	assert.Equal(t, []string{"message b"}, s.log())
	again := n.join(visitorS(), "", nil, nil)
	past := []*chat.Row{untaggedRow("b", idC1, start)}
	require.Len(t, again.History(past, isolatedScope()), 1)
	n.UpdateVisitor(unknown)
	assert.False(t, again.WantsScope(past))
	assert.Empty(t, again.History(past, isolatedScope()), "what is read for one visitor is judged likewise")
}

func TestAScopeReadOfAConversationThatWasSweptJudgesNothing(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	for i := range 50 {
		n.Publish(mine(fmt.Sprint("r", i), start), false)
	}
	n.Publish(untaggedRow("a", idC1, start), false)
	stamp := n.BeginScope(idC1)
	s.Close()
	n.clock.advance(3 * time.Minute)
	n.Sweep()
	again := n.join(visitorS(), "", nil, nil)
	n.SetScope(idC1, stamp, isolatedScope())
	n.Publish(untaggedRow("b", idC1, n.clock.now()), false)
	assert.Empty(t, again.log(), "another session may be in the conversation by now")
	n.SetScope(idC1, n.BeginScope(idC1), isolatedScope())
	assert.Equal(t, []string{"message b"}, again.log())
}

func TestNewHubWantsWhatItCannotDoWithout(t *testing.T) {
	_, err := chat.NewHub(chat.Options{})
	assert.Error(t, err)
}

func TestAnUnstoredReplyWaitsForAStreamThatIsCatchingUp(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	n.join(visitorS(), "", nil, nil) // the class has its baseline
	s := n.attach(visitorS(), "", nil, nil)
	n.PublishUnstored(visitorS(), "u", "only here")
	assert.Zero(t, s.wakes, "nobody writes past a delivery")
	s.toLive(nil, nil)
	assert.Equal(t, []string{"message u unstored"}, s.log())
}
