package main_test

import (
	"context"
	"fmt"
	"time"
)

const (
	// soakOverlap is how long after its created_at a row may be committed and still be promised.
	soakOverlap = 2 * time.Minute
	// soakSeen is how many rows of an overlap a cursor can name; with more, copies marked as replayed are in order.
	soakSeen = 78
)

// verdict is everything that is wrong with a visitor's log.
func (d *soakDriver) verdict(v *soakVisitor) (all []string) {
	report := func(format string, args ...any) {
		all = append(all, fmt.Sprintf("visitor %d (session %d, %s): ", v.index, v.session, v.transport)+fmt.Sprintf(format, args...))
	}
	for _, row := range d.w.owed(v) {
		report("lost %s, commit %d at %s", row.id, row.seq, clock(row.at))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range v.faults {
		report("%s", f)
	}
	for i, c := range v.visits {
		if c.brought && !c.resumed {
			report("visit %d brought a cursor and was not resumed", i)
		}
	}
	end, ended := d.w.ending(v.session)
	if !v.over.IsZero() && !ended {
		report("turned away at %s, and the session was not over", clock(v.over))
	}
	came, newest := make(map[string]bool), make(map[int]*committed)
	for i := range v.log {
		e := &v.log[i]
		m := &e.message
		row := d.w.ledger.find(m.ID)
		if row == nil || row.session != v.session || m.ConversationID != d.w.sessions[v.session].ConversationID {
			report("leaked %s at %s: %.60s", m.ID, clock(e.at), m.Content)
			continue
		}
		if row.text != m.Content || m.Unstored {
			report("wrong text or mark of %s at %s: %.60s", m.ID, clock(e.at), m.Content)
		}
		if came[m.ID] && !m.Replayed {
			report("doubled %s at %s, visit %d, recovered %t", m.ID, clock(e.at), e.visit, m.Recovered)
		}
		came[m.ID] = true
		if m.Replayed && !d.w.doubtful(row) {
			report("replayed %s at %s without a cause", m.ID, clock(e.at))
		}
		if ended && e.at.After(end.at.Add(d.grace(end))) {
			report("after the end of the session: %s at %s, %v late", m.ID, clock(e.at), e.at.Sub(end.at))
		}
		if e.history || m.Recovered || m.Replayed {
			continue
		}
		if last := newest[e.visit]; last != nil && row.seq < last.seq {
			report("misordered %s at %s, visit %d: commit %d after commit %d", m.ID, clock(e.at), e.visit, row.seq, last.seq)
		}
		newest[e.visit] = row
	}
	return all
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }

// grace is how long after its end a session may be served: until it is read again, every 15 s, or until it counts as unconfirmed.
func (d *soakDriver) grace(end sessionEnd) time.Duration {
	if d.blindness(end.at, end.at.Add(20*time.Second)) {
		return 80 * time.Second
	}
	return 20 * time.Second
}

// doubtful reports whether a cursor may be in doubt about a row: it cannot name all rows of a busy overlap, nor what lies before it.
func (w *soakWorld) doubtful(row *committed) bool {
	if row.at.Sub(row.created) > soakOverlap-10*time.Second {
		return true
	}
	near := 0
	for _, other := range w.ledger.list() {
		d := other.created.Sub(row.created).Abs()
		if other.session == row.session && d < soakOverlap+5*time.Second {
			near++
		}
	}
	return near > soakSeen
}

// owed lists the rows that should have come to a visitor and have not. Nothing is owed to those whose session has ended.
func (w *soakWorld) owed(v *soakVisitor) (rows []*committed) {
	if _, ended := w.ending(v.session); ended {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	came := make(map[string]bool, len(v.log))
	for i := range v.log {
		came[v.log[i].message.ID] = true
	}
	for _, row := range w.ledger.list() {
		if len(v.visits) > 0 && row.session == v.session && row.at.After(v.visits[0].opened) && !came[row.id] {
			rows = append(rows, row)
		}
	}
	return rows
}

// settled reports whether everybody has what they are owed, and those whose session is over know it.
func (w *soakWorld) settled() bool {
	for _, v := range w.visitors {
		v.mu.Lock()
		over, visited := !v.over.IsZero(), len(v.visits) > 0
		v.mu.Unlock()
		if _, ended := w.ending(v.session); !visited || ended && !over || len(w.owed(v)) > 0 {
			return false
		}
	}
	return true
}

// stillServed lists the nodes that go on serving a session after its end.
func (d *soakDriver) stillServed(ctx context.Context) (all []string) {
	for _, v := range d.w.visitors {
		if _, ended := d.w.ending(v.session); !ended {
			continue
		}
		for _, n := range d.w.nodes {
			turned := until(ctx, 80*time.Second, func() bool {
				ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
				defer cancel()
				return v.greet(ctx, n) != nil
			})
			if !turned {
				all = append(all, fmt.Sprintf("node %d serves session %d after its end", n.index, v.session))
			}
		}
	}
	return all
}
