package chat

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"
)

// maxKnown bounds the rows that a class remembers. Past it the oldest are forgotten and count as unsure.
const maxKnown = 10_000

// knownRow is what a class remembers of a row that it was granted.
type knownRow struct {
	seq     uint64 // of the event that shows it; 0 for rows that were there before the class
	created int64  // microseconds
	arrived int64
	updated time.Time
	print   uint64
	// gone rows were taken back. They stay known, so that a read begun before does not bring them again.
	gone bool
	hash rowHash
	// facts are the row's, for the guard: a deletion says nothing about whose row it was.
	facts facts
}

// class is the set of visitors that the rule treats alike, and their one sequence of events. Guarded by conversation.mu.
type class struct {
	key     string
	epoch   uint64 // names this instance in cursors: its seq means nothing to another
	visitor *Visitor
	hub     *Hub

	seq    uint64
	window window
	pos    position
	known  map[string]knownRow
	// proved is the database's time up to which reads have shown this class every row.
	proved time.Time
	// floor is the created_at (microseconds) from which on every granted row is known; rows before it were given, or not owed.
	floor int64

	subs       map[*Subscriber]struct{}
	emptySince time.Time

	// ready is closed when the baseline has been read. Until then rows go to missed.
	ready    chan struct{}
	building bool
	missed   []heldRow
	overflow bool
}

func newClass(h *Hub, key string, v *Visitor) *class {
	return &class{
		key: key, epoch: h.epoch.Add(1), visitor: v, hub: h,
		window:   newWindow(h.opts.WindowEvents, h.opts.WindowBytes),
		known:    make(map[string]knownRow),
		subs:     make(map[*Subscriber]struct{}),
		ready:    make(chan struct{}),
		building: true,
	}
}

// source says how a row came.
type source uint8

const (
	sourceLive source = iota
	sourceRecovered
)

// apply takes the newest state of a row into the sequence. Every source comes through here, so a row is a message once, an update
// when its public form changed, and nothing when it is known already.
func (c *class) apply(row *Row, src source, update bool, m Message, v Verdict) {
	k, known := c.known[row.ID]
	switch {
	case v != Granted && known:
		// Only the row itself can take a message back. A scope that changed since does not unsay what was said.
		_, shown := c.hub.opts.Rule.presentable(c.visitor, row)
		if !shown && !row.Partial && !row.UpdatedAt.Before(k.updated) {
			c.remove(row.ID, k, row.UpdatedAt, row.CommittedAt)
		}
	case v != Granted:
		c.hub.metrics.hidden()
	case known:
		c.update(row, k, m)
	case update && row.CreatedAt.UnixMicro() < c.floor:
		// An old row that changed: whether it was shown is not known any more, and an update is harmless where it was not.
		c.emit(eventOf(KindUpdated, row, m))
	default:
		if src == sourceLive && row.CreatedAt.UnixMicro() < c.floor {
			// A slow transaction, or a slow channel: whether some visitor read the row back is not known any more.
			c.hub.metrics.late()
			m.Replayed = true
		}
		m.Recovered = src == sourceRecovered
		c.remember(row, m)
		c.emit(eventOf(KindMessage, row, m))
	}
}

func (c *class) update(row *Row, k knownRow, m Message) {
	print := m.fingerprint()
	if row.UpdatedAt.Before(k.updated) || k.gone && row.UpdatedAt.Equal(k.updated) {
		return
	}
	if k.gone {
		k.seq = c.seq + 1
		c.known[row.ID] = k.changed(row, print)
		e := eventOf(KindMessage, row, m)
		e.again = true
		c.emit(e)
		return
	}
	changed := print != k.print
	c.known[row.ID] = k.changed(row, print)
	if changed {
		c.emit(eventOf(KindUpdated, row, m))
	}
}

// changed returns what to remember of a row in its newest state.
func (k knownRow) changed(row *Row, print uint64) knownRow {
	k.print, k.updated, k.gone, k.facts = print, row.UpdatedAt, false, factsOf(row)
	return k
}

// endOfTime is the updated time of a deleted row: nothing is newer.
var endOfTime = time.Unix(1<<40, 0)

func (c *class) remove(id string, k knownRow, at, committed time.Time) {
	if k.gone {
		return
	}
	k.gone, k.updated = true, at
	c.known[id] = k
	m := Message{ID: id, ConversationID: k.facts.conversationID, Timestamp: time.UnixMicro(k.created).UTC()}
	c.emit(&Event{Kind: KindDeleted, Message: m, facts: k.facts, committed: committed})
}

// remember notes a granted row that was not known. The row counts as given from here on.
func (c *class) remember(row *Row, m Message) {
	k := knownRow{
		seq: c.seq + 1, created: row.CreatedAt.UnixMicro(), arrived: c.hub.opts.Now().UnixMicro(),
		updated: row.UpdatedAt, print: m.fingerprint(), hash: hashRow(row.ID), facts: factsOf(row),
	}
	k.facts.conversationID = c.visitor.ConversationID // one text for all rows, as the next
	if k.facts.sessionTag == c.visitor.SessionID {
		k.facts.sessionTag = c.visitor.SessionID
	}
	c.known[row.ID] = k
	c.pos.noteRow(seenRow{created: k.created, hash: k.hash}, c.limit(), c.hub.opts.Overlap)
	if len(c.known) > maxKnown {
		c.forgetOldest()
	}
}

func eventOf(kind Kind, row *Row, m Message) *Event {
	return &Event{Kind: kind, Message: m, facts: factsOf(row), committed: row.CommittedAt}
}

// emit appends an event to the sequence.
func (c *class) emit(e *Event) {
	c.seq++
	e.Seq, e.At, e.layout = c.seq, c.hub.opts.Now(), c.hub.layout
	e.Cursor = c.cursor()
	c.window.push(e)
	c.hub.metrics.event(e.Kind)
	for s := range c.subs {
		s.publish(c.eventFor(s, e))
	}
	if e.Kind == KindMessage && !e.again && e.Message.ClientMessageID != "" && c.hub.opts.OnVisitorMessage != nil {
		c.hub.opts.OnVisitorMessage(e.facts.sessionTag, e.Message.ClientMessageID, e.Message.ID)
	}
}

func factsOf(row *Row) facts {
	return facts{
		conversationID: row.ConversationID, sessionTag: row.Content.SessionTag, identified: row.SenderUserID != "",
	}
}

// cursor is the class's newest position.
func (c *class) cursor() string { return c.sign(c.pos) }

func (c *class) sign(p position) string {
	return c.hub.opts.Signer.sign(&cursor{epoch: c.epoch, seq: c.seq, position: p}, c.key)
}

// baseline makes the class ready: rows are all of the conversation created since floor, read after the class was made. They count as
// given.
func (c *class) baseline(rows []*Row, scope *Scope, floor, readAt time.Time) {
	c.floor = floor.UnixMicro()
	c.pos = position{since: math.MinInt64, high: readAt.UnixMicro()}
	c.prove(readAt)
	for _, row := range rows {
		m, v := c.hub.opts.Rule.Judge(c.visitor, row, scope)
		if _, known := c.known[row.ID]; known || v != Granted {
			continue
		}
		c.remember(row, m)
		k := c.known[row.ID]
		k.seq = 0
		c.known[row.ID] = k
	}
	c.building = false
	close(c.ready)
}

// prove moves the position up to a time up to which reads have shown every row.
func (c *class) prove(at time.Time) {
	if at.After(c.proved) {
		c.proved = at
		c.pos.advance(c.limit().UnixMicro(), c.hub.opts.Overlap)
	}
}

// limit is how far the position may reach.
func (c *class) limit() time.Time {
	if now := c.hub.opts.Now(); now.Before(c.proved) {
		return now
	}
	return c.proved
}

// forget drops rows that no read can bring again: created and arrived before the given time. Messages in the window stay known:
// those present see them, and must learn of their updates and deletions.
func (c *class) forget(before time.Time) {
	at := before.UnixMicro()
	windowed := c.seq - uint64(c.window.n) // the seq before the window's first
	for id, k := range c.known {
		if k.created < at && k.arrived < at && (k.gone || k.seq <= windowed) {
			delete(c.known, id)
		}
	}
	c.floor = max(c.floor, at)
}

// forgetOldest halves what is known when a conversation is busier than the memory allows.
func (c *class) forgetOldest() {
	ids := slices.Collect(maps.Keys(c.known))
	slices.SortFunc(ids, func(a, b string) int {
		ka, kb := c.known[a], c.known[b]
		return cmp.Or(cmp.Compare(ka.created, kb.created), cmp.Compare(ka.seq, kb.seq))
	})
	for _, id := range ids[:len(ids)/2] {
		c.floor = max(c.floor, c.known[id].created+1)
		delete(c.known, id)
	}
}
