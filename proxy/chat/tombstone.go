package chat

import (
	"sync"
	"time"
)

const (
	// tombstoneLife is longer than any read of rows may take.
	tombstoneLife = time.Minute
	// maxTombstones bounds their memory, about 100 bytes each; the oldest go first.
	maxTombstones = 8192
)

// tombstones are the ids of rows deleted of late: a read begun before the deletion may still bring the row, and where nobody had been
// shown it nothing else tells that it is gone. Safe for concurrent use.
type tombstones struct {
	mu   sync.Mutex
	at   map[string]time.Time
	ring []string // in the order of their deletion
	next int
}

// bury remembers a deletion.
func (t *tombstones) bury(id string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at == nil {
		t.at = make(map[string]time.Time)
	}
	if _, known := t.at[id]; !known {
		if len(t.ring) < maxTombstones {
			t.ring = append(t.ring, id)
		} else {
			delete(t.at, t.ring[t.next])
			t.ring[t.next] = id
			t.next = (t.next + 1) % maxTombstones
		}
	}
	t.at[id] = now
}

// deleted reports whether a row that a read brings was deleted since. The caller holds the conversation's mutex: a deletion is either
// known here, or finds the row among those that were shown.
func (h *Hub) deleted(row *Row) bool { return h.graves.has(row.ID, h.opts.Now()) }

// has reports whether a row was deleted of late.
func (t *tombstones) has(id string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, known := t.at[id]
	return known && now.Sub(at) < tombstoneLife
}
