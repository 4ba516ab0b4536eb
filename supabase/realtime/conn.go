package realtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

const (
	messageQueue = 64 // frames read ahead of the handler
	writeTimeout = 10 * time.Second
	closeTimeout = time.Second
	keepScratch  = 256 << 10 // read buffers above this are given back
)

var errWriteQueue = errors.New("write queue full")

// conn is one socket, from its opening to its end. A reader and a writer goroutine serve the loop, which owns the channels
// and runs on the goroutine of Run.
type conn struct {
	// Fixed after newConn.
	c        *Client
	ws       *websocket.Conn
	openedAt time.Time
	messages chan phoenix.Message // closed by the reader
	frames   chan []byte          // never closed

	readErr error // set before messages is closed

	// Owned by the loop.
	lastRef   uint64
	heart     heartbeat
	liveSince time.Time // since when some channel was live without a break
	stable    bool      // some channel stayed live for stableAfter
}

func newConn(c *Client, ws *websocket.Conn) *conn {
	return &conn{
		c:        c,
		ws:       ws,
		openedAt: time.Now(),
		messages: make(chan phoenix.Message, messageQueue),
		frames:   make(chan []byte, 16+2*len(c.channels)), // a leave and a join of every channel, and heartbeats
	}
}

// run serves the socket until it ends and returns why. Both goroutines have then ended.
func (s *conn) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		s.readErr = s.read(ctx)
		close(s.messages)
	})
	wg.Go(func() {
		if err := s.write(ctx); err != nil {
			cancel(err)
		}
	})
	err := s.loop(ctx)
	s.markStable(time.Now())
	cancel(err)
	deadline := time.Now().Add(closeTimeout)
	_ = s.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), deadline)
	s.ws.Close()
	wg.Wait()
	return err
}

// read decodes frames until the socket ends. What arrived before the end is still handled.
func (s *conn) read(ctx context.Context) error {
	var scratch bytes.Buffer
	for {
		kind, r, err := s.ws.NextReader()
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		scratch.Reset()
		if _, err := scratch.ReadFrom(r); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		frame := bytes.Clone(scratch.Bytes())
		if scratch.Cap() > keepScratch {
			scratch = bytes.Buffer{}
		}
		m, err := phoenix.DecodeServer(kind == websocket.BinaryMessage, frame)
		if err != nil {
			s.c.log.Warn("frame ignored", "err", err, "bytes", len(frame))
			continue
		}
		select {
		case s.messages <- m:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *conn) write(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case frame := <-s.frames:
			_ = s.ws.SetWriteDeadline(time.Now().Add(writeTimeout))
			if err := s.ws.WriteMessage(websocket.TextMessage, frame); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
	}
}

// loop joins the channels and acts on messages and time until something ends the socket.
func (s *conn) loop(ctx context.Context) error {
	if err := s.start(); err != nil {
		return err
	}
	armed := s.wake()
	timer := time.NewTimer(time.Until(armed))
	defer timer.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case reason := <-s.c.reconnect:
			return fmt.Errorf("%w: %s", ErrReconnect, reason)
		case m, ok := <-s.messages:
			if !ok {
				return s.readErr
			}
			err = s.dispatch(m)
		case <-timer.C:
			if err = s.drain(); err == nil {
				err = s.tick(time.Now())
			}
			armed = time.Time{}
		}
		if err != nil {
			return err
		}
		if next := s.wake(); !next.Equal(armed) {
			armed = next
			timer.Reset(time.Until(next))
		}
	}
}

// start joins all channels. The first heartbeat waits for one interval, since refused joins freeze a socket.
func (s *conn) start() error {
	now := time.Now()
	s.heart.due = now.Add(s.c.opts.Heartbeat)
	for _, ch := range s.c.channels {
		ch.begin(newBackoff(&s.c.opts))
		if err := s.join(ch, now); err != nil {
			return err
		}
	}
	return nil
}

// drain handles what was read already, so that a slow handler is not taken for a slow server.
func (s *conn) drain() error {
	for range messageQueue {
		select {
		case m, ok := <-s.messages:
			if !ok {
				return s.readErr
			}
			if err := s.dispatch(m); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// wake returns when tick has something to do.
func (s *conn) wake() time.Time {
	next := s.heart.wake()
	if s.c.opts.MaxAge > 0 {
		next = earlier(next, s.openedAt.Add(s.c.opts.MaxAge))
	}
	for _, ch := range s.c.channels {
		next = earlier(next, ch.wake())
	}
	return next
}

// earlier returns the earlier of a and b, where a zero b is never.
func earlier(a, b time.Time) time.Time {
	if !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// tick does what is due.
func (s *conn) tick(now time.Time) error {
	if age := s.c.opts.MaxAge; age > 0 && !now.Before(s.openedAt.Add(age)) {
		return ErrRecycled
	}
	if err := s.beat(now); err != nil {
		return err
	}
	for _, ch := range s.c.channels {
		if due := ch.wake(); due.IsZero() || now.Before(due) {
			continue
		}
		if err := s.expire(ch, now); err != nil {
			return err
		}
	}
	return nil
}

func (s *conn) nextRef() phoenix.Ref {
	s.lastRef++
	return phoenix.StringRef(strconv.FormatUint(s.lastRef, 10))
}

// send queues a text frame.
func (s *conn) send(m phoenix.Message) error {
	frame, _, err := phoenix.EncodeClient(s.c.opts.Version, nil, m)
	if err != nil {
		return err
	}
	select {
	case s.frames <- frame:
		return nil
	default:
		return errWriteQueue
	}
}
