package chat

import "time"

// Visitor is what is known of one temporary session. A Visitor is immutable: a newer reading makes a new one.
type Visitor struct {
	SessionID      string
	ConversationID string
	// ConversationSessionID is the conversation_sessions row that the session writes under; "" when there is none.
	ConversationSessionID string
	LinkID                string
	AgentID               string
	AgentName             string
	Title                 string
	Description           string
	WelcomeMessage        string
	MaxMessages           int
	RateLimitPerMinute    int
	// ExpiresAt is the link's end, in the database's clock; zero when unknown.
	ExpiresAt time.Time
	// IdleTimeout ends a session that long after LastActivity; zero when unknown.
	IdleTimeout  time.Duration
	LastActivity time.Time
	// LinkKnown says that the link row could be read. Without it ModeSession grants only rows marked with the session.
	LinkKnown bool
	// Shared says that the link was made on the owner's own conversation (source_conversation_id is set).
	Shared bool
	// AllowedDomains and AllowedIPs are the link's own restrictions; empty means none.
	AllowedDomains []string
	AllowedIPs     []string
}

// SessionRef is one temporary session that uses a conversation, whatever its status.
type SessionRef struct {
	ID                    string
	ConversationSessionID string
}

// Scope is a reading of who else uses a conversation. It is what the second and third scope rule rest on, so it must have been
// read after the rows it judges were committed.
type Scope struct {
	Sessions []SessionRef
	// Anonymous holds the conversation_sessions ids that exist and belong to no signed-in user.
	Anonymous map[string]bool
}

// isolated says that v's link made this conversation for v alone.
func (s *Scope) isolated(v *Visitor) bool {
	if s == nil || !v.LinkKnown || v.Shared || len(s.Sessions) == 0 {
		return false
	}
	for _, ref := range s.Sessions {
		if ref.ID != v.SessionID {
			return false
		}
	}
	return true
}

// owns says that v's conversation_sessions row is anonymous and referenced by v alone.
func (s *Scope) owns(v *Visitor) bool {
	if s == nil || !v.LinkKnown || v.ConversationSessionID == "" || !s.Anonymous[v.ConversationSessionID] {
		return false
	}
	mine := false
	for _, ref := range s.Sessions {
		if ref.ConversationSessionID != v.ConversationSessionID {
			continue
		}
		if ref.ID != v.SessionID {
			return false
		}
		mine = true
	}
	return mine
}
