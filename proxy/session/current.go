package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// fallbackAfter is how long a read may take when there is an older reading that would do.
const fallbackAfter = 2 * time.Second

// byTicket opens a ticket. A URL ticket whose first use is over still counts beside a cursor of the same session: browsers repeat
// the URL of an event stream and add the last event id.
func (a *Authorizer) byTicket(ctx context.Context, brought chat.Credential) (*chat.Visitor, chat.Token, error) {
	c, err := a.sealer.open(brought.Ticket)
	if err != nil {
		return nil, "", chat.RefuseInvalid(err)
	}
	now := time.Now()
	late := !now.Before(c.expires())
	if late && (c.kind != ticketURL || brought.Cursor == "" || a.opts.VerifyCursor == nil || !now.Before(c.issued.Add(a.opts.resumeLife()))) {
		return nil, "", chat.RefuseInvalid(errTicketExpired)
	}
	v, err := a.current(ctx, c.session, c.token, brought)
	if err != nil {
		return nil, "", err
	}
	if late && !a.opts.VerifyCursor(v, brought.Cursor) {
		return nil, "", chat.RefuseInvalid(errTicketExpired)
	}
	return v, c.token, nil
}

// current returns the visitor of a session that was proved before: from a fresh reading, or after reading its rows. Where the
// tables cannot be read, the token is proved again.
func (a *Authorizer) current(ctx context.Context, id string, token chat.Token, brought chat.Credential) (*chat.Visitor, error) {
	v, fresh, ending := a.recall(id)
	switch {
	case ending != nil:
		return nil, chat.RefuseEnded(ending)
	case fresh:
		return v, nil
	}
	r, err := a.loadBeside(ctx, id, v != nil)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && v != nil:
		return v, nil
	case err != nil:
		return nil, a.unavailable(err)
	case !a.sufficient(id, &r):
		return a.validate(ctx, sha256.Sum256([]byte(token)), token, brought, true)
	}
	a.nameAgent(ctx, &r)
	if v, ending = a.apply(id, r, token); ending != nil {
		return nil, chat.RefuseEnded(ending)
	}
	return v, nil
}

// loadBeside reads the rows, with less patience when there is a fallback.
func (a *Authorizer) loadBeside(ctx context.Context, id string, fallback bool) (reading, error) {
	if fallback {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, fallbackAfter)
		defer cancel()
	}
	return a.load(ctx, id)
}

// load reads the rows of a session and its link, joined with the reads of others. A table that cannot be read at all is left
// out of the reading; any other failure is an error.
func (a *Authorizer) load(ctx context.Context, id string) (reading, error) {
	r := reading{at: time.Now()}
	session, found, err := a.sessions.get(ctx, id)
	switch {
	case unreadable(err):
		a.warned.sessions(a.log, err)
		r.rowless = true
		return r, nil
	case err != nil:
		return r, err
	}
	if r.sessionRead = true; found {
		r.session = &session
	}
	if r.sessionEnding() != nil || session.LinkID == "" {
		return r, nil
	}
	link, found, err := a.links.get(ctx, session.LinkID)
	switch {
	case unreadable(err):
		a.warned.links(a.log, err)
		return r, nil
	case err != nil:
		return r, err
	}
	if r.linkRead = true; found {
		r.link = &link
	}
	return r, nil
}

// unreadable tells that waiting will not make a table readable: a name or a grant is wrong.
func unreadable(err error) bool {
	return rest.MissingTable(err) || rest.MissingColumn(err) || rest.Forbidden(err) || errors.Is(err, errBadID)
}

func (a *Authorizer) readSessions(ctx context.Context, ids []string) (map[string]rest.Session, error) {
	rows, err := a.store.Sessions(ctx, ids)
	a.metrics.read(tableSessions, err)
	return byID(rows, err, func(s rest.Session) string { return s.ID })
}

func (a *Authorizer) readLinks(ctx context.Context, ids []string) (map[string]rest.Link, error) {
	rows, err := a.store.Links(ctx, ids)
	a.metrics.read(tableLinks, err)
	return byID(rows, err, func(l rest.Link) string { return l.ID })
}

func (a *Authorizer) readAgents(ctx context.Context, ids []string) (map[string]string, error) {
	names, err := a.store.AgentNames(ctx, ids)
	a.metrics.read(tableAgents, err)
	return names, err
}

func byID[T any](rows []T, err error, id func(T) string) (map[string]T, error) {
	if err != nil {
		return nil, err
	}
	m := make(map[string]T, len(rows))
	for _, row := range rows {
		m[id(row)] = row
	}
	return m, nil
}
