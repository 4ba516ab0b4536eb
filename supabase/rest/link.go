package rest

import (
	"context"
	"time"
)

// Link is a row of the links table, without its private columns: prompts, intents and vault ids are never selected.
type Link struct {
	ID                    string
	AgentID               string
	SourceConversationID  string // "" when null: each session has a conversation of its own
	IsActive              bool
	ExpiresAt             time.Time // zero when null or infinity
	SessionTimeoutMinutes int       // 0 when null
	MaxMessagesPerSession int       // 0 when null
	RateLimitPerMinute    int       // 0 when null
	AllowedDomains        []string  // nil when null
	AllowedIPs            []string  // addresses or CIDR ranges as PostgreSQL prints inet; nil when null
	Title                 string
	Description           string
	WelcomeMessage        string
}

var linkColumns = []string{
	"id", "agent_id", "source_conversation_id", "is_active", "expires_at", "session_timeout_minutes",
	"max_messages_per_session", "rate_limit_per_minute", "allowed_domains", "allowed_ips",
	"title", "description", "welcome_message",
}

type linkRow struct {
	ID                    string    `json:"id"`
	AgentID               string    `json:"agent_id"`
	SourceConversationID  string    `json:"source_conversation_id"`
	IsActive              bool      `json:"is_active"`
	ExpiresAt             timestamp `json:"expires_at"`
	SessionTimeoutMinutes int       `json:"session_timeout_minutes"`
	MaxMessagesPerSession int       `json:"max_messages_per_session"`
	RateLimitPerMinute    int       `json:"rate_limit_per_minute"`
	AllowedDomains        texts     `json:"allowed_domains"`
	AllowedIPs            texts     `json:"allowed_ips"`
	Title                 string    `json:"title"`
	Description           string    `json:"description"`
	WelcomeMessage        string    `json:"welcome_message"`
}

func (r linkRow) link() Link {
	return Link{
		ID: r.ID, AgentID: r.AgentID, SourceConversationID: r.SourceConversationID,
		IsActive: r.IsActive, ExpiresAt: r.ExpiresAt.Time,
		SessionTimeoutMinutes: r.SessionTimeoutMinutes, MaxMessagesPerSession: r.MaxMessagesPerSession,
		RateLimitPerMinute: r.RateLimitPerMinute, AllowedDomains: r.AllowedDomains, AllowedIPs: r.AllowedIPs,
		Title: r.Title, Description: r.Description, WelcomeMessage: r.WelcomeMessage,
	}
}

// Links reads links by id, in requests of 100. Unknown ids are absent from the result, whose order is not defined.
func (c *Client) Links(ctx context.Context, ids []string) ([]Link, error) {
	rows, err := readByID[linkRow](ctx, c, "read links", c.names.Links, ids, linkColumns)
	if err != nil {
		return nil, err
	}
	return convert(rows, linkRow.link), nil
}

// AgentNames reads the names of agents by id, in requests of 100. Unknown and nameless agents are absent.
func (c *Client) AgentNames(ctx context.Context, ids []string) (map[string]string, error) {
	type agentRow struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	rows, err := readByID[agentRow](ctx, c, "read agents", c.names.Agents, ids, []string{"id", "name"})
	if err != nil {
		return nil, err
	}
	names := make(map[string]string, len(rows))
	for _, r := range rows {
		if r.Name != "" {
			names[r.ID] = r.Name
		}
	}
	return names, nil
}

// ConversationSession is a row of the conversation sessions table.
type ConversationSession struct {
	ID             string `json:"id"`
	ConversationID string `json:"conversation_id"`
	UserID         string `json:"user_id"` // "" when null: no signed-in user owns it
}

// ConversationSessions reads conversation sessions by id, in requests of 100. Unknown ids are absent from the result,
// whose order is not defined.
func (c *Client) ConversationSessions(ctx context.Context, ids []string) ([]ConversationSession, error) {
	return readByID[ConversationSession](ctx, c, "read conversation sessions", c.names.ConversationSessions, ids,
		[]string{"id", "conversation_id", "user_id"})
}
