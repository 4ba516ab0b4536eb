package transport

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// Hijack takes the connection from the HTTP server and puts the corkConn in between.
func (h *corkHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn.Conn = conn
	return h.conn, rw, nil
}

// socketSink writes frames. Pings, pongs and the answer to a close frame wait in it until the next flush, so that one goroutine
// writes at a time.
type socketSink struct {
	conn *websocket.Conn
	wire *corkConn

	mu       sync.Mutex
	wantPing bool
	wantPong bool
	payload  string // of the last ping, the only one that needs an answer
	peerCode int    // of the close frame that the peer sent; 0 before
}

// ping asks for a ping with the next flush and reports whether that flush has to be asked for.
func (k *socketSink) ping() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	idle := !k.wantPing && !k.wantPong
	k.wantPing = true
	return idle
}

// pong answers a ping with the next flush and reports whether that flush has to be asked for.
func (k *socketSink) pong(payload string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	idle := !k.wantPing && !k.wantPong
	k.wantPong, k.payload = true, payload
	return idle
}

// answer makes finish repeat the peer's close code.
func (k *socketSink) answer(code int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.peerCode = code
}

func (k *socketSink) event(e *chat.Event) error {
	k.wire.cork()
	switch p := e.Prepared(prepareFrame).(type) {
	case *websocket.PreparedMessage:
		return k.conn.WritePreparedMessage(p)
	default:
		return k.conn.WriteMessage(websocket.TextMessage, e.Encode(chat.DialectWebSocket))
	}
}

func prepareFrame(e *chat.Event) any {
	p, err := websocket.NewPreparedMessage(websocket.TextMessage, e.Encode(chat.DialectWebSocket))
	if err != nil {
		return nil // then each socket makes its own frame
	}
	return p
}

func (k *socketSink) frame(text []byte) error {
	k.wire.cork()
	if len(text) == 0 {
		return k.writeWaiting()
	}
	return k.conn.WriteMessage(websocket.TextMessage, text)
}

// message gathers one frame of either kind.
func (k *socketSink) message(kind int, data []byte) error {
	k.wire.cork()
	return k.conn.WriteMessage(kind, data)
}

// probe gathers a ping whose answer shows that the peer has read everything before it.
func (k *socketSink) probe(payload []byte) error {
	k.wire.cork()
	return k.conn.WriteControl(websocket.PingMessage, payload, time.Time{})
}

func (k *socketSink) writeWaiting() error {
	k.mu.Lock()
	ping, pong, payload := k.wantPing, k.wantPong, k.payload
	k.wantPing, k.wantPong, k.payload = false, false, ""
	k.mu.Unlock()
	if pong {
		if err := k.conn.WriteControl(websocket.PongMessage, []byte(payload), time.Time{}); err != nil {
			return err
		}
	}
	if ping {
		return k.conn.WriteControl(websocket.PingMessage, nil, time.Time{})
	}
	return nil
}

func (k *socketSink) flush(timeout time.Duration) (int, error) { return k.wire.uncork(timeout) }

func (k *socketSink) finish(why *chat.Disconnect, timeout time.Duration) (int, error) {
	k.mu.Lock()
	code, reason := k.peerCode, ""
	k.mu.Unlock()
	if code == 0 {
		code, reason = why.Close, why.Message
	}
	k.wire.cork()
	farewell := websocket.FormatCloseMessage(code, reason)
	if err := k.conn.WriteControl(websocket.CloseMessage, farewell, time.Time{}); err != nil {
		return 0, err
	}
	n, err := k.wire.uncork(timeout)
	if err == nil {
		k.wire.hangUp()
	}
	return n, err
}

func (k *socketSink) close() { _ = k.wire.Close() }
