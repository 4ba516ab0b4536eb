package oracle_test

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

var (
	errReset  = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	errBroken = &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
	errClosed = &net.OpError{Op: "use", Net: "tcp", Err: net.ErrClosed}
)

// segment is what one write put on the wire.
type segment struct {
	due   time.Time
	bytes []byte
}

// flow is one direction of a connection: bytes with a latency and a bounded number of bytes under way. It waits only on channels and
// timers, so that the time of a bubble can pass.
type flow struct {
	latency time.Duration
	limit   int

	mu       sync.Mutex
	segments []segment
	size     int
	finished bool // the writer will write no more
	left     bool // the reader will read no more
	closed   bool // the writer's end is closed
	reset    bool
	paused   time.Time // nothing arrives before
	readBy   time.Time
	writeBy  time.Time
	changed  chan struct{} // closed and replaced on every change
}

func newFlow(latency time.Duration, limit int) *flow {
	return &flow{latency: latency, limit: limit, changed: make(chan struct{})}
}

// change does something to the flow and wakes all who wait on it.
func (f *flow) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	f.wakeLocked()
}

func (f *flow) wakeLocked() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// waitLocked waits, unlocked, for a change, at most until the given time.
func (f *flow) waitLocked(until time.Time) {
	changed := f.changed
	f.mu.Unlock()
	defer f.mu.Lock()
	if until.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

func (f *flow) read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		now, wake := time.Now(), f.readBy
		switch {
		case f.left:
			return 0, errClosed
		case f.reset:
			return 0, errReset
		case passed(f.readBy, now):
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(f.segments) > 0:
			due := f.segments[0].due
			if f.paused.After(due) {
				due = f.paused
			}
			if !due.After(now) {
				return f.takeLocked(p), nil
			}
			wake = earlier(wake, due)
		case f.finished && !f.paused.After(now):
			return 0, io.EOF
		case f.finished:
			wake = earlier(wake, f.paused)
		}
		f.waitLocked(wake)
	}
}

func (f *flow) takeLocked(p []byte) (n int) {
	now := time.Now()
	for n < len(p) && len(f.segments) > 0 && !f.segments[0].due.After(now) {
		first := &f.segments[0]
		taken := copy(p[n:], first.bytes)
		n += taken
		if first.bytes = first.bytes[taken:]; len(first.bytes) == 0 {
			f.segments = f.segments[1:]
		}
	}
	f.size -= n
	f.wakeLocked()
	return n
}

func (f *flow) write(p []byte) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		now := time.Now()
		switch {
		case f.closed || f.finished:
			return n, errClosed
		case f.reset || f.left:
			return n, errBroken
		case passed(f.writeBy, now):
			return n, os.ErrDeadlineExceeded
		case len(p) == 0:
			return n, nil
		case f.size < f.limit:
			part := p[:min(len(p), f.limit-f.size)]
			f.segments = append(f.segments, segment{now.Add(f.latency), append([]byte(nil), part...)})
			f.size += len(part)
			n, p = n+len(part), p[len(part):]
			f.wakeLocked()
			continue
		}
		f.waitLocked(f.writeBy)
	}
}

func passed(deadline, now time.Time) bool { return !deadline.IsZero() && !now.Before(deadline) }

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// conn is one end of a connection.
type conn struct {
	in, out       *flow
	local, remote net.Addr
	gone          func() // tells the network that this end is closed; may be called more than once
}

func (c *conn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *conn) LocalAddr() net.Addr         { return c.local }
func (c *conn) RemoteAddr() net.Addr        { return c.remote }

// Close ends both directions: the peer reads what is under way and then the end.
func (c *conn) Close() error {
	c.in.change(func() { c.in.left, c.in.segments, c.in.size = true, nil, 0 })
	c.out.change(func() { c.out.finished, c.out.closed = true, true })
	c.gone()
	return nil
}

// CloseWrite ends the writing direction.
func (c *conn) CloseWrite() error {
	c.out.change(func() { c.out.finished = true })
	return nil
}

// cut resets the connection for both ends; what is under way is lost.
func (c *conn) cut() {
	for _, f := range []*flow{c.in, c.out} {
		f.change(func() { f.reset, f.segments, f.size = true, nil, 0 })
	}
	c.gone()
}

// pause lets nothing arrive at this end for a while.
func (c *conn) pause(d time.Duration) {
	c.in.change(func() { c.in.paused = time.Now().Add(d) })
}

func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t) // neither fails
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.change(func() { c.in.readBy = t })
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.change(func() { c.out.writeBy = t })
	return nil
}
