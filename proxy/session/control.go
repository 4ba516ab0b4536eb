package session

import (
	"log/slog"
	"sync"
	"time"
)

// SessionChanged takes a change of a session's row: its status, end_reason and ended_at, whichever are known. A change without a
// status makes a tracked session be read at once.
func (a *Authorizer) SessionChanged(id, status, endReason string, endedAt time.Time) {
	switch status {
	case statusActive:
	case "":
		a.suspect(id)
	default:
		e := endingOf(status, endReason)
		e.EndedAt = endedAt
		a.end(id, e)
	}
}

// SessionDeleted takes the deletion of a session's row.
func (a *Authorizer) SessionDeleted(id string) { a.end(id, endingOf(statusTerminated, reasonDeleted)) }

// LinkChanged takes a change of a link's row. An inactive link ends its sessions; of an active one nothing follows.
func (a *Authorizer) LinkChanged(id string, active bool) {
	if !active {
		a.endLink(id, reasonLinkDeactivated)
	}
}

// LinkDeleted takes the deletion of a link's row.
func (a *Authorizer) LinkDeleted(id string) { a.endLink(id, reasonLinkDeleted) }

func (a *Authorizer) end(id string, e *Ending) {
	dbNow := a.store.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endLocked(id, *e, dbNow)
}

func (a *Authorizer) endLink(id, reason string) {
	if id == "" {
		return
	}
	dbNow := a.store.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deadLinks.put(id, deadLink{at: time.Now(), reason: reason})
	end := func(sessionID string, rec *record) {
		if rec.visitor.LinkID == id {
			a.endLocked(sessionID, *endingOf(statusTerminated, reason), dbNow)
		}
	}
	for sessionID, rec := range a.tracked {
		end(sessionID, rec)
	}
	a.known.each(end)
}

func (a *Authorizer) suspect(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if rec := a.tracked[id]; rec != nil {
		a.suspectLocked(rec)
		return
	}
	a.known.remove(id)
}

// warnings says once what an operator can mend.
type warnings struct{ sessionsOnce, linksOnce sync.Once }

func (w *warnings) sessions(log *slog.Logger, err error) {
	w.sessionsOnce.Do(func() {
		log.Warn("sessions table cannot be read, only the validation function tells of endings",
			"setting", "names.sessions", "err", err)
	})
}

func (w *warnings) links(log *slog.Logger, err error) {
	w.linksOnce.Do(func() {
		log.Warn("links table cannot be read, visitors see only rows marked with their session, and only the validation function tells of links' endings",
			"setting", "names.links, or chat.visibility=conversation", "err", err)
	})
}
