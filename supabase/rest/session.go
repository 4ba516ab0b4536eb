package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/supabase-community/postgrest-go"
)

// Session is a row of the sessions table. Zero times mean null.
type Session struct {
	ID                    string
	LinkID                string
	ConversationID        string
	ConversationSessionID string // "" when null
	Status                string // active, ended, expired, terminated, error
	EndReason             string // "" when null
	StartedAt             time.Time
	EndedAt               time.Time
	LastActivityAt        time.Time
	LastMessageAt         time.Time
	MessageCount          int
}

var sessionColumns = []string{
	"id", "link_id", "conversation_id", "conversation_session_id", "status", "end_reason",
	"started_at", "ended_at", "last_activity_at", "last_message_at", "message_count",
}

type sessionRow struct {
	ID                    string    `json:"id"`
	LinkID                string    `json:"link_id"`
	ConversationID        string    `json:"conversation_id"`
	ConversationSessionID string    `json:"conversation_session_id"`
	Status                string    `json:"status"`
	EndReason             string    `json:"end_reason"`
	StartedAt             timestamp `json:"started_at"`
	EndedAt               timestamp `json:"ended_at"`
	LastActivityAt        timestamp `json:"last_activity_at"`
	LastMessageAt         timestamp `json:"last_message_at"`
	MessageCount          int       `json:"message_count"`
}

func (r sessionRow) session() Session {
	return Session{
		ID: r.ID, LinkID: r.LinkID, ConversationID: r.ConversationID, ConversationSessionID: r.ConversationSessionID,
		Status: r.Status, EndReason: r.EndReason,
		StartedAt: r.StartedAt.Time, EndedAt: r.EndedAt.Time,
		LastActivityAt: r.LastActivityAt.Time, LastMessageAt: r.LastMessageAt.Time,
		MessageCount: r.MessageCount,
	}
}

// Sessions reads sessions by id, in requests of 100. Unknown ids are absent from the result, whose order is not defined.
func (c *Client) Sessions(ctx context.Context, ids []string) ([]Session, error) {
	rows, err := readByID[sessionRow](ctx, c, "read sessions", c.names.Sessions, ids, sessionColumns)
	if err != nil {
		return nil, err
	}
	return convert(rows, sessionRow.session), nil
}

// SessionsOfConversations reads all sessions, whatever their status, of the conversations. The result is complete or an
// error: who shares a conversation decides who may see what, so the server is asked for the exact count.
func (c *Client) SessionsOfConversations(ctx context.Context, conversationIDs []string) ([]Session, error) {
	const op = "read sessions of conversations"
	batches, err := batchIDs(op, conversationIDs)
	if err != nil {
		return nil, err
	}
	var all []Session
	for _, batch := range batches {
		if all, err = c.appendSessions(ctx, op, all, batch); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// appendSessions reads every page of one batch of conversations, in the order of the session ids.
func (c *Client) appendSessions(ctx context.Context, op string, all []Session, conversations []string) ([]Session, error) {
	t := c.names.Sessions
	for last := ""; ; {
		query := c.builder.From(t.Name).
			Select(t.selection(sessionColumns...), "exact", false).
			In(t.column("conversation_id"), conversations).
			Order(t.column("id"), &postgrest.OrderOpts{Ascending: true}).
			Limit(maxRows, "")
		if last != "" {
			query = query.Gt(t.column("id"), last)
		}
		var rows []sessionRow
		answer, err := c.read(ctx, op, query, &rows)
		if err != nil {
			return nil, err
		}
		all = append(all, convert(rows, sessionRow.session)...)
		// The count covers what id=gt. leaves, this page included.
		total, counted := answer.total()
		if len(rows) == 0 || (counted && len(rows) >= total) || (!counted && len(rows) < maxRows) {
			return all, nil
		}
		next := rows[len(rows)-1].ID
		if !isID(next) || next == last {
			return nil, badAnswer(op, answer, "a session without a usable id")
		}
		last = next
	}
}

// UpdateSession changes columns, given by canonical name, of one session. ErrNotFound when there is no such session.
func (c *Client) UpdateSession(ctx context.Context, id string, fields map[string]any) error {
	const op = "update session"
	n, err := c.patch(ctx, op, c.names.Sessions, id, fields, nil)
	if err == nil && n == 0 {
		err = fmt.Errorf("%s: %w", op, ErrNotFound)
	}
	return err
}

// EndSession changes columns, given by canonical name, of one session that is active. It reports whether there was one.
func (c *Client) EndSession(ctx context.Context, id string, fields map[string]any) (ended bool, err error) {
	t := c.names.Sessions
	n, err := c.patch(ctx, "end session", t, id, fields, func(f *postgrest.FilterBuilder) {
		f.Eq(t.column("status"), "active")
	})
	return n > 0, err
}

// CompleteConversationSession marks a conversation session as completed, if it is active and belongs to no signed-in user.
func (c *Client) CompleteConversationSession(ctx context.Context, id string, at time.Time) error {
	t := c.names.ConversationSessions
	_, err := c.patch(ctx, "complete conversation session", t, id, map[string]any{"status": "completed", "ended_at": at},
		func(f *postgrest.FilterBuilder) {
			f.Eq(t.column("status"), "active").Is(t.column("user_id"), "null")
		})
	return err
}

// patch changes columns, given by canonical name, of the row with an id, if where, which may be nil, takes it too. It returns how many
// rows that were.
func (c *Client) patch(
	ctx context.Context, op string, t Table, id string, fields map[string]any, where func(*postgrest.FilterBuilder),
) (int, error) {
	if !isID(id) {
		return 0, invalid(op, "id")
	}
	if len(fields) == 0 {
		return 0, invalid(op, "fields")
	}
	renamed := make(map[string]any, len(fields))
	for name, value := range fields {
		if !identifier.MatchString(name) {
			return 0, invalid(op, "column name")
		}
		renamed[t.column(name)] = value
	}
	// Encoded here, because the library records a failure to encode in the shared client.
	body, err := json.Marshal(renamed)
	if err != nil {
		return 0, fmt.Errorf("%s: encode: %w", op, err)
	}
	from := c.builder.From(t.Name)
	from.Select("id:"+t.column("id"), "", false) // the only way to give a write a select list
	query := from.Update(json.RawMessage(body), "representation", "").Eq(t.column("id"), id)
	if where != nil {
		where(query)
	}
	var rows []struct{}
	_, err = c.read(ctx, op, query, &rows)
	return len(rows), err
}
