package chat

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure a Hub. Now, Signer, OnScopeNeeded and OnGap are required.
type Options struct {
	Rule   Rule
	Signer *Signer
	// Table is the messages table as DialectRealtime names it.
	Table Table
	// Epoch is where this process begins to number its classes in cursors; a random number.
	Epoch uint64
	// Now is the database's clock, as well as it is known.
	Now func() time.Time
	// Overlap is how much later than its created_at a row may be committed and still be resumed exactly. Default 2 min.
	Overlap time.Duration
	// ResumeWindow is how long a class is kept after its last subscriber left. Default 2 min.
	ResumeWindow time.Duration
	// WindowEvents and WindowBytes bound a class's window. Default 500 events, 1 MiB.
	WindowEvents, WindowBytes int
	// MaxHeld bounds the rows that wait for a look-up in one conversation. Default 1,000.
	MaxHeld int
	// OnScopeNeeded asks for a scope reading (BeginScope, SetScope). OnGap says that rows were dropped and must be read back. Both
	// are called under a lock: they must not block or call the hub.
	OnScopeNeeded func(conversationID string)
	OnGap         func(conversationID string)
	// OnVisitorMessage (may be nil) tells of each new visitor row that carries a client message id; same restrictions.
	OnVisitorMessage func(sessionID, clientMessageID, messageID string)
	Metrics          *Metrics
	Logger           *slog.Logger
}

// Hub connects the rows of watched conversations with the subscribers that may see them. See the package comment.
type Hub struct {
	opts    Options
	epoch   atomic.Uint64
	stamps  atomic.Uint64 // where those of the next conversation begin, in units of 1<<32
	metrics *Metrics
	layout  *changeLayout
	graves  tombstones

	mu            sync.RWMutex
	conversations map[string]*conversation
}

// NewHub checks the options and returns an empty hub.
func NewHub(o Options) (*Hub, error) {
	if o.Now == nil || o.Signer == nil || o.OnScopeNeeded == nil || o.OnGap == nil {
		return nil, errors.New("new hub: Now, Signer, OnScopeNeeded and OnGap are required")
	}
	setDefault(&o.Overlap, 2*time.Minute)
	setDefault(&o.ResumeWindow, 2*time.Minute)
	setDefault(&o.WindowEvents, 500)
	setDefault(&o.WindowBytes, 1<<20)
	setDefault(&o.MaxHeld, 1000)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Hub{opts: o, metrics: o.Metrics, layout: newChangeLayout(o.Table), conversations: make(map[string]*conversation)}
	h.epoch.Store(o.Epoch)
	return h, nil
}

func setDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// ClassKey names the set of visitors that the rule treats alike: equal keys may see the same rows.
func (h *Hub) ClassKey(v *Visitor) string { return h.classKey(v) }

// CursorAt returns a cursor of the visitor's class which says that every row created before a time, and none after it, was given.
func (h *Hub) CursorAt(v *Visitor, at time.Time) string {
	from := at.UnixMicro()
	return h.opts.Signer.sign(&cursor{position: position{high: from + h.opts.Overlap.Microseconds(), since: from}}, h.classKey(v))
}

func (h *Hub) classKey(v *Visitor) string {
	if h.opts.Rule.Mode == ModeConversation {
		return "conversation " + v.ConversationID + " " + v.AgentID
	}
	return "session " + v.SessionID
}

// Watched reports whether a conversation has a subscriber or a window. It is the one look-up that rows of other conversations cost.
func (h *Hub) Watched(conversationID string) bool {
	return h.find(conversationID) != nil
}

func (h *Hub) find(id string) *conversation {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.conversations[id]
}

// Publish takes a row that came live, in commit order. update says that it came by an UPDATE.
func (h *Hub) Publish(row *Row, update bool) {
	if c := h.find(row.ConversationID); c != nil {
		c.publish(row, update)
	}
}

// Delete takes back the message of a deleted row, wherever it is known. The record of a DELETE has nothing but the id.
func (h *Hub) Delete(id string) { h.DeleteCommitted(id, time.Time{}) }

// DeleteCommitted is Delete with the commit time of the change, where that is known.
func (h *Hub) DeleteCommitted(id string, committed time.Time) {
	h.graves.bury(id, h.opts.Now())
	for _, c := range h.all() {
		c.delete(id, committed)
	}
}

func (h *Hub) all() []*conversation {
	h.mu.RLock()
	defer h.mu.RUnlock()
	out := make([]*conversation, 0, len(h.conversations))
	for _, c := range h.conversations {
		out = append(out, c)
	}
	return out
}

// Interest is a watched conversation as the feed sees it.
type Interest struct {
	ConversationID string
	// Proved is the database's time up to which reads have shown every row.
	Proved time.Time
	// Looked is the database's time up to which reads have shown every row whose transaction was short. It is not before Proved.
	Looked time.Time
	// Activity is when the last row came, in the database's clock.
	Activity time.Time
	// Subscribers counts the streams.
	Subscribers int
}

// Interests lists the watched conversations that have a ready class, ordered by id.
func (h *Hub) Interests() []Interest {
	var out []Interest
	for _, c := range h.all() {
		if in, ready := c.interest(); ready {
			out = append(out, in)
		}
	}
	slices.SortFunc(out, func(a, b Interest) int { return strings.Compare(a.ConversationID, b.ConversationID) })
	return out
}

// InterestsOf is Interests for the given conversations, in their order.
func (h *Hub) InterestsOf(ids []string) []Interest {
	var out []Interest
	for _, id := range ids {
		if c := h.find(id); c != nil {
			if in, ready := c.interest(); ready {
				out = append(out, in)
			}
		}
	}
	return out
}

// interest is how the feed sees the conversation, once a class is ready.
func (c *conversation) interest() (in Interest, ready bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	in = Interest{ConversationID: c.id, Proved: c.proved, Looked: c.looked, Activity: c.activity}
	for _, cl := range c.classes {
		in.Subscribers += len(cl.subs)
		ready = ready || !cl.building
	}
	return in, ready
}

// Visitors returns the visitor facts of every session that has a subscriber, once each.
func (h *Hub) Visitors() []*Visitor {
	seen := make(map[string]*Visitor)
	h.EachSubscriber(func(s *Subscriber) { seen[s.visitor.SessionID] = s.visitor })
	out := make([]*Visitor, 0, len(seen))
	for _, v := range seen {
		out = append(out, v)
	}
	return out
}

// EachSubscriber calls do for every subscriber at the time of the call, outside the hub's locks.
func (h *Hub) EachSubscriber(do func(*Subscriber)) {
	for _, c := range h.all() {
		var subs []*Subscriber
		c.mu.Lock()
		for _, cl := range c.classes {
			for s := range cl.subs {
				subs = append(subs, s)
			}
		}
		c.mu.Unlock()
		for _, s := range subs {
			do(s)
		}
	}
}

// EndSession ends every stream of a session: nothing follows but last. It returns how many there were.
func (h *Hub) EndSession(conversationID, sessionID string, why *Disconnect, last *Control) int {
	c := h.find(conversationID)
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for key, cl := range c.classes {
		for s := range cl.subs {
			if s.visitor.SessionID == sessionID {
				s.End(why, last)
				n++
			}
		}
		if h.opts.Rule.Mode == ModeSession && cl.visitor.SessionID == sessionID && !cl.building {
			delete(c.classes, key)
		}
	}
	return n
}

// Sweep forgets the classes that nobody has come back to for the resume window.
func (h *Hub) Sweep() {
	now := h.opts.Now()
	for _, c := range h.all() {
		c.mu.Lock()
		for key, cl := range c.classes {
			if len(cl.subs) == 0 && !cl.building && now.Sub(cl.emptySince) > h.opts.ResumeWindow {
				delete(c.classes, key)
			}
		}
		empty := len(c.classes) == 0
		c.mu.Unlock()
		if empty {
			h.removeIfEmpty(c)
		}
	}
}

func (h *Hub) removeIfEmpty(c *conversation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.classes) == 0 && !c.dead {
		c.dead = true
		delete(h.conversations, c.id)
	}
}
