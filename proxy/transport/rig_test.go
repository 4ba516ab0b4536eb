package transport_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

const (
	rigToken        = "token-of-session-1-0123456789"
	rigTicket       = "ticket-that-is-a-secret"
	rigConversation = "conversation-1"
	rigSession      = "session-1"
)

var rigTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// logBuffer collects log output.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// rig is a Server over a real hub, with everything else faked.
type rig struct {
	t          testing.TB
	hub        *chat.Hub
	authorizer *rigAuthorizer
	backfiller *rigBackfiller
	functions  *rigFunctions
	server     *transport.Server
	registry   *prometheus.Registry
	logs       *logBuffer
	tracked    sync.WaitGroup
	stop       func()
}

func rigVisitor(session string) *chat.Visitor {
	return &chat.Visitor{
		SessionID: session, ConversationID: rigConversation, AgentID: "agent-1", AgentName: "Ada",
		MaxMessages: 50, LinkKnown: true,
	}
}

// newRig makes a rig; change may alter the options. The server runs until the test ends.
func newRig(t testing.TB, change func(*transport.Options)) *rig {
	t.Helper()
	signer, err := chat.NewSigner([]byte("0123456789abcdef"))
	require.NoError(t, err)
	g := &rig{t: t, logs: &logBuffer{}, registry: prometheus.NewRegistry(), functions: &rigFunctions{}}
	g.hub, err = chat.NewHub(chat.Options{
		Signer: signer, Epoch: 7, Now: func() time.Time { return rigTime },
		OnScopeNeeded: func(string) {}, OnGap: func(string) {}, Metrics: chat.NewMetrics(g.registry),
	})
	require.NoError(t, err)
	g.backfiller = &rigBackfiller{hub: g.hub}
	g.authorizer = &rigAuthorizer{authorize: func(_ context.Context, c chat.Credential) (*chat.Grant, error) {
		token := string(c.Token.Reveal())
		if token == "" {
			token = c.Ticket.Reveal()
		}
		session, ok := strings.CutPrefix(token, "token-of-")
		if !ok || len(session) < len(rigSession) {
			return nil, chat.RefuseInvalid(nil)
		}
		return &chat.Grant{
			Visitor: rigVisitor(session[:len(rigSession)]), Token: c.Token, Ticket: rigTicket,
			TicketExpires: time.Now().Add(time.Hour + time.Second/2),
		}, nil
	}}
	o := transport.Options{
		Authorizer: g.authorizer, Backfiller: g.backfiller, Functions: g.functions, Store: rigStore{}, Hub: g.hub,
		Track: func(*chat.Visitor) func() { g.tracked.Add(1); return g.tracked.Done },
		Now:   func() time.Time { return rigTime }, Rand: func() float64 { return 0.5 },
		AllowedOrigins: []string{"http://localhost:3000"},
		WriteTimeout:   5 * time.Second,
		Registerer:     g.registry,
		Logger:         slog.New(slog.NewTextHandler(g.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&o)
	}
	g.server, err = transport.New(o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.server.Run(ctx) }()
	g.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
		g.tracked.Wait()
	})
	t.Cleanup(g.stop)
	return g
}

// serve starts an HTTP server on loopback and returns its URL.
func (g *rig) serve() string {
	g.t.Helper()
	srv := httptest.NewServer(g.server.Handler())
	g.t.Cleanup(srv.Close)
	g.t.Cleanup(g.stop) // streams end before the server waits for them
	return srv.URL
}

// publish stores an agent's message of the session and brings it live.
func (g *rig) publish(n int) {
	row := rigRow(rigSession, n)
	g.store(row)
	g.hub.Publish(row, false)
}

func (g *rig) store(rows ...*chat.Row) {
	g.backfiller.mu.Lock()
	defer g.backfiller.mu.Unlock()
	g.backfiller.rows = append(g.backfiller.rows, rows...)
}

func rigRow(session string, n int) *chat.Row {
	at := rigTime.Add(time.Duration(n) * time.Millisecond)
	return &chat.Row{
		ID: fmt.Sprintf("row-%d", n), ConversationID: rigConversation, Role: "assistant", SenderAgentID: "agent-1",
		CreatedAt: at, UpdatedAt: at,
		Content: chat.Content{Type: "text", Text: fmt.Sprintf("text %d", n), SessionTag: session},
	}
}

func (g *rig) endSession() {
	g.hub.EndSession(rigConversation, rigSession, chat.SessionEnded, &chat.Control{
		Type: "session_ended", Data: map[string]string{"session_id": rigSession, "status": "completed"}, At: rigTime,
	})
}

// sseEvent is one parsed block of an event stream.
type sseEvent struct{ id, name, data, retry, comment string }

// eventReader reads an event stream block by block.
type eventReader struct {
	t    testing.TB
	r    *bufio.Reader
	body io.Closer
}

func (g *rig) openEvents(url string, header ...string) *eventReader {
	g.t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(g.t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(req)
	require.NoError(g.t, err)
	require.Equal(g.t, http.StatusOK, res.StatusCode)
	e := &eventReader{t: g.t, r: bufio.NewReader(res.Body), body: res.Body}
	g.t.Cleanup(e.close)
	return e
}

func (e *eventReader) close() { _ = e.body.Close() }

// next returns the next block, and false at the end of the stream.
func (e *eventReader) next() (sseEvent, bool) {
	e.t.Helper()
	var ev sseEvent
	some := false
	for {
		line, err := e.r.ReadString('\n')
		if err != nil {
			return ev, false
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			if some {
				return ev, true
			}
			continue
		}
		some = true
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			ev.id = value
		case "event":
			ev.name = value
		case "data":
			ev.data = value
		case "retry":
			ev.retry = value
		case "":
			ev.comment = value
		}
	}
}

func (e *eventReader) must() sseEvent {
	e.t.Helper()
	ev, ok := e.next()
	require.True(e.t, ok, "the stream ended")
	return ev
}

// pipeListener hands out in-memory connections, which block durably in a synctest bubble.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
