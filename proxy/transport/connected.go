package transport

import (
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// connected is the data of a stream's first event. Field order is the order on the wire.
type connected struct {
	SessionID       string `json:"session_id"`
	ConversationID  string `json:"conversation_id"`
	AgentName       string `json:"agent_name"`
	MaxMessages     int    `json:"max_messages"`
	CurrentMessages *int   `json:"current_messages,omitempty"` // of the visitor; see Server.sentBy
	// Resumed says that the cursor counted: nothing between it and now is lost.
	Resumed         bool   `json:"resumed"`
	Ticket          string `json:"ticket,omitempty"`
	TicketExpiresIn int    `json:"ticket_expires_in,omitempty"` // seconds
	State           string `json:"state"`
}

// greeting is the first event: connected, or authenticated on a WebSocket. Its cursor is where the stream begins.
func (st *stream) greeting(name string, g *chat.Grant) chat.Control {
	s, v := st.server, g.Visitor
	return s.control(chat.Control{
		Type: name,
		Data: connected{
			SessionID: v.SessionID, ConversationID: v.ConversationID, AgentName: v.AgentName,
			MaxMessages: v.MaxMessages, CurrentMessages: st.sent,
			Resumed: st.attachment.Resumed(),
			Ticket:  g.Ticket.Reveal(), TicketExpiresIn: max(0, int(time.Until(g.TicketExpires).Seconds())),
			State: s.opts.Backfiller.State(),
		},
		Cursor: st.attachment.Cursor(),
	})
}
