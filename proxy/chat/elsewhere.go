package chat

import (
	"slices"
	"time"
)

// Rows that a visitor had from another node may be unknown to their class here: taken back since, say, while the channel is so late that it
// has yet to bring them. The class's cursors do not name them, so for as long as that matters such a visitor gets cursors of their own.

// beyond returns what a position tells and the first seq events of the class do not, nil when that is nothing. The caller holds
// conversation.mu.
func (c *class) beyond(p *position, seq uint64) *position {
	unknown := make(map[rowHash]seenRow, len(p.seen))
	for _, s := range p.seen {
		unknown[s.hash] = s
	}
	if seq == c.seq { // nearly always that is all of them
		for _, s := range c.pos.seen {
			delete(unknown, s.hash)
		}
	}
	if len(unknown) > 0 {
		for _, k := range c.known {
			if k.seq <= seq {
				delete(unknown, k.hash)
			}
		}
	}
	if len(unknown) == 0 && p.since <= c.pos.since {
		return nil
	}
	out := &position{since: p.since}
	for _, s := range p.seen {
		if _, ok := unknown[s.hash]; ok {
			out.seen = append(out.seen, s)
		}
	}
	return out
}

// with returns a position that also tells what other does.
func (p *position) with(other *position, overlap time.Duration) position {
	out := p.clone()
	out.since = max(out.since, other.since)
	for _, s := range other.seen {
		if !slices.ContainsFunc(out.seen, func(have seenRow) bool { return have.hash == s.hash }) {
			out.insert(s)
		}
	}
	out.advance(out.high, overlap)
	return out
}

// past reports whether the position tells nothing that a cursor whose overlap begins at floor would have to tell.
func (p *position) past(floor int64) bool {
	return p.since <= floor && (len(p.seen) == 0 || p.seen[len(p.seen)-1].created < floor)
}

// cursorFor is the class's newest position for a subscriber that is live. The caller holds conversation.mu.
func (c *class) cursorFor(s *Subscriber) string {
	if s.own != nil && s.own.past(c.pos.high-c.hub.opts.Overlap.Microseconds()) {
		s.own = nil
	}
	if s.own == nil {
		return c.cursor()
	}
	return c.sign(c.pos.with(s.own, c.hub.opts.Overlap))
}

// eventFor is an event of the class as a live subscriber gets it.
func (c *class) eventFor(s *Subscriber, e *Event) *Event {
	if s.own == nil {
		return e
	}
	return e.withCursor(c.cursorFor(s))
}
