package transport

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	defaultPollLimit = 50
	maxPollWait      = 25 * time.Second
	// maxPollBytes is about how much one answer holds before it is cut.
	maxPollBytes = 1 << 20
)

// errCut ends a delivery of which the rest is left to the next poll.
var errCut = errors.New("the answer is full")

// pollRequest is what a poll asks for.
type pollRequest struct {
	credential chat.Credential
	limit      int
	wait       time.Duration
}

// pollBody is the answer to a poll. Messages are to be applied before updates; more says that the next poll will not have to wait.
type pollBody struct {
	Messages []*chat.Message   `json:"messages"`
	Updates  []json.RawMessage `json:"updates"`
	Cursor   string            `json:"cursor"`
	Resumed  bool              `json:"resumed"`
	More     bool              `json:"more"`
	State    string            `json:"state"`
	Session  pollSession       `json:"session"`
}

type pollSession struct {
	SessionID       string `json:"session_id"`
	ConversationID  string `json:"conversation_id"`
	AgentName       string `json:"agent_name"`
	MaxMessages     int    `json:"max_messages"`
	CurrentMessages *int   `json:"current_messages,omitempty"` // of the visitor; see Server.sentBy
}

// poll is one polling request: a subscriber that lives for as long as its answer takes.
type poll struct {
	server *Server
	a      *chat.Attachment
	limit  int
	wake   chan struct{} // one slot
	// exact says that the cursor is a place in the class's sequence. Otherwise only the visitor's own reading knows what of the
	// sequence they have, so that the sequence is not cut.
	exact bool

	messages []*chat.Message
	updates  []update
	fresh    int // events that are no replays, which alone count against the limit: or replays could fill every answer
	bytes    int
	cursor   string // after the last event that was taken
	more     bool
	sent     *int // messages of the session's visitor, nil where that is not known

	refusal atomic.Pointer[chat.Refusal] // of a link that changed meanwhile
}

type update struct {
	id   string
	text json.RawMessage
}

// handlePoll answers with the past where there is no cursor, else with what the visitor missed, else with what comes next.
func (s *Server) handlePoll(w http.ResponseWriter, r *http.Request) {
	q, err := s.parsePoll(w, r)
	if err == nil {
		err = s.servePoll(w, r, q)
	}
	if err != nil {
		s.refuse(w, r, err)
	}
}

func (s *Server) parsePoll(w http.ResponseWriter, r *http.Request) (q pollRequest, err error) {
	if r.Method != http.MethodGet {
		return q, refuseMethod(w, "GET, OPTIONS")
	}
	if q.credential = credentialFrom(r); !hasCredential(q.credential) {
		return q, refuseRequest(http.StatusBadRequest, "missing_token", "Missing session_token parameter")
	}
	limit, seconds := min(defaultPollLimit, s.opts.HistoryMax), 0
	query := r.URL.Query()
	for name, value := range map[string]*int{"limit": &limit, "wait": &seconds} {
		text := query.Get(name)
		if text == "" {
			continue
		}
		if *value, err = strconv.Atoi(text); err != nil || *value < 0 {
			return q, refuseRequest(http.StatusBadRequest, "bad_request", "Invalid "+name+" parameter")
		}
	}
	q.limit = min(max(limit, 1), s.opts.HistoryMax)
	q.wait = time.Duration(min(seconds, int(maxPollWait/time.Second))) * time.Second
	return q, nil
}

func (s *Server) servePoll(w http.ResponseWriter, r *http.Request, q pollRequest) error {
	if s.isDraining() {
		return s.refuseDraining()
	}
	from := s.callerOf(r)
	place, ref := s.limits.enter(from.addr)
	if ref != nil {
		return ref
	}
	defer place.release()
	place.brief = true
	ctx, cancel := s.workContext(r.Context())
	defer cancel(nil)
	bounded, release := context.WithTimeout(ctx, joinTimeout)
	defer release()
	g, err := s.authorize(bounded, from, q.credential)
	if err != nil {
		return causeOf(ctx, err)
	}
	if ref := place.bind(g.Visitor.SessionID); ref != nil {
		return ref
	}
	p := &poll{server: s, limit: q.limit, wake: make(chan struct{}, 1)}
	sent := s.sentBy(g.Visitor, q.credential.Cursor)
	p.a, err = s.opts.Backfiller.Join(bounded, g.Visitor, q.credential.Cursor, chat.SubscriberOptions{
		Dialect: chat.DialectPoll, Wake: p.signal, MaxBytes: s.opts.QueueBytes, MaxEvents: s.opts.QueueEvents,
	})
	if err != nil {
		return causeOf(ctx, err)
	}
	defer p.a.Close()
	defer s.gates.leave(s.gates.enter(from, g.Visitor, p.shut))
	defer s.opts.Track(g.Visitor)()
	if err := p.fill(ctx, bounded, q.wait); err != nil {
		return causeOf(ctx, err)
	}
	p.sent = sent()
	body := encode(p.body(g.Visitor))
	if err := p.ended(); err != nil {
		return err
	}
	s.answer(w, http.StatusOK, body)
	return nil
}

// shut ends the poll of a visitor whom the link does not admit any more.
func (p *poll) shut(ref *chat.Refusal) {
	p.refusal.Store(ref)
	p.a.Subscriber.End(disconnectOf(ref), nil)
}

func (p *poll) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// fill gathers the events of the answer. ctx bounds the waiting, reading what was missed.
func (p *poll) fill(ctx, reading context.Context, wait time.Duration) error {
	_, read := p.a.Resume()
	p.exact = !read
	p.cursor = p.a.Cursor()
	if !p.a.Resumed() {
		past, err := p.server.history(reading, p.a, p.limit)
		for _, e := range past {
			p.add(e)
		}
		return err
	}
	err := p.server.deliver(reading, p.a, p.take)
	if errors.Is(err, errCut) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.await(ctx, wait)
}

// take is where a delivery writes to.
func (p *poll) take(events []*chat.Event) error {
	for _, e := range events {
		if p.full() && (p.exact || e.Seq == 0) {
			p.more = true
			return errCut
		}
		p.add(e)
		if e.Cursor != "" {
			p.cursor = e.Cursor
		}
	}
	return nil
}

func (p *poll) full() bool { return p.fresh >= p.limit || p.bytes >= maxPollBytes }

// add puts an event into the answer, if the guard lets it pass. A message that is shown again after it was taken back replaces what was
// said of it.
func (p *poll) add(e *chat.Event) {
	if !p.a.Subscriber.Guard(e) {
		return
	}
	if !e.Message.Replayed {
		p.fresh++
		p.bytes += len(e.Message.Content)
	}
	id := e.Message.ID
	if e.Kind != chat.KindMessage {
		p.updates = append(p.updates, update{id, e.Encode(chat.DialectPoll)})
		return
	}
	p.updates = slices.DeleteFunc(p.updates, func(u update) bool { return u.id == id })
	p.messages = slices.DeleteFunc(p.messages, func(m *chat.Message) bool { return m.ID == id })
	p.messages = append(p.messages, &e.Message)
}

// await collects what is queued, and waits for it when there is nothing to tell.
func (p *poll) await(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for over := wait <= 0; ; {
		p.collect()
		if err := p.ended(); err != nil {
			return err
		}
		if over || p.fresh > 0 || len(p.messages)+len(p.updates) > 0 || p.a.Subscriber.Ended() != nil {
			return nil
		}
		select {
		case <-p.wake:
		case <-timer.C:
			over = true
		case <-p.server.draining:
			over = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// collect takes what is queued. The newest position is asked for first: all that came before it is in the queue, or was taken.
func (p *poll) collect() {
	newest := p.a.LiveCursor()
	var items []chat.Item
	for more := true; more; {
		items, more = p.a.Subscriber.Take(items)
	}
	seen := false
	for _, it := range items {
		switch {
		case it.End != nil:
			return // what was queued behind the last event is gone: the next poll reads it
		case it.Event == nil:
		case it.Event.Message.Unstored: // no later poll can bring it
			p.add(it.Event)
		case p.more || p.full():
			seen, p.more = true, true
		default:
			p.add(it.Event)
			seen, p.cursor = true, it.Event.Cursor
		}
	}
	if !seen {
		p.cursor = newest
	}
}

// ended says how a subscriber that is over is answered. One that was too slow, or that the server's stop ended, gets what was gathered.
func (p *poll) ended() error {
	if ref := p.refusal.Load(); ref != nil {
		return ref
	}
	switch why := p.a.Subscriber.Ended(); why {
	case nil, chat.SlowConsumer, chat.Restart:
		return nil
	case chat.SessionEnded:
		return chat.RefuseEnded(nil)
	case chat.InvalidSession:
		return chat.RefuseInvalid(nil)
	default:
		return chat.RefuseUnavailable(p.server.retryIn(p.server.opts.Retry), why)
	}
}

func (p *poll) body(v *chat.Visitor) pollBody {
	b := pollBody{
		Messages: make([]*chat.Message, 0, len(p.messages)), Updates: make([]json.RawMessage, 0, len(p.updates)),
		Cursor: p.cursor, Resumed: p.a.Resumed(), More: p.more, State: p.server.opts.Backfiller.State(),
		Session: pollSession{v.SessionID, v.ConversationID, v.AgentName, v.MaxMessages, p.sent},
	}
	b.Messages = append(b.Messages, p.messages...)
	for _, u := range p.updates {
		b.Updates = append(b.Updates, u.text)
	}
	return b
}
