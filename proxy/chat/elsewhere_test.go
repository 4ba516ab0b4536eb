package chat_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// elsewhere is a visitor who had a row from another node; this one's reads do not show it any more, and its channel has yet to bring it.
type elsewhere struct {
	*clock
	n      *node
	row    *chat.Row
	blank  []*chat.Row
	cursor string // of the node that the visitor comes from
}

func newElsewhere(t *testing.T) *elsewhere {
	c := newClock()
	ahead := newNode(t, c, 100, nil)
	s := ahead.join(visitorS(), "", nil, nil)
	c.advance(time.Second)
	row := mine("a", c.now())
	ahead.Publish(row, false)
	require.Equal(t, []string{"message a"}, s.log())
	return &elsewhere{c, newNode(t, c, 200, nil), row, []*chat.Row{changed(row, " ", c.now().Add(time.Second))}, s.cursor}
}

// publish brings a new row.
func (w *elsewhere) publish(id string) {
	w.advance(time.Second)
	w.n.Publish(mine(id, w.now()), false)
}

func TestACursorKeepsTellingWhatTheClassDoesNotKnow(t *testing.T) {
	for name, come := range map[string]func(w *elsewhere) (cursor string){
		"the greeting's": func(w *elsewhere) string {
			return w.n.join(visitorS(), w.cursor, w.blank, nil).Cursor()
		},
		"a live event's": func(w *elsewhere) string {
			s := w.n.join(visitorS(), w.cursor, w.blank, nil)
			w.publish("b")
			assert.Equal(t, []string{"message b"}, s.log())
			return s.cursor
		},
		"the newest": func(w *elsewhere) string {
			s := w.n.join(visitorS(), w.cursor, w.blank, nil)
			w.publish("b")
			return s.LiveCursor()
		},
		"one after another": func(w *elsewhere) string {
			cursor := w.cursor
			for range 3 {
				cursor = w.n.join(visitorS(), cursor, w.blank, nil).LiveCursor()
				w.publish("b")
				s := w.n.join(visitorS(), cursor, w.blank, nil)
				s.log()
				cursor = s.cursor
			}
			return cursor
		},
		"where a Realtime client went live": func(w *elsewhere) string {
			a := w.n.Attach(visitorS(), w.cursor, chat.SubscriberOptions{Dialect: chat.DialectRealtime, Wake: func() {}, MaxBytes: 1 << 20, MaxEvents: 10})
			require.True(t, a.Building())
			require.True(t, a.Baseline(nil, nil, w.now().Add(-time.Minute), w.now()))
			a.Resume()
			_, live, _ := a.Next(1 << 20)
			require.True(t, live)
			return a.Released()
		},
		"an event's that is taken back halfway": func(w *elsewhere) string {
			s := w.n.join(visitorS(), w.cursor, w.blank, nil)
			cursor := s.LiveCursor()
			w.publish("b")
			w.publish("c")
			back := w.n.attach(visitorS(), cursor, w.blank, nil)
			_, read := back.Resume()
			require.False(t, read, "the class's place in the cursor was lost")
			events, _, _ := back.Next(1)
			require.Len(t, events, 1)
			return events[0].Cursor
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newElsewhere(t)
			cursor := come(w)
			back := w.n.join(visitorS(), cursor, w.blank, nil)
			had := len(back.log())
			w.n.Publish(w.row, false)
			assert.Len(t, back.log(), had, "the visitor had the row already")
			third := newNode(t, w.clock, 300, nil)
			moved := third.join(visitorS(), cursor, w.blank, nil)
			third.Publish(w.row, false)
			assert.NotContains(t, moved.log(), "message a")
			w.n.Publish(w.blank[0], true)
			assert.Equal(t, "message_deleted a", back.log()[had])
		})
	}
}

func TestARowThatCameBetweenTwoVisitsIsStillKnownToTheCursor(t *testing.T) {
	w := newElsewhere(t)
	s := w.n.join(visitorS(), w.cursor, w.blank, nil)
	cursor := s.LiveCursor()
	w.publish("b")
	w.n.Publish(w.row, false)
	w.publish("c")
	back := w.n.attach(visitorS(), cursor, w.blank, nil)
	back.Resume()
	events, _, _ := back.Next(1)
	require.Len(t, events, 1)
	require.Equal(t, "b", events[0].Message.ID)
	again := w.n.join(visitorS(), events[0].Cursor, w.blank, nil)
	assert.Equal(t, []string{"message c"}, again.log())
}

func TestVisitorsShareTheClassCursorsAgainWhenTheOverlapHasPassed(t *testing.T) {
	w := newElsewhere(t)
	resident := w.n.join(visitorS(), "", w.blank, nil)
	s := w.n.join(visitorS(), w.cursor, w.blank, nil)
	w.publish("b")
	resident.log()
	s.log()
	assert.NotEqual(t, resident.cursor, s.cursor)
	w.advance(3 * time.Minute)
	w.n.SetProved(idC1, w.now(), 5*time.Minute)
	w.publish("c")
	w.publish("d")
	resident.log()
	s.log()
	assert.Equal(t, resident.cursor, s.cursor)
	assert.Equal(t, resident.LiveCursor(), s.LiveCursor())
}

func TestACursorKeepsTellingWhatItCannotName(t *testing.T) {
	c := newClock()
	ahead, behind := newNode(t, c, 100, nil), newNode(t, c, 200, nil)
	s := ahead.join(visitorS(), "", nil, nil)
	first := mine("first", c.now().Add(time.Millisecond))
	for i := range chat.MaxSeen + 1 { // pushes the first out of the cursor
		c.advance(time.Millisecond)
		row := mine(rowName(i), c.now())
		if i == 0 {
			row = first
		}
		ahead.Publish(row, false)
	}
	s.log()
	moved := behind.join(visitorS(), s.cursor, nil, nil) // everything has been blanked since
	back := behind.join(visitorS(), moved.LiveCursor(), nil, nil)
	behind.Publish(first, false)
	assert.Equal(t, []string{"message first replayed"}, back.log())
}

func TestAnUnstoredReplyDoesNotTurnACursorBack(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	begun := s.LiveCursor()
	back := n.attach(visitorS(), begun, nil, nil)
	n.PublishUnstored(visitorS(), "u", "only here")
	n.Publish(mine("a", start.Add(time.Second)), false)
	back.toLive(nil, nil)
	assert.Equal(t, []string{"message a", "message u unstored"}, back.log())
	assert.Empty(t, n.join(visitorS(), back.cursor, nil, nil).log())
}
