package feed

import (
	"context"
	"errors"
	"sync"
	"time"
)

// awayFor is how long the database or PostgREST must have been away for its return to cast doubt on the channel: the server's
// replication may have given up, and says nothing.
const awayFor = 10 * time.Second

// health is what the reads tell of the database.
type health struct {
	mu       sync.Mutex
	err      error // of the last read; nil when it worked
	since    time.Time
	returned bool
}

// note takes the result of a read. changed says that it is another than that of the read before, returned that a long outage is over.
func (h *health) note(err error, now time.Time) (changed, returned bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	changed = (err == nil) != (h.err == nil)
	if changed && err == nil && now.Sub(h.since) >= awayFor {
		returned, h.returned = true, true
	}
	if changed {
		h.since = now
	}
	h.err = err
	return changed, returned
}

func (h *health) takeReturned() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	returned := h.returned
	h.returned = false
	return returned
}

// Ready returns nil when visitors can be served: rows arrive or can be read.
func (f *Feed) Ready() error {
	f.health.mu.Lock()
	defer f.health.mu.Unlock()
	if f.health.err != nil {
		return errors.New("the database cannot be read")
	}
	return nil
}

func (f *Feed) noteRead(err error) {
	if errors.Is(err, context.Canceled) {
		return // says nothing about the database
	}
	changed, returned := f.health.note(err, time.Now())
	switch {
	case changed && err != nil:
		f.log.Warn("database reads fail", "err", err)
	case changed:
		f.log.Info("database reads work again")
	}
	if returned {
		f.signal()
	}
}
