package realtime_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// patience bounds every wait of a test, in the fake time of its bubble.
const patience = 2 * time.Hour

// server is a scripted Realtime server on in-memory connections: it upgrades, answers heartbeats, and leaves the rest to the
// test through peers.
type server struct {
	t        *testing.T
	conns    chan net.Conn
	peers    chan *peer
	requests chan *http.Request
	done     chan struct{}
	once     sync.Once
	wg       sync.WaitGroup
	http     http.Server

	down   atomic.Bool                      // dials fail
	refuse atomic.Pointer[http.HandlerFunc] // answers handshakes instead of an upgrade
	mute   atomic.Bool                      // heartbeats stay unanswered
	deaf   atomic.Bool                      // peers do not read
	dials  chan time.Time                   // of every dial
	delay  atomic.Int64                     // of answers to heartbeats, a time.Duration
	beats  chan time.Time                   // of every heartbeat
}

func newServer(t *testing.T) *server {
	s := &server{
		t: t, conns: make(chan net.Conn), peers: make(chan *peer, 100), requests: make(chan *http.Request, 100),
		done: make(chan struct{}), dials: make(chan time.Time, 1000), beats: make(chan time.Time, 10000),
	}
	s.http.Handler = http.HandlerFunc(s.serve)
	s.wg.Go(func() { assert.ErrorIs(t, s.http.Serve(s), http.ErrServerClosed) })
	return s
}

// Dial is the client's NetDial.
func (s *server) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	s.dials <- time.Now()
	if s.down.Load() {
		return nil, errors.New("connection refused")
	}
	client, conn := net.Pipe()
	select {
	case s.conns <- conn:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *server) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close ends the listener; the HTTP server may call it more than once.
func (s *server) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

func (s *server) Addr() net.Addr { return &net.TCPAddr{} }

func (s *server) stop() {
	require.NoError(s.t, s.http.Close())
	s.wg.Wait()
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	s.requests <- r
	if refuse := s.refuse.Load(); refuse != nil {
		(*refuse)(w, r)
		return
	}
	ws, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	v, err := phoenix.ParseVersion(r.URL.Query().Get("vsn"))
	if !assert.NoError(s.t, err) {
		return
	}
	p := &peer{s: s, t: s.t, ws: ws, v: v, in: make(chan phoenix.Message, 100), ended: make(chan error, 1)}
	s.peers <- p
	if !s.deaf.Load() {
		s.wg.Go(p.read)
	}
}

func (s *server) accept() *peer {
	return receive(s.t, s.peers)
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

// peer is the server's end of one socket.
type peer struct {
	s     *server
	t     *testing.T
	ws    *websocket.Conn
	v     phoenix.Version
	in    chan phoenix.Message // all but heartbeats
	ended chan error           // why reading ended

	mu sync.Mutex // of writes
}

func (p *peer) read() {
	defer p.ws.Close()
	for {
		kind, frame, err := p.ws.ReadMessage()
		if err != nil {
			p.ended <- err
			return
		}
		m, err := phoenix.DecodeClient(p.v, kind == websocket.BinaryMessage, frame)
		if !assert.NoError(p.t, err) {
			return
		}
		if m.Event != phoenix.EventHeartbeat {
			p.in <- m
			continue
		}
		p.s.beats <- time.Now()
		if !p.s.mute.Load() {
			p.s.wg.Go(func() {
				time.Sleep(time.Duration(p.s.delay.Load()))
				p.send(phoenix.Reply(phoenix.Ref{}, m.Ref, m.Topic, phoenix.StatusOK, nil))
			})
		}
	}
}

// send writes a message; a socket that the client has closed meanwhile is no failure.
func (p *peer) send(m phoenix.Message) { p.sendAs(p.v, m) }

func (p *peer) sendAs(v phoenix.Version, m phoenix.Message) {
	frame, binary, err := phoenix.EncodeServer(v, nil, m)
	require.NoError(p.t, err)
	p.write(binary, frame)
}

func (p *peer) write(binary bool, frame []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kind := websocket.TextMessage
	if binary {
		kind = websocket.BinaryMessage
	}
	_ = p.ws.WriteMessage(kind, frame)
}

func (p *peer) close(code int) {
	_ = p.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(time.Second))
	p.ws.Close()
}

// expect returns the next message of the client, which must be the event on the topic.
func (p *peer) expect(event, topic string) phoenix.Message {
	p.t.Helper()
	m := receive(p.t, p.in)
	require.Equal(p.t, event+" "+topic, m.Event+" "+m.Topic)
	return m
}

func (p *peer) ok(join phoenix.Message) {
	p.send(phoenix.Reply(join.JoinRef, join.Ref, join.Topic, phoenix.StatusOK, []byte(`{"postgres_changes":[]}`)))
}

func (p *peer) refuse(join phoenix.Message, reason string) {
	p.send(phoenix.Reply(join.JoinRef, join.Ref, join.Topic, phoenix.StatusError, []byte(`{"reason":"`+reason+`"}`)))
}

func (p *peer) system(join phoenix.Message, extension, status, message string) {
	p.send(phoenix.System(join.JoinRef, join.Topic, phoenix.SystemPayload{Extension: extension, Status: status, Message: message}))
}

func (p *peer) subscribed(join phoenix.Message) {
	p.system(join, phoenix.ExtensionPostgresChanges, phoenix.StatusOK, "Subscribed to PostgreSQL")
}

// bring answers the join of a topic until it is live.
func (p *peer) bring(topic string) phoenix.Message {
	p.t.Helper()
	join := p.expect(phoenix.EventJoin, topic)
	p.ok(join)
	p.subscribed(join)
	return join
}

func change(topic, id string) phoenix.Message {
	return phoenix.Message{Topic: topic, Event: phoenix.EventPostgresChanges, Payload: []byte(
		`{"data":{"table":"messages","type":"INSERT","record":{"id": "` + id + `"},"columns":[{"name": "id", "type": "uuid"}],` +
			`"errors":null,"schema":"public","commit_timestamp":"2026-11-22T18:25:26.023Z"},"ids":[128722523]}`)}
}
