package rest

import (
	"sync"
	"time"
)

// dateResolution is the resolution of a Date header: at some moment between sending and receiving, the server's clock
// stood in [Date, Date + 1 s).
const dateResolution = time.Second

// clock estimates a server's clock as the local monotonic clock plus an offset that lies in [low, high].
type clock struct {
	start time.Time // local, with its monotonic reading

	mu        sync.Mutex
	known     bool
	low, high time.Duration // server minus local wall clock as of start
}

func newClock() *clock { return &clock{start: time.Now()} }

// local is the local wall clock carried on from start by the monotonic clock, so that a step of the wall clock does not
// reach the estimate.
func (c *clock) local(t time.Time) time.Time { return c.start.Round(0).Add(t.Sub(c.start)) }

// observe narrows the estimate by an answer dated date, sent and received at local times. An answer that contradicts
// all before it starts the estimate anew: one of the clocks was set, or the local machine slept.
func (c *clock) observe(sent, received, date time.Time) {
	low := date.Sub(c.local(received))
	high := date.Add(dateResolution).Sub(c.local(sent))
	c.mu.Lock()
	defer c.mu.Unlock()
	if narrowLow, narrowHigh := max(c.low, low), min(c.high, high); c.known && narrowLow <= narrowHigh {
		c.low, c.high = narrowLow, narrowHigh
		return
	}
	c.low, c.high, c.known = low, high, true
}

// now is the middle of what the server's clock may show.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.local(time.Now()).Add(c.low + (c.high-c.low)/2).UTC()
}

// reached is the latest time that the server's clock had surely reached at local time t.
func (c *clock) reached(t time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.local(t).Add(c.low).UTC()
}
