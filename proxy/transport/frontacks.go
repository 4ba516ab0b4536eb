package transport

import (
	"encoding/binary"
	"slices"
	"sync"
)

// frontAcks knows how far the peer of a front has read. The protocol has no acknowledgement, but a pong answers its ping in order: each
// write of events is followed by a ping, at most one at a time, and what a channel had written before it is confirmed by the pong.
// A socket that is lost goes on from what was confirmed, not from what was only handed to the network.
type frontAcks struct {
	mu      sync.Mutex
	last    uint64 // the number of the last ping
	waiting bool
	open    []*frontChannel // with written != confirmed
}

// frontPosition is how far one channel is, in cursors. Guarded by frontAcks.mu.
type frontPosition struct {
	written, offered, confirmed string
}

// start sets where a channel begins.
func (a *frontAcks) start(c *frontChannel, cursor string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c.at = frontPosition{written: cursor, offered: cursor, confirmed: cursor}
}

// wrote notes that an event was put to be written.
func (a *frontAcks) wrote(c *frontChannel, cursor string) {
	if cursor == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.at.written == c.at.confirmed {
		a.open = append(a.open, c)
	}
	c.at.written = cursor
}

// released says where a channel went live, unless an event was written after those of the delivery, which ended at last.
func (a *frontAcks) released(c *frontChannel, last, cursor string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case c.at.written != last || cursor == "":
	case c.at.written == c.at.confirmed:
		c.at.written, c.at.offered, c.at.confirmed = cursor, cursor, cursor
	default:
		c.at.written = cursor
	}
}

// next returns the payload of a ping that is to follow what was written; nil when none is due.
func (a *frontAcks) next() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting || len(a.open) == 0 {
		return nil
	}
	a.last++
	a.waiting = true
	for _, c := range a.open {
		c.at.offered = c.at.written
	}
	return binary.BigEndian.AppendUint64(nil, a.last)
}

// answered takes a pong and reports whether another ping is due, and whether it was asked for.
func (a *frontAcks) answered(payload string) (due, asked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.waiting || len(payload) != 8 || binary.BigEndian.Uint64([]byte(payload)) != a.last {
		return false, false
	}
	a.waiting = false
	open := a.open[:0]
	for _, c := range a.open {
		if c.at.confirmed = c.at.offered; c.at.written != c.at.confirmed {
			open = append(open, c)
		}
	}
	clear(a.open[len(open):])
	a.open = open
	return len(open) > 0, true
}

// leave forgets a channel that is over.
func (a *frontAcks) leave(c *frontChannel) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := slices.Index(a.open, c); i >= 0 {
		a.open = slices.Delete(a.open, i, i+1)
	}
}

// all confirms everything that was written.
func (a *frontAcks) all() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.open {
		c.at.confirmed = c.at.written
	}
	a.open = nil
}

// confirmed is the cursor with which a lost channel goes on, written the one with which a replaced channel does.
func (a *frontAcks) confirmed(c *frontChannel) (confirmed, written string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return c.at.confirmed, c.at.written
}
