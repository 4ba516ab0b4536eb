package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

const (
	// maxFrontChannels and maxBindings are what Supabase Realtime allows a socket and a channel.
	maxFrontChannels = 100
	maxBindings      = 100
	// maxTopicBytes is what a binary frame can name.
	maxTopicBytes = 255
	// maxRefBytes bounds a reference. Clients count from 1.
	maxRefBytes = 64
	// channellessTime is for how long a socket may stay without a channel; the official client keeps one for 50 s.
	channellessTime = 90 * time.Second
)

// front is one WebSocket of a Supabase Realtime client. A goroutine, parked in a read, owns it; joins and writes have goroutines of
// their own for as long as they take. What is for the socket waits in out, what is for a channel in its subscriber's queue.
type front struct {
	// Fixed before the front is shared.
	server     *Server
	conn       *websocket.Conn
	sink       *socketSink
	version    phoenix.Version
	key        frontKey // from the URL
	from       caller
	lease      *lease
	connID     string
	opened     time.Time
	keepAlive  time.Duration
	maxAge     time.Duration
	frames     bucket // owned by the reader
	within     bool   // of a message, whose deadline stands; owned by the reader
	broadcasts bucket // owned by the reader

	timer    timer
	nextPing time.Duration // since opened; owned by tick

	// writing serialises the sink; finished is guarded by it.
	writing  sync.Mutex
	finished bool
	acks     frontAcks

	mu          sync.Mutex
	channels    map[string]*frontChannel // by topic, those being joined or refused too
	channelless time.Time                // since when there is none
	joins       int                      // goroutines that join
	out         []frontFrame
	outBytes    int
	ready       []*frontChannel // their subscribers have something to write
	flushing    bool
	vouch       string           // a cursor of the session that the URL's credential proved
	why         *chat.Disconnect // the first cause
	closing     *chat.Disconnect // to be written
	shut        bool             // no writer may begin
	writers     sync.WaitGroup
}

// frontFrame waits to be written; of is the channel without which it is void.
type frontFrame struct {
	data   []byte
	binary bool
	of     *frontChannel
}

// frontShared is what all sockets of the protocol share.
type frontShared struct {
	wire   *wireMetrics
	rooms  rooms
	past   *frontPast
	warned warning
	posts  *buckets[string] // broadcasts over HTTP, by session
}

func newFrontShared(wire *wireMetrics, o *Options) *frontShared {
	return &frontShared{
		wire: wire, rooms: rooms{members: make(map[roomKey][]*frontChannel)}, past: newFrontPast(o.ResumeWindow),
		posts: newBuckets[string](),
	}
}

// handleFront upgrades and leaves the connection to a goroutine of its own. Whose it is shows at the joins: the protocol's clients take
// a refused upgrade for a failure of the network.
func (s *Server) handleFront(w http.ResponseWriter, r *http.Request) {
	version, err := phoenix.ParseVersion(r.URL.Query().Get("vsn"))
	switch {
	case r.Method != http.MethodGet:
		s.refuse(w, r, refuseMethod(w, "GET, OPTIONS"))
		return
	case !websocket.IsWebSocketUpgrade(r):
		s.refuse(w, r, refuseNoSocket())
		return
	case err != nil:
		s.refuse(w, r, refuseRequest(http.StatusForbidden, "unsupported_version", "vsn must be 1.0.0 or 2.0.0"))
		return
	case s.isDraining():
		s.refuse(w, r, s.refuseDraining())
		return
	}
	from := s.callerOf(r)
	place, ref := s.limits.enter(from.addr)
	if ref != nil {
		s.refuse(w, r, ref)
		return
	}
	handed := false
	defer place.releaseUnless(&handed)
	conn, wire, err := s.upgrade(w, r)
	if err != nil {
		return // upgrade has answered
	}
	f := &front{
		server: s, conn: conn, sink: &socketSink{conn: conn, wire: wire}, version: version,
		key: s.classify(r.URL.Query().Get("apikey")), from: from, lease: place, connID: requestID(r.Context()),
		opened: time.Now(), channelless: time.Now(), keepAlive: s.keepAlive(), maxAge: s.maxAge(),
		channels: make(map[string]*frontChannel, 1),
	}
	f.nextPing = f.keepAlive
	place.evictable(func() { f.end(chat.LimitReached, nil) })
	handed = true
	s.add(f)
	if !s.spawn(func(context.Context) { f.run() }) {
		f.leave()
	}
}

// run reads until the peer is gone, then takes the front down.
func (f *front) run() {
	defer f.leave()
	f.conn.SetPingHandler(func(payload string) error {
		if f.sink.pong(payload) {
			f.wake()
		}
		return f.control()
	})
	f.conn.SetPongHandler(func(payload string) error {
		due, asked := f.acks.answered(payload)
		if due {
			f.wake()
		}
		if asked {
			return f.extend()
		}
		return f.control()
	})
	f.conn.SetCloseHandler(func(int, string) error { return nil }) // the sink answers
	if f.extend() != nil {
		return
	}
	f.server.wheel.add(&f.timer, f, nextStep)
	for {
		binary, frame, err := f.next()
		if err != nil {
			f.lostPeer(err)
			return
		}
		if frame == nil || f.ending() {
			continue // the peer is only given the time to read what was written
		}
		if !f.mayFrame() {
			continue
		}
		if m, err := phoenix.DecodeClient(f.version, binary, frame); err == nil && hasShortRefs(m) {
			f.dispatch(m)
		} // else nothing, as the real server
	}
}

// next reads one frame of bounded size; nil when it was too large.
func (f *front) next() (binary bool, frame []byte, err error) {
	kind, r, err := f.conn.NextReader()
	if err != nil {
		return false, nil, err
	}
	f.within = true
	limit := int64(f.server.opts.RealtimeBytes)
	f.sink.wire.meter(piecesFactor * limit)
	frame, err = io.ReadAll(io.LimitReader(r, limit+1))
	f.sink.wire.unmeter()
	f.within = false
	if err != nil {
		return false, nil, err
	}
	if int64(len(frame)) > limit {
		f.end(chat.TooBig, nil)
		frame = nil
	}
	return kind == websocket.BinaryMessage, frame, f.extend()
}

// extend moves the read deadline after a sign of life.
func (f *front) extend() error {
	if f.within {
		return nil
	}
	return f.sink.wire.awaitUntil(time.Now().Add(2*f.server.opts.KeepAlive + readGrace))
}

// mayFrame counts a frame and ends a socket that sends too many.
func (f *front) mayFrame() bool {
	if f.frames.take(f.server.opts.FramesPerSecond, time.Now()) {
		return true
	}
	f.server.metrics.limits.WithLabelValues(limitFrames).Inc()
	f.end(chat.LimitReached, nil)
	return false
}

// control acts on a control frame that answers nothing.
func (f *front) control() error {
	if f.ending() || !f.mayFrame() {
		return nil
	}
	return f.extend()
}

// hasShortRefs keeps references, which answers repeat and channels remember, within what clients count up to.
func hasShortRefs(m phoenix.Message) bool {
	return len(m.Ref.String()) <= maxRefBytes && len(m.JoinRef.String()) <= maxRefBytes
}

// lostPeer finds out why nothing more can be read.
func (f *front) lostPeer(err error) {
	var network net.Error
	closed, isClose := errors.AsType[*websocket.CloseError](err)
	switch {
	case errors.Is(err, errPieces):
		f.server.metrics.limits.WithLabelValues(limitFrames).Inc()
		f.because(chat.LimitReached)
		f.closeNow(chat.LimitReached)
	case isClose && closed.Code != websocket.CloseAbnormalClosure:
		if f.ending() {
			f.acks.all() // the peer answers a close frame only when it has read what came before it
		}
		f.sink.answer(closed.Code)
		f.because(chat.Gone)
		f.closeNow(chat.Gone)
	case isClose || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed):
		f.because(chat.Gone)
	default:
		f.because(chat.BadMessage) // a protocol error, which the library has answered
	}
}

// lost ends a front whose connection does not take what is written.
func (f *front) lost(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		f.cut(chat.SlowConsumer)
		return
	}
	f.cut(chat.Gone)
}
