package oracle_test

import "time"

// judgeMarks checks that rows are marked as recovered or replayed only where something explains it.
func (t *trial) judgeMarks(report reporter) {
	for i := range t.log {
		e := &t.log[i]
		gs := t.granted[e.message.ID]
		if e.what != "message" || len(gs) == 0 {
			continue
		}
		if e.message.Replayed && !t.replayable(&gs[0]) {
			report("replayed", e.message.ID, "at %v, connection %d, without a cause", e.at, e.conn)
		}
		if e.message.Recovered && t.unexplained(e, &gs[0]) {
			report("recovered", e.message.ID, "at %v, connection %d, committed at %v, without a cause", e.at, e.conn, gs[0].at)
		}
	}
}

// replayable says whether a cursor may be in doubt about a row: it cannot name all rows of a busy overlap, which begins up to wholeEvery
// before what was proved last, nor what lies before it.
func (t *trial) replayable(g *grant) bool {
	if g.at-t.createdAt(g) > overlap-10*time.Second {
		return true
	}
	near := 0
	for _, other := range t.granted {
		if d := other[0].created.Sub(g.created); d.Abs() < overlap+wholeEvery+5*time.Second {
			near++
		}
	}
	return near > seenMax
}

func (t *trial) createdAt(g *grant) time.Duration {
	return g.created.Add(-t.r.s.Upstream.Skew).Sub(t.r.journal.began)
}

// unexplained says whether nothing can have kept a row from coming over the live channel.
func (t *trial) unexplained(e *entry, g *grant) bool {
	const startUp = 15 * time.Second
	c := &t.conns[e.conn]
	switch {
	case c.transport == "poll", c.opened > g.at, g.at < startUp, e.at > t.r.drained:
		return false
	case g.st.Kind == large, g.at-t.createdAt(g) > 300*time.Millisecond, t.createdAt(g) > g.at:
		return false // read by its id; or a read that is made now and then came before the channel
	case t.r.s.disturbed(g.at-time.Minute, e.at, 0), t.r.s.deafened(e.at), t.stalled(g.at, e.at):
		return false
	}
	for i := range t.r.s.Nodes {
		if t.r.s.Nodes[i].SocketMaxAge > 0 {
			return false // a new socket is a cause
		}
	}
	return !t.joinedNear(g.at-rereading, e.at)
}

// joinedNear reports whether somebody in the conversation joined about then: what their reading finds goes to everybody.
func (t *trial) joinedNear(from, to time.Duration) bool {
	for _, other := range t.r.visitors {
		if other.party().ConversationID != t.v.party().ConversationID {
			continue
		}
		other.mu.Lock()
		for _, c := range other.conns {
			if c.begun <= to && c.opened+time.Second >= from {
				other.mu.Unlock()
				return true
			}
		}
		other.mu.Unlock()
	}
	return false
}
