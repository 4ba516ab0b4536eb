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

func TestResumeInTheSameClassIsExact(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	rows := []*chat.Row{mine("a", start), mine("b", start), mine("c", start)}
	for _, row := range rows {
		n.Publish(row, false)
	}
	s.log()
	s.Close()
	for i, want := range [][]string{{"message b", "message c"}, {"message c"}, {}} {
		back := n.join(visitorS(), s.events[i].Cursor, nil, nil)
		assert.True(t, back.Resumed())
		assert.Equal(t, want, back.log())
		assert.Equal(t, s.events[2].Cursor, back.cursor)
		back.Close()
	}
	n.Publish(mine("d", start), false)
	_, read := n.Attach(visitorS(), s.cursor, streamOptions(&stream{})).Resume()
	assert.False(t, read, "the window covers it")
	assert.Equal(t, []string{"message d"}, n.join(visitorS(), s.cursor, nil, nil).log())
}

func TestACursorOfSomebodyElseCountsAsNone(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	other := n.join(visitorOther(), "", nil, nil)
	assert.True(t, n.VerifyCursor(visitorOther(), other.cursor))
	for _, text := range []string{other.cursor, "garbage"} {
		assert.False(t, n.VerifyCursor(visitorS2(), text))
		s := n.join(visitorS2(), text, nil, nil)
		assert.False(t, s.Resumed())
		s.Close()
	}
}

func TestResumeOnAnotherNodeBringsExactlyWhatWasMissed(t *testing.T) {
	c := newClock()
	one, two := newNode(t, c, 100, nil), newNode(t, c, 200, nil)
	var table []*chat.Row
	write := func(id string, age time.Duration) {
		c.advance(time.Second)
		table = append(table, mine(id, c.now().Add(-age)))
		one.Publish(table[len(table)-1], false)
	}
	write("before", 0)
	s := one.join(visitorS(), "", table, nil)
	write("a", 0)
	write("b", 30*time.Second)
	s.log()
	s.Close()
	write("c", time.Minute)
	write("d", 0)
	table = append(table, taggedRow("hidden", idC1, idSOther, c.now()))

	back := two.join(visitorS(), s.cursor, table, nil)
	assert.Equal(t, []string{"message c recovered", "message d recovered"}, back.log())
	two.Publish(mine("e", c.now()), false)
	assert.Equal(t, []string{"message c recovered", "message d recovered", "message e"}, back.log())
	table = append(table, mine("e", c.now()))

	t.Run("and at every point of the way", func(t *testing.T) {
		want := back.log()
		for i, e := range back.events {
			again := newNode(t, c, 300, nil).join(visitorS(), e.Cursor, table, nil)
			var ids []string
			for _, e := range again.events {
				ids = append(ids, e.Message.ID)
			}
			assert.Len(t, ids, len(want)-1-i, "after %s: %v", e.Message.ID, ids)
		}
	})
}

func TestAStaleReadDoesNotRepeatWhatTheVisitorHadElsewhere(t *testing.T) {
	c := newClock()
	one, two := newNode(t, c, 100, nil), newNode(t, c, 200, nil)
	c.advance(time.Second)
	s := one.join(visitorS(), "", nil, nil)
	had, lacked := mine("had", c.now()), mine("lacked", c.now())
	one.Publish(had, false)
	require.Equal(t, []string{"message had"}, s.log())
	s.Close()
	// Both rows are deleted now, which this node is not told; a read of it that began before is still under way.
	back := two.join(visitorS(), s.cursor, nil, nil)
	require.Empty(t, back.log())
	two.Recover(idC1, []*chat.Row{had, lacked}, nil, nil)
	assert.Equal(t, []string{"message lacked recovered"}, back.log())
}

func TestResumeRepeatsWhatTheCursorCannotTell(t *testing.T) {
	c := newClock()
	one, two := newNode(t, c, 100, nil), newNode(t, c, 200, nil)
	s := one.join(visitorS(), "", nil, nil)
	var table []*chat.Row
	for i := range chat.MaxSeen + 3 {
		c.advance(time.Millisecond)
		table = append(table, mine(rowName(i), c.now()))
		one.Publish(table[i], false)
	}
	s.log()
	assert.Equal(t, []string{"message row0000 replayed", "message row0001 replayed", "message row0002 replayed"},
		two.join(visitorS(), s.cursor, table, nil).log())
}

func TestANodeThatLagsDoesNotRepeatWhatTheVisitorHas(t *testing.T) {
	c := newClock()
	ahead, behind := newNode(t, c, 100, nil), newNode(t, c, 200, nil)
	resident := behind.join(visitorS(), "", nil, nil)
	s := ahead.join(visitorS(), "", nil, nil)
	c.advance(time.Second)
	table := []*chat.Row{mine("a", c.now())}
	ahead.Publish(table[0], false)
	require.Equal(t, []string{"message a"}, s.log())
	table = append(table, mine("b", c.now()))

	// behind has not heard of either row when the visitor comes.
	moved := behind.join(visitorS(), s.cursor, table, nil)
	behind.Publish(table[0], false)
	behind.Publish(table[1], false)
	assert.Equal(t, []string{"message b recovered"}, moved.log())
	assert.Equal(t, []string{"message a recovered", "message b recovered"}, resident.log())
}

func TestALateChannelDoesNotRepeatWhatTheVisitorHasAndReadsDoNotShow(t *testing.T) {
	c := newClock()
	ahead, behind := newNode(t, c, 100, nil), newNode(t, c, 200, nil)
	s := ahead.join(visitorS(), "", nil, nil)
	c.advance(time.Second)
	row := mine("a", c.now())
	ahead.Publish(row, false)
	require.Equal(t, []string{"message a"}, s.log())
	blank := []*chat.Row{changed(row, " ", c.now().Add(time.Second))}
	moved := behind.join(visitorS(), s.cursor, blank, nil)
	behind.Publish(row, false)
	assert.Empty(t, moved.log())
	behind.Publish(blank[0], true)
	assert.Equal(t, []string{"message_deleted a"}, moved.log())
}

func TestALaggingNodeMarksWhatTheCursorCannotTell(t *testing.T) {
	c := newClock()
	ahead, behind := newNode(t, c, 100, nil), newNode(t, c, 200, nil)
	resident := behind.join(visitorS(), "", nil, nil)
	s := ahead.join(visitorS(), "", nil, nil)
	var table []*chat.Row
	for i := range chat.MaxSeen + 1 {
		c.advance(time.Millisecond)
		table = append(table, mine(rowName(i), c.now()))
		ahead.Publish(table[i], false)
	}
	s.log()
	assert.Equal(t, []string{"message row0000 recovered replayed"}, behind.join(visitorS(), s.cursor, table, nil).log())
	assert.Len(t, resident.log(), chat.MaxSeen+1)
	assert.Equal(t, "message row0000 recovered", resident.log()[0], "the mark of one visitor reached another")
}

func TestACursorNeverReachesPastARowThatIsStillOwed(t *testing.T) {
	c := newClock()
	one, two := newNode(t, c, 100, nil), newNode(t, c, 200, nil)
	s := one.join(visitorS(), "", nil, nil)
	resident := two.join(visitorS(), "", nil, nil)
	// Node two knows the newer row and never heard of the older one, which lies further back than the overlap.
	older := mine("older", c.now().Add(time.Second))
	c.advance(4 * time.Minute)
	newer := mine("newer", c.now())
	two.Publish(newer, false)
	table := []*chat.Row{older, newer}

	back := two.attach(visitorS(), s.cursor, table, nil)
	from, read := back.Resume()
	require.True(t, read)
	page := back.Backlog(since(table, from), nil)
	require.Len(t, page, 1)
	require.Equal(t, "newer", page[0].Message.ID)
	back.Close() // before the sequence brought the older row

	again := two.join(visitorS(), page[0].Cursor, table, nil)
	assert.Contains(t, again.log(), "message older replayed")
	assert.NotContains(t, again.log(), "message newer")
	assert.Equal(t, []string{"message newer", "message older recovered"}, resident.log())
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

func TestAResumeThatTheWindowNoLongerCoversReadsBack(t *testing.T) {
	c := newClock()
	n := newNode(t, c, 1, func(o *chat.Options) { o.WindowEvents = 2 })
	s := n.join(visitorS(), "", nil, nil)
	s.Close()
	var table []*chat.Row
	for i := range 4 {
		table = append(table, mine(rowName(i), c.now()))
		n.Publish(table[i], false)
	}
	back := n.join(visitorS(), s.cursor, table, nil)
	assert.Len(t, back.log(), 4)
	assert.Equal(t, back.LiveCursor(), n.join(visitorS(), "", nil, nil).cursor)
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

func TestACursorDoesNotPassRowsThatTheChannelMayHaveLost(t *testing.T) {
	c := newClock()
	one := newNode(t, c, 100, nil)
	s := one.join(visitorS(), "", nil, nil)
	c.advance(time.Second)
	lost := mine("lost", c.now())
	c.advance(10 * time.Minute)
	heard := mine("heard", c.now())
	one.Publish(heard, false)
	assert.Equal(t, []string{"message heard"}, s.log())
	table := []*chat.Row{lost, heard}
	assert.Equal(t, []string{"message lost recovered"}, newNode(t, c, 200, nil).join(visitorS(), s.cursor, table, nil).log())

	// Once a read has proved that there was nothing else, the position moves up.
	one.Recover(idC1, table, nil, nil)
	one.SetProved(idC1, c.now(), 5*time.Minute)
	from, read := newNode(t, c, 300, nil).attach(visitorS(), s.LiveCursor(), table, nil).Resume()
	assert.True(t, read)
	assert.Equal(t, c.now().Add(-overlap), from)
}

func TestALateRowIsMarkedForItMayHaveBeenReadBack(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	n.Publish(mine("late", start.Add(-time.Hour)), false)
	n.Publish(mine("in time", start.Add(-time.Minute)), false)
	assert.Equal(t, []string{"message late replayed", "message in time"}, s.log())
}

func TestAVisitorWhoWasElsewhereGetsOldRecoveredRowsMarked(t *testing.T) {
	c := newClock()
	ahead, behind := newNode(t, c, 100, nil), newNode(t, c, 200, nil)
	resident := behind.join(visitorS(), "", nil, nil)
	s := ahead.join(visitorS(), "", nil, nil)
	c.advance(time.Second)
	had := mine("had", c.now())
	ahead.Publish(had, false)
	require.Equal(t, []string{"message had"}, s.log())
	c.advance(10 * time.Minute)
	ahead.SetProved(idC1, c.now(), 5*time.Minute)

	// behind reads nothing for the visitor, and hears of the row when they are live.
	moved := behind.attach(visitorS(), s.LiveCursor(), nil, nil)
	moved.toLive(nil, nil)
	behind.Recover(idC1, []*chat.Row{had}, nil, nil)
	assert.Equal(t, []string{"message had recovered replayed"}, moved.log())
	assert.Equal(t, []string{"message had recovered"}, resident.log())
}
