package session

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// recheckWidth is how many batches a recheck reads at once.
const recheckWidth = 4

// recheckLoop reads all tracked sessions again and again. The period leaves a tenth of the interval to the reads, so that an
// end is seen within the interval.
func (a *Authorizer) recheckLoop(ctx context.Context) {
	tick := time.NewTicker(a.opts.RecheckInterval - a.opts.recheckMargin())
	defer tick.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-a.missed:
			if !pause(ctx, a.untilRecheck()) {
				return
			}
		}
		a.mu.Lock()
		a.rechecked = time.Now()
		a.mu.Unlock()
		err := a.recheck(ctx, a.trackedIDs(func(*record) bool { return true }))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			a.log.Warn("sessions not confirmed", "err", err)
		case err == nil && failing:
			a.log.Info("sessions confirmed again")
		}
		failing = err != nil
	}
}

// ControlMissed says that changes of sessions and links may have gone by: every tracked session is read now, if none was within a second.
func (a *Authorizer) ControlMissed() { signal(a.missed) }

// untilRecheck is how long a recheck out of turn must wait.
func (a *Authorizer) untilRecheck() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Until(a.rechecked.Add(time.Second))
}

// pause waits and reports whether ctx let it.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// suspectLoop reads sessions that are due to be read at once. Those that cannot be read are left to the recheck.
func (a *Authorizer) suspectLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.suspects:
		}
		ids := a.trackedIDs(func(rec *record) bool { return rec.asked.After(rec.read) })
		if err := a.recheck(ctx, ids); err != nil && ctx.Err() == nil {
			a.log.Debug("suspected end not confirmed", "err", err)
		}
	}
}

// suspectLocked has a tracked session read at once.
func (a *Authorizer) suspectLocked(rec *record) {
	rec.asked = time.Now()
	signal(a.suspects)
}

// trackedIDs returns the sessions that have not ended and that want says.
func (a *Authorizer) trackedIDs(want func(*record) bool) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var ids []string
	for id, rec := range a.tracked {
		if rec.over() == nil && idForm.MatchString(id) && want(rec) {
			ids = append(ids, id)
		}
	}
	return ids
}

// recheck reads sessions in batches and takes the readings in. It returns the first failure; other batches go on.
func (a *Authorizer) recheck(ctx context.Context, ids []string) error {
	var g errgroup.Group
	g.SetLimit(recheckWidth)
	for batch := range slices.Chunk(ids, batchSize) {
		g.Go(func() error { return a.recheckBatch(ctx, batch) })
	}
	return g.Wait()
}

func (a *Authorizer) recheckBatch(ctx context.Context, ids []string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout)
	defer cancel()
	at := time.Now()
	sessions, err := a.readSessions(ctx, ids)
	switch {
	case unreadable(err):
		a.warned.sessions(a.log, err)
		return a.proveAgain(ctx, ids, nil)
	case err != nil:
		return err
	}
	links, err := a.readLinks(ctx, linksOf(sessions))
	linksRead := err == nil
	if unreadable(err) {
		a.warned.links(a.log, err)
		err = nil
	}
	var unproved []string
	readings := make(map[string]reading)
	for _, id := range ids {
		r := reading{at: at, sessionRead: true}
		if s, ok := sessions[id]; ok {
			r.session = &s
			r.readLinkOf(s, links, linksRead)
		}
		// A link that could not be read now confirms nothing, but the session's own end is known.
		if err == nil || r.sessionEnding() != nil {
			a.apply(id, r, "")
		}
		if err == nil && !r.confirms() {
			unproved = append(unproved, id)
			readings[id] = r
		}
	}
	if err != nil {
		return err
	}
	return a.proveAgain(ctx, unproved, readings)
}

func (r *reading) readLinkOf(s rest.Session, links map[string]rest.Link, read bool) {
	if !read || !idForm.MatchString(s.LinkID) {
		return
	}
	r.linkRead = true
	if l, ok := links[s.LinkID]; ok {
		r.link = &l
	}
}

// linksOf returns the links of the sessions that are active, each once.
func linksOf(sessions map[string]rest.Session) []string {
	var ids []string
	for _, s := range sessions {
		if s.Status == statusActive && idForm.MatchString(s.LinkID) {
			ids = append(ids, s.LinkID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// proveAgain confirms sessions by their tokens, where a table cannot be read. That is dear, so it is done only when half the time
// is over in which they must be confirmed, and within the limits on the validation function. readings are what the other table told.
func (a *Authorizer) proveAgain(ctx context.Context, ids []string, readings map[string]reading) error {
	var first error
	for _, id := range ids {
		token, due := a.dueToken(id)
		if !due {
			continue
		}
		first = cmp.Or(first, a.proveOne(ctx, id, token, readings[id]))
		if ctx.Err() != nil {
			return first
		}
	}
	return first
}

func (a *Authorizer) proveOne(ctx context.Context, id string, token chat.Token, r reading) error {
	one, err := a.turns.join(netip.Prefix{}, true)
	if err != nil {
		return err
	}
	answer, at, err := a.ask(ctx, token, one)
	if r.at.IsZero() {
		r.at = at
	}
	switch {
	case err != nil:
		return err
	case !answer.Valid || answer.SessionID != id:
		a.end(id, endingOf(statusEnded, ""))
	default:
		r.rpc = &answer
		a.apply(id, r, "")
	}
	return nil
}

func (a *Authorizer) dueToken(id string) (chat.Token, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	rec := a.tracked[id]
	if rec == nil || rec.token == "" || rec.over() != nil {
		return "", false
	}
	return rec.token, a.unconfirmedLocked(rec) || rec.asked.After(rec.read)
}
