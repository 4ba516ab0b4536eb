package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// maxStrayBytes is what the visitor of an event stream may send, which is nothing of sense, before the stream is cut.
const maxStrayBytes = 4 << 10

// eventSink writes an event stream to a connection that was taken from the HTTP server. Its response has no length and no transfer
// encoding: it ends with the connection.
type eventSink struct {
	conn    corkConn
	dialect chat.Dialect
	stray   [16]byte
}

// hijackEvents takes the connection and puts the head in front of the first write. http.ErrNotSupported means that it cannot be
// taken and everything is as before.
func hijackEvents(w http.ResponseWriter, d chat.Dialect) (*eventSink, error) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	k := &eventSink{dialect: d}
	k.conn.Conn = conn
	if err := conn.SetDeadline(time.Time{}); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("clear deadline: %w", err)
	}
	k.conn.cork()
	_, err = k.conn.Write(eventsHead(w.Header()))
	return k, err
}

func eventsHead(h http.Header) []byte {
	streamHeader(h)
	h.Set("Connection", "close")
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 200 OK\r\n")
	_ = h.Write(&b) // a bytes.Buffer takes everything
	b.WriteString("\r\n")
	return b.Bytes()
}

func (k *eventSink) event(e *chat.Event) error { return k.frame(e.Encode(k.dialect)) }

func (k *eventSink) frame(text []byte) error {
	k.conn.cork()
	_, err := k.conn.Write(text)
	return err
}

func (k *eventSink) flush(timeout time.Duration) (int, error) { return k.conn.uncork(timeout) }

func (k *eventSink) finish(_ *chat.Disconnect, timeout time.Duration) (int, error) {
	n, err := k.conn.uncork(timeout)
	if err == nil {
		k.conn.hangUp()
	}
	return n, err
}

func (k *eventSink) close() { _ = k.conn.Close() }

// wait returns when the peer is gone or the connection was closed.
func (k *eventSink) wait() {
	for n := 0; n < maxStrayBytes; {
		m, err := k.conn.Read(k.stray[:])
		if err != nil {
			return
		}
		n += m
	}
}

// heldSink writes an event stream through a http.ResponseWriter whose handler stays (HTTP/2).
type heldSink struct {
	w       http.ResponseWriter
	control *http.ResponseController
	dialect chat.Dialect
	buf     *[]byte
	once    sync.Once
	closed  chan struct{}
}

func newHeldSink(w http.ResponseWriter, d chat.Dialect) *heldSink {
	streamHeader(w.Header())
	return &heldSink{w: w, control: http.NewResponseController(w), dialect: d, closed: make(chan struct{})}
}

func (k *heldSink) event(e *chat.Event) error { return k.frame(e.Encode(k.dialect)) }

func (k *heldSink) frame(text []byte) error {
	if k.buf == nil {
		k.buf = buffers.Get().(*[]byte)
	}
	*k.buf = append(*k.buf, text...)
	return nil
}

func (k *heldSink) flush(timeout time.Duration) (int, error) {
	if k.buf == nil {
		return 0, nil
	}
	buf := k.buf
	k.buf = nil
	defer recycle(buf)
	if err := k.deadline(time.Now().Add(timeout)); err != nil {
		return 0, err
	}
	n, err := k.w.Write(*buf)
	if err == nil {
		err = k.control.Flush()
	}
	if err == nil {
		err = k.deadline(time.Time{}) // one that passes while nothing is written would reset the stream
	}
	return n, err
}

// deadline tolerates writers that have none.
func (k *heldSink) deadline(t time.Time) error {
	if err := k.control.SetWriteDeadline(t); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

func (k *heldSink) finish(_ *chat.Disconnect, timeout time.Duration) (int, error) {
	n, err := k.flush(timeout)
	k.close()
	return n, err
}

func (k *heldSink) close() { k.once.Do(func() { close(k.closed) }) }

func (k *heldSink) wait(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-k.closed:
	}
}

// closedSink is the wire of a stream whose connection was gone before it began.
type closedSink struct{}

func (closedSink) event(*chat.Event) error          { return errFinished }
func (closedSink) frame([]byte) error               { return errFinished }
func (closedSink) flush(time.Duration) (int, error) { return 0, errFinished }
func (closedSink) close()                           {}
func (closedSink) finish(*chat.Disconnect, time.Duration) (int, error) {
	return 0, errFinished
}
