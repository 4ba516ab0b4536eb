package chat

import (
	"math"
	"time"
)

// Attachment is a subscriber's place in the hub, from Attach to Close. Its methods are called by one goroutine at a time.
//
// A fresh class first needs a baseline: when Building says so, read the rows since Floor and call Baseline; any other joiner of
// the class waits on Ready. Then Resume says from where rows must be read back for a cursor (Backlog takes them page by page), and
// Next is called until it reports that the subscriber is live.
type Attachment struct {
	Subscriber *Subscriber
	hub        *Hub
	conv       *conversation
	class      *class
	builder    bool
	cursor     *cursor
	pos        position
	exact      bool
	// apart says that the visitor's cursors must tell more than the class's.
	apart bool
	seq   uint64
	// owed is the created_at (microseconds) of the oldest row that the backlog left to the sequence: until that is written, no
	// cursor may reach past it.
	owed    int64
	owedSeq uint64 // of the last such row
	// from is the created_at (microseconds) before which the visitor has had every row.
	from int64

	released string // where the subscriber went live; set for DialectRealtime

	resumed bool // Resume was called; what it said follows
	since   time.Time
	read    bool
}

// Attach enters a subscriber. The cursor may be empty; one that does not belong to the visitor counts as none.
func (h *Hub) Attach(v *Visitor, cursorText string, o SubscriberOptions) *Attachment {
	a := &Attachment{Subscriber: newSubscriber(v, h.opts.Rule, h.metrics, o), hub: h}
	if cursorText != "" {
		if c, err := h.opts.Signer.verify(cursorText, h.classKey(v)); err == nil {
			a.cursor, a.pos = c, c.clone()
		}
	}
	for a.conv == nil {
		a.enter(v)
	}
	a.owed = math.MaxInt64
	return a
}

// Vouches reports whether whoever holds a cursor has been this visitor. In ModeConversation none does: all visitors of a conversation get
// the same.
func (h *Hub) Vouches(v *Visitor, text string) bool {
	if h.opts.Rule.Mode != ModeSession {
		return false
	}
	_, err := h.opts.Signer.verify(text, h.classKey(v))
	return err == nil
}

func (a *Attachment) enter(v *Visitor) {
	h := a.hub
	h.mu.Lock()
	c, ok := h.conversations[v.ConversationID]
	if !ok {
		// A scope whose reading began before this conversation was made says nothing here, though another of this id was there then.
		stamp := h.stamps.Add(1) << 32
		c = &conversation{id: v.ConversationID, hub: h, classes: make(map[string]*class), stamp: stamp, scopeStamp: stamp}
		h.conversations[c.id] = c
	}
	c.mu.Lock()
	h.mu.Unlock()
	defer c.mu.Unlock()
	if c.dead {
		return
	}
	a.conv = c
	a.class, a.builder = c.classFor(v)
	if h.opts.Rule.Mode == ModeSession {
		a.class.visitor = v
	}
	a.class.subs[a.Subscriber] = struct{}{}
	a.seq = a.class.seq
}

// Building reports whether this attachment made the class and has to bring its baseline.
func (a *Attachment) Building() bool { return a.builder }

// Ready is closed when the class has its baseline. When the builder gave up, Failed is true after it.
func (a *Attachment) Ready() <-chan struct{} { return a.class.ready }

// Failed reports that the class's builder gave up; attach again.
func (a *Attachment) Failed() bool {
	a.conv.mu.Lock()
	defer a.conv.mu.Unlock()
	return a.class.building
}

// Baseline hands in the rows of the conversation created since floor. They were read after Attach, beginning at the database's
// time readAt; scope was read after them (nil where BaselineWantsScope said so). It returns false when too many rows came
// meanwhile and it must be read again.
func (a *Attachment) Baseline(rows []*Row, scope *Scope, floor, readAt time.Time) bool {
	a.conv.mu.Lock()
	defer a.conv.mu.Unlock()
	if !a.conv.becomeReadyLocked(a.class, rows, scope, floor, readAt) {
		return false
	}
	a.builder = false
	if a.conv.proved.IsZero() {
		a.conv.proved, a.conv.looked = readAt, readAt
	}
	return true
}

// WantsScope reports whether showing the rows to this visitor takes a scope reading.
func (a *Attachment) WantsScope(rows []*Row) bool {
	a.conv.mu.Lock()
	defer a.conv.mu.Unlock()
	for _, row := range rows {
		if _, v := a.hub.opts.Rule.Judge(a.class.visitor, row, nil); v == NeedsScope {
			return true
		}
	}
	return false
}

// Resume is called when the class is ready. It returns whether rows must be read back for the cursor, and the created_at from
// which on. Without a cursor, or with one of this process that the window still covers, there is nothing to read.
// The first call decides; later ones repeat its answer.
func (a *Attachment) Resume() (since time.Time, read bool) {
	a.conv.mu.Lock()
	defer a.conv.mu.Unlock()
	if !a.resumed {
		a.since, a.read = a.resumeLocked()
		a.resumed = true
	}
	return a.since, a.read
}

func (a *Attachment) resumeLocked() (since time.Time, read bool) {
	cl := a.class
	if a.cursor == nil {
		a.seq, a.pos, a.exact = cl.seq, cl.pos.clone(), true
		return time.Time{}, false
	}
	if a.cursor.epoch == cl.epoch && a.cursor.seq <= cl.seq {
		if _, whole := cl.window.after(a.cursor.seq, cl.seq, 1); whole {
			a.seq, a.exact = a.cursor.seq, true
			a.apart = cl.beyond(&a.pos, a.seq) != nil
			return time.Time{}, false
		}
	}
	a.seq, a.apart = cl.seq, true
	a.from = a.pos.high - a.hub.opts.Overlap.Microseconds()
	// What the visitor had from a node that is ahead, this class must learn too: its cursors are theirs from now on.
	behind := max(0, a.pos.high-cl.pos.high)
	return time.UnixMicro(a.from - behind).UTC(), true
}

// Resumed reports whether the visitor brought a cursor of their own.
func (a *Attachment) Resumed() bool { return a.cursor != nil }

// Cursor is the position to tell the visitor before anything else is written.
func (a *Attachment) Cursor() string { return a.cursorAt(a.seq) }

func (a *Attachment) cursorAt(seq uint64) string {
	c := &cursor{epoch: a.class.epoch, seq: seq, position: a.pos}
	if !a.exact {
		c.epoch, c.seq = 0, 0
		c.high = min(c.high, a.owed)
	}
	return a.hub.opts.Signer.sign(c, a.class.key)
}

// Released is the position at which Next reported live: that of a visitor who has been given everything up to there. It is set for
// subscribers of DialectRealtime, whose visitors cannot be told a position.
func (a *Attachment) Released() string { return a.released }

// LiveCursor is the newest position: what a visitor who has taken everything may come back with.
func (a *Attachment) LiveCursor() string {
	a.conv.mu.Lock()
	defer a.conv.mu.Unlock()
	return a.class.cursorFor(a.Subscriber)
}

// Close takes the subscriber out. A class whose builder leaves before its baseline is given up, and those who wait are told.
func (a *Attachment) Close() {
	a.conv.mu.Lock()
	defer a.conv.mu.Unlock()
	cl := a.class
	if _, in := cl.subs[a.Subscriber]; !in {
		return
	}
	delete(cl.subs, a.Subscriber)
	cl.emptySince = a.hub.opts.Now()
	if a.builder {
		a.builder = false
		delete(a.conv.classes, cl.key)
		close(cl.ready)
	}
}
