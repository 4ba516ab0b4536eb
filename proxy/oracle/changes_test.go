package oracle_test

import (
	"time"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// stale lists the rows that a visitor, there when they were changed or taken back and there still, does not show in their last state.
// What is changed while a visitor is away is not promised.
func (t *trial) stale() (ids []string) {
	if t.end != nil {
		return nil
	}
	for id, text := range t.view() {
		versions := t.r.ledger.rows[id]
		last := &versions[len(versions)-1]
		if len(versions) == 1 || !t.present(last.at) || last.row == nil && (t.r.s.silenced(last.at) || t.old(last)) {
			continue
		}
		if want, visible := shown(t.v.party(), t.r.world.parties, last.row); !visible || text != want {
			ids = append(ids, id)
		}
	}
	return ids
}

// old says that a row was deleted so late that it may not be known any more that it was shown: of what lies behind the overlap of
// catch-up reads, only the messages in the window are.
func (t *trial) old(deleted *version) bool {
	const margin = 10 * time.Second
	return deleted.created.Add(-t.r.s.Upstream.Skew).Sub(t.r.journal.began) < deleted.at-overlap+margin
}

// view is what the visitor's page shows: texts by row id.
func (t *trial) view() map[string]string {
	view := make(map[string]string)
	for i := range t.log {
		switch e := &t.log[i]; e.what {
		case "message_deleted":
			delete(view, e.message.ID)
		default:
			if t.r.ledger.rows[e.message.ID] != nil {
				view[e.message.ID] = e.message.Content
			}
		}
	}
	return view
}

// present reports whether one stream of the visitor has been open since well before a time: what changes while it reads back what was missed
// counts as changed while the visitor was away.
func (t *trial) present(at time.Duration) bool {
	for i := range t.conns {
		c := &t.conns[i]
		open := c.closed == 0 || t.r.ended > 0 && c.closed >= t.r.ended
		if c.transport != "poll" && open && c.opened+joining < at {
			return true
		}
	}
	return false
}

// silenced reports whether a change committed at a time may have been lost without a sign. Reads show rows that are new or changed, but
// a deleted one is not missed by anybody.
func (s *scenario) silenced(at time.Duration) bool {
	for i := range s.Steps {
		st := &s.Steps[i]
		switch standin.Kind(st.Kind) {
		case standin.DropChanges, standin.RateLimit:
			if st.At <= at && at <= st.At+st.For+s.Upstream.PollInterval {
				return true
			}
		}
	}
	return s.deafened(at + s.Upstream.PollInterval)
}
