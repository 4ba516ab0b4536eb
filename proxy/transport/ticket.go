package transport

import (
	"net/http"
	"strings"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// ticketBody is the answer to a request for a ticket. ExpiresIn is in seconds.
type ticketBody struct {
	Ticket         string `json:"ticket"`
	ExpiresIn      int    `json:"expires_in"`
	SessionID      string `json:"session_id"`
	ConversationID string `json:"conversation_id"`
}

// handleTicket changes a session token into a short-lived ticket, so that no token has to stand in a URL.
func (s *Server) handleTicket(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		s.refuse(w, r, refuseMethod(w, "POST, OPTIONS"))
		return
	}
	c, ref := s.readCredential(w, r)
	if ref != nil {
		s.refuse(w, r, ref)
		return
	}
	ctx, cancel := s.workContext(r.Context())
	defer cancel(nil)
	g, err := s.authorize(ctx, s.callerOf(r), c)
	if err != nil {
		s.refuse(w, r, causeOf(ctx, err))
		return
	}
	ticket, seconds, err := s.opts.Authorizer.URLTicket(g)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	s.answer(w, http.StatusOK, encode(ticketBody{ticket.Reveal(), seconds, g.Visitor.SessionID, g.Visitor.ConversationID}))
}

// readCredential takes the token of the body, or a bearer value when the body has none. The query is not looked at.
func (s *Server) readCredential(w http.ResponseWriter, r *http.Request) (c chat.Credential, ref *chat.Refusal) {
	f, ref := s.readFields(w, r, true)
	if ref != nil {
		return c, ref
	}
	token, ok := f.text("session_token")
	if !ok {
		return c, refuseBody("session_token must be a string")
	}
	if c.Token = chat.Token(strings.TrimSpace(token)); c.Token == "" {
		c.Token, c.Ticket = bearer(r.Header.Get("Authorization"))
	}
	if !hasCredential(c) {
		return c, refuseRequest(http.StatusBadRequest, "missing_token", "Missing session_token parameter")
	}
	return c, nil
}
