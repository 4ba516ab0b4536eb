package transport

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// eventsRequest is what a request for an event stream asks for.
type eventsRequest struct {
	dialect    chat.Dialect
	credential chat.Credential
	history    int
}

// handleEvents serves an event stream.
func (s *Server) handleEvents(w http.ResponseWriter, r *http.Request) {
	q, err := s.parseEvents(w, r)
	if err == nil {
		err = s.serveEvents(w, r, q)
	}
	if err != nil {
		s.refuseEvents(w, r, q.dialect, err)
	}
}

func (s *Server) parseEvents(w http.ResponseWriter, r *http.Request) (eventsRequest, error) {
	q := eventsRequest{dialect: chat.DialectMessage}
	if strings.HasPrefix(r.URL.Path, "/functions/v1/") {
		q.dialect = chat.DialectEnvelope
	}
	if r.Method != http.MethodGet {
		return q, refuseMethod(w, "GET, OPTIONS")
	}
	switch format := r.URL.Query().Get("format"); format {
	case "":
	case "message":
		q.dialect = chat.DialectMessage
	case "envelope":
		q.dialect = chat.DialectEnvelope
	default:
		return q, refuseRequest(http.StatusBadRequest, "bad_request", "Unknown format parameter")
	}
	if text := r.URL.Query().Get("history"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return q, refuseRequest(http.StatusBadRequest, "bad_request", "Invalid history parameter")
		}
		q.history = min(n, s.opts.HistoryMax)
	}
	if q.credential = credentialFrom(r); !hasCredential(q.credential) {
		return q, refuseRequest(http.StatusBadRequest, "missing_token", "Missing session_token parameter")
	}
	return q, nil
}

// serveEvents returns an error only as long as an ordinary answer can be given.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request, q eventsRequest) error {
	if s.isDraining() {
		return s.refuseDraining()
	}
	from := s.callerOf(r)
	place, ref := s.limits.enter(from.addr)
	if ref != nil {
		return ref
	}
	joined := false // then leave releases
	defer place.releaseUnless(&joined)
	st := s.newStream(q.dialect, s.sse, place, requestID(r.Context()))
	ctx, cancel := s.workContext(r.Context())
	defer cancel(nil)
	g, err := st.join(ctx, from, q.credential)
	if err != nil {
		return err
	}
	joined = true
	st.cancelWith(cancel)
	defer st.cancelWith(nil)
	st.writers.Add(1) // feed
	raw, err := hijackEvents(w, st.dialect)
	switch {
	case err == nil:
		st.sink = raw
		s.add(st)
		// The stream's owner from here on: it waits for the peer to go away.
		if s.spawn(func(context.Context) { raw.wait(); st.leave() }) {
			s.feed(ctx, st, g, q.history)
		} else {
			st.writers.Done()
			st.leave()
		}
	case errors.Is(err, http.ErrNotSupported):
		held := newHeldSink(w, st.dialect)
		st.sink = held
		s.serveHeld(ctx, r, st, held, func() { s.feed(ctx, st, g, q.history) })
	default:
		st.writers.Done()
		st.sink = closedSink{}
		s.add(st)
		st.leave()
	}
	return nil
}

// serveHeld keeps the request's goroutine as the owner, for connections that cannot be taken from the HTTP server.
func (s *Server) serveHeld(ctx context.Context, r *http.Request, st *stream, held *heldSink, feed func()) {
	if s.enter() {
		defer s.joined.Done()
	} else {
		held.close()
	}
	s.add(st)
	defer st.leave()
	feed()
	held.wait(r.Context())
}

// feed brings a joined stream to live. It is one of the stream's writers.
func (s *Server) feed(ctx context.Context, st *stream, g *chat.Grant, history int) {
	defer st.writers.Done()
	fed := false
	defer func() {
		if !fed {
			st.cut(chat.Gone) // a panic, and nobody else closes a connection that was taken from the HTTP server
		}
	}()
	head := append(retryLine(s.retryIn(s.opts.Retry)), '\n')
	first := st.greeting("connected", g).Encode(st.dialect)
	err := st.write([]chat.Item{{Frame: head}, {Frame: first}})
	if err == nil {
		err = st.deliver(ctx, history)
	}
	if err != nil {
		st.abandon(err)
	}
	fed = true
}

func retryLine(d time.Duration) []byte {
	return append(strconv.AppendInt([]byte("retry: "), d.Milliseconds(), 10), '\n')
}

// refuseEvents refuses a stream. An EventSource gives up for good on any answer but 200, so what passes is told inside a stream
// that ends at once.
func (s *Server) refuseEvents(w http.ResponseWriter, r *http.Request, d chat.Dialect, err error) {
	if gone(r, err) {
		return
	}
	ref := asRefusal(err)
	passing := ref.Status == http.StatusServiceUnavailable || ref.Status == http.StatusTooManyRequests
	if !passing || !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		s.refuse(w, r, err)
		return
	}
	s.logRefusal(r.Context(), ref, r)
	s.metrics.refused(ref.Status)
	streamHeader(w.Header())
	w.Header().Set("Connection", "close")
	s.boundWrite(w) // what the join waited for may have used up the request's time
	body := retryLine(s.retryIn(max(s.opts.Retry, 2*ref.RetryAfter)))
	_, _ = w.Write(append(body, s.refusalControl(ref).Encode(d)...)) // an error means that nobody reads
}

// streamHeader sets what every event stream's head says.
func streamHeader(h http.Header) {
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
}
