package transport_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/transport"
)

// pipe serves over in-memory connections, for bubbles.
func (g *rig) pipe() *pipeListener {
	l := newPipeListener()
	srv := &http.Server{Handler: g.server.Handler()}
	go func() { _ = srv.Serve(l) }() // ends with the server
	g.t.Cleanup(func() {
		g.stop()
		_ = srv.Close()
		_ = l.Close()
	})
	return l
}

func (l *pipeListener) events(t testing.TB, path string) (*eventReader, net.Conn) {
	t.Helper()
	conn := l.dial()
	t.Cleanup(func() { _ = conn.Close() })
	_, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
	require.NoError(t, err)
	r := bufio.NewReader(conn)
	for line := ""; line != "\r\n"; {
		line, err = r.ReadString('\n')
		require.NoError(t, err)
	}
	return &eventReader{t: t, r: r, body: conn}, conn
}

func (l *pipeListener) socket(t testing.TB) *peer {
	t.Helper()
	conn := l.dial()
	d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return conn, nil }}
	ws, _, err := d.Dial("ws://proxy.test"+socketPath, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ws.Close() })
	return &peer{t: t, conn: ws}
}

// within asserts that the time since begun is want, or up to a wheel's step and a half later.
func within(t testing.TB, begun time.Time, want time.Duration) {
	t.Helper()
	late := time.Since(begun) - want
	assert.True(t, late >= -time.Second/10 && late <= 1500*time.Millisecond, "%v instead of %v", want+late, want)
}

func TestIdleEventStreamsGetSignsOfLife(t *testing.T) {
	for _, tt := range []struct{ name, path, comment, data string }{
		{"message", eventsPath, "keep-alive", ""},
		{"envelope", "/functions/v1" + eventsPath, "", `{"type":"heartbeat","timestamp":"2026-01-02T03:04:05Z"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, func(o *transport.Options) { o.Rand = func() float64 { return 0 } })
				events, _ := g.pipe().events(t, tt.path)
				events.must()
				events.must()
				begun := time.Now()
				for i := 1; i <= 3; i++ {
					ev := events.must()
					assert.Equal(t, tt.comment, ev.comment)
					assert.Equal(t, tt.data, ev.data)
					within(t, begun, 25*time.Second)
					begun = time.Now()
				}
			})
		})
	}
}

func TestBusyEventStreamNeedsNoSignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		events, _ := g.pipe().events(t, eventsPath)
		events.must()
		events.must()
		for n := range 10 {
			time.Sleep(15 * time.Second)
			g.publish(n)
			assert.Contains(t, events.must().data, "row-", "no keep-alive in between")
		}
	})
}

func TestEventStreamEndsAtItsGreatestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(o *transport.Options) { o.MaxAge, o.KeepAlive = 10*time.Minute, time.Hour })
		events, _ := g.pipe().events(t, eventsPath)
		events.must()
		begun := time.Now()
		events.must()
		ev := events.must()
		within(t, begun, 9*time.Minute) // shortened by half of a fifth
		assert.Equal(t, "reconnect", ev.name)
		assert.Equal(t, `{"retry_ms":2000,"reason":"max_age"}`, ev.data)
		_, more := events.next()
		assert.False(t, more)
		g.tracked.Wait()
	})
}

func TestSocketGetsPingsAndHeartbeatsAndLivesByPongs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(o *transport.Options) { o.Rand = func() float64 { return 0 } })
		p := g.pipe().socket(t)
		pings := 0
		answer := p.conn.PingHandler()
		p.conn.SetPingHandler(func(payload string) error { pings++; return answer(payload) })
		p.authenticated()
		begun := time.Now()
		for i := 1; i <= 10; i++ {
			assert.Equal(t, `{"type":"heartbeat"}`, p.next())
			within(t, begun, 25*time.Second)
			begun = time.Now()
		}
		assert.InDelta(t, 10, pings, 1)
	})
}

func TestSocketWithoutPongsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		p := g.pipe().socket(t)
		p.conn.SetPingHandler(func(string) error { return nil })
		p.authenticated()
		begun := time.Now()
		for {
			if _, _, err := p.conn.ReadMessage(); err != nil {
				break
			}
		}
		within(t, begun, 2*25*time.Second+10*time.Second)
		g.tracked.Wait()
	})
}

func TestSocketEndsAtItsGreatestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(o *transport.Options) { o.MaxAge, o.Rand = time.Minute, func() float64 { return 0 } })
		p := g.pipe().socket(t)
		begun := time.Now()
		p.authenticated()
		code, _, before := p.closed()
		within(t, begun, time.Minute)
		assert.Equal(t, 1012, code)
		assert.Equal(t, `{"type":"reconnect","retry_ms":1000,"reason":"max_age"}`, before[len(before)-1])
	})
}

func TestVisitorWhoDoesNotReadIsCutAfterTheWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		events, conn := g.pipe().events(t, eventsPath)
		events.must()
		events.must()
		begun := time.Now()
		g.publish(1) // a pipe has no buffer: the write waits for a reader that does not come
		g.tracked.Wait()
		within(t, begun, 5*time.Second)
		rest, err := io.ReadAll(conn)
		require.NoError(t, err)
		assert.Empty(t, rest)
		g.stop()
		assert.Contains(t, g.logs.String(), "reason=slow_consumer")
	})
}

func TestSocketAuthenticationTimesOutWhateverElseComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		p := g.pipe().socket(t)
		begun := time.Now()
		go func() {
			for range 3 {
				time.Sleep(3 * time.Second)
				_ = p.conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"ping","t":1}`))
			}
		}()
		code, _, before := p.closed()
		within(t, begun, 10*time.Second)
		assert.Equal(t, 4408, code)
		assert.Len(t, before, 4)
	})
}

func TestJoinThatHangsIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		g.authorizer.authorize = hangingAuthorize
		conn := g.pipe().dial()
		defer func() { _ = conn.Close() }()
		begun := time.Now()
		_, err := io.WriteString(conn, "GET "+eventsPath+" HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
		require.NoError(t, err)
		line, err := bufio.NewReader(conn).ReadString('\n')
		require.NoError(t, err)
		within(t, begun, 30*time.Second)
		assert.True(t, strings.HasPrefix(line, "HTTP/1.1 503 "), line)
	})
}
