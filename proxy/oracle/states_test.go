package oracle_test

import (
	"time"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// judgeStates holds the proxy to what it tells of its feed: while it says live, rows come over the channel; and when it catches up after
// the loss of a socket, what it reads goes ahead of what comes live.
func (t *trial) judgeStates(report reporter) {
	for i := range t.log {
		e := &t.log[i]
		gs := t.granted[e.message.ID]
		if e.what != "message" || !e.message.Recovered || len(gs) == 0 || !t.ordinary(e, &gs[0]) {
			continue
		}
		if t.toldLive(e, &gs[0]) {
			report("not live", e.message.ID, "at %v, connection %d, committed at %v: read back, and the feed had called itself live", e.at, e.conn, gs[0].at)
		}
		if p := t.overtaken(i); p != nil {
			report("overtaken", e.message.ID, "at %v, connection %d: read back behind the live row %s, which came at %v and was committed at %v", e.at, e.conn,
				p.message.ID, p.at, t.granted[p.message.ID][0].at)
		}
	}
}

// ordinary says that only the feed's own reads after a gap can have brought a row that was read back to a stream.
func (t *trial) ordinary(e *entry, g *grant) bool {
	c := &t.conns[e.conn]
	switch {
	case c.transport == "poll", c.opened+time.Second > g.at, e.at > t.r.drained:
		return false
	case g.st.Kind == large, len(t.r.ledger.rows[g.id]) > 1:
		return false // read by its id
	case g.at-t.createdAt(g) > 300*time.Millisecond, t.createdAt(g) > g.at:
		return false
	}
	return !t.stalled(g.at-time.Second, e.at)
}

// toldLive says that the stream had been told live when a row was committed, and that nothing dropped rows since.
func (t *trial) toldLive(e *entry, g *grant) bool {
	// How long a row may take over the channel, with the longest poll interval and a scope to be read for it and for one before it.
	const late = 2 * time.Second
	if e.at-g.at < late {
		return false
	}
	from, state := g.at-time.Second, ""
	lost := false // the feed has not called itself live all the time since
	for i := range t.states {
		s := &t.states[i]
		switch {
		case s.conn != e.conn || s.at > e.at:
		case s.at > g.at:
			lost = true
		case s.at > from:
			return false
		default:
			state = s.state
		}
	}
	if state != "live" || t.r.s.silent(from, e.at) || t.joinedNear(g.at-rereading, e.at) {
		return false
	}
	return !lost || !t.r.s.disturbed(g.at-5*time.Second, e.at, 0)
}

// silent reports whether a channel that counts as live may have brought less than it should between two times.
func (s *scenario) silent(from, to time.Duration) bool {
	if s.deafened(to) {
		return true
	}
	for i := range s.Nodes {
		if s.Nodes[i].SocketMaxAge > 0 {
			return true // what is under way when a socket is replaced is read back
		}
	}
	for i := range s.Steps {
		st := &s.Steps[i]
		if st.At > to || st.over()+s.Upstream.PollInterval+time.Second < from {
			continue
		}
		switch st.Do {
		case freeze, partition:
			return true
		case setFault:
			switch standin.Kind(st.Kind) {
			case standin.DropChanges, standin.DelayChanges, standin.RateLimit, standin.StallSockets, standin.WrongFrameShape,
				standin.DatabaseDown, standin.MuteHeartbeats, standin.SlowHTTP, standin.AbortHTTP, standin.FailHTTP:
				return true
			}
		}
	}
	return false
}

// overtaken is the live row that came before the i-th event, which was read back, although the channel had been lost before and the
// catch-up was not over.
func (t *trial) overtaken(i int) *entry {
	e := &t.log[i]
	begun := time.Duration(-1) // when the feed stopped being live
	for j := range t.states {
		s := &t.states[j]
		switch {
		case s.conn != e.conn || s.at > e.at:
		case s.state == "live":
			begun = -1
		case begun < 0:
			begun = s.at
		}
	}
	if begun < 0 || !t.r.s.lostOnly(begun, e.at) || t.joinedNear(begun-time.Second, e.at) {
		return nil
	}
	for j := i - 1; j >= 0 && t.log[j].at > begun; j-- {
		if p := &t.log[j]; p.conn == e.conn && p.at < e.at && t.cameAnew(p, begun) {
			return p
		}
	}
	return nil
}

// cameAnew says that a row came live, and was committed after a time.
func (t *trial) cameAnew(e *entry, after time.Duration) bool {
	gs := t.granted[e.message.ID]
	return e.what == "message" && !e.message.Recovered && !e.message.Replayed && len(gs) > 0 && gs[0].at > after
}

// lostOnly says that sockets were lost just before a time, once, and that no channel was in doubt for another reason until another time.
func (s *scenario) lostOnly(at, until time.Duration) (lost bool) {
	for i := range s.Steps {
		st := &s.Steps[i]
		if st.Do != dropSockets && st.Do != closeSockets || st.At > until {
			continue
		}
		if st.At > at {
			return false
		}
		lost = lost || st.At >= at-time.Second
	}
	return lost && !s.silent(at-5*time.Second, until)
}
