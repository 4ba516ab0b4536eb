package feed

import (
	"context"
	"sync"
	"time"

	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

// control keeps a socket that follows the sessions and links tables. One that is old stays until a fresh one is live on all channels that
// the old one is live on, and a moment longer, because what was committed before comes over the old one only. In that moment endings come
// twice, which changes nothing.
type control struct {
	feed *Feed
	wake chan struct{} // one slot: the state of a channel has changed

	// owned by run
	current, fresh *controlSocket // fresh is nil when none is under way
	coveredAt      time.Time      // since when fresh covers current; zero while it does not
	wg             sync.WaitGroup

	mu          sync.Mutex
	unpublished map[string]bool // tables of which a person was told
}

func (f *Feed) newControl() (*control, error) {
	c := &control{feed: f, wake: make(chan struct{}, 1), unpublished: make(map[string]bool)}
	var err error
	c.current, err = c.newSocket()
	return c, err
}

// run keeps the socket until ctx ends, and then until all have ended.
func (c *control) run(ctx context.Context) error {
	defer c.wg.Wait()
	c.start(ctx, c.current)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-timer.C:
		}
		wait, err := c.step(ctx, time.Now())
		if err != nil { // the same options made the first one
			return err
		}
		timer.Reset(wait)
	}
}

// step opens the fresh socket, lets it take over, or gives it up. It returns how long to wait if nothing wakes run.
func (c *control) step(ctx context.Context, now time.Time) (wait time.Duration, err error) {
	const long = time.Hour
	maxAge := c.feed.opts.Realtime.MaxAge
	if maxAge <= 0 {
		return long, nil
	}
	opened := c.current.opened()
	young := opened.Add(maxAge).Sub(now) // left of its life
	switch {
	case opened.IsZero() && c.fresh == nil:
		return long, nil
	case young > 0 && c.fresh == nil:
		return young, nil
	case c.fresh == nil:
		return long, c.open(ctx)
	case c.fresh.covers(c.current):
		if c.coveredAt.IsZero() {
			c.coveredAt = now
		}
		if left := c.coveredAt.Add(settle).Sub(now); left > 0 {
			return left, nil
		}
		c.feed.log.Info("a fresh control socket has taken over")
		c.current.stop()
		c.current, c.fresh = c.fresh, nil
		return 0, nil
	case young > 0 && c.current.covers(c.fresh): // the old one has come back by itself
		c.fresh.stop()
		c.fresh = nil
		return young, nil
	}
	c.coveredAt = time.Time{}
	return long, nil
}

func (c *control) open(ctx context.Context) error {
	fresh, err := c.newSocket()
	if err != nil {
		return err
	}
	c.fresh, c.coveredAt = fresh, time.Time{}
	c.start(ctx, fresh)
	return nil
}

func (c *control) start(ctx context.Context, s *controlSocket) {
	ctx, cancel := context.WithCancel(ctx)
	s.stop = cancel
	c.wg.Go(func() {
		defer cancel()
		if err := s.client.Run(ctx); err != nil {
			c.feed.log.Error("socket ended", "err", err)
		}
	})
}

// note says once for each table that endings take longer while it is not published.
func (c *control) note(table string, status realtime.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case status.State == realtime.StateLive:
		if c.unpublished[table] {
			c.feed.log.Info("table is published now: endings are immediate", "table", table)
		}
		c.unpublished[table] = false
	case realtime.NotPublished(status.Err) && !c.unpublished[table]:
		c.unpublished[table] = true
		c.feed.log.Warn("table is not published: its endings take up to 15 s", "table", table,
			"remedy", publishSQL(c.feed.opts.Tables.Schema, table))
	case status.Err != nil && realtime.IsConfiguration(status.Err) && !realtime.NotPublished(status.Err):
		c.feed.log.Warn("realtime refuses a control channel: endings take up to 15 s", "table", table, "err", status.Err)
	}
}
