package standin_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
	"github.com/agentopia/realtime-proxy/supabase/stack"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

func TestMain(m *testing.M) {
	release := stack.Hold()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		release()
		os.Exit(code)
	}))
}

// pipeListener is a net.Listener without a network, so that a server can run in a synctest bubble.
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

func (l *pipeListener) Addr() net.Addr { return &net.IPAddr{} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// harness is a stand-in served over pipes.
type harness struct {
	t        *testing.T
	server   *standin.Server
	listener *pipeListener
	http     *http.Client
}

// start serves a stand-in until the test, or the bubble, ends: the returned function must run before.
func start(t *testing.T, opts standin.Options) (*harness, func()) {
	t.Helper()
	server, err := standin.New(opts)
	require.NoError(t, err)
	l := newPipeListener()
	transport := &http.Transport{DialContext: l.dial}
	h := &harness{t: t, server: server, listener: l, http: &http.Client{Transport: transport}}
	srv := &http.Server{Handler: server.Handler(), ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(l)
	}()
	return h, func() {
		server.Close()
		transport.CloseIdleConnections()
		_ = srv.Close()
		<-served
	}
}

// client is one WebSocket connection; a goroutine collects what it receives.
type client struct {
	t       *testing.T
	conn    *websocket.Conn
	version phoenix.Version
	frames  chan frame
	ended   chan struct{}
	code    int  // close code, valid after ended
	over    bool // the end has been read from frames
}

type frame struct {
	binary bool
	data   []byte
}

func (h *harness) tryDial(key, version string) (*client, *http.Response, error) {
	d := websocket.Dialer{NetDialContext: h.listener.dial}
	conn, res, err := d.DialContext(h.t.Context(), "ws://standin/realtime/v1/websocket?apikey="+key+"&vsn="+version, nil)
	if err != nil {
		return nil, res, err
	}
	v, err := phoenix.ParseVersion(version)
	require.NoError(h.t, err)
	c := &client{t: h.t, conn: conn, version: v, frames: make(chan frame, 1<<14), ended: make(chan struct{})}
	go c.collect()
	return c, res, nil
}

func (h *harness) dial(version string) *client { return h.dialAs(h.server.ServiceKey(), version) }

func (h *harness) dialAs(key, version string) *client {
	h.t.Helper()
	c, _, err := h.tryDial(key, version)
	require.NoError(h.t, err)
	return c
}

func (c *client) collect() {
	defer close(c.ended)
	defer close(c.frames)
	for {
		kind, data, err := c.conn.ReadMessage()
		if err != nil {
			c.code = websocket.CloseAbnormalClosure
			if closed, ok := err.(*websocket.CloseError); ok {
				c.code = closed.Code
			}
			_ = c.conn.Close()
			return
		}
		c.frames <- frame{kind == websocket.BinaryMessage, data}
	}
}

// next decodes the next frame from the server.
func (c *client) next() phoenix.Message {
	c.t.Helper()
	select {
	case f, ok := <-c.frames:
		require.True(c.t, ok, "the socket ended")
		m, err := phoenix.DecodeServer(f.binary, f.data)
		require.NoError(c.t, err)
		return m
	case <-time.After(30 * time.Second):
		require.FailNow(c.t, "no frame")
	}
	return phoenix.Message{}
}

// quiet checks that nothing has arrived. Inside a bubble, behind synctest.Wait.
func (c *client) quiet() {
	c.t.Helper()
	select {
	case f, ok := <-c.frames:
		require.False(c.t, ok, "unexpected frame %s", f.data)
	default:
	}
}

func (c *client) send(text string) {
	c.t.Helper()
	require.NoError(c.t, c.conn.WriteMessage(websocket.TextMessage, []byte(text)))
}

// join joins a topic with one binding a table, vsn 2.0.0, and reads until it is live.
func (c *client) join(ref, topic string, tables ...string) {
	c.t.Helper()
	bindings := ""
	for i, table := range tables {
		if i > 0 {
			bindings += ","
		}
		bindings += `{"event":"*","schema":"public","table":"` + table + `"}`
	}
	c.send(`["` + ref + `","` + ref + `","realtime:` + topic + `","phx_join",{"config":{"postgres_changes":[` + bindings + `]}}]`)
	require.Equal(c.t, phoenix.EventReply, c.next().Event)
	if len(tables) > 0 {
		m := c.next()
		require.Equal(c.t, phoenix.EventSystem, m.Event)
		require.Contains(c.t, string(m.Payload), "Subscribed to PostgreSQL")
	}
}

func (c *client) close() {
	_ = c.conn.Close()
	<-c.ended
}
