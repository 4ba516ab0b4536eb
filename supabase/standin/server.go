package standin

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Server is the stand-in: database, Realtime, REST and functions. Safe for concurrent use.
type Server struct {
	opts      Options
	keys      *keyring
	db        *DB
	faults    *Faults
	realtime  *realtime
	rest      *restHandler
	functions *functionHandler

	ctx    context.Context // ended by Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // requests, timers and goroutines in flight

	mu     sync.Mutex
	closed bool
	timers map[*time.Timer]struct{}
}

// New checks the options and builds a server with the tables of temporary chat, empty, and the publication of messages,
// sessions and links. It starts nothing.
func New(opts Options) (*Server, error) {
	opts = opts.withDefaults()
	keys, err := newKeyring(opts)
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, keys: keys, db: newDB(opts.Now, opts.NewID), faults: newFaults(), timers: make(map[*time.Timer]struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.db.Define(chatTables(opts.Relaxed, opts.Strict)...)
	s.db.SetPublication(TableMessages, TableSessions, TableLinks)
	s.realtime = newRealtime(s)
	s.rest = &restHandler{db: s.db, keys: keys, maxRows: opts.MaxRows}
	if s.opts.Store == nil {
		s.opts.Store = memoryStore{s.db}
	}
	s.functions = &functionHandler{s: s, store: s.opts.Store}
	return s, nil
}

// Handler serves /realtime/v1, /socket, /rest/v1 and /functions/v1.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// Close drops all sockets, ends waiting requests and returns when everything it started has ended. Later requests get 503.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.cancel()
	for t := range s.timers {
		if t.Stop() {
			s.wg.Done()
		}
	}
	clear(s.timers)
	s.mu.Unlock()
	s.realtime.drop()
	s.wg.Wait()
}

// ServiceKey is the API key of the role service_role.
func (s *Server) ServiceKey() string { return s.keys.service }

// AnonKey is the API key of the role anon.
func (s *Server) AnonKey() string { return s.keys.anon }

// SignToken makes a JWT for any role with the server's secret.
func (s *Server) SignToken(role string, expires time.Time) (string, error) {
	return s.keys.sign(role, expires)
}

// DB is the database behind the services.
func (s *Server) DB() *DB { return s.db }

// Faults scripts misbehaviour.
func (s *Server) Faults() *Faults { return s.faults }

// enter counts a request or goroutine in; false means that the server is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Add(1)
	return true
}

// after runs fn once d has passed, at once and in the caller's goroutine when d is not positive. A server that closes first
// does not run it. stop prevents a run that has not begun.
func (s *Server) after(d time.Duration, fn func()) (stop func()) {
	if d <= 0 {
		fn()
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return func() {}
	}
	s.wg.Add(1)
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		defer s.wg.Done()
		s.mu.Lock()
		delete(s.timers, t)
		s.mu.Unlock()
		fn()
	})
	s.timers[t] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.timers, t)
		if t.Stop() {
			s.wg.Done()
		}
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		http.Error(w, "closed", http.StatusServiceUnavailable)
		return
	}
	defer s.wg.Done()
	path := r.URL.Path
	if path == "/realtime/v1/websocket" || path == "/socket/websocket" {
		s.realtime.serveSocket(w, r)
		return
	}
	w.Header().Set("Date", s.opts.Now().UTC().Format(http.TimeFormat))
	if s.faultyHTTP(w, r) {
		return
	}
	switch {
	case strings.HasPrefix(path, "/rest/v1"):
		s.serveREST(w, r)
	case strings.HasPrefix(path, "/functions/v1/"):
		s.functions.ServeHTTP(w, r)
	case strings.HasPrefix(path, "/realtime/v1/api/"):
		s.realtime.serveAPI(w, r, strings.TrimPrefix(path, "/realtime/v1/api/"))
	case strings.HasPrefix(path, "/api/"):
		s.realtime.serveAPI(w, r, strings.TrimPrefix(path, "/api/"))
	default:
		http.Error(w, "no Route matched with those values", http.StatusNotFound)
	}
}

func (s *Server) serveREST(w http.ResponseWriter, r *http.Request) {
	if s.opts.REST == nil {
		s.rest.ServeHTTP(w, r)
		return
	}
	w.Header().Del("Date") // the other server sends its own
	s.opts.REST.ServeHTTP(w, r)
}

const badGatewayPage = "<html><head><title>503 Service Temporarily Unavailable</title></head><body>" +
	"<center><h1>503 Service Temporarily Unavailable</h1></center></body></html>"

// faultyHTTP plays the HTTP faults and reports whether the request has been dealt with.
func (s *Server) faultyHTTP(w http.ResponseWriter, r *http.Request) bool {
	path := r.URL.Path
	if slow, ok := s.faults.fire(SlowHTTP, path); ok && !s.waitRequest(r, slow.Delay) {
		panic(http.ErrAbortHandler)
	}
	if _, ok := s.faults.fire(AbortHTTP, path); ok {
		panic(http.ErrAbortHandler)
	}
	if fail, ok := s.faults.fire(FailHTTP, path); ok {
		writeFailure(w, fail)
		return true
	}
	if !strings.HasPrefix(path, "/rest/") && !strings.HasPrefix(path, "/functions/") {
		return false
	}
	if _, ok := s.faults.fire(DatabaseDown, path); ok {
		if strings.HasPrefix(path, "/functions/") {
			s.functions.internalError(w, pgErrorf("PGRST002", "connection refused"))
			return true
		}
		writeRESTError(w, "", pgErrorf("PGRST002", "Could not query the database for the schema cache. Retrying."))
		return true
	}
	return false
}

func writeFailure(w http.ResponseWriter, f Fault) {
	body, contentType := f.Body, "application/json; charset=utf-8"
	if body == "" {
		body = badGatewayPage
	}
	if strings.HasPrefix(body, "<") {
		contentType = "text/html; charset=utf-8"
	}
	if f.Status == 0 {
		f.Status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", contentType)
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", itoa(int(f.RetryAfter.Round(time.Second).Seconds())))
	}
	w.WriteHeader(f.Status)
	_, _ = w.Write([]byte(body)) // a client that went away needs no answer
}

// waitRequest sleeps for d unless the client leaves or the server closes first.
func (s *Server) waitRequest(r *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
	case <-s.ctx.Done():
	}
	return false
}
