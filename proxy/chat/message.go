package chat

import (
	"hash/fnv"
	"time"
)

// Message is the public form of a row: all that ever leaves the proxy of it. Field order is the order on the wire.
type Message struct {
	ID             string    `json:"id"`
	Role           string    `json:"role"` // user or assistant
	Content        string    `json:"content"`
	Timestamp      time.Time `json:"timestamp"` // the row's created_at, UTC
	ConversationID string    `json:"conversation_id"`
	// AgentID is null for the visitor's own messages.
	AgentID         *string `json:"agentId"`
	UserID          *string `json:"userId"` // always null
	Kind            string  `json:"kind,omitempty"`
	ClientMessageID string  `json:"client_message_id,omitempty"`
	Greeting        bool    `json:"is_initial_greeting,omitempty"`
	// Recovered marks a row that was read back instead of received live, Replayed one that may have been sent before, and
	// Unstored an agent's reply that exists in no row.
	Recovered bool `json:"recovered,omitempty"`
	Replayed  bool `json:"replayed,omitempty"`
	Unstored  bool `json:"unstored,omitempty"`
}

func newMessage(row *Row, role, text string) Message {
	m := Message{
		ID:             row.ID,
		Role:           role,
		Content:        text,
		Timestamp:      row.CreatedAt,
		ConversationID: row.ConversationID,
	}
	if role == "assistant" {
		agent := row.SenderAgentID
		if agent != "" {
			m.AgentID = &agent
		}
		m.Greeting = row.Content.Greeting
	} else {
		m.ClientMessageID = row.Content.ClientMessageID
	}
	if row.Content.Type == "error" {
		m.Kind = "error"
	}
	return m
}

// fingerprint tells two public forms of one row apart.
func (m *Message) fingerprint() uint64 {
	h := fnv.New64a()
	for _, s := range []string{m.Role, m.Kind, m.ClientMessageID, m.Content} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return h.Sum64()
}
