package transport

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	sendFunction = "temporary-chat-handler"
	// catchUpTimeout bounds the search for the row of a reply.
	catchUpTimeout = 5 * time.Second
)

// ErrRowRefused is wrapped by the errors of Store.InsertMessage that say that the database refused the row itself: a check, a
// reference, or an id that belongs to another row. Sending it again does not help.
var ErrRowRefused = errors.New("the row was refused")

// carryOut sends a message in the configured way. ctx ends with the server.
func (s *Server) carryOut(ctx context.Context, g *chat.Grant, d *draft, a *attempt) outcome {
	if s.opts.SendVia == SendViaFunction && d.id != "" {
		id, err := s.storedID(ctx, g.Visitor, d.id)
		switch {
		case err != nil: // sending might store it twice
			return outcome{failure: fail(err)}
		case id != "":
			return outcome{reply: accepted(g.Visitor, id, d.id), stored: true}
		}
	}
	if err := s.opts.Authorizer.Active(g.Visitor.SessionID); err != nil { // it ended while the message waited
		return outcome{failure: fail(err)}
	}
	if s.opts.SendVia == SendViaInsert {
		return s.insert(ctx, g.Visitor, d)
	}
	return s.callFunction(ctx, g, d, a)
}

// functionRequest is the body for the function that stores messages and asks the agent.
type functionRequest struct {
	SessionToken string            `json:"session_token"`
	Message      string            `json:"message"`
	MessageType  string            `json:"message_type"`
	Metadata     map[string]string `json:"metadata"`
}

func (s *Server) callFunction(ctx context.Context, g *chat.Grant, d *draft, a *attempt) outcome {
	v := g.Visitor
	metadata := maps.Clone(d.metadata)
	if d.id != "" {
		metadata["client_message_id"] = d.id
	}
	body := encode(functionRequest{g.Token.Reveal(), d.text, "text", metadata})
	mark := s.opts.Hub.Mark(v)
	bounded, cancel := context.WithTimeout(ctx, s.opts.FunctionTimeout)
	defer cancel()
	reply, err := s.opts.Functions.Call(bounded, sendFunction, "", http.MethodPost, functionHeader(d.address), body)
	id := s.sends.messageID(a)
	var f *failure
	if err != nil {
		f = fail(unavailable(ctx, err))
	} else {
		if body, ok := parseFields(reply.Body); ok && isSuccess(reply.Status) {
			return s.answered(ctx, v, d, sending{mark, id}, body)
		}
		f = s.functionFailure(reply)
	}
	switch {
	case f.Code == codeAgentFailed:
		return outcome{failure: f, stored: true, effect: rowAdded}
	case f.Status < 500:
		return outcome{failure: f}
	case id != "": // the row is there, and so the agent may still answer
		return outcome{reply: accepted(v, id, d.id), stored: true, effect: rowAdded}
	}
	return outcome{failure: f, effect: rowUnknown}
}

func isSuccess(status int) bool { return status >= 200 && status < 300 }

// sending is what the hub says of a message on its way: the class's place when it left, and the visitor's row if that was seen.
type sending struct {
	mark      uint64
	messageID string
}

// functionHeader holds all that a function gets of a visitor's request: what the body is, and the one address that it comes from.
func functionHeader(address netip.Addr) http.Header {
	h := http.Header{"Content-Type": {"application/json"}}
	if address.IsValid() {
		h.Set("X-Forwarded-For", address.String())
		h.Set("X-Real-Ip", address.String())
	}
	return h
}

// answered makes the visitor's answer of the function's success: its plain fields, the reply as text, and the ids by which clients
// tell that they have a message already.
func (s *Server) answered(ctx context.Context, v *chat.Visitor, d *draft, known sending, f fields) outcome {
	id, _ := f.text("message_id")
	id = either(id, known.messageID)
	out := plainFields(f)
	text := ""
	for _, name := range []string{"response", "content", "message"} {
		raw, given := f[name]
		if !given {
			continue
		}
		found := replyText(raw)
		if raw[0] == '{' || raw[0] == '[' {
			out[name] = found
		}
		if strings.TrimSpace(text) == "" {
			text = found
		}
	}
	if d.id != "" {
		out["client_message_id"] = d.id
	}
	if strings.TrimSpace(text) != "" && string(f["success"]) != "false" {
		out["assistant_message_id"] = s.findReply(ctx, v, known.mark, id, text)
	}
	delete(out, "remaining_messages") // of the whole conversation, its owner's messages counted
	if n, limited := d.place.remaining(); limited {
		out["remaining_messages"] = n
	}
	return outcome{reply: &sendReply{MessageID: id, Status: statusSent, body: encode(out)}, stored: true, effect: rowAdded}
}

// plainFields keeps the values that are no objects or lists. Those may hold prompts, and details are a driver's.
func plainFields(f fields) map[string]any {
	out := make(map[string]any, len(f)+2)
	for name, raw := range f {
		switch {
		case raw[0] == '{' || raw[0] == '[':
		case name == "details" || name == "stack" || name == "debug":
		default:
			out[name] = raw
		}
	}
	return out
}

// findReply returns the id of the row that holds the agent's reply. A reply that exists in no row that the visitor may see is given
// to the session's streams under an id derived from the visitor's message.
func (s *Server) findReply(ctx context.Context, v *chat.Visitor, mark uint64, messageID, text string) string {
	if id, ok := s.opts.Hub.ReplyAfter(v, mark, text); ok {
		return s.foundReply(id)
	}
	bounded, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	if err := s.opts.Backfiller.CatchUp(bounded, v.ConversationID); err != nil {
		// A reply shown twice is better than one that is lost.
		s.log.Warn("reply not looked up", "conversation_id", v.ConversationID, "session_id", v.SessionID, "err", err)
	}
	if id, ok := s.opts.Hub.ReplyAfter(v, mark, text); ok {
		return s.foundReply(id)
	}
	s.sends.metrics.replies.WithLabelValues("unstored").Inc()
	id := derivedID(messageID, "reply")
	s.opts.Hub.PublishUnstored(v, id, text)
	return id
}

func (s *Server) foundReply(id string) string {
	s.sends.metrics.replies.WithLabelValues("stored").Inc()
	return id
}

// derivedID is the UUIDv5 of a name in the space of an id; without one it is new.
func derivedID(space, name string) string {
	if space == "" {
		return uuid.Must(uuid.NewV7()).String()
	}
	ns, err := uuid.Parse(space)
	if err != nil {
		ns = uuid.NewSHA1(uuid.NameSpaceOID, []byte(space))
	}
	return uuid.NewSHA1(ns, []byte(name)).String()
}

// insertedBody is the function's answer for a message that the proxy stored itself. Response is always null.
type insertedBody struct {
	Success         bool    `json:"success"`
	MessageID       string  `json:"message_id"`
	ConversationID  string  `json:"conversation_id"`
	SessionID       string  `json:"session_id"`
	AgentName       string  `json:"agent_name"`
	ProcessedAt     string  `json:"processed_at"`
	Remaining       *int    `json:"remaining_messages,omitempty"`
	Response        *string `json:"response"`
	ClientMessageID string  `json:"client_message_id,omitempty"`
}

// insert stores the message as a row. Its id follows from the client's, so that a repeat finds it.
func (s *Server) insert(ctx context.Context, v *chat.Visitor, d *draft) outcome {
	row := visitorRow(v, d)
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, err := s.opts.Store.InsertMessage(bounded, row)
	switch {
	case errors.Is(err, ErrRowRefused):
		ref := refuseRequest(http.StatusUnprocessableEntity, "message_refused", "The message could not be stored")
		ref.Cause = err
		return outcome{failure: &failure{Refusal: ref}}
	case err != nil:
		return outcome{failure: fail(unavailable(ctx, err)), effect: rowUnknown}
	}
	body := insertedBody{
		Success: true, MessageID: row["id"].(string), ConversationID: v.ConversationID, SessionID: v.SessionID, AgentName: v.AgentName,
		ProcessedAt: isoTime(s.opts.Now()), ClientMessageID: d.id,
	}
	if n, limited := d.place.remaining(); limited {
		body.Remaining = &n
	}
	return outcome{stored: true, effect: rowAdded, reply: &sendReply{MessageID: body.MessageID, Status: statusSent, body: encode(body)}}
}

// visitorRow is a visitor's message as the table takes it: a row without a sender has to be a system row, and its metadata says whose
// it is.
func visitorRow(v *chat.Visitor, d *draft) map[string]any {
	metadata := map[string]any{
		"temporary_chat": true, "temp_session_id": v.SessionID, "original_role": "user", "is_anonymous_user": true,
	}
	for key, value := range d.metadata {
		metadata[key] = value
	}
	if v.LinkID != "" {
		metadata["temp_link_id"] = v.LinkID
	}
	space := ""
	if d.id != "" {
		metadata["client_message_id"] = d.id
		space = v.SessionID
	}
	return map[string]any{
		"id": derivedID(space, d.id), "conversation_id": v.ConversationID,
		"session_id": either(v.ConversationSessionID, v.SessionID),
		"role":       "system", "sender_user_id": nil, "sender_agent_id": nil,
		"content": map[string]any{"type": "text", "text": d.text, "metadata": metadata},
	}
}
