package session

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// recheckWidth is how many batches a recheck reads at once.
const recheckWidth = 4

// recheckLoop reads all tracked sessions again and again. The period leaves a tenth of the interval to the reads, so that an
// end is seen within the interval.
func (a *Authorizer) recheckLoop(ctx context.Context) {
	tick := time.NewTicker(a.opts.RecheckInterval - a.opts.recheckMargin())
	defer tick.Stop()
	trouble := trouble{log: a.log, by: "rows"}
	for {
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
		if ctx.Err() != nil {
			return
		}
		trouble.tell(err)
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
		a.wantProof(ids, true)
		return nil
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
		}
	}
	a.wantProof(unproved, false)
	return err
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
