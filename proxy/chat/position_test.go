package chat_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

func TestPositionNeverRunsAheadOfTheClock(t *testing.T) {
	p := chat.At(start, start.Add(-overlap))
	p.Note("ahead", start.Add(time.Hour), start.Add(time.Second), overlap)
	assert.Equal(t, start.Add(time.Second), p.High())
	assert.Equal(t, "seen", p.Recall("ahead", start.Add(time.Hour)))
	p.Note("later", start.Add(30*time.Minute), start.Add(30*time.Minute), overlap)
	assert.Equal(t, start.Add(30*time.Minute), p.High())
	assert.Equal(t, "seen", p.Recall("ahead", start.Add(time.Hour)), "a row ahead of the clock was forgotten")
	assert.Equal(t, "new", p.Recall("other", start.Add(time.Hour)))
}

func TestPositionForgetsWhatTheOverlapNoLongerReaches(t *testing.T) {
	p := chat.At(start, start.Add(-overlap))
	p.Note("old", start, start, overlap)
	p.Note("edge", start.Add(time.Second), start.Add(time.Second), overlap)
	now := start.Add(overlap + time.Second)
	p.Note("new", now, now, overlap)
	assert.Equal(t, 2, p.Seen(), "the row at the edge stays, the one before it goes")
	assert.Equal(t, start.Add(time.Second), p.Since())
	assert.Equal(t, "seen", p.Recall("edge", start.Add(time.Second)))
	assert.Equal(t, "unsure", p.Recall("old", start))
	assert.Equal(t, "unsure", p.Recall("never given", start.Add(time.Second-time.Microsecond)))
	assert.Equal(t, "new", p.Recall("never given", start.Add(time.Second)))
}

func TestPositionNotesAnOldRowWithoutMovingBack(t *testing.T) {
	p := chat.At(start, start.Add(-overlap))
	p.Note("late", start.Add(-time.Minute), start, overlap)
	assert.Equal(t, start, p.High())
	assert.Equal(t, start.Add(-overlap), p.Since())
	assert.Equal(t, "seen", p.Recall("late", start.Add(-time.Minute)))
}

func TestPositionMovesSinceUpWhenTooManyRowsAreSeen(t *testing.T) {
	p := chat.At(start, start.Add(-overlap))
	const extra = 5
	at := func(i int) time.Time { return start.Add(time.Duration(i) * time.Millisecond) }
	for i := range chat.MaxSeen + extra {
		p.Note(name("row", i), at(i), start.Add(time.Second), overlap)
	}
	assert.Equal(t, chat.MaxSeen, p.Seen())
	assert.Equal(t, at(extra-1).Add(time.Microsecond), p.Since())
	assert.Equal(t, "unsure", p.Recall(name("row", extra-1), at(extra-1)))
	assert.Equal(t, "seen", p.Recall(name("row", extra), at(extra)))
	assert.Equal(t, "new", p.Recall("other", at(extra)))
}

func TestACursorKeepsARowAheadOfTheClockUntilTheOverlapHasPassedIt(t *testing.T) {
	s := newSigner(t)
	c := chat.Cursor{Position: chat.At(start, start.Add(-overlap))}
	ahead := start.Add(3 * time.Minute)
	c.Note("ahead", ahead, start, overlap)
	c, err := s.VerifyCursor(s.SignCursor(c, "k"), "k")
	require.NoError(t, err)
	now := start.Add(overlap + time.Second)
	c.Note("other", now, now, overlap)
	assert.Equal(t, "seen", c.Recall("ahead", ahead))
}
