package oracle_test

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// overlap is how long after its created_at a row may be committed and still be promised.
	overlap = 2 * time.Minute
	// seenMax is how many rows of an overlap a cursor can name; with more, copies marked as replayed are in order.
	seenMax = 78
	// wholeEvery is how often a reconciling read goes back as far as the overlap, and moves what is proved. Those between leave out rows
	// that were committed later than lookBack after their created_at.
	wholeEvery = 30 * time.Second
	lookBack   = 10 * time.Second
	// joining is how long after its greeting what is read back for a stream alone may still be under way, with slow reads.
	joining = 25 * time.Second
	// rereading is the same in a calm world: where the window is small, reading back is begun again and again until it keeps up.
	rereading = 5 * time.Second
)

// violation is a broken promise.
type violation struct {
	visitor *visitor
	what    string
	row     string // id; may be empty
	detail  string
}

// trial compares one visitor's log with the ledger.
type trial struct {
	r       *run
	v       *visitor
	joined  time.Duration // the first greeting; 0 = never
	end     *ending
	log     []entry
	conns   []connection
	states  []told
	over    time.Duration
	granted map[string][]grant // by row id
}

// grant is a state of a row that the visitor may see.
type grant struct {
	version
	text string
	last bool // no later state of the row
	// first says that it is the first state of the row that was ever committed.
	first bool
}

func newTrial(r *run, v *visitor) *trial {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := &trial{r: r, v: v, log: slices.Clone(v.log), conns: slices.Clone(v.conns), states: slices.Clone(v.states), over: v.over, granted: make(map[string][]grant)}
	if len(t.conns) > 0 {
		t.joined = t.conns[0].opened
	}
	if end, ended := r.ends[v.plan.Session]; ended {
		t.end = &end
	}
	for _, id := range r.ledger.ids {
		versions := r.ledger.rows[id]
		for i, ver := range versions {
			if text, ok := shown(v.party(), r.world.parties, ver.row); ok {
				t.granted[id] = append(t.granted[id], grant{ver, text, i == len(versions)-1, i == 0})
			}
		}
	}
	return t
}

func (v *visitor) isOver() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.over > 0
}

// owed lists the rows that must have reached the visitor, in order of their commits.
func (t *trial) owed() (ids []string) {
	if len(t.conns) == 0 {
		return nil
	}
	for _, id := range t.r.ledger.ids {
		gs := t.granted[id]
		if len(gs) > 0 && t.owes(&gs[0], &gs[len(gs)-1]) {
			ids = append(ids, id)
		}
	}
	return ids
}

// owes says whether a row is owed by its first and its last granted state.
func (t *trial) owes(first, last *grant) bool {
	created := first.created.Add(-t.r.s.Upstream.Skew).Sub(t.r.journal.began)
	switch {
	case first.at <= t.joined, !last.last, first.at-created >= overlap:
		return false
	case t.end != nil:
		return t.servedAfter(first.at)
	}
	return true
}

// servedAfter reports whether, after a time and before the end of the session, the visitor was connected long enough in a calm world.
func (t *trial) servedAfter(at time.Duration) bool {
	const calm = 25 * time.Second
	for i := range t.conns {
		c := &t.conns[i]
		from, to := max(at, c.opened), min(c.closed, t.end.at)
		if c.closed == 0 {
			to = t.end.at
		}
		if to-from >= calm && !t.r.s.disturbed(from, to, 5*time.Second) && !t.stalled(from, to) {
			return true
		}
	}
	return false
}

func (t *trial) stalled(from, to time.Duration) bool {
	for i := range t.r.s.Steps {
		st := &t.r.s.Steps[i]
		if st.Do == stallVisitor && st.Visitor == t.v.index && st.At <= to && st.At+st.For >= from {
			return true
		}
	}
	return false
}

// lost lists what is owed and did not come.
func (t *trial) lost() (ids []string) {
	came := make(map[string]bool, len(t.log))
	for i := range t.log {
		if e := &t.log[i]; e.what == "message" || e.what == "history" {
			came[e.message.ID] = true
		}
	}
	for _, id := range t.owed() {
		if !came[id] {
			ids = append(ids, id)
		}
	}
	return ids
}

// judge returns every broken promise of the log.
func (t *trial) judge() (all []violation) {
	report := func(what, row, format string, args ...any) {
		all = append(all, violation{t.v, what, row, fmt.Sprintf(format, args...)})
	}
	for _, id := range t.lost() {
		g := t.granted[id][0]
		report("lost", id, "committed at %v", g.at)
	}
	for _, f := range t.v.faults {
		report("answer", "", "%s", f)
	}
	if t.over > 0 && (t.end == nil || t.over < t.end.at) {
		report("turned away", "", "at %v, and the session was not over", t.over)
	}
	for i := range t.conns {
		if c := &t.conns[i]; c.brought && !c.resumed {
			report("not resumed", "", "connection %d at %v brought a cursor", i, c.opened)
		}
	}
	t.judgeEntries(report)
	t.judgeOrder(report)
	t.judgeMarks(report)
	t.judgeStates(report)
	for _, id := range t.stale() {
		versions := t.r.ledger.rows[id]
		last := versions[len(versions)-1]
		report("stale", id, "%s at %v is not shown", last.st.Op, last.at)
	}
	t.judgeEnd(report)
	return all
}

type reporter func(what, row, format string, args ...any)

// judgeEntries looks at each event by itself and at doubles.
func (t *trial) judgeEntries(report reporter) {
	came := make(map[string]int)
	for i := range t.log {
		e := &t.log[i]
		m := &e.message
		if e.what == "message_deleted" {
			if len(t.granted[m.ID]) == 0 {
				report("leaked", m.ID, "deletion of a row that was never granted, at %v", e.at)
			}
			delete(came, m.ID)
			continue
		}
		text := slices.ContainsFunc(t.granted[m.ID], func(g grant) bool { return g.text == m.Content && g.at <= e.at })
		switch {
		case m.ConversationID != t.v.party().ConversationID:
			report("leaked", m.ID, "row of another conversation, at %v", e.at)
		case len(t.granted[m.ID]) == 0:
			report("leaked", m.ID, "%s at %v: %.60s", e.what, e.at, m.Content)
		case !text:
			report("wrong text", m.ID, "%s at %v: %.60s", e.what, e.at, m.Content)
		}
		if e.what == "message_updated" {
			continue
		}
		if n := came[m.ID]; n > 0 && !m.Replayed {
			report("doubled", m.ID, "at %v, connection %d, recovered %t", e.at, e.conn, m.Recovered)
		}
		came[m.ID]++
	}
}

// judgeOrder checks the order of commits among rows of the live way, and (created_at, id) among rows recovered at one moment.
func (t *trial) judgeOrder(report reporter) {
	newest := make(map[int]*grant) // by connection
	for i := range t.log {
		e := &t.log[i]
		g := t.state(e)
		if e.what != "message" || g == nil || e.message.Replayed {
			continue
		}
		if e.message.Recovered {
			// Large rows are read by their ids; a read for what changed leaves out slow transactions, and a whole one may follow at once.
			apart := g.st.Kind == large || g.at-t.createdAt(g) > lookBack
			if p := t.together(i); p != nil && rowAfter(p, g) && p.st.Kind != large && !apart {
				report("misordered", e.message.ID, "at %v, connection %d: recovered after a younger row", e.at, e.conn)
			}
			continue
		}
		if last := newest[e.conn]; last != nil && g.seq < last.seq {
			report("misordered", e.message.ID, "at %v, connection %d: commit %d after commit %d", e.at, e.conn, g.seq, last.seq)
		}
		newest[e.conn] = g
	}
}

// state is the state of the row that an event shows; a row that was lost may first be seen when it is changed.
func (t *trial) state(e *entry) *grant {
	gs := t.granted[e.message.ID]
	for i := range gs {
		if gs[i].text == e.message.Content {
			return &gs[i]
		}
	}
	return nil
}

// together is the recovered row that came before the i-th event at the same moment, when nothing but one reading can have brought both.
func (t *trial) together(i int) *grant {
	if i == 0 {
		return nil
	}
	e, p := &t.log[i], &t.log[i-1]
	if p.what != "message" || p.conn != e.conn || p.at != e.at || !p.message.Recovered || p.message.Replayed {
		return nil
	}
	if t.firstOf(e.conn) == e.at || t.stalled(e.at-time.Second, e.at) || t.joinedNear(e.at-joining, e.at) {
		return nil // those who join together share one query, of which each takes its part
	}
	return t.state(p)
}

// firstOf is when a connection got its first event.
func (t *trial) firstOf(conn int) time.Duration {
	i := slices.IndexFunc(t.log, func(e entry) bool { return e.conn == conn })
	return t.log[i].at
}

// rowAfter reports whether a comes after b by (created_at, id).
func rowAfter(a, b *grant) bool {
	if c := a.created.Compare(b.created); c != 0 {
		return c > 0
	}
	return strings.Compare(a.id, b.id) > 0
}

// judgeEnd checks that nothing comes after the end and that the visitor is told.
func (t *trial) judgeEnd(report reporter) {
	if t.end == nil {
		return
	}
	limit := t.end.at + t.r.endingTime(*t.end)
	for i := range t.r.s.Steps { // what was written in time may be read late
		st := &t.r.s.Steps[i]
		if st.Do == stallVisitor && st.Visitor == t.v.index && st.At <= limit {
			limit = max(limit, st.At+st.For+time.Second)
		}
	}
	for i := range t.log {
		if e := &t.log[i]; e.at > limit {
			report("after the end", e.message.ID, "%s at %v, the session ended at %v (told: %t)", e.what, e.at, t.end.at, t.end.told)
		}
	}
	for i := range t.conns {
		c := &t.conns[i]
		if c.opened > limit || c.closed > limit || c.closed == 0 {
			report("after the end", "", "connection %d open from %v to %v, the session ended at %v (told: %t)", i, c.opened, c.closed, t.end.at, t.end.told)
		}
	}
}
