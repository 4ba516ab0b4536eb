package transport

import (
	"errors"
	"net"
	"sync"
	"time"
)

// maxPooledBytes is the largest buffer that is kept for another write.
const maxPooledBytes = 64 << 10

var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }}

// corkConn gathers writes and lets them out as one, with a deadline. While it is corked, Write appends to a pooled buffer and
// SetWriteDeadline does nothing; otherwise both go to the connection itself. One goroutine at a time corks; Write may come from
// another (a WebSocket's reader answering a protocol error).
type corkConn struct {
	net.Conn

	mu  sync.Mutex
	buf *[]byte // nil while not corked

	metered bool  // a message is being read; owned by the reader
	left    int64 // bytes that it may still have; owned by the reader

	reading sync.Mutex // guards hungUp and the read deadline
	hungUp  bool
}

// errPieces says that a message came in too many pieces.
var errPieces = errors.New("the message has too many pieces")

// meter bounds what the message that has begun may have, its frames' heads and what comes between them included: a library that joins the
// frames shows nothing of those that are empty.
func (c *corkConn) meter(most int64) { c.metered, c.left = true, most }

func (c *corkConn) unmeter() { c.metered = false }

// Read ends with errPieces where a message has had what it may.
func (c *corkConn) Read(p []byte) (int, error) {
	if c.metered && c.left <= 0 {
		return 0, errPieces
	}
	n, err := c.Conn.Read(p)
	c.left -= int64(n)
	return n, err
}

// cork begins to gather.
func (c *corkConn) cork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buf == nil {
		c.buf = buffers.Get().(*[]byte)
	}
}

// Write gathers or writes.
func (c *corkConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buf == nil {
		return c.Conn.Write(p)
	}
	*c.buf = append(*c.buf, p...)
	return len(p), nil
}

// SetWriteDeadline sets the deadline of writes that are not gathered.
func (c *corkConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buf != nil {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

// uncork writes what was gathered and returns how many bytes that was.
func (c *corkConn) uncork(timeout time.Duration) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buf == nil {
		return 0, nil
	}
	buf := c.buf
	c.buf = nil
	defer recycle(buf)
	if len(*buf) == 0 {
		return 0, nil
	}
	if err := c.Conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(*buf)
}

func recycle(buf *[]byte) {
	if cap(*buf) <= maxPooledBytes {
		*buf = (*buf)[:0]
		buffers.Put(buf)
	}
}

// lingerTime is how long a closed stream's peer may take to close its side. Closing at once, with bytes of the peer unread, could
// reset the connection before the peer has read the last frames.
const lingerTime = 2 * time.Second

// hangUp ends the writing side and gives the peer lingerTime to end theirs.
func (c *corkConn) hangUp() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		_ = c.Conn.Close()
		return
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	c.hungUp = true
	_ = c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
}

// awaitUntil bounds the wait for the peer. Behind hangUp nothing moves the end of its lingerTime, however much the peer says.
func (c *corkConn) awaitUntil(t time.Time) error {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.hungUp {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}
