package transport

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// errStopped is the cause that ends work in flight when Run returns.
var errStopped = errors.New("the server has stopped")

// Server serves visitors. Its methods are safe for concurrent use; Run and Drain are called once.
type Server struct {
	opts      Options
	log       *slog.Logger
	metrics   *metrics
	origins   origins
	limits    *limits
	tries     *tries
	lingering atomic.Int32 // sockets that were turned away and are waited for
	gates     *gates
	links     *knownLinks
	healths   healths
	quotas    *quotas
	wheel     *wheel
	sse       *wireMetrics
	socket    *wireMetrics
	front     *frontShared
	sends     *sends                 // what sending remembers: limits, repeats
	calls     *buckets[netip.Prefix] // of the links' function, by address
	histories *buckets[string]       // by session

	base context.Context // ends with Run: work in flight is given up
	stop context.CancelCauseFunc

	mu       sync.Mutex
	streams  map[openStream]struct{}
	sending  int
	draining chan struct{} // closed by Drain
	drained  bool
	stopped  bool
	changed  chan struct{} // one slot: streams or sending went down
	joined   sync.WaitGroup
}

// New checks the options. The handler works at once; Run drives keep-alives, ages and the end.
func New(o Options) (*Server, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	s := &Server{
		opts:      o,
		log:       o.Logger.With("component", "transport"),
		metrics:   newMetrics(o.Registerer),
		origins:   newOrigins(o.AllowedOrigins),
		gates:     newGates(),
		links:     newKnownLinks(),
		healths:   healths{answers: make(map[healthQuestion]*health)},
		quotas:    newQuotas(),
		wheel:     newWheel(),
		sends:     newSends(&o),
		calls:     newBuckets[netip.Prefix](),
		histories: newBuckets[string](),
		streams:   make(map[openStream]struct{}),
		draining:  make(chan struct{}),
		changed:   make(chan struct{}, 1),
	}
	s.limits = newLimits(o, s.metrics.limits)
	s.tries = newTries(&o, s.metrics.limits.WithLabelValues(limitFailures))
	s.sse, s.socket = s.metrics.of(transportSSE), s.metrics.of(transportWebSocket)
	s.front = newFrontShared(s.metrics.of(transportRealtime), &o)
	s.base, s.stop = context.WithCancelCause(context.Background())
	return s, nil
}

// Handler returns the visitors' routes: the functions', each at its bare path and below /functions/v1, and those of Supabase Realtime.
// Anything else is 404.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for path, handle := range map[string]http.HandlerFunc{
		"/temporary-chat-events":    s.handleEvents,
		"/temporary-chat-websocket": s.handleWebSocket,
		"/temporary-chat-messages":  s.handlePoll,
		"/temporary-chat-ticket":    s.handleTicket,
		"/temporary-chat-handler":   s.handleSend,
		"/temporary-chat-api":       s.handleForward,
		"/temporary-chat-api/":      s.handleForward,
	} {
		mux.HandleFunc(path, handle)
		mux.HandleFunc("/functions/v1"+path, handle)
	}
	mux.HandleFunc("/realtime/v1/websocket", s.handleFront)
	mux.HandleFunc("/realtime/v1/api/broadcast", s.handleBroadcasts)
	mux.HandleFunc("/realtime/v1/api/broadcast/{topic}/events/{event}", s.handleBroadcast)
	mux.HandleFunc("/", s.notFound)
	return s.withRequestID(oneSlash(s.withCORS(s.withoutOddities(mux))))
}

// Run turns the timer wheel until ctx ends. Then it cuts every stream and send that is left and joins them.
func (s *Server) Run(ctx context.Context) error {
	s.wheel.run(ctx)
	s.mu.Lock()
	s.stopped = true
	left := s.streamsLocked()
	s.mu.Unlock()
	s.stop(errStopped)
	for _, st := range left {
		st.cut(chat.Restart)
	}
	s.joined.Wait()
	return nil
}

// spawn runs f in a goroutine that Run joins; f's context ends with Run. It returns false when the server has stopped.
func (s *Server) spawn(f func(ctx context.Context)) bool {
	if !s.enter() {
		return false
	}
	go func() {
		defer s.joined.Done()
		f(s.base)
	}()
	return true
}

// spawnSend is spawn for a send, which Drain waits for.
func (s *Server) spawnSend(f func(ctx context.Context)) bool {
	s.mu.Lock()
	s.sending++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		s.sending--
		s.mu.Unlock()
		s.signal()
	}
	started := s.spawn(func(ctx context.Context) {
		defer leave()
		f(ctx)
	})
	if !started {
		leave()
	}
	return started
}

// enter counts work that Run joins; the caller calls s.joined.Done.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.joined.Add(1)
	return true
}

// openStream is a connection that Drain and Run may end from outside.
type openStream interface {
	// end says goodbye, with last (may be nil) where the transport has a form for it.
	end(why *chat.Disconnect, last *chat.Control)
	// cut ends the connection without a word.
	cut(why *chat.Disconnect)
	counters() *wireMetrics
}

// add registers an open stream. One that comes too late is ended.
func (s *Server) add(st openStream) {
	s.mu.Lock()
	s.streams[st] = struct{}{}
	drained, stopped := s.drained, s.stopped
	s.mu.Unlock()
	st.counters().start()
	switch {
	case stopped:
		st.cut(chat.Restart)
	case drained:
		last := s.reconnectControl(chat.Restart)
		st.end(chat.Restart, &last)
	}
}

func (s *Server) remove(st openStream) {
	s.mu.Lock()
	delete(s.streams, st)
	s.mu.Unlock()
	s.signal()
}

func (s *Server) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *Server) streamsLocked() []openStream {
	out := make([]openStream, 0, len(s.streams))
	for st := range s.streams {
		out = append(out, st)
	}
	return out
}

// SetState tells every stream the state of the feed: live, catching_up or polling.
func (s *Server) SetState(state string) {
	frames := s.newFrames(chat.Control{Type: "connection", Data: map[string]string{"state": state}, Flat: true})
	s.opts.Hub.EachSubscriber(func(sub *chat.Subscriber) {
		if hasControls(sub.Dialect()) {
			sub.Push(frames.of(sub.Dialect()))
		}
	})
}
