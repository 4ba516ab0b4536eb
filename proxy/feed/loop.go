package feed

import (
	"context"
	"time"
)

// loop decides when to read: after every entry to live, while the channel is not live, and now and then while it is.
func (f *Feed) loop(ctx context.Context) {
	l := &loopState{f: f, lostAt: time.Now(), retry: backoff{min: 200 * time.Millisecond, max: 5 * time.Second, rand: f.opts.Realtime.Rand}}
	timer := time.NewTimer(f.opts.PollAfter)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-timer.C:
		}
		timer.Reset(l.step(ctx))
	}
}

// loopState is owned by loop.
type loopState struct {
	f        *Feed
	caughtUp uint64    // the entry to live that was caught up with
	wasLive  bool      // at the last step
	lostAt   time.Time // when live was lost; proxy's clock
	nextRead time.Time
	sweepAt  time.Time
	retry    backoff
}

// step does what is due and returns how long to wait.
func (l *loopState) step(ctx context.Context) time.Duration {
	f, now := l.f, time.Now()
	if now.After(l.sweepAt) {
		f.hub.Sweep()
		l.sweepAt = now.Add(5 * time.Second)
	}
	live := f.live.Load()
	if l.wasLive && !live {
		l.lostAt = now
		f.missing.reset()
	}
	l.wasLive = live
	l.fillGaps(ctx)
	if live {
		return l.stepLive(ctx)
	}
	return l.stepAway(ctx, now)
}

func (l *loopState) stepLive(ctx context.Context) time.Duration {
	f := l.f
	entered := f.entered.Load()
	if l.caughtUp != entered {
		f.setState(StateCatchingUp)
		if err := f.catchUp(ctx, f.hub.Interests(), false); err != nil {
			return l.retry.next()
		}
		l.caughtUp = entered
		l.nextRead = time.Now().Add(f.opts.ReconcileInterval)
	}
	if !f.live.Load() {
		return 0 // lost again meanwhile
	}
	f.setState(StateLive)
	if wait := time.Until(l.nextRead); wait > 0 {
		return wait
	}
	l.nextRead = time.Now().Add(f.opts.ReconcileInterval)
	overdue := f.missing.overdue(settle)
	if err := f.reconcile(ctx); err != nil {
		return l.retry.next()
	}
	l.retry.reset()
	if overdue > 0 {
		f.metrics.suspect()
		f.log.Warn("the channel is joined but does not bring rows: replacing the socket", "rows", overdue)
		f.messages.Reconnect("rows missing")
	}
	return f.opts.ReconcileInterval
}

func (l *loopState) stepAway(ctx context.Context, now time.Time) time.Duration {
	f := l.f
	if wait := f.opts.PollAfter - now.Sub(l.lostAt); wait > 0 {
		f.setState(StateCatchingUp)
		return wait
	}
	f.setState(StatePolling)
	if wait := time.Until(l.nextRead); wait > 0 {
		return wait
	}
	l.nextRead = time.Now().Add(f.opts.PollInterval)
	if err := f.catchUp(ctx, f.hub.Interests(), false); err != nil {
		return l.retry.next()
	}
	l.retry.reset()
	return f.opts.PollInterval
}

// fillGaps reads the conversations whose held rows were dropped.
func (l *loopState) fillGaps(ctx context.Context) {
	for _, id := range l.f.gaps.take(maxBatch) {
		if err := l.f.CatchUp(ctx, id); err != nil && ctx.Err() == nil {
			l.f.gaps.add(id)
			return
		}
	}
}
