package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	// socketReadBuffer holds at least a control frame; larger messages are read past it.
	socketReadBuffer = 256
	// socketWriteBuffer is the size of the pooled buffers in which frames are made.
	socketWriteBuffer = 1 << 10
	// readGrace is added to two keep-alives for a pong to arrive.
	readGrace = 10 * time.Second
	// piecesFactor times its greatest size is what a message may have on the wire: in pieces of more than a few bytes it has less.
	piecesFactor = 2
	// maxFaults bad messages end a socket.
	maxFaults = 3
	// maxLingering is how many sockets that were turned away are waited for; a peer past it may see a reset instead of the reason.
	maxLingering = 64
	// maxSends is how many sends of one socket may be under way.
	maxSends = 2
)

const tooManyFrames = "Too many messages per second"

var socketWriteBuffers sync.Pool

// socket is the reading side of one WebSocket. Its fields are owned by the reader unless said otherwise.
type socket struct {
	server  *Server
	stream  *stream
	conn    *websocket.Conn
	sink    *socketSink
	from    caller
	joining bool // a credential was brought
	faults  int
	frames  bucket
	within  bool // a message has begun, and the deadline for it stands

	grant   atomic.Pointer[chat.Grant] // set when joined
	sending atomic.Int32
}

// handleWebSocket upgrades and leaves the connection to a goroutine of its own.
func (s *Server) handleWebSocket(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodGet:
		s.refuse(w, r, refuseMethod(w, "GET, OPTIONS"))
		return
	case !websocket.IsWebSocketUpgrade(r):
		s.refuse(w, r, refuseNoSocket())
		return
	case s.isDraining():
		s.refuse(w, r, s.refuseDraining())
		return
	}
	from, c := s.callerOf(r), credentialFrom(r)
	place, ref := s.limits.enter(from.addr)
	handed := false
	defer place.releaseUnless(&handed)
	conn, wire, err := s.upgrade(w, r)
	if err != nil {
		return // upgrade has answered
	}
	sink := &socketSink{conn: conn, wire: wire}
	if ref != nil {
		s.turnAway(sink, r, ref)
		return
	}
	st := s.newStream(chat.DialectWebSocket, s.socket, place, requestID(r.Context()))
	st.sink, st.pinger, st.nextPing = sink, sink, st.keepAlive
	k := &socket{server: s, stream: st, conn: conn, sink: sink, from: from}
	place.evictable(func() { k.fail(chat.LimitReached, "The service has too many connections") })
	handed = true
	s.add(st)
	if !s.spawn(func(context.Context) { k.run(c) }) {
		st.leave()
	}
}

func refuseNoSocket() *chat.Refusal {
	return refuseRequest(http.StatusBadRequest, "expected_websocket", "Expected WebSocket")
}

// corkHijacker gives the upgrader a connection that can gather writes.
type corkHijacker struct {
	http.ResponseWriter
	conn *corkConn
}

// upgrade answers the request itself when it fails. Compression stays off: a read limit would count compressed bytes.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) (*websocket.Conn, *corkConn, error) {
	u := websocket.Upgrader{
		HandshakeTimeout: s.opts.WriteTimeout,
		ReadBufferSize:   socketReadBuffer,
		WriteBufferSize:  socketWriteBuffer,
		WriteBufferPool:  &socketWriteBuffers,
		CheckOrigin:      func(*http.Request) bool { return true }, // withCORS has checked
		Error: func(w http.ResponseWriter, r *http.Request, _ int, cause error) {
			ref := refuseNoSocket()
			ref.Cause = cause
			s.refuse(w, r, ref)
		},
	}
	h := &corkHijacker{ResponseWriter: w, conn: &corkConn{}}
	conn, err := u.Upgrade(h, r, nil)
	return conn, h.conn, err
}

// turnAway tells a socket that there is no place for it. The request's goroutine waits a moment for the peer to read that.
func (s *Server) turnAway(sink *socketSink, r *http.Request, ref *chat.Refusal) {
	s.logRefusal(r.Context(), ref, r)
	s.metrics.refused(ref.Status)
	defer sink.close()
	if sink.frame(s.refusalControl(ref).Encode(chat.DialectWebSocket)) != nil {
		return
	}
	if _, err := sink.finish(disconnectOf(ref), s.opts.WriteTimeout); err != nil {
		return
	}
	defer s.lingering.Add(-1)
	if s.lingering.Add(1) <= maxLingering {
		_, _ = io.CopyN(io.Discard, sink.wire, int64(s.opts.FrameBytes)) // ends with lingerTime at the latest
	}
}

// run reads until the peer is gone, then takes the stream down.
func (k *socket) run(c chat.Credential) {
	defer k.stream.leave()
	k.conn.SetPingHandler(k.pinged)
	k.conn.SetPongHandler(func(string) error { return k.control() })
	k.conn.SetCloseHandler(func(int, string) error { return nil }) // the sink answers
	if k.sink.wire.awaitUntil(time.Now().Add(k.server.opts.AuthenticateTimeout)) != nil {
		return
	}
	if hasCredential(c) {
		k.authenticate(c, 0)
	}
	for {
		kind, text, err := k.next()
		if err != nil {
			k.lost(err)
			return
		}
		if k.stream.ending() {
			continue // the peer is only given the time to read what was written
		}
		if !k.mayFrame() {
			continue
		}
		if kind != websocket.TextMessage {
			k.fail(chat.BadMessage, "Binary messages are not understood")
			continue
		}
		k.receive(text)
	}
}

// next reads one message of bounded size.
func (k *socket) next() (kind int, text []byte, err error) {
	kind, r, err := k.conn.NextReader()
	if err != nil {
		return 0, nil, err
	}
	k.within = true
	limit := int64(k.server.opts.FrameBytes)
	k.sink.wire.meter(piecesFactor * limit)
	text, err = io.ReadAll(io.LimitReader(r, limit+1))
	k.sink.wire.unmeter()
	k.within = false
	if err == nil && int64(len(text)) > limit {
		k.fail(chat.TooBig, chat.TooBig.Message)
		return kind, nil, nil
	}
	if err == nil {
		err = k.extend()
	}
	return kind, text, err
}

// extend moves the read deadline after a sign of life of a visitor who has brought a credential.
func (k *socket) extend() error {
	if !k.joining || k.within {
		return nil
	}
	return k.sink.wire.awaitUntil(time.Now().Add(2*k.server.opts.KeepAlive + readGrace))
}

// mayFrame counts a frame and ends a socket that sends too many.
func (k *socket) mayFrame() bool {
	if k.frames.take(k.server.opts.FramesPerSecond, time.Now()) {
		return true
	}
	k.server.metrics.limits.WithLabelValues(limitFrames).Inc()
	k.fail(chat.LimitReached, tooManyFrames)
	return false
}

// control acts on a control frame.
func (k *socket) control() error {
	if k.stream.ending() || !k.mayFrame() {
		return nil
	}
	return k.extend()
}

func (k *socket) pinged(payload string) error {
	if k.sink.pong(payload) {
		k.stream.push(nil)
	}
	return k.control()
}

// fail ends the socket with an error event and a close code.
func (k *socket) fail(why *chat.Disconnect, message string) {
	e := wireError{Code: why.Code, Message: message}
	if why == chat.LimitReached {
		e.RetryAfter = retrySeconds(rushedRetry)
	}
	last := k.server.errorControl(e)
	k.stream.end(why, &last)
}

// lost finds out why nothing more can be read.
func (k *socket) lost(err error) {
	var network net.Error
	closed, isClose := errors.AsType[*websocket.CloseError](err)
	switch {
	case errors.Is(err, errPieces):
		k.server.metrics.limits.WithLabelValues(limitFrames).Inc()
		last := k.server.errorControl(wireError{Code: chat.LimitReached.Code, Message: tooManyFrames, RetryAfter: retrySeconds(rushedRetry)})
		k.stream.endNow(chat.LimitReached, &last)
	case isClose && closed.Code != websocket.CloseAbnormalClosure:
		k.sink.answer(closed.Code)
		k.stream.endNow(chat.Gone, nil)
	case errors.As(err, &network) && network.Timeout() && !k.joining:
		why := chat.AuthenticateTimeout
		last := k.server.errorControl(wireError{Code: why.Code, Message: why.Message})
		k.stream.endNow(why, &last)
	case isClose || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed):
		k.stream.because(chat.Gone)
	default:
		k.sink.answer(websocket.CloseProtocolError) // unless the library has, which does not wait for long
		k.stream.endNow(chat.BadMessage, nil)
	}
}
