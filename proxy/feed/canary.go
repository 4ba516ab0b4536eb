package feed

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

const (
	// beatEvery is the greatest time between beats, the least is a tenth shorter.
	beatEvery    = 2 * time.Second
	beatTimeout  = 5 * time.Second
	beatRetryMax = time.Minute // between writes that fail
	// beatLate is how long a written beat may take; real servers need up to 0.6 s.
	beatLate = 4 * time.Second
	// maxBeats bounds the beats waited for: no more are written in beatLate.
	maxBeats = 8
	// Rows whose node has not written them for strayAge are removed, every clearEvery.
	strayAge   = 24 * time.Hour
	clearEvery = time.Hour
	// farewell is for the removal of the node's own row at the end.
	farewell = 2 * time.Second
)

// canary writes a row of its own table every two seconds, and listens for it over a channel beside that of the messages: what the server
// does not bring of it, it does not bring of the messages either, also where nobody writes any.
type canary struct {
	feed   *Feed
	id     string        // of the node's row
	rounds atomic.Uint64 // confirmations of the canary's channel; each has a number of its own, whatever the socket
	last   time.Time     // latest beat that was or may have been written; owned by run

	mu      sync.Mutex
	awaited []beat    // written and not brought, oldest first
	heard   time.Time // latest beat that was brought; zero before the first
	said    string    // what the log was last told; "" that it works
}

// beat is one value of the row.
type beat struct {
	at       time.Time // as written: the database's time before the write
	round    uint64    // of the canary's channel on the socket that was the current one
	written  time.Time // proxy's clock after the write
	database time.Time // the same on the database's clock
}

// newCanary returns nil where there is no canary table.
func (f *Feed) newCanary() *canary {
	if f.opts.Tables.Canary == "" {
		return nil
	}
	return &canary{feed: f, id: uuid.NewString()}
}

// spec is the canary's channel: the filter keeps the beats of other nodes, and their cost, away.
func (c *canary) spec(topic string) realtime.ChannelSpec {
	t := c.feed.opts.Tables
	return realtime.ChannelSpec{
		Topic: topic, Optional: true,
		Bindings: []realtime.Binding{{Event: "*", Schema: t.Schema, Table: t.Canary, Filter: "id=eq." + c.id}},
	}
}

// run writes beats while somebody listens, until ctx ends.
func (c *canary) run(ctx context.Context) {
	rand := c.feed.opts.Realtime.Rand
	wait := backoff{min: beatEvery, max: beatRetryMax, rand: rand}
	var cleared time.Time
	for pause := jittered(beatEvery, rand); sleep(ctx, pause); {
		pause = jittered(beatEvery, rand)
		round := c.feed.current.Load().canaryRound.Load()
		if round == 0 {
			continue
		}
		if err := c.write(ctx, round); err != nil {
			pause = wait.next()
			continue
		}
		wait.reset()
		if now := time.Now(); now.Sub(cleared) >= clearEvery {
			cleared = now
			c.clear(ctx)
		}
	}
	c.leave(ctx)
}

// jittered returns 0.9 d to d.
func jittered(d time.Duration, rand func() float64) time.Duration {
	return d - time.Duration(rand()*float64(d)/10)
}

func (c *canary) write(ctx context.Context, round uint64) error {
	f := c.feed
	c.last = later(f.opts.Store.Now().Truncate(time.Microsecond), c.last.Add(time.Microsecond))
	b := beat{at: c.last, round: round}
	bounded, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	if err := f.opts.Beats.WriteBeat(bounded, c.id, b.at); err != nil {
		if ctx.Err() == nil {
			c.tell("the canary row cannot be written", "err", err, "remedy", c.sql())
		}
		return err
	}
	b.written, b.database = time.Now(), f.opts.Store.Now()
	c.await(b)
	return nil
}

func (c *canary) clear(ctx context.Context) {
	err := c.feed.opts.Beats.DeleteBeatsBefore(ctx, c.feed.opts.Store.Now().Add(-strayAge))
	if err != nil && ctx.Err() == nil {
		c.feed.log.Warn("canary rows of nodes that are gone not removed", "err", err)
	}
}

// leave removes the node's row. What a node leaves that was killed, others remove a day later.
func (c *canary) leave(ctx context.Context) {
	if c.last.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := c.feed.opts.Beats.DeleteBeat(ctx, c.id); err != nil {
		c.feed.log.Info("canary row not removed", "err", err)
	}
}

func (c *canary) await(b beat) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !b.at.Equal(c.heard) && len(c.awaited) < maxBeats { // it may come before the answer to its write
		c.awaited = append(c.awaited, b)
	}
}
