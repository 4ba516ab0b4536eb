package proxy

import (
	"container/list"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// waiting bounds the connections on which no whole request has come, yet or since the last one. Each costs a descriptor and a goroutine, and
// nothing is known of who holds it: where there are too many, the one that has waited the longest makes room. Safe for concurrent use.
type waiting struct {
	most             int
	closed, unserved prometheus.Counter

	mu     sync.Mutex
	guests map[net.Conn]*guest
	line   *list.List // of *guest, who has waited the longest first
}

// guest is one connection.
type guest struct {
	conn   net.Conn
	served atomic.Bool   // a handler was called for it
	place  *list.Element // in waiting.line; nil while a whole request is answered, and behind the end. Guarded by waiting.mu.
	gone   bool          // ended. Guarded by waiting.mu.
}

type guestKey struct{}

func newWaiting(most int, r prometheus.Registerer) *waiting {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "realtime_proxy", Subsystem: "port", Name: name, Help: help})
	}
	w := &waiting{
		most: most, guests: make(map[net.Conn]*guest), line: list.New(),
		closed:   counter("waiting_closed_total", "Connections closed because too many waited for a request."),
		unserved: counter("unserved_total", "Connections that ended before a whole request: silent, too slow, malformed, or with too large a head."),
	}
	r.MustRegister(w.closed, w.unserved, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "realtime_proxy", Subsystem: "port", Name: "waiting", Help: "Connections that wait for a request.",
	}, func() float64 {
		w.mu.Lock()
		defer w.mu.Unlock()
		return float64(w.line.Len())
	}))
	return w
}

// watch makes the server tell of its connections.
func (w *waiting) watch(s *http.Server) {
	next := s.Handler
	s.ConnContext, s.ConnState = w.enter, w.note
	s.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if g, ok := r.Context().Value(guestKey{}).(*guest); ok {
			g.served.Store(true)
			r = w.awaitBody(r, g)
		}
		next.ServeHTTP(rw, r)
	})
}

// awaitBody leaves the connection in the line until the request's body has been read to its end.
func (w *waiting) awaitBody(r *http.Request, g *guest) *http.Request {
	if r.Body == http.NoBody {
		return r
	}
	w.queue(g)
	awaiting := *r // a handler may not change its request
	awaiting.Body = &awaitedBody{r.Body, func() { w.leave(g, false) }}
	return &awaiting
}

// awaitedBody tells when all has been read.
type awaitedBody struct {
	io.ReadCloser
	whole func()
}

func (b *awaitedBody) Read(p []byte) (n int, err error) {
	if n, err = b.ReadCloser.Read(p); err == io.EOF {
		b.whole()
	}
	return n, err
}

// enter is called for each new connection, ahead of note.
func (w *waiting) enter(ctx context.Context, conn net.Conn) context.Context {
	g := &guest{conn: conn}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.guests[conn] = g
	return context.WithValue(ctx, guestKey{}, g)
}

// note follows a connection. A server calls a connection active only when it has read the head of a request or failed to.
func (w *waiting) note(conn net.Conn, state http.ConnState) {
	w.mu.Lock()
	g, known := w.guests[conn]
	w.mu.Unlock()
	switch {
	case !known:
	case state == http.StateNew, state == http.StateIdle:
		w.queue(g)
	default:
		w.leave(g, state != http.StateActive)
	}
}

// leave takes a connection out of the line, and forgets it when it has ended.
func (w *waiting) leave(g *guest, ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leaveLocked(g)
	if ended {
		g.gone = true
		delete(w.guests, g.conn)
		if !g.served.Load() {
			w.unserved.Inc()
		}
	}
}

// queue puts a connection at the end of the line and closes the one that has to go for it, if any.
func (w *waiting) queue(g *guest) {
	w.mu.Lock()
	longest := w.queueLocked(g)
	w.mu.Unlock()
	if longest != nil {
		w.closed.Inc()
		_ = longest.Close() // whoever reads from it notices
	}
}

// queueLocked returns the connection that has to go, or nil.
func (w *waiting) queueLocked(g *guest) (longest net.Conn) {
	w.leaveLocked(g)
	if g.gone {
		return nil
	}
	g.place = w.line.PushBack(g)
	if w.line.Len() <= w.most {
		return nil
	}
	first := w.line.Front().Value.(*guest)
	w.leaveLocked(first)
	return first.conn
}

func (w *waiting) leaveLocked(g *guest) {
	if g.place != nil {
		w.line.Remove(g.place)
		g.place = nil
	}
}
