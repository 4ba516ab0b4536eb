package session

import (
	"context"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// announcement is one call of OnEnd.
type announcement struct {
	visitor *chat.Visitor
	ending  *Ending
}

// watch keeps the timers of all tracked sessions and tells of their endings, in one goroutine.
func (a *Authorizer) watch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-timer.C:
		}
		timer.Reset(a.sweep())
		a.announce()
		a.announceChanges()
	}
}

// announce calls OnEnd, outside the lock.
func (a *Authorizer) announce() {
	for _, n := range a.takeAnnounced() {
		a.opts.OnEnd(n.visitor, *n.ending)
	}
}

func (a *Authorizer) takeAnnounced() []announcement {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	out := a.replaced
	for _, rec := range a.announced {
		rec.queued = false
		if rec.ending != nil && rec.refs > 0 {
			rec.told = now
			a.scheduleLocked(rec)
			out = append(out, announcement{rec.visitor, rec.ending})
		}
	}
	a.announced, a.replaced = nil, nil
	return out
}

// sweep acts on what is due and returns how long nothing will be. The database's clock may step, so it never is long.
func (a *Authorizer) sweep() time.Duration {
	dbNow := a.store.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if !a.next.IsZero() && !now.Before(a.next) {
		a.next = time.Time{}
		for _, rec := range a.tracked {
			if !now.Before(a.dueLocked(rec, now, dbNow)) {
				a.actLocked(rec, now, dbNow)
			}
			a.soonerLocked(a.dueLocked(rec, now, dbNow))
		}
	}
	if a.next.IsZero() {
		return a.opts.RecheckInterval
	}
	return min(max(a.next.Sub(now), 0), a.opts.RecheckInterval)
}

// dueLocked is when something must be done about a tracked session, in the proxy's clock.
func (a *Authorizer) dueLocked(rec *record, now, dbNow time.Time) time.Time {
	if rec.over() != nil {
		return rec.told.Add(a.opts.RecheckInterval)
	}
	due := rec.confirmed.Add(a.opts.ConfirmWithin)
	if rec.ending != nil {
		due = rec.told.Add(a.opts.RecheckInterval)
	}
	if at := rec.visitor.ExpiresAt; !at.IsZero() {
		due = earlier(due, now.Add(at.Sub(dbNow)))
	}
	if at := idleAt(rec.visitor, rec.active); !at.IsZero() {
		due = earlier(due, later(now.Add(at.Sub(dbNow)), rec.asked.Add(a.opts.RecheckInterval)))
	}
	return due
}

func (a *Authorizer) actLocked(rec *record, now, dbNow time.Time) {
	switch {
	case rec.over() != nil:
		rec.told = now
		a.announceLocked(rec)
	case expired(rec.visitor, dbNow):
		e := endingOf(statusExpired, reasonExpired)
		e.EndedAt = rec.visitor.ExpiresAt
		a.endLocked(rec.id, *e, dbNow)
		rec.told = now
	case rec.ending != nil, !now.Before(rec.confirmed.Add(a.opts.ConfirmWithin)):
		if rec.ending == nil {
			rec.ending = &Ending{SessionID: rec.id, EndedAt: dbNow, Why: chat.Unavailable}
			a.metrics.ended(rec.ending)
		}
		rec.told = now
		a.announceLocked(rec)
	default:
		// The row may know of activity that was not seen here.
		a.suspectLocked(rec)
	}
}

func (a *Authorizer) scheduleLocked(rec *record) {
	if rec.refs == 0 {
		return
	}
	due := a.dueLocked(rec, time.Now(), a.store.Now())
	if a.next.IsZero() || due.Before(a.next) {
		a.next = due
		signal(a.wake)
	}
}

func (a *Authorizer) soonerLocked(due time.Time) {
	if a.next.IsZero() || due.Before(a.next) {
		a.next = due
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
