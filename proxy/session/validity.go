package session

import (
	"cmp"
	"reflect"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// Ending says how a session lost its streams.
type Ending struct {
	SessionID string
	Status    string    // of the session's row, or what it amounts to; "" when the session goes on
	EndReason string    // of the session's row, or one of the reasons below
	EndedAt   time.Time // database's clock
	// Why is chat.SessionEnded, chat.Unavailable when the session could not be confirmed for too long, or chat.SessionChanged when its
	// streams were opened on facts that are not so any more.
	Why *chat.Disconnect
}

// Reasons that are not in the session's row. Timeout and expired are the row's words for the same.
const (
	reasonDeleted         = "deleted"
	reasonLinkDeleted     = "link_deleted"
	reasonLinkDeactivated = "link_deactivated"
	reasonExpired         = "expired"
	reasonTimeout         = "timeout"
)

const (
	statusActive     = "active"
	statusEnded      = "ended"
	statusExpired    = "expired"
	statusTerminated = "terminated"
)

// final tells an end from a loss of streams that may be opened again.
func (e *Ending) final() bool { return !e.Why.Reconnect }

// Error makes an Ending usable as the cause of a refusal.
func (e *Ending) Error() string {
	return "session " + e.Status + ": " + cmp.Or(e.EndReason, "no reason given")
}

func endingOf(status, reason string) *Ending {
	return &Ending{Status: status, EndReason: reason, Why: chat.SessionEnded}
}

// reading is what one look at the database told of a session.
type reading struct {
	at time.Time // proxy's clock, before the first request was sent
	// rpc is the answer of the validation function, nil when it was not asked.
	rpc *rest.Validation
	// session is the row: nil and read means that it does not exist; rowless that the table cannot be read.
	session              *rest.Session
	sessionRead, rowless bool
	// link is the link's row: nil and read means that it does not exist.
	link      *rest.Link
	linkRead  bool
	agentName string
}

// sessionEnding is the end that the session's own row tells, or nil.
func (r *reading) sessionEnding() *Ending {
	switch {
	case !r.sessionRead:
		return nil
	case r.session == nil:
		return endingOf(statusTerminated, reasonDeleted)
	case r.session.Status != statusActive:
		e := endingOf(cmp.Or(r.session.Status, statusEnded), r.session.EndReason)
		e.EndedAt = r.session.EndedAt
		return e
	}
	return nil
}

// linkEnding is the end that the link's row tells, or nil.
func (r *reading) linkEnding() *Ending {
	switch {
	case !r.linkRead:
		return nil
	case r.link == nil:
		return endingOf(statusTerminated, reasonLinkDeleted)
	case !r.link.IsActive:
		return endingOf(statusTerminated, reasonLinkDeactivated)
	}
	return nil
}

// lastActivity is the newest sign of life in the row; zero when there is none.
func (r *reading) lastActivity() time.Time {
	if r.session == nil {
		return time.Time{}
	}
	return later(later(r.session.LastActivityAt, r.session.LastMessageAt), r.session.StartedAt)
}

// confirms tells whether the reading would show the end of the session and that of its link, if there were one. The validation function
// knows of both.
func (r *reading) confirms() bool {
	return r.rpc != nil || r.sessionRead && (r.linkRead || r.session == nil || r.session.LinkID == "")
}

// visitor joins what was read with what was known before, which may be nil. The link's row is believed most, for it is the
// source; what cannot be read keeps its last value, except that the link does not count as known.
func (r *reading) visitor(id string, prev *chat.Visitor, lastActivity time.Time) *chat.Visitor {
	v := &chat.Visitor{}
	if prev != nil {
		*v = *prev
	}
	v.SessionID, v.LastActivity, v.LinkKnown, v.Shared = id, lastActivity, false, false
	if r.rpc != nil {
		r.readValidation(v)
	}
	if r.session != nil {
		v.ConversationID = r.session.ConversationID
		v.ConversationSessionID = r.session.ConversationSessionID
		v.LinkID = cmp.Or(r.session.LinkID, v.LinkID)
	}
	if r.link != nil {
		r.readLink(v)
	}
	v.AgentName = cmp.Or(r.agentName, v.AgentName)
	if prev != nil && reflect.DeepEqual(v, prev) {
		return prev
	}
	return v
}

func (r *reading) readValidation(v *chat.Visitor) {
	a := r.rpc
	v.ConversationID = a.ConversationID
	v.LinkID = cmp.Or(a.LinkID, v.LinkID)
	v.AgentID = cmp.Or(a.AgentID, v.AgentID)
	v.AgentName = cmp.Or(a.AgentName, v.AgentName)
	v.Title = cmp.Or(a.Title, v.Title)
	v.Description = cmp.Or(a.Description, v.Description)
	v.WelcomeMessage = cmp.Or(a.WelcomeMessage, v.WelcomeMessage)
	v.MaxMessages = cmp.Or(a.MaxMessages, v.MaxMessages)
	v.RateLimitPerMinute = cmp.Or(a.RateLimitPerMinute, v.RateLimitPerMinute)
	v.IdleTimeout = cmp.Or(minutes(a.SessionTimeoutMinutes), v.IdleTimeout)
	if !a.ExpiresAt.IsZero() {
		v.ExpiresAt = a.ExpiresAt
	}
}

func (r *reading) readLink(v *chat.Visitor) {
	l := r.link
	v.LinkID, v.AgentID = l.ID, cmp.Or(l.AgentID, v.AgentID)
	v.Title, v.Description, v.WelcomeMessage = cmp.Or(l.Title, v.Title), l.Description, l.WelcomeMessage
	v.MaxMessages = cmp.Or(l.MaxMessagesPerSession, v.MaxMessages)
	v.RateLimitPerMinute = cmp.Or(l.RateLimitPerMinute, v.RateLimitPerMinute)
	v.IdleTimeout = cmp.Or(minutes(l.SessionTimeoutMinutes), v.IdleTimeout)
	v.ExpiresAt = l.ExpiresAt
	v.LinkKnown, v.Shared = true, l.SourceConversationID != ""
	v.AllowedDomains, v.AllowedIPs = l.AllowedDomains, l.AllowedIPs
}

// expired tells whether the link's end has come, by the database's clock.
func expired(v *chat.Visitor, dbNow time.Time) bool {
	return !v.ExpiresAt.IsZero() && !dbNow.Before(v.ExpiresAt)
}

// idle tells whether nothing has happened for too long. active is the last activity seen here.
func idle(v *chat.Visitor, active, dbNow time.Time) bool {
	at := idleAt(v, active)
	return !at.IsZero() && !dbNow.Before(at)
}

// idleAt is when the session ends for idleness unless something happens; zero when that is unknown.
func idleAt(v *chat.Visitor, active time.Time) time.Time {
	last := later(v.LastActivity, active)
	if last.IsZero() || v.IdleTimeout <= 0 {
		return time.Time{}
	}
	return last.Add(v.IdleTimeout)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func minutes(n int) time.Duration { return time.Duration(max(n, 0)) * time.Minute }
