package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

const (
	// joinsAtOnce is how many visitors of the crowd come at the same time.
	joinsAtOnce = 16
	// rowEvery and sendEvery are the times between two rows, and two messages of its own, of one visitor.
	rowEvery  = 5 * time.Second
	sendEvery = 20 * time.Second
	// comeEvery is the time between two visitors who come while others are there; every second one has been there before.
	comeEvery = 200 * time.Millisecond
	// returners take turns in coming back.
	returners = 20
	// settleTimeout bounds the wait for what is on its way at the end of a phase.
	settleTimeout = 10 * time.Second
)

// crowd are the healthy visitors. Its methods are called by one goroutine, one after the other.
type crowd struct {
	target   string
	up       *upstream
	sources  []*source
	visitors []*visitor
	back     []*visitor // have been there and left

	phase   atomic.Pointer[phase]
	readers errgroup.Group
	mu      sync.Mutex
	links   []*link
	leaving bool
}

// phase is what happens to the crowd for a while. Refusals tell why visitors were turned away, were cut off or could not send.
type phase struct {
	mu        sync.Mutex
	latencies []time.Duration
	committed int
	joined    int
	sent      int
	refusals  []string
	used      processorTime
	p99s      []time.Duration // of the phases that were added
}

// newCrowd brings n visitors from the sources onto their streams: half by Server-Sent Events, half by WebSocket.
func newCrowd(ctx context.Context, up *upstream, target string, sources []*source, n int) (*crowd, error) {
	c := &crowd{target: target, up: up, sources: sources}
	c.phase.Store(&phase{})
	places, err := up.open(ctx, n+returners)
	if err != nil {
		return nil, err
	}
	var g errgroup.Group
	g.SetLimit(joinsAtOnce)
	for i, p := range places {
		v := &visitor{place: p, from: sources[i%len(sources)], socket: i/len(sources)%2 == 1}
		if i >= n {
			c.back = append(c.back, v)
			g.Go(func() error { return c.visit(ctx, v) })
			continue
		}
		c.visitors = append(c.visitors, v)
		g.Go(func() error { return c.stay(ctx, v) })
	}
	if err := g.Wait(); err != nil {
		c.leave()
		return nil, fmt.Errorf("bring the visitors: %w", err)
	}
	return c, nil
}

// visit opens a stream and leaves.
func (c *crowd) visit(ctx context.Context, v *visitor) error {
	l, err := v.join(ctx, c.target)
	if err == nil {
		l.close()
	}
	return err
}

// stay opens a stream and reads it until leave.
func (c *crowd) stay(ctx context.Context, v *visitor) error {
	l, err := v.join(ctx, c.target)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.links = append(c.links, l)
	c.mu.Unlock()
	c.readers.Go(func() error { c.read(l); return nil })
	return nil
}

func (c *crowd) read(l *link) {
	for {
		text, err := l.next()
		now := time.Now()
		if err != nil {
			c.mu.Lock()
			leaving := c.leaving
			c.mu.Unlock()
			if !leaving {
				c.phase.Load().refused("lost its stream", err)
			}
			return
		}
		if at, ok := committedAt(text); ok {
			c.phase.Load().arrived(now.Sub(at))
		}
	}
}

// leave closes all streams and waits for their readers.
func (c *crowd) leave() {
	c.mu.Lock()
	c.leaving = true
	for _, l := range c.links {
		l.close()
	}
	c.mu.Unlock()
	_ = c.readers.Wait() // readers return nothing
}

// chat has the crowd chat for a while: rows are committed for its visitors, they send messages, and others come and leave.
func (c *crowd) chat(ctx context.Context, d time.Duration) (*phase, error) {
	p := &phase{}
	c.phase.Store(p)
	newcomers, err := c.up.open(ctx, int(d/comeEvery)+1)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	g, bounded := errgroup.WithContext(bounded)
	n := len(c.visitors)
	g.Go(func() error {
		return pace(bounded, rowEvery/time.Duration(n), func(i int) error {
			p.count(&p.committed)
			return c.up.commit(c.visitors[i%n].place)
		})
	})
	var calls errgroup.Group // outlive the phase a little
	calls.SetLimit(64)
	g.Go(func() error {
		return pace(bounded, sendEvery/time.Duration(n), func(i int) error {
			calls.Go(func() error { p.note(&p.sent, "send", c.visitors[i%n].send(ctx, c.target)); return nil })
			return nil
		})
	})
	g.Go(func() error {
		return pace(bounded, comeEvery, func(i int) error {
			v := c.back[i/2%len(c.back)]
			if i%2 == 0 && i < len(newcomers) {
				v = &visitor{place: newcomers[i], from: c.sources[i%len(c.sources)], socket: i%4 == 0}
			}
			calls.Go(func() error { p.note(&p.joined, "join", c.visit(ctx, v)); return nil })
			return nil
		})
	})
	err = g.Wait()
	_ = calls.Wait() // calls return nothing
	p.settle(ctx)
	return p, err
}

// pace calls do every d until ctx ends.
func pace(ctx context.Context, d time.Duration, do func(i int) error) error {
	limiter := rate.NewLimiter(rate.Every(d), 1)
	for i := 0; limiter.Wait(ctx) == nil; i++ {
		if err := do(i); err != nil {
			return err
		}
	}
	return nil
}

// settle waits until what was committed has arrived, but not for ever: the report tells what is missing.
func (p *phase) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		p.mu.Lock()
		done := len(p.latencies) >= p.committed
		p.mu.Unlock()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// add takes in another phase, which has ended.
func (p *phase) add(other *phase) {
	p99 := other.quantile(0.99)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latencies = append(p.latencies, other.latencies...)
	p.committed, p.joined, p.sent = p.committed+other.committed, p.joined+other.joined, p.sent+other.sent
	p.refusals = append(p.refusals, other.refusals...)
	p.used = p.used.plus(other.used)
	p.p99s = append(p.p99s, p99)
}

func (p *phase) count(n *int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*n++
}

func (p *phase) arrived(after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latencies = append(p.latencies, after)
}

// note counts a success, or keeps why there was none.
func (p *phase) note(n *int, what string, err error) {
	if err != nil {
		p.refused(what, err)
		return
	}
	p.count(n)
}

func (p *phase) refused(what string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusals = append(p.refusals, what+": "+err.Error())
}

// quantile is the latency that the share q of all rows did not exceed.
func (p *phase) quantile(q float64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.latencies) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(p.latencies))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
