package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"
)

// maxTokenBytes bounds what is sent as a session token; real ones have 63 characters.
const maxTokenBytes = 4096

// Validation is the answer about a session token. Fields that a variant of the function does not return are zero.
type Validation struct {
	Valid                 bool // false also for an unknown token
	SessionID             string
	LinkID                string // variant A only
	ConversationID        string
	AgentID               string
	AgentName             string
	Title                 string // title or link_title
	Description           string // variant A only
	WelcomeMessage        string // variant A only
	MaxMessages           int
	RateLimitPerMinute    int       // variant A only
	SessionTimeoutMinutes int       // not in variant A
	ExpiresAt             time.Time // zero when null or infinity
}

// validationRow holds the columns of all variants that may be read. Not among them are the prompts that one returns, and the count of
// messages, which is the whole conversation's: its owner's too.
type validationRow struct {
	IsValid               bool      `json:"is_valid"`
	SessionID             string    `json:"session_id"`
	LinkID                string    `json:"link_id"`
	ConversationID        string    `json:"conversation_id"`
	AgentID               string    `json:"agent_id"`
	AgentName             string    `json:"agent_name"`
	Title                 string    `json:"title"`
	LinkTitle             string    `json:"link_title"`
	Description           string    `json:"description"`
	WelcomeMessage        string    `json:"welcome_message"`
	MaxMessages           int       `json:"max_messages_per_session"`
	RateLimitPerMinute    int       `json:"rate_limit_per_minute"`
	SessionTimeoutMinutes int       `json:"session_timeout_minutes"`
	ExpiresAt             timestamp `json:"expires_at"`
}

func (r validationRow) validation() Validation {
	return Validation{
		Valid: r.IsValid, SessionID: r.SessionID, LinkID: r.LinkID, ConversationID: r.ConversationID,
		AgentID: r.AgentID, AgentName: r.AgentName, Title: defaultTo(r.Title, r.LinkTitle),
		Description: r.Description, WelcomeMessage: r.WelcomeMessage,
		MaxMessages: r.MaxMessages, RateLimitPerMinute: r.RateLimitPerMinute,
		SessionTimeoutMinutes: r.SessionTimeoutMinutes, ExpiresAt: r.ExpiresAt.Time,
	}
}

// ValidateSession asks the database about a session token. An unknown, ended or expired token is no error but
// Valid == false; every error means that nothing was learned about the token.
func (c *Client) ValidateSession(ctx context.Context, token string) (Validation, error) {
	const op = "validate session"
	if !isToken(token) {
		return Validation{}, invalid(op, "session token")
	}
	args := map[string]string{"p_session_token": token}
	// Insert into rpc/name is the library's only way to call a function that takes a context and heeds the status.
	query := c.builder.From("rpc/"+c.names.ValidateSession).Insert(args, false, "", "", "")
	answer, err := c.run(ctx, op, query, "")
	if err != nil {
		return Validation{}, err
	}
	v, err := decodeValidation(answer.body)
	if err != nil {
		return Validation{}, badAnswer(op, answer, err.Error())
	}
	return v, nil
}

// decodeValidation reads the answer of any variant: rows of a set, one bare row, null, or no row.
func decodeValidation(body []byte) (Validation, error) {
	body = bytes.TrimSpace(body)
	if len(body) > 0 && body[0] == '{' {
		body = append(append([]byte{'['}, body...), ']')
	}
	var rows []validationRow
	if err := json.Unmarshal(body, &rows); err != nil {
		return Validation{}, errors.New("not the rows of a validation")
	}
	if len(rows) == 0 || !rows[0].IsValid && len(rows) == 1 {
		return Validation{}, nil
	}
	for _, r := range rows {
		if !r.IsValid || r.SessionID != rows[0].SessionID {
			return Validation{}, errors.New("several sessions for one token")
		}
	}
	if !isID(rows[0].SessionID) || !isID(rows[0].ConversationID) {
		return Validation{}, errors.New("a valid session without usable ids")
	}
	return rows[0].validation(), nil
}
