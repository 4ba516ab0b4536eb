package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/proxy/proxytest"
	"github.com/agentopia/realtime-proxy/supabase/stack"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

func TestMain(m *testing.M) {
	release := stack.Hold()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		release()
		os.Exit(status)
	}))
}

// world is a stand-in for Supabase with a proxy in front, on loopback sockets.
type world struct {
	t       *testing.T
	ctx     context.Context
	standin *standin.Server
	// url, serviceKey and anonKey are those of the project.
	url, serviceKey, anonKey string
	fixture                  *standin.Fixture
	logs                     *syncBuffer
	// store stores a row of the messages table.
	store func(row standin.Row)
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
	w := serveWorld(t, up, fixture)
	w.store = func(row standin.Row) {
		_, err := up.DB().Insert(standin.TableMessages, row)
		require.NoError(t, err)
	}
	return w
}

// serveWorld puts a stand-in on a port.
func serveWorld(t *testing.T, up *standin.Server, fixture *standin.Fixture) *world {
	server := httptest.NewServer(up.Handler())
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(func() {
		cancel()
		up.Close()
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return &world{
		t: t, ctx: ctx, standin: up, fixture: fixture, logs: &syncBuffer{},
		url: server.URL, serviceKey: up.ServiceKey(), anonKey: up.AnonKey(),
	}
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
		Supabase: proxy.Supabase{URL: w.url, ServiceRoleKey: w.serviceKey, AnonKey: w.anonKey, AuthorizePerSecond: 100},
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

// insert stores a row and returns its id.
func (w *world) insert(row standin.Row) string {
	w.t.Helper()
	w.store(row)
	return row["id"].(string)
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

// metric reads a counter or gauge without labels from the admin port.
func metric(t *testing.T, n *node, name string) float64 {
	t.Helper()
	resp, err := http.Get(n.admin + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			value, err := strconv.ParseFloat(text, 64)
			require.NoError(t, err)
			return value
		}
	}
	require.Fail(t, "no such metric: "+name)
	return 0
}

// watch opens an event stream that is connected.
func watch(t *testing.T, ctx context.Context, v *proxytest.Visitor) *proxytest.Events {
	t.Helper()
	events, err := v.Events(ctx, proxytest.EventsOptions{})
	require.NoError(t, err)
	t.Cleanup(events.Close)
	_, err = events.Until("connected")
	require.NoError(t, err)
	return events
}

// talk opens a WebSocket that is authenticated.
func talk(t *testing.T, ctx context.Context, v *proxytest.Visitor) *proxytest.Socket {
	t.Helper()
	socket, err := v.Socket(ctx, "", 0)
	require.NoError(t, err)
	t.Cleanup(socket.Close)
	_, err = socket.Until(ctx, "authenticated")
	require.NoError(t, err)
	return socket
}
