package proxy_test

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/proxy/proxytest"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if status == 0 {
			if err := goleak.Find(); err != nil {
				panic(err)
			}
		}
	}))
}

// world is a stand-in for Supabase with a proxy in front, on loopback sockets.
type world struct {
	t       *testing.T
	ctx     context.Context
	standin *standin.Server
	url     string // of the stand-in
	fixture *standin.Fixture
	logs    *syncBuffer
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newWorld(t *testing.T, o standin.Options) *world {
	t.Helper()
	up, err := standin.New(o)
	require.NoError(t, err)
	fixture, err := up.Seed()
	require.NoError(t, err)
	server := httptest.NewServer(up.Handler())
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(func() {
		cancel()
		up.Close()
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return &world{t: t, ctx: ctx, standin: up, url: server.URL, fixture: fixture, logs: &syncBuffer{}}
}

// node is one running proxy.
type node struct {
	base, admin string
	stop        func()
}

// start runs a proxy and waits until its messages channel is live.
func (w *world) start(change func(*proxy.Options)) *node {
	w.t.Helper()
	n := w.startCold(change)
	require.NoError(w.t, w.standin.WaitLive(w.ctx, standin.TableMessages))
	return n
}

// startCold runs a proxy.
func (w *world) startCold(change func(*proxy.Options)) *node {
	w.t.Helper()
	visitors, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	operator, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	o := proxy.Options{
		Supabase: proxy.Supabase{URL: w.url, ServiceRoleKey: w.standin.ServiceKey(), AnonKey: w.standin.AnonKey(), AuthorizePerSecond: 100},
		Listener: visitors, AdminListener: operator,
		SendVia: "function",
		Drain:   proxy.Drain{Period: 100 * time.Millisecond, Max: 5 * time.Second},
		Limits:  proxy.Limits{MessagesPerMinute: 1000, ConnectionsPerSession: 50, ConnectionsPerAddress: 200},
		Logger:  slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&o)
	}
	p, err := proxy.New(o)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		assert.NoError(w.t, <-done)
	})
	w.t.Cleanup(stop)
	return &node{base: "http://" + visitors.Addr().String(), admin: "http://" + operator.Addr().String(), stop: stop}
}

func (n *node) visitor(s standin.FixtureSession) *proxytest.Visitor {
	return &proxytest.Visitor{Base: n.base, Token: s.Token}
}

// insert stores a copy of a fixture row as it is, or with a new id and the current time.
func (w *world) insert(row standin.Row) string {
	w.t.Helper()
	stored, err := w.standin.DB().Insert(standin.TableMessages, row)
	require.NoError(w.t, err)
	return stored["id"].(string)
}

// fresh is a copy of a row with an id of its own, created now.
func fresh(row standin.Row) standin.Row {
	row = maps.Clone(row)
	row["id"] = uuid.NewString()
	delete(row, "created_at")
	return row
}

// say stores a message of the fixture's visitor of the given session and returns its id.
func (w *world) say(s standin.FixtureSession, text string) string {
	w.t.Helper()
	return w.insert(standin.Row{
		"id": uuid.NewString(), "conversation_id": s.ConversationID, "session_id": s.ConversationSessionID, "role": "system",
		"content": map[string]any{"type": "text", "text": text, "metadata": map[string]any{
			"temp_session_id": s.ID, "is_anonymous_user": true, "original_role": "user", "temporary_chat": true,
		}},
	})
}
