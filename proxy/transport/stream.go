package transport

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// joinTimeout bounds everything between a visitor's credential and the first event.
const joinTimeout = 30 * time.Second

// stream is one visitor's connection, from the upgrade or the head to its end. One goroutine, parked in a read, owns it and takes it
// down (leave); flushers come and go.
type stream struct {
	// Fixed before the stream is shared.
	server    *Server
	sink      sink
	dialect   chat.Dialect
	wire      *wireMetrics
	opened    time.Time
	connID    string
	lease     *lease
	keepAlive time.Duration
	maxAge    time.Duration
	pinger    pinger // nil where the transport has no pings

	// Set by join.
	attachment *chat.Attachment
	gate       *gate
	untrack    func()
	sent       *int // messages of the session's visitor, nil where that is not known

	timer     timer
	nextPing  time.Duration // since opened; owned by tick
	lastWrite atomic.Int64  // nanoseconds since opened, control frames not counted
	live      atomic.Bool

	// writing serialises the sink; finished is guarded by it.
	writing  sync.Mutex
	finished bool

	mu      sync.Mutex
	sub     *chat.Subscriber // nil until joined
	why     *chat.Disconnect // the first cause
	cancel  context.CancelCauseFunc
	shut    bool // no writer may begin
	writers sync.WaitGroup
}

func (s *Server) newStream(d chat.Dialect, wire *wireMetrics, l *lease, connID string) *stream {
	return &stream{
		server: s, dialect: d, wire: wire, lease: l, connID: connID, opened: time.Now(),
		keepAlive: s.keepAlive(), maxAge: s.maxAge(),
	}
}

func (st *stream) counters() *wireMetrics { return st.wire }

// keepAlive and maxAge are the options with the jitter of one connection.
func (s *Server) keepAlive() time.Duration {
	return s.opts.KeepAlive - time.Duration(s.opts.Rand()*float64(s.opts.KeepAlive)/10)
}

func (s *Server) maxAge() time.Duration {
	return s.opts.MaxAge - time.Duration(s.opts.Rand()*float64(s.opts.MaxAge)/5)
}

// workContext is for a join and a delivery: it ends with parent and with the server.
func (s *Server) workContext(parent context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	stop := context.AfterFunc(s.base, func() { cancel(errStopped) })
	return ctx, func(cause error) {
		stop()
		cancel(cause)
	}
}

// join authorises and attaches. After an error the stream holds nothing but its lease. A context's error is replaced by its cause.
func (st *stream) join(ctx context.Context, from caller, c chat.Credential) (*chat.Grant, error) {
	s := st.server
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	g, err := s.authorize(ctx, from, c)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	if ref := st.lease.bind(g.Visitor.SessionID); ref != nil {
		return nil, ref
	}
	sent := s.sentBy(g.Visitor, c.Cursor)
	a, err := s.opts.Backfiller.Join(ctx, g.Visitor, c.Cursor, chat.SubscriberOptions{
		Dialect: st.dialect, Wake: st.wake, Ended: st.giveUp, MaxBytes: s.opts.QueueBytes, MaxEvents: s.opts.QueueEvents,
	})
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	st.attachment, st.sent = a, sent()
	st.mu.Lock()
	st.sub = a.Subscriber
	why := st.why
	st.mu.Unlock()
	if why != nil {
		a.Subscriber.End(why, nil) // it was ended while it joined
	}
	st.gate = s.gates.enter(from, g.Visitor, st.shutFor)
	st.untrack = s.opts.Track(g.Visitor)
	s.wheel.add(&st.timer, st, nextStep)
	return g, nil
}

func causeOf(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// deliver writes the history that was asked for and what the visitor lacks. From its success on the flusher writes.
func (st *stream) deliver(ctx context.Context, history int) error {
	if history > 0 && !st.attachment.Resumed() {
		past, err := st.server.history(ctx, st.attachment, history)
		if err != nil {
			return causeOf(ctx, err)
		}
		if err := st.writeEvents(past); err != nil {
			return err
		}
	}
	if err := st.server.deliver(ctx, st.attachment, st.writeEvents); err != nil {
		return causeOf(ctx, err)
	}
	st.live.Store(true)
	return nil
}

func (st *stream) subscriber() *chat.Subscriber {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.sub
}

// ending reports whether the stream's end has been decided.
func (st *stream) ending() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.why != nil || st.sub != nil && st.sub.Ended() != nil
}

// giveUp ends a join or delivery that is under way.
func (st *stream) giveUp(why *chat.Disconnect) {
	st.mu.Lock()
	cancel := st.cancel
	st.mu.Unlock()
	if cancel != nil {
		cancel(why)
	}
}

// cancelWith sets what ends a join or delivery that is under way; nil when none is.
func (st *stream) cancelWith(cancel context.CancelCauseFunc) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.cancel = cancel
}
