package chat

import (
	"sync"
	"sync/atomic"
)

// Item is one thing to write to a visitor: an event of the class, a ready-made frame of the subscriber's dialect, or the end.
type Item struct {
	Event *Event
	Frame []byte
	// End is the last item of a stream: after it nothing is written but what closing takes.
	End *Disconnect
}

func (it *Item) size() int {
	if it.Event != nil {
		return it.Event.size()
	}
	return len(it.Frame)
}

// Subscriber is one stream's entry in the hub, with its bounded queue. Nobody waits for it: a push to an empty queue calls wake,
// and whoever is woken takes until the queue is empty. A full queue ends the subscriber as a slow consumer.
//
// Until it is released (Attachment.Next) a Subscriber only collects frames; its class events wait in the class's window.
type Subscriber struct {
	visitor   *Visitor
	dialect   Dialect
	wake      func()
	onEnd     func(*Disconnect)
	maxBytes  int
	maxEvents int
	metrics   *Metrics
	rule      Rule

	ended atomic.Pointer[Disconnect]

	mu       sync.Mutex
	queue    []Item
	bytes    int
	released bool
	flushing bool
	// since is the created_at (microseconds) before which the visitor may have had any row from another node.
	since int64
	// had (may be nil) names the rows that the visitor did have there.
	had *cursor

	// own (nil for nearly all) is what the visitor had elsewhere and the class does not know. Guarded by conversation.mu.
	own *position
}

// SubscriberOptions are the fixed properties of a Subscriber.
type SubscriberOptions struct {
	Dialect Dialect
	// Wake is called, without blocking and from any goroutine, when there is something to take. It is not called again before
	// Take has returned false.
	Wake func()
	// Ended (may be nil) is called, under locks of the hub, when the subscriber ends before it is live: nobody wakes it then, and
	// the reads made for it are in vain.
	Ended func(why *Disconnect)
	// MaxBytes and MaxEvents bound the queue.
	MaxBytes, MaxEvents int
}

func newSubscriber(v *Visitor, rule Rule, metrics *Metrics, o SubscriberOptions) *Subscriber {
	return &Subscriber{
		visitor: v, rule: rule, metrics: metrics,
		dialect: o.Dialect, wake: o.Wake, onEnd: o.Ended, maxBytes: o.MaxBytes, maxEvents: o.MaxEvents,
	}
}

// Visitor returns whose stream this is.
func (s *Subscriber) Visitor() *Visitor { return s.visitor }

// Dialect returns the form that frames pushed to this subscriber must have.
func (s *Subscriber) Dialect() Dialect { return s.dialect }

// Ended returns why the subscriber ended, or nil.
func (s *Subscriber) Ended() *Disconnect { return s.ended.Load() }

// Push queues a frame of the subscriber's dialect behind what waits already.
func (s *Subscriber) Push(frame []byte) { s.push(Item{Frame: frame}) }

// PushControl encodes a control event in the subscriber's dialect and queues it.
func (s *Subscriber) PushControl(c Control) { s.push(Item{Frame: c.Encode(s.dialect)}) }

// End drops what waits and makes last (may be nil) and the end the only things left to write. The first call counts.
func (s *Subscriber) End(why *Disconnect, last *Control) {
	s.mu.Lock()
	if !s.ended.CompareAndSwap(nil, why) {
		s.mu.Unlock()
		return
	}
	s.metrics.dropped(len(s.queue))
	s.queue, s.bytes = nil, 0
	if last != nil {
		s.queue = append(s.queue, Item{Frame: last.Encode(s.dialect)})
	}
	s.queue = append(s.queue, Item{End: why})
	s.wakeLocked()
	tell := s.onEnd != nil && !s.released
	s.mu.Unlock()
	if tell {
		s.onEnd(why)
	}
}

func (s *Subscriber) push(it Item) {
	s.mu.Lock()
	if s.ended.Load() != nil {
		s.mu.Unlock()
		return
	}
	if len(s.queue) >= s.maxEvents || s.bytes+it.size() > s.maxBytes && len(s.queue) > 0 {
		s.mu.Unlock()
		s.End(SlowConsumer, nil)
		return
	}
	s.queue = append(s.queue, it)
	s.bytes += it.size()
	s.wakeLocked()
	s.mu.Unlock()
}

// publish queues an event of the class; before the release the event is left to the window.
func (s *Subscriber) publish(e *Event) {
	s.mu.Lock()
	released, since, had := s.released, s.since, s.had
	s.mu.Unlock()
	if !released {
		return
	}
	if e.Kind == KindMessage && !e.again {
		// A read that began long ago, or a channel that is late, may bring the class a row that this visitor had elsewhere and that
		// their own reading did not show any more.
		if had != nil && had.recall(e.Message.ID, e.Message.Timestamp) == recallSeen {
			return
		}
		if e.Message.Timestamp.UnixMicro() < since {
			e = e.asReplayed()
		}
	}
	s.push(Item{Event: e})
}

// resumed says with which cursor the visitor came. Messages that it names are not sent again, and those created before since
// (microseconds) go out marked as replayed.
func (s *Subscriber) resumed(c *cursor, since int64) {
	s.mu.Lock()
	s.had, s.since = c, since
	s.mu.Unlock()
}

func (s *Subscriber) wakeLocked() {
	if s.released && !s.flushing {
		s.flushing = true
		s.wake()
	}
}

// release lets events flow. The caller holds the conversation's mutex, so no event falls between the window and the queue.
func (s *Subscriber) release() {
	s.mu.Lock()
	s.released = true
	if len(s.queue) > 0 {
		s.wakeLocked()
	}
	s.mu.Unlock()
}

// Take moves all that is queued into items and returns true, or clears the flushing mark and returns false when nothing waits. The
// mark is cleared under the lock that saw the queue empty, so no item is stranded.
func (s *Subscriber) Take(items []Item) ([]Item, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.flushing = false
		return items, false
	}
	items = append(items, s.queue...)
	clear(s.queue)
	s.queue = s.queue[:0]
	if cap(s.queue) > 16 {
		s.queue = nil
	}
	s.bytes = 0
	return items, true
}

// Guard is the second look in front of every write: it reports whether the event may go to this subscriber, from the row's own
// facts and independently of the rule. A refusal is counted; the count must be zero for ever.
func (s *Subscriber) Guard(e *Event) bool {
	f := &e.facts
	ok := f.conversationID != "" && f.conversationID == s.visitor.ConversationID &&
		(f.session == "" || f.session == s.visitor.SessionID)
	if s.rule.Mode == ModeSession {
		ok = ok && (f.sessionTag == "" || f.sessionTag == s.visitor.SessionID)
	}
	if s.rule.Mode == ModeSession || !s.rule.TrustSenders {
		ok = ok && !f.identified
	}
	ok = ok || planted == "ignore the guard"
	if !ok {
		s.metrics.guarded()
	}
	return ok
}
