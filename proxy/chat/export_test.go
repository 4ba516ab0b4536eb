package chat

import "time"

// Cursor opens cursors to the tests.
type Cursor struct {
	Epoch, Seq uint64
	Position
}

// Position opens positions to the tests.
type Position struct{ p position }

// MaxSeen and MaxKnown are the bounds that the tests reach.
const (
	MaxSeen  = maxSeen
	MaxKnown = maxKnown
)

// At makes a position with the given bounds.
func At(high, since time.Time) Position {
	return Position{position{high: high.UnixMicro(), since: since.UnixMicro()}}
}

func (p *Position) Note(id string, created, now time.Time, overlap time.Duration) {
	p.p.note(id, created, now, overlap)
}

func (p *Position) High() time.Time  { return time.UnixMicro(p.p.high).UTC() }
func (p *Position) Since() time.Time { return time.UnixMicro(p.p.since).UTC() }
func (p *Position) Seen() int        { return len(p.p.seen) }

// Recall returns new, seen or unsure.
func (p *Position) Recall(id string, created time.Time) string {
	return [...]string{recallNew: "new", recallSeen: "seen", recallUnsure: "unsure"}[p.p.recall(id, created)]
}

// SignCursor signs a cursor of a class.
func (s *Signer) SignCursor(c Cursor, class string) string {
	return s.sign(&cursor{epoch: c.Epoch, seq: c.Seq, position: c.p}, class)
}

// VerifyCursor reads a cursor of a class.
func (s *Signer) VerifyCursor(text, class string) (Cursor, error) {
	c, err := s.verify(text, class)
	if err != nil {
		return Cursor{}, err
	}
	return Cursor{c.epoch, c.seq, Position{c.position}}, nil
}

// EventOf crafts an event with the facts of a row, past the rule.
func EventOf(row *Row, session string) *Event {
	f := factsOf(row)
	f.session = session
	return &Event{Kind: KindMessage, Message: Message{ID: row.ID, Content: row.Content.Text}, facts: f}
}

// NewEvent makes an event to be encoded.
func NewEvent(kind Kind, m Message, cursor string, at time.Time) *Event {
	return &Event{Kind: kind, Message: m, Cursor: cursor, At: at}
}

// Window opens a window to the tests.
type Window struct{ w window }

func NewWindow(maxEvents, maxBytes int) *Window { return &Window{newWindow(maxEvents, maxBytes)} }

func (w *Window) Push(e *Event) { w.w.push(e) }
func (w *Window) Len() int      { return w.w.n }
func (w *Window) Bytes() int    { return w.w.bytes }

func (w *Window) After(seq, last uint64, maxBytes int) ([]*Event, bool) {
	return w.w.after(seq, last, maxBytes)
}

// NewTestSubscriber makes a subscriber in no hub. It is released at once.
func NewTestSubscriber(v *Visitor, rule Rule, m *Metrics, o SubscriberOptions) *Subscriber {
	s := newSubscriber(v, rule, m, o)
	s.release()
	return s
}

// Offer queues an event, as a class does.
func (s *Subscriber) Offer(e *Event) { s.publish(e) }

// MaxTombstones is how many deletions are remembered.
const MaxTombstones = maxTombstones

// Waiting counts the rows that wait in a conversation, and the rows that its classes know.
func (h *Hub) Waiting(conversationID string) (held, known int) {
	c := h.find(conversationID)
	if c == nil {
		return 0, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	held = len(c.held)
	for _, cl := range c.classes {
		held += len(cl.missed)
		known += len(cl.known)
	}
	return held, known
}
