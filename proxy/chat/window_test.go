package chat_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

func numbered(seq int, bytes int) *chat.Event {
	e := chat.NewEvent(chat.KindMessage, chat.Message{Content: strings.Repeat("x", bytes)}, "", start)
	e.Seq = uint64(seq)
	return e
}

func seqs(events []*chat.Event) []uint64 {
	out := []uint64{}
	for _, e := range events {
		out = append(out, e.Seq)
	}
	return out
}

func TestWindowKeepsTheNewestEvents(t *testing.T) {
	w := chat.NewWindow(20, 1<<20)
	for seq := 1; seq <= 50; seq++ {
		w.Push(numbered(seq, 10))
		for from := range seq + 1 {
			got, whole := w.After(uint64(from), uint64(seq), 1<<20)
			require.Equal(t, seq-from <= 20, whole, "after %d of %d", from, seq)
			if whole {
				require.Len(t, got, seq-from)
				for i, e := range got {
					require.Equal(t, uint64(from+1+i), e.Seq)
				}
			}
		}
	}
	assert.Equal(t, 20, w.Len())
}

func TestWindowIsBoundedByBytes(t *testing.T) {
	w := chat.NewWindow(500, 4<<10)
	for seq := 1; seq <= 100; seq++ {
		w.Push(numbered(seq, 1000))
		assert.LessOrEqual(t, w.Bytes(), 4<<10)
	}
	assert.Equal(t, 3, w.Len())
	w.Push(numbered(101, 10<<10))
	assert.Equal(t, 1, w.Len(), "an event larger than the window stands alone")
	w.Push(numbered(102, 10))
	assert.Equal(t, 1, w.Len())
	assert.Equal(t, 266, w.Bytes())
}

func TestWindowHandsOutPiecesOfTheAskedSize(t *testing.T) {
	w := chat.NewWindow(500, 1<<20)
	for seq := 1; seq <= 10; seq++ {
		w.Push(numbered(seq, 1000))
	}
	got, whole := w.After(2, 10, 4000)
	assert.True(t, whole)
	assert.Equal(t, []uint64{3, 4, 5}, seqs(got))
	got, _ = w.After(5, 10, 1)
	assert.Equal(t, []uint64{6}, seqs(got), "at least one")
	got, whole = w.After(10, 10, 1)
	assert.True(t, whole)
	assert.Empty(t, got)
}
