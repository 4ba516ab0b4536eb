package session

import (
	"sync"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// record is what is known of one session. Guarded by Authorizer.mu; the visitor is immutable.
type record struct {
	id      string
	visitor *chat.Visitor
	token   chat.Token // the newest that proved the session
	// read is the start of the newest reading, confirmed that of the newest one that told of the session and of its link, both in the
	// proxy's clock.
	read, confirmed time.Time
	// rowless tells that the sessions table could not be read, unproved that the rows confirm nothing and the token has to.
	rowless, unproved bool
	active            time.Time // newest activity seen here, database's clock
	refs              int       // open streams

	ending *Ending   // once the session has ended, or could not be confirmed for too long
	told   time.Time // when OnEnd was last told
	queued bool      // in Authorizer.announced
	listed bool      // in Authorizer.changed
	asked  time.Time // when the rows were last asked for out of turn
}

// over is the end of the session, or nil.
func (r *record) over() *Ending {
	if r.ending != nil && r.ending.final() {
		return r.ending
	}
	return nil
}

// endedLife is the least time for which an ending is remembered: longer than a reading takes that began before it.
const endedLife = time.Minute

// endedEntry remembers an end, so that a token or ticket that comes after it is told so without a read.
type endedEntry struct {
	ending *Ending
	until  time.Time
}

// deadLink remembers that a link ended its sessions. A reading that began later knows better.
type deadLink struct {
	at     time.Time
	reason string
}

func (a *Authorizer) recordLocked(id string) *record {
	if rec := a.tracked[id]; rec != nil {
		return rec
	}
	rec, _ := a.known.get(id)
	return rec
}

func (a *Authorizer) endingLocked(id string) *Ending {
	if rec := a.tracked[id]; rec != nil && rec.over() != nil {
		return rec.ending
	}
	entry, ok := a.ended.get(id)
	switch {
	case !ok:
		return nil
	case !time.Now().Before(entry.until):
		a.ended.remove(id)
		return nil
	}
	return entry.ending
}

// recall returns what is known of a session without a read: its ending, or its visitor. The visitor is nil when only a read can
// tell, and not fresh when a read should be tried: the next recheck of a stream that was opened on this reading would come too late.
func (a *Authorizer) recall(id string) (v *chat.Visitor, fresh bool, ending *Ending) {
	dbNow := a.store.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if ending := a.endingLocked(id); ending != nil {
		return nil, false, ending
	}
	rec := a.recordLocked(id)
	if rec == nil || rec.visitor == nil || expired(rec.visitor, dbNow) || idle(rec.visitor, rec.active, dbNow) {
		return nil, false, nil
	}
	most, age := min(a.opts.CachePositive, a.opts.ConfirmWithin), time.Since(rec.confirmed)
	if age >= most {
		return nil, false, nil
	}
	return rec.visitor, rec.rowless || age < a.opts.recheckMargin() || !rec.confirmed.Before(a.rechecked), nil
}

// sufficient tells whether the rows say enough for a visitor beside what is known of the session. Of a link that cannot be read only
// the validation function tells, which is asked again as early as for open streams.
func (a *Authorizer) sufficient(id string, r *reading) bool {
	if r.sessionEnding() != nil || r.sessionRead && r.linkRead {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	rec := a.recordLocked(id)
	return r.sessionRead && rec != nil && rec.visitor != nil && (r.confirms() || !a.unconfirmedLocked(rec))
}

// apply takes a reading in and returns the visitor, or the ending that it amounts to. An older reading than the newest is dropped.
func (a *Authorizer) apply(id string, r reading, token chat.Token) (*chat.Visitor, *Ending) {
	dbNow := a.store.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if ending := a.endingLocked(id); ending != nil {
		return nil, ending
	}
	rec := a.recordLocked(id)
	switch {
	case rec == nil:
		rec = &record{id: id}
	case rec.visitor != nil && r.at.Before(rec.read):
		return rec.visitor, nil
	}
	last := r.lastActivity()
	if rec.visitor != nil {
		last = later(last, rec.visitor.LastActivity)
	}
	if last.IsZero() {
		last = dbNow // of a session whose row cannot be read
	}
	v := r.visitor(id, rec.visitor, last)
	if e := a.judgeLocked(rec, v, r, dbNow); e != nil {
		return nil, a.endLocked(id, *e, dbNow)
	}
	if rec.refs > 0 {
		a.compareLocked(rec, rec.visitor, v, dbNow)
	}
	rec.visitor, rec.read = v, r.at
	if r.confirms() {
		rec.confirmed, rec.rowless, rec.unproved, rec.ending = r.at, r.rowless, false, nil
	}
	if token != "" {
		rec.token = token
	}
	if rec.refs == 0 {
		a.known.put(id, rec)
	} else {
		a.scheduleLocked(rec)
	}
	return v, nil
}

func (a *Authorizer) judgeLocked(rec *record, v *chat.Visitor, r reading, dbNow time.Time) *Ending {
	if e := r.sessionEnding(); e != nil {
		return e
	}
	if e := r.linkEnding(); e != nil {
		return e
	}
	if dead, ok := a.deadLinks.get(v.LinkID); ok && v.LinkID != "" && !r.at.After(dead.at) {
		return endingOf(statusTerminated, dead.reason)
	}
	switch {
	case expired(v, dbNow):
		e := endingOf(statusExpired, reasonExpired)
		e.EndedAt = v.ExpiresAt
		return e
	case idle(v, rec.active, dbNow):
		return endingOf(statusExpired, reasonTimeout)
	}
	return nil
}

// endLocked ends a session for good, if that has not happened yet, and returns the ending that counts.
func (a *Authorizer) endLocked(id string, e Ending, dbNow time.Time) *Ending {
	if ending := a.endingLocked(id); ending != nil {
		return ending
	}
	e.SessionID = id
	if e.EndedAt.IsZero() {
		e.EndedAt = dbNow
	}
	a.ended.put(id, endedEntry{ending: &e, until: time.Now().Add(max(a.opts.CachePositive, endedLife))})
	a.known.remove(id)
	if rec := a.tracked[id]; rec != nil {
		rec.ending = &e
		a.metrics.ended(&e)
		a.announceLocked(rec)
	}
	return &e
}

func (a *Authorizer) announceLocked(rec *record) {
	if !rec.queued {
		rec.queued = true
		a.announced = append(a.announced, rec)
	}
	signal(a.wake)
}

// Track notes an open stream of a session, so that its end is told to Options.OnEnd. Call it when the stream can be ended; a
// session that has ended meanwhile is told again. untrack may be called more than once.
func (a *Authorizer) Track(v *chat.Visitor) (untrack func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	rec := a.recordLocked(v.SessionID)
	if rec == nil {
		// Forgotten between the grant and the stream. It counts as just due for a recheck.
		due := time.Now().Add(-a.opts.RecheckInterval)
		rec = &record{id: v.SessionID, visitor: v, read: due, confirmed: due}
	}
	if rec.refs++; rec.refs == 1 {
		rec.ending = a.endingLocked(rec.id)
		a.known.remove(rec.id)
		a.tracked[rec.id] = rec
		a.metrics.tracked(len(a.tracked))
	}
	if rec.ending != nil {
		a.announceLocked(rec)
	} else {
		a.scheduleLocked(rec)
	}
	a.compareLocked(rec, v, rec.visitor, a.store.Now()) // read between the grant and the stream
	return sync.OnceFunc(func() { a.untrack(rec) })
}

func (a *Authorizer) untrack(rec *record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if rec.refs--; rec.refs > 0 {
		return
	}
	delete(a.tracked, rec.id)
	a.metrics.tracked(len(a.tracked))
	if rec.over() == nil {
		a.known.put(rec.id, rec)
	}
}

// Active notes that the visitor of a session does something. It returns a *chat.Refusal when the session is known to have ended. Sessions
// that are not known here are passed over.
func (a *Authorizer) Active(sessionID string) error {
	dbNow := a.store.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if ending := a.endingLocked(sessionID); ending != nil {
		return chat.RefuseEnded(ending)
	}
	if rec := a.recordLocked(sessionID); rec != nil {
		rec.active = later(rec.active, dbNow)
	}
	return nil
}

// signal wakes whoever listens, once.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
