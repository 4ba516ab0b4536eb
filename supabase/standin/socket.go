package standin

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

const (
	maxFrameBytes = 5_000_000
	writeTimeout  = 10 * time.Second
	closeTimeout  = time.Second // for the peer's answer to a close frame
	maxChannels   = 100         // of one socket
)

// socket is one WebSocket connection. The goroutine of its HTTP request reads; one more goroutine writes.
type socket struct {
	rt      *realtime
	conn    *websocket.Conn
	version phoenix.Version
	claims  claims // of the key in the URL

	queue   chan outbound // never closed
	done    chan struct{} // closed by kill
	once    sync.Once
	closing atomic.Bool // a close frame has been written

	channels map[string]*channel // by topic; guarded by rt.mu
}

// outbound is a frame, or a pause of the writer, or a close frame.
type outbound struct {
	data      []byte
	binary    bool
	pause     time.Duration
	closeCode int
}

// kill cuts the connection. Reader and writer end by it.
func (s *socket) kill() {
	s.once.Do(func() {
		close(s.done)
		_ = s.conn.Close()
	})
}

// enqueue never blocks: a socket whose queue is full is cut.
func (s *socket) enqueue(o outbound) {
	select {
	case s.queue <- o:
	default:
		s.rt.s.opts.Logger.Warn("socket queue full", "component", "standin", "frames", cap(s.queue))
		s.kill()
	}
}

func (s *socket) push(m phoenix.Message) { s.pushAs(s.version, m) }

func (s *socket) pushAs(v phoenix.Version, m phoenix.Message) {
	data, binary, err := phoenix.EncodeServer(v, nil, m)
	if err != nil {
		s.rt.s.opts.Logger.Warn("frame not sent", "component", "standin", "topic", m.Topic, "err", err)
		return
	}
	s.enqueue(outbound{data: data, binary: binary})
}

// read takes frames until the connection ends.
func (s *socket) read() {
	s.conn.SetReadLimit(maxFrameBytes)
	s.conn.SetPingHandler(func(data string) error {
		s.extend()
		err := s.conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(writeTimeout))
		if errors.Is(err, websocket.ErrCloseSent) {
			return nil
		}
		return err
	})
	for {
		s.extend()
		kind, frame, err := s.conn.ReadMessage()
		if err != nil {
			s.readFailed(err)
			return
		}
		s.rt.s.faults.hold(StallSockets, s.done)
		m, err := phoenix.DecodeClient(s.version, kind == websocket.BinaryMessage, frame)
		if err != nil {
			continue // the server ignores what it cannot read
		}
		s.dispatch(m)
	}
}

// extend moves the idle deadline: any inbound frame, a ping too, keeps the socket open.
func (s *socket) extend() {
	if !s.closing.Load() {
		_ = s.conn.SetReadDeadline(time.Now().Add(s.rt.s.opts.IdleTimeout)) // fails only on a closed connection
	}
}

// readFailed says goodbye with code 1000 to a socket that was idle too long. Behind an oversized frame, which the WebSocket
// library has answered with 1009, it reads on for a moment: closing at once would reset the connection under the answer.
func (s *socket) readFailed(err error) {
	if errors.Is(err, websocket.ErrReadLimit) {
		if s.conn.SetReadDeadline(time.Now().Add(closeTimeout)) == nil {
			_, _ = io.Copy(io.Discard, s.conn.NetConn())
		}
		return
	}
	timeout, ok := errors.AsType[net.Error](err)
	if !ok || !timeout.Timeout() || s.closing.Load() {
		return
	}
	s.closing.Store(true)
	_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""),
		time.Now().Add(closeTimeout)) // a peer that is gone needs no goodbye
}

// write sends what is queued until the connection ends.
func (s *socket) write() {
	for {
		select {
		case <-s.done:
			return
		case o := <-s.queue:
			s.rt.s.faults.hold(StallSockets, s.done)
			switch {
			case o.closeCode != 0:
				s.sayGoodbye(o.closeCode)
				return
			case o.pause > 0:
				if !s.wait(o.pause) {
					return
				}
			default:
				if !s.writeFrame(o) {
					s.kill()
					return
				}
			}
		}
	}
}

func (s *socket) writeFrame(o outbound) bool {
	kind := websocket.TextMessage
	if o.binary {
		kind = websocket.BinaryMessage
	}
	if s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
		return false
	}
	return s.conn.WriteMessage(kind, o.data) == nil
}

// sayGoodbye writes a close frame; the reader then waits shortly for the peer's.
func (s *socket) sayGoodbye(code int) {
	s.closing.Store(true)
	deadline := time.Now().Add(closeTimeout)
	err := s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), deadline)
	if err != nil || s.conn.SetReadDeadline(deadline) != nil {
		s.kill()
	}
}

// wait sleeps unless the socket ends first.
func (s *socket) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}

// freeze blocks the socket in both directions, as a join does that the server is still busy with.
func (s *socket) freeze(d time.Duration) {
	if d <= 0 {
		return
	}
	s.enqueue(outbound{pause: d})
	s.wait(d)
}
