package chat

import (
	"math"
	"slices"
	"time"
)

// Backlog takes a page of rows read back for the cursor, in order, and returns the events that this visitor lacks. Rows that are
// news to the class reach everybody through the sequence instead. scope was read after the rows.
func (a *Attachment) Backlog(rows []*Row, scope *Scope) []*Event {
	SortRows(rows)
	a.conv.mu.Lock()
	defer a.conv.mu.Unlock()
	if a.Subscriber.Ended() != nil {
		return nil
	}
	a.conv.recoverLocked(rows, scope, nil)
	var out []*Event
	for _, row := range rows {
		m, ok := a.pastLocked(row, scope)
		if row.CreatedAt.UnixMicro() < a.from {
			continue
		}
		if !ok {
			a.oweLocked(row)
			continue
		}
		switch a.pos.recall(row.ID, row.CreatedAt) {
		case recallSeen:
			continue
		case recallUnsure:
			m.Replayed = true
		default:
			m.Recovered = true
		}
		now := a.hub.opts.Now()
		a.pos.note(row.ID, row.CreatedAt, now, a.hub.opts.Overlap)
		e := a.event(row, m, now)
		e.Cursor = a.Cursor()
		out = append(out, e)
	}
	return out
}

// event makes an event for this visitor alone.
func (a *Attachment) event(row *Row, m Message, now time.Time) *Event {
	return &Event{
		Kind: KindMessage, Message: m, At: now, facts: factsOf(row), committed: row.CommittedAt, layout: a.hub.layout,
	}
}

// pastLocked judges a row that was read back for this visitor alone: a row that is on its way through the sequence is left to it.
func (a *Attachment) pastLocked(row *Row, scope *Scope) (Message, bool) {
	m, v := a.hub.opts.Rule.Judge(a.class.visitor, row, scope)
	k, known := a.class.known[row.ID]
	return m, v == Granted && !(known && (k.seq > a.seq || k.gone)) && !a.hub.deleted(row)
}

// oweLocked notes a row that this visitor lacks and that is on its way through the sequence.
func (a *Attachment) oweLocked(row *Row) {
	k, known := a.class.known[row.ID]
	if known && k.seq > a.seq && !k.gone && a.pos.recall(row.ID, row.CreatedAt) != recallSeen {
		a.owed, a.owedSeq = min(a.owed, row.CreatedAt.UnixMicro()), max(a.owedSeq, k.seq)
	}
}

// History turns rows into events for a visitor who asked for the past, oldest first. They carry no cursor: they are not owed. Rows
// that are news to the class reach the visitor through the sequence instead.
func (a *Attachment) History(rows []*Row, scope *Scope) []*Event {
	rows = slices.Clone(rows)
	SortRows(rows)
	a.conv.mu.Lock()
	defer a.conv.mu.Unlock()
	if a.Subscriber.Ended() != nil {
		return nil
	}
	a.conv.recoverLocked(rows, scope, nil)
	var out []*Event
	for _, row := range rows {
		if m, ok := a.pastLocked(row, scope); ok {
			out = append(out, a.event(row, m, a.hub.opts.Now()))
		}
	}
	return out
}

// Next returns the next events of the sequence to write, at most about maxBytes of them. When there is nothing left it releases the
// subscriber and returns live: from then on events come through the queue. lost means that the window has moved past this
// subscriber: Rewind, then read back again.
func (a *Attachment) Next(maxBytes int) (events []*Event, live, lost bool) {
	a.conv.mu.Lock()
	defer a.conv.mu.Unlock()
	if a.Subscriber.Ended() != nil {
		a.Subscriber.release()
		return nil, true, false
	}
	for len(events) == 0 {
		sequence, whole := a.class.window.after(a.seq, a.class.seq, maxBytes)
		switch {
		case !whole:
			return nil, false, true
		case len(sequence) == 0:
			if a.cursor != nil {
				a.Subscriber.resumed(a.cursor, a.pos.since)
				a.Subscriber.own = a.class.beyond(&a.pos, a.seq)
			}
			if a.Subscriber.dialect == DialectRealtime {
				a.released = a.class.cursorFor(a.Subscriber)
			}
			a.Subscriber.release()
			return nil, true, false
		}
		a.seq = sequence[len(sequence)-1].Seq
		events = a.lackedLocked(sequence)
	}
	return events, false, false
}

// lackedLocked keeps what the visitor lacks of the sequence. A class may come to know a row after the visitor had it from another
// node, where they have been before. Where their cursor cannot tell, they get a copy marked as replayed. A visitor who came with
// more than the class knows gets copies with cursors of their own: the class's say nothing of what they had elsewhere.
func (a *Attachment) lackedLocked(sequence []*Event) (lacked []*Event) {
	for _, e := range sequence {
		if e.Seq >= a.owedSeq {
			a.owed = math.MaxInt64
		}
		if e.Kind == KindMessage {
			if a.cursor != nil && !e.again {
				switch a.cursor.recall(e.Message.ID, e.Message.Timestamp) {
				case recallSeen:
					continue
				case recallUnsure:
					e = e.asReplayed()
				}
			}
			a.pos.note(e.Message.ID, e.Message.Timestamp, a.class.limit(), a.hub.opts.Overlap)
		}
		if a.apart {
			e = e.withCursor(a.cursorAt(e.Seq))
		}
		lacked = append(lacked, e)
	}
	return lacked
}

// Rewind prepares another read back from where the subscriber is.
func (a *Attachment) Rewind() (since time.Time) {
	a.conv.mu.Lock()
	defer a.conv.mu.Unlock()
	a.pos.high = min(a.pos.high, a.owed)
	a.seq, a.exact, a.apart, a.owed = a.class.seq, false, true, math.MaxInt64
	a.from = a.pos.high - a.hub.opts.Overlap.Microseconds()
	return time.UnixMicro(a.from).UTC()
}
