//go:build oracle

package oracle_test

import "time"

// judgeChanges checks that a visitor who was there when a row was changed or taken back, and stayed until a calm time, ends up with its
// last state. What is changed while a visitor is away is not promised.
func (t *trial) judgeChanges(report reporter) {
	if t.end != nil {
		return
	}
	view := make(map[string]string)
	for i := range t.log {
		switch e := &t.log[i]; e.what {
		case "message_deleted":
			delete(view, e.message.ID)
		default:
			view[e.message.ID] = e.message.Content
		}
	}
	for id, text := range view {
		versions := t.r.ledger.rows[id]
		last := &versions[len(versions)-1]
		if len(versions) == 1 || !t.present(last.at) {
			continue
		}
		want, visible := shown(t.v.party(), t.r.world.parties, last.row)
		switch {
		case !visible:
			report("stale", id, "still shown, and %s at %v", last.st.Op, last.at)
		case text != want:
			report("stale", id, "shown as %.40q, and changed at %v", text, last.at)
		}
	}
}

// present reports whether a stream of the visitor was open at a time and for a calm while after it.
func (t *trial) present(at time.Duration) bool {
	const calm = 15 * time.Second
	for i := range t.conns {
		c := &t.conns[i]
		until := c.closed
		if c.closed == 0 {
			until = t.r.ended
		}
		if c.opened+10*time.Second > at || until <= at+calm {
			continue
		}
		if from := max(at, until-calm); !t.r.s.disturbed(from, until, 5*time.Second) && !t.stalled(from, until) {
			return true
		}
	}
	return false
}
