package chat

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Hold makes live rows of the conversations wait, so that a read-back can go first. release, to be called once, lets them go behind
// what was recovered. Conversations that nobody watches, or that are watched only later, are left alone.
func (h *Hub) Hold(conversationIDs []string) (release func()) {
	var held []*conversation
	for _, id := range conversationIDs {
		if c := h.find(id); c != nil && planted != "forget the hold" {
			c.mu.Lock()
			c.holds++
			c.gap = false
			c.mu.Unlock()
			held = append(held, c)
		}
	}
	return func() {
		for _, c := range held {
			c.mu.Lock()
			c.holds--
			c.drainLocked()
			c.mu.Unlock()
		}
	}
}

// Known returns the ids of the newest rows, at most max, that visitors of the conversation have been shown and that count as
// existing, or that wait to be judged. Those whose message is in a class's window, and all of the last minutes, are among them.
func (h *Hub) Known(conversationID string, max int) []string {
	c := h.find(conversationID)
	if c == nil {
		return nil
	}
	created := make(map[string]int64)
	c.mu.Lock()
	for i := range c.held {
		created[c.held[i].row.ID] = c.held[i].row.CreatedAt.UnixMicro()
	}
	for _, cl := range c.classes {
		for id, k := range cl.known {
			if !k.gone && !cl.building {
				created[id] = k.created
			}
		}
	}
	c.mu.Unlock()
	ids := slices.SortedFunc(maps.Keys(created), func(a, b string) int {
		return cmp.Or(cmp.Compare(created[b], created[a]), cmp.Compare(a, b))
	})
	return ids[:min(len(ids), max)]
}

// WantsScope reports whether judging the rows, which belong to one conversation, takes a scope reading.
func (h *Hub) WantsScope(conversationID string, rows []*Row) bool {
	c := h.find(conversationID)
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, row := range rows {
		for _, cl := range c.classes {
			k, known := cl.known[row.ID]
			if known && row.UpdatedAt.Equal(k.updated) {
				continue
			}
			if _, v := h.opts.Rule.Judge(cl.visitor, row, nil); v == NeedsScope {
				return true
			}
		}
	}
	return false
}

// BeginScope must be called before a scope is read; the stamp goes into SetScope.
func (h *Hub) BeginScope(conversationID string) (stamp uint64) {
	c := h.find(conversationID)
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.scopeAsked = false
	return c.stamp
}

// SetScope stores a reading and lets the rows go that waited for it.
func (h *Hub) SetScope(conversationID string, stamp uint64, scope *Scope) {
	c := h.find(conversationID)
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if stamp >= c.scopeStamp {
		c.scope, c.scopeStamp = scope, stamp
	}
	c.drainLocked()
}

// Recover gives rows of one conversation that were read back to everybody who lacks them, marked as recovered and sorted by
// (created_at, id). scope must have been read after the rows; it may be nil where WantsScope said so. found (may be nil) is called,
// under a lock, with the id of each row that made an event. It returns how many events there were.
func (h *Hub) Recover(conversationID string, rows []*Row, scope *Scope, found func(id string)) int {
	c := h.find(conversationID)
	if c == nil || len(rows) == 0 {
		return 0
	}
	SortRows(rows)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recoverLocked(rows, scope, found)
}

// SetProved records that a read begun at the database's time at has shown every row, and forgets what no later read (which
// goes back by overlap) can bring again.
func (h *Hub) SetProved(conversationID string, at time.Time, overlap time.Duration) {
	c := h.find(conversationID)
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !at.After(c.proved) {
		return
	}
	c.proved = at
	c.lookedLocked(at)
	for _, cl := range c.classes {
		if !cl.building {
			cl.prove(at)
			cl.forget(at.Add(-overlap))
		}
	}
}

// SetLooked records that a read begun at the database's time at has shown every row that had changed a moment before the last one, which
// proves nothing of rows that were committed late.
func (h *Hub) SetLooked(conversationID string, at time.Time) {
	if c := h.find(conversationID); c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lookedLocked(at)
	}
}

func (c *conversation) lookedLocked(at time.Time) {
	if at.After(c.looked) {
		c.looked = at
	}
}

// SortRows sorts by (created_at, id), the order in which recovered rows go out.
func SortRows(rows []*Row) {
	slices.SortStableFunc(rows, func(a, b *Row) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
}
