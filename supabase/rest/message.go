package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/supabase-community/postgrest-go"
)

// messageColumns are the keys of every returned row. Metadata, context and tools are never selected: they are private
// and can be very large.
var messageColumns = []string{
	"id", "conversation_id", "session_id", "role", "content",
	"sender_user_id", "sender_agent_id", "created_at", "updated_at",
}

// Position is the place of a row in the order (created_at, id). The zero Position is no place.
type Position struct {
	CreatedAt time.Time // microseconds, as PostgreSQL stores them
	ID        string
}

// IsZero tells whether p is no place.
func (p Position) IsZero() bool { return p.ID == "" && p.CreatedAt.IsZero() }

// MessagesQuery asks for one page of rows of some conversations. Bounds that are zero do not apply.
type MessagesQuery struct {
	Conversations []string  // 1 to 100 ids
	Since         time.Time // created_at >= Since
	Until         time.Time // created_at < Until
	ChangedSince  time.Time // created_at or updated_at >= ChangedSince
	After         Position  // (created_at, id) > After
	Before        Position  // (created_at, id) < Before
	Descending    bool      // newest first
	Limit         int       // rows of the page, 1 to 1000; 0 means 1000
}

// Page is one page of rows, ordered by (created_at, id), ascending or descending as asked.
type Page struct {
	// Rows are JSON objects with exactly the keys id, conversation_id, session_id, role, content, sender_user_id,
	// sender_agent_id, created_at and updated_at, whatever the columns are called in the database.
	Rows []json.RawMessage
	// Last is the position of the last row: After, or Before when descending, of the next page. Zero without rows.
	Last Position
	// More tells that another page may follow, possibly an empty one: this one was full, or so long that the server may
	// have cut it below the limit.
	More bool
	// ServerTime is a time that the server's clock had surely reached when the request was sent, as far as the Date
	// headers tell: every row committed before it was visible to this read.
	ServerTime time.Time
}

// Messages reads one page of rows. Rows whose created_at is null or infinite have no position and are never returned.
func (c *Client) Messages(ctx context.Context, q MessagesQuery) (Page, error) {
	const op = "read messages"
	if err := q.check(op); err != nil {
		return Page{}, err
	}
	limit := defaultTo(q.Limit, maxRows)
	t := c.names.Messages
	query := q.of(c.builder.From(t.Name).Select(t.selection(messageColumns...), "", false), t).
		Order(t.column("created_at"), q.order()).
		Order(t.column("id"), q.order()).
		Limit(limit, "").
		And(q.bounds(t), "") // last: a later filter would be spliced into it
	var rows []json.RawMessage
	answer, err := c.read(ctx, op, query, &rows)
	if err != nil {
		return Page{}, err
	}
	page := Page{Rows: rows, More: len(rows) >= min(limit, leastMaxRows), ServerTime: c.clock.reached(answer.sent)}
	if len(rows) > 0 {
		if page.Last, err = positionOf(rows[len(rows)-1]); err != nil {
			return Page{}, badAnswer(op, answer, err.Error())
		}
	}
	return page, nil
}

// of restricts f to the conversations: PostgreSQL reads an index on (conversation_id, created_at) in order, and stops at
// the limit, for an equality only, not for a list of one.
func (q MessagesQuery) of(f *postgrest.FilterBuilder, t Table) *postgrest.FilterBuilder {
	if len(q.Conversations) == 1 {
		return f.Eq(t.column("conversation_id"), q.Conversations[0])
	}
	return f.In(t.column("conversation_id"), q.Conversations)
}

// order follows the default order of a B-tree index in either direction, so that an index on created_at can serve it.
func (q MessagesQuery) order() *postgrest.OrderOpts {
	return &postgrest.OrderOpts{Ascending: !q.Descending, NullsFirst: q.Descending}
}

func (q MessagesQuery) check(op string) error {
	if len(q.Conversations) == 0 || len(q.Conversations) > maxBatch {
		return invalid(op, "number of conversations")
	}
	for _, id := range q.Conversations {
		if !isID(id) {
			return invalid(op, "conversation id")
		}
	}
	if q.Limit < 0 || q.Limit > maxRows {
		return invalid(op, "limit")
	}
	for _, t := range []time.Time{q.Since, q.Until, q.ChangedSince, q.After.CreatedAt, q.Before.CreatedAt} {
		if !t.IsZero() && !isTimestamp(t) {
			return invalid(op, "time")
		}
	}
	for _, p := range []Position{q.After, q.Before} {
		if !p.IsZero() && (p.CreatedAt.IsZero() || !isID(p.ID)) {
			return invalid(op, "position")
		}
	}
	return nil
}

// MessagesByID reads rows by id, in requests of 100, with the keys of Page.Rows. Unknown ids are absent from the
// result, whose order is not defined.
func (c *Client) MessagesByID(ctx context.Context, ids []string) ([]json.RawMessage, error) {
	return readByID[json.RawMessage](ctx, c, "read messages by id", c.names.Messages, ids, messageColumns)
}

// MessageByClientID reads the earliest row that a session's visitor sent with a client message id, with the keys of
// Page.Rows. Rows with a sender are not the visitor's. ErrNotFound when there is none.
func (c *Client) MessageByClientID(ctx context.Context, conversationID, sessionID, clientMessageID string) (json.RawMessage, error) {
	const op = "read message by client id"
	if !isID(conversationID) || !isID(sessionID) {
		return nil, invalid(op, "id")
	}
	if !isClientMessageID(clientMessageID) {
		return nil, invalid(op, "client message id")
	}
	t := c.names.Messages
	metadata := t.column("content") + "->metadata->>"
	ascending := &postgrest.OrderOpts{Ascending: true}
	query := c.builder.From(t.Name).
		Select(t.selection(messageColumns...), "", false).
		Eq(t.column("conversation_id"), conversationID).
		Eq(metadata+"temp_session_id", sessionID).
		Eq(metadata+"client_message_id", clientMessageID).
		Is(t.column("sender_user_id"), "null").
		Is(t.column("sender_agent_id"), "null").
		Order(t.column("created_at"), ascending).
		Order(t.column("id"), ascending).
		Limit(1, "")
	var rows []json.RawMessage
	if _, err := c.read(ctx, op, query, &rows); err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s: %w", op, ErrNotFound)
	}
	return rows[0], nil
}

// CountVisitorMessages counts the rows that a session's visitor sent. Rows with a sender are not the visitor's; older functions named
// the session in metadata.session_id.
func (c *Client) CountVisitorMessages(ctx context.Context, conversationID, sessionID string) (int, error) {
	const op = "count messages of session"
	if !isID(conversationID) || !isID(sessionID) {
		return 0, invalid(op, "id")
	}
	t := c.names.Messages
	metadata := t.column("content") + "->metadata->>"
	query := c.builder.From(t.Name).
		Select(t.selection("id"), "exact", false).
		Eq(t.column("conversation_id"), conversationID).
		Is(t.column("sender_user_id"), "null").
		Is(t.column("sender_agent_id"), "null").
		Limit(1, "").
		Or(metadata+"temp_session_id.eq."+sessionID+","+metadata+"session_id.eq."+sessionID, "")
	var rows []struct{}
	answer, err := c.read(ctx, op, query, &rows)
	if err != nil {
		return 0, err
	}
	n, counted := answer.total()
	if !counted {
		return 0, badAnswer(op, answer, "no count")
	}
	return n, nil
}
