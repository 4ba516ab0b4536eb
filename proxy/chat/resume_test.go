package chat_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

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
	assert.True(t, n.Vouches(visitorOther(), other.cursor))
	for _, text := range []string{other.cursor, "garbage"} {
		assert.False(t, n.Vouches(visitorS2(), text))
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
