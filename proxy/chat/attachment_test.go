package chat_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestAClassGetsWhatItMissedWhileItWasBuilt(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	builder, waiter := &stream{t: t}, &stream{t: t}
	builder.Attachment = n.Attach(visitorS(), "", streamOptions(builder))
	waiter.Attachment = n.Attach(visitorS(), "", streamOptions(waiter))
	require.True(t, builder.Building())
	require.False(t, waiter.Building())
	assert.Empty(t, n.Interests(), "a class without a baseline counts")

	n.Publish(mine("in both", start), false)
	n.Publish(untaggedRow("missed", idC1, start), false)
	n.Publish(mine("missed too", start), false)
	assert.Empty(t, n.asked)
	assert.False(t, isClosed(waiter.Ready()))
	baseline := []*chat.Row{mine("before", start.Add(-time.Minute)), mine("in both", start)}
	require.True(t, builder.Baseline(baseline, nil, start.Add(-time.Hour), start))
	assert.True(t, isClosed(waiter.Ready()))
	assert.False(t, waiter.Failed())
	assert.Equal(t, []string{idC1}, n.asked)

	builder.toLive(nil, nil)
	waiter.toLive(nil, nil)
	n.Publish(mine("live", start), false)
	assert.Empty(t, builder.log(), "a live row went past a missed one")
	n.SetScope(idC1, n.BeginScope(idC1), isolatedScope())
	want := []string{"message missed", "message missed too", "message live"}
	assert.Equal(t, want, builder.log())
	assert.Equal(t, want, waiter.log())
}

func TestABaselineIsReadAgainWhenTooMuchWasMissed(t *testing.T) {
	n := newNode(t, newClock(), 1, func(o *chat.Options) { o.MaxHeld = 3 })
	s := &stream{t: t}
	s.Attachment = n.Attach(visitorS(), "", streamOptions(s))
	var table []*chat.Row
	for i := range 5 {
		table = append(table, mine(rowName(i), start))
		n.Publish(table[i], false)
	}
	floor := start.Add(-time.Hour)
	assert.False(t, s.Baseline(nil, nil, floor, start))
	assert.True(t, s.Building())
	assert.False(t, isClosed(s.Ready()))
	require.True(t, s.Baseline(table, nil, floor, start))
	s.toLive(nil, nil)
	assert.Empty(t, s.log())
	assert.Empty(t, n.gaps)
	_, known := n.Waiting(idC1)
	assert.Equal(t, 5, known)
}

func TestWaitersLearnThatTheBuilderGaveUp(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	builder, waiter := n.Attach(visitorS(), "", streamOptions(&stream{})), n.Attach(visitorS(), "", streamOptions(&stream{}))
	builder.Close()
	require.True(t, isClosed(waiter.Ready()))
	assert.True(t, waiter.Failed())
	again := n.join(visitorS(), "", nil, nil)
	waiter.Close()
	n.Publish(mine("a", start), false)
	assert.Equal(t, []string{"message a"}, again.log())
	again.Close()
	n.clock.advance(time.Hour)
	n.Sweep()
	assert.False(t, n.Watched(idC1))
}

func TestAJoinerStartsBehindWhatIsThere(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	table := []*chat.Row{mine("old", start.Add(-time.Minute))}
	first := n.join(visitorS(), "", table, nil)
	n.Publish(mine("a", start), false)
	second := n.join(visitorS(), "", table, nil)
	n.Publish(table[0], false)
	n.Publish(mine("b", start), false)
	assert.Equal(t, []string{"message a", "message b"}, first.log())
	assert.Equal(t, []string{"message b"}, second.log())
	assert.False(t, second.Resumed())
	assert.Same(t, first.events[1], second.events[0], "two streams of a class share an event")
}

func TestAVisitorWhomTheWindowLeftBehindReadsBack(t *testing.T) {
	c := newClock()
	n := newNode(t, c, 1, func(o *chat.Options) { o.WindowEvents = 3 })
	first := n.join(visitorS(), "", nil, nil)
	var table []*chat.Row
	write := func(count int) {
		for range count {
			c.advance(time.Second)
			table = append(table, mine(rowName(len(table)), c.now()))
			n.Publish(table[len(table)-1], false)
		}
	}
	write(1)
	first.log()
	first.Close()
	write(2)
	s := n.attach(visitorS(), first.cursor, nil, nil)
	_, read := s.Resume()
	require.False(t, read)
	events, _, _ := s.Next(1)
	s.got(events)
	assert.Equal(t, []string{"message row0001"}, s.log())
	write(5)
	_, live, lost := s.Next(1 << 20)
	assert.False(t, live)
	require.True(t, lost)
	s.got(s.Backlog(since(table, s.Rewind()), nil))
	write(1)
	for live = false; !live; {
		events, live, lost = s.Next(1)
		require.False(t, lost)
		s.got(events)
	}
	write(1)
	assert.Equal(t, []string{
		"message row0001", "message row0002 recovered", "message row0003 recovered", "message row0004 recovered", "message row0005 recovered",
		"message row0006 recovered", "message row0007 recovered", "message row0008", "message row0009",
	}, s.log())
}

func TestASweptClassIsNotTakenForItsSuccessor(t *testing.T) {
	c := newClock()
	n := newNode(t, c, 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	table := []*chat.Row{mine("a", c.now()), mine("b", c.now())}
	n.Publish(table[0], false)
	s.log()
	s.Close()
	c.advance(3 * time.Minute)
	n.Sweep()
	require.False(t, n.Watched(idC1))

	other := n.join(visitorS(), "", table, nil)
	n.Publish(mine("c", c.now()), false)
	table = append(table, mine("c", c.now()))
	other.log()
	back := n.attach(visitorS(), s.cursor, nil, nil)
	_, read := back.Resume()
	require.True(t, read, "a number of the old class was taken for one of the new")
	back.toLive(table, nil)
	assert.Equal(t, []string{"message b recovered", "message c recovered"}, back.log())
}

func TestHistoryAndLiveRowsDoNotOverlap(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	old := mine("old", start.Add(-time.Hour))
	table := []*chat.Row{old, mine("a", start)}
	s := n.attach(visitorS(), "", table, nil)
	s.Resume()
	known, unheard := mine("known", start.Add(time.Second)), mine("unheard", start.Add(2*time.Second))
	n.Publish(known, false)
	s.got(s.History([]*chat.Row{unheard, known, table[1], taggedRow("x", idC1, idSOther, start), old}, nil))
	assert.Equal(t, []string{"message old", "message a"}, s.log())
	for _, e := range s.events {
		assert.Empty(t, e.Cursor, "history moves the cursor")
	}
	s.toLive(nil, nil)
	n.Publish(unheard, false)
	assert.Equal(t, []string{"message old", "message a", "message known", "message unheard recovered"}, s.log())
}

func TestNothingIsReadBackForAStreamThatEnded(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	cursor := newNode(t, n.clock, 9, nil).join(visitorS(), "", nil, nil).cursor
	s := n.attach(visitorS(), cursor, nil, nil)
	s.Resume()
	n.EndSession(idC1, idS, chat.SessionEnded, &chat.Control{Type: "session_ended"})
	rows := []*chat.Row{mine("a", start)}
	assert.Empty(t, s.Backlog(rows, nil))
	assert.Empty(t, s.History(rows, nil))
	assert.Zero(t, s.wakes)
	_, live, lost := s.Next(1 << 20)
	assert.True(t, live)
	assert.False(t, lost)
	assert.Equal(t, 1, s.wakes, "nobody was woken for the end")
	assert.Equal(t, chat.SessionEnded, s.ended())
	assert.Len(t, s.items, 2)
}

func TestAttachmentKnowsWhenItWantsAScope(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	assert.True(t, s.WantsScope([]*chat.Row{mine("a", start), untaggedRow("b", idC1, start)}))
	assert.False(t, s.WantsScope([]*chat.Row{mine("a", start), decodeExample(t, exampleRows["m13"])}))
	assert.False(t, s.WantsScope(nil))
}

func TestALateRowIsMarkedForItMayHaveBeenReadBack(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	n.Publish(mine("late", start.Add(-time.Hour)), false)
	n.Publish(mine("in time", start.Add(-time.Minute)), false)
	assert.Equal(t, []string{"message late replayed", "message in time"}, s.log())
}
