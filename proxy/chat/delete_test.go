package chat_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

func TestHubTakesBackADeletedRow(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	other := n.join(visitorOther(), "", nil, nil)
	row := mine("a", start)
	n.Publish(row, false)
	n.Delete("a")
	n.Delete("a")
	stale := []*chat.Row{row, changed(row, "older update", start.Add(time.Hour))}
	assert.Zero(t, n.Recover(idC1, stale, nil, nil), "a read begun before the deletion brought the row back")
	n.Publish(changed(row, "late update", start.Add(time.Hour)), true)
	assert.Equal(t, []string{"message a", "message_deleted a"}, s.log())
	assert.Empty(t, other.log())
}

func TestADeletedRowThatStillWaitsIsNeverShown(t *testing.T) {
	t.Run("behind a hold", func(t *testing.T) {
		n := newNode(t, newClock(), 1, nil)
		s := n.join(visitorS(), "", nil, nil)
		release := n.Hold([]string{idC1})
		n.Publish(mine("a", start), false)
		n.Publish(mine("b", start), false)
		n.Delete("a")
		n.Recover(idC1, []*chat.Row{mine("a", start)}, nil, nil)
		release()
		assert.Equal(t, []string{"message b"}, s.log())
	})
	t.Run("while the class is built", func(t *testing.T) {
		c := newClock()
		cursor := newNode(t, c, 1, nil).join(visitorS(), "", nil, nil).cursor
		n := newNode(t, c, 2, nil)
		s := &stream{t: t}
		s.Attachment = n.Attach(visitorS(), cursor, streamOptions(s))
		n.Publish(mine("a", start), false)
		n.Publish(mine("b", start), false)
		n.Delete("a")
		stale := []*chat.Row{mine("a", start)}
		require.True(t, s.Baseline(stale, nil, start.Add(-time.Hour), start))
		s.toLive(append(stale, mine("b", start)), nil)
		assert.Equal(t, []string{"message b recovered"}, s.log())
	})
	t.Run("for a scope", func(t *testing.T) {
		n := newNode(t, newClock(), 1, nil)
		s := n.join(visitorS(), "", nil, nil)
		n.Publish(untaggedRow("a", idC1, start), false)
		n.Publish(mine("b", start), false)
		n.Delete("a")
		n.SetScope(idC1, n.BeginScope(idC1), isolatedScope())
		assert.Equal(t, []string{"message b"}, s.log())
	})
}

func TestARowDeletedDuringAReadIsNotShown(t *testing.T) {
	stale := func() []*chat.Row { return []*chat.Row{mine("a", start), mine("b", start)} }
	t.Run("to those present", func(t *testing.T) {
		n := newNode(t, newClock(), 1, nil)
		s := n.join(visitorS(), "", nil, nil)
		n.Delete("a")
		assert.Equal(t, 1, n.Recover(idC1, stale(), nil, nil))
		assert.Equal(t, []string{"message b recovered"}, s.log())
	})
	t.Run("to one who comes back", func(t *testing.T) {
		c := newClock()
		cursor := newNode(t, c, 1, nil).join(visitorS(), "", nil, nil).cursor
		n := newNode(t, c, 2, nil)
		n.join(visitorOther(), "", nil, nil)
		n.Delete("a")
		assert.Equal(t, []string{"message b recovered"}, n.join(visitorS(), cursor, stale(), nil).log())
	})
	t.Run("as history", func(t *testing.T) {
		n := newNode(t, newClock(), 1, nil)
		s := n.join(visitorS(), "", nil, nil)
		n.Delete("a")
		assert.Empty(t, s.History(stale(), nil), "what is news to all goes through the sequence")
		assert.Equal(t, []string{"message b recovered"}, s.log())
	})
	t.Run("but not for ever", func(t *testing.T) {
		n := newNode(t, newClock(), 1, nil)
		s := n.join(visitorS(), "", nil, nil)
		n.Delete("a")
		n.clock.advance(time.Minute)
		assert.Equal(t, 2, n.Recover(idC1, stale(), nil, nil))
		assert.Equal(t, []string{"message a recovered", "message b recovered"}, s.log())
	})
	t.Run("however many others go, within bounds", func(t *testing.T) {
		n := newNode(t, newClock(), 1, nil)
		n.join(visitorS(), "", nil, nil)
		n.Delete("b")
		for i := range chat.MaxTombstones - 1 {
			n.Delete(name("other", i))
		}
		assert.Equal(t, 1, n.Recover(idC1, stale(), nil, nil))
		n.Delete("one more")
		assert.Equal(t, 1, n.Recover(idC1, stale(), nil, nil), "the oldest is forgotten")
	})
}
