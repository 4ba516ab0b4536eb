package feed

import (
	"context"
	"sync"
	"time"
)

const (
	// heartbeatLate is when a heartbeat counts as late; answers take milliseconds.
	heartbeatLate = 5 * time.Second
	// lookEvery is how often the loop looks at what nobody signals: heartbeats, and rows that stay missing.
	lookEvery  = time.Second
	sweepEvery = 5 * time.Second
)

// loop drives the machine: it tells it what happened to the sockets and the reads, opens and closes sockets, and begins reads.
type loop struct {
	f       *Feed
	ctx     context.Context
	m       *machine
	current *socket
	fresh   *socket // nil when none is under way
	wg      sync.WaitGroup
	done    chan bool          // one slot: whether the running read worked
	giveUp  context.CancelFunc // of the running read; nil before the first
	sweepAt time.Time
}

// loop runs until ctx ends, and then until the sockets and the running read have ended.
func (f *Feed) loop(ctx context.Context) {
	now := time.Now()
	l := &loop{f: f, ctx: ctx, current: f.current.Load(), done: make(chan bool, 1), sweepAt: now.Add(sweepEvery)}
	l.m = newMachine(timing{
		pollAfter: f.opts.PollAfter, pollInterval: f.opts.PollInterval, reconcileInterval: f.opts.ReconcileInterval,
		maxAge: f.opts.Realtime.MaxAge, rand: f.opts.Realtime.Rand,
	}, now)
	defer l.wg.Wait()
	l.start(l.current)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case ok := <-l.done:
			l.m.end(ok, time.Now())
		case <-timer.C:
		}
		timer.Reset(l.step(time.Now()))
	}
}

// step does what is due and returns how long to wait.
func (l *loop) step(now time.Time) time.Duration {
	if !now.Before(l.sweepAt) {
		l.f.hub.Sweep()
		l.sweepAt = now.Add(sweepEvery)
	}
	for _, e := range l.current.news() {
		l.apply(e, now)
	}
	if l.fresh != nil && l.fresh.takeLive() {
		l.apply(evFreshLive, now)
	}
	for _, e := range l.observe(now) {
		l.apply(e, now)
	}
	for _, e := range l.m.overdue(now) {
		l.apply(e, now)
	}
	l.f.setState(l.m.told(now))
	if l.m.giveUp() {
		l.giveUp()
	}
	if kind := l.m.due(now); kind != readNothing {
		l.read(kind, now)
	}
	return l.wait(now)
}

func (l *loop) wait(now time.Time) time.Duration {
	next := earlier(l.m.wake(now), l.sweepAt)
	if l.m.state == wayLive {
		next = earlier(next, now.Add(lookEvery))
	}
	return max(next.Sub(now), time.Millisecond)
}

// observe returns what nobody reports as an event of its own.
func (l *loop) observe(now time.Time) (events []event) {
	f := l.f
	if f.health.takeReturned() {
		events = append(events, evReturned)
	}
	freshAt := time.Unix(0, l.current.freshAt.Load())
	switch l.m.state {
	case waySuspect:
		if freshAt.After(l.m.since) {
			events = append(events, evBrought)
		}
	case wayLive:
		if !l.m.trusted && freshAt.After(l.m.socketSince) {
			events = append(events, evBrought)
		}
		if l.current.wire.HeartbeatPending() >= heartbeatLate {
			events = append(events, evLate)
		}
		if e, rows, against := f.missing.verdict(now, f.opts.ReconcileInterval); against {
			f.metrics.missed(rows)
			events = append(events, e)
		}
		if e, against := f.canary.verdict(now, l.current); against {
			events = append(events, e)
		}
	}
	return events
}

// apply takes an event to the machine and does what follows for the sockets.
func (l *loop) apply(e event, now time.Time) {
	f, before := l.f, l.m.state
	todo := l.m.on(e, now)
	if l.m.state == waySuspect && before != waySuspect {
		f.metrics.suspect(e)
		f.log.Warn("the messages channel is not believed", "reason", reasons[e])
	}
	for _, a := range todo {
		switch a {
		case actReplace:
			l.open()
		case actSwap:
			l.swap()
		case actDropFresh:
			l.fresh.stop()
			l.fresh = nil
		}
	}
	f.doubted.Store(l.m.state == waySuspect)
	switch {
	case l.m.state != wayLive:
		f.liveAt.Store(0)
	case e == evConfirmed || e == evFreshLive || before != wayLive:
		f.missing.reset()
		f.canary.reset()
		f.liveAt.Store(f.opts.Store.Now().UnixMicro())
	}
}

// reasons are the words for log and metric.
var reasons = map[event]string{
	evLate: "heartbeat_late", evMissing: "rows_missing", evSkipped: "rows_skipped", evReturned: "database_returned",
	evCanaryLate: "canary_late",
}

// open begins with a fresh socket beside the current one.
func (l *loop) open() {
	fresh, err := l.f.newSocket()
	if err != nil { // the same options made the first one
		l.f.log.Error("no fresh socket", "err", err)
		l.m.fresh = false
		return
	}
	l.fresh = fresh
	l.start(fresh)
}

// swap lets the fresh socket take over. What the old one still has under way comes by the catch-up that follows.
func (l *loop) swap() {
	f := l.f
	f.metrics.replace()
	f.log.Info("a fresh socket has taken over")
	l.current.stop()
	l.current, l.fresh = l.fresh, nil
	f.arriving.Lock()
	f.current.Store(l.current)
	f.arriving.Unlock()
}

func (l *loop) start(s *socket) {
	ctx, cancel := context.WithCancel(l.ctx)
	s.stop = cancel
	l.wg.Go(func() {
		defer cancel()
		if err := s.wire.Run(ctx); err != nil {
			l.f.log.Error("socket ended", "err", err)
		}
	})
}

// read begins a read. Its end comes through done.
func (l *loop) read(kind readKind, now time.Time) {
	l.m.begin(kind, now)
	ctx, cancel := context.WithCancel(l.ctx)
	l.giveUp = cancel
	l.wg.Go(func() {
		defer cancel()
		var err error
		if kind == readReconcile {
			err = l.f.reconcile(ctx)
		} else {
			err = l.f.catchUp(ctx, l.f.hub.Interests(), kind)
		}
		l.done <- err == nil
	})
}
