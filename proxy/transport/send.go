package transport

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// Statuses of a sendReply.
const (
	// statusSent says that this send stored the message and what answers it is done.
	statusSent = "sent"
	// statusAccepted says that the message is stored and its answer, if any, comes through the stream.
	statusAccepted = "accepted"
)

const (
	// knownWait is how long a repeat waits for the id of the row that its first send writes.
	knownWait = 3 * time.Second
	// storeTimeout bounds one look into the table of messages.
	storeTimeout = 10 * time.Second
)

// sendRequest is a message as a visitor gives it.
type sendRequest struct {
	Text, ClientMessageID, MessageType string
	Metadata                           json.RawMessage
	Address                            netip.Addr
}

// sendReply is the answer to a message that is stored.
type sendReply struct {
	// MessageID is the visitor's row.
	MessageID string
	Status    string // sent or accepted
	body      []byte // of the HTTP answer
}

// draft is a message that may be sent.
type draft struct {
	text     string
	id       string // the client's, or ""
	metadata map[string]string
	address  netip.Addr
	place    *admission // nil where the session has no limit
}

// acceptedBody is the answer to a message that is stored and whose reply comes, or came, elsewhere. Response is always null.
type acceptedBody struct {
	Success         bool    `json:"success"`
	MessageID       string  `json:"message_id"`
	ConversationID  string  `json:"conversation_id"`
	SessionID       string  `json:"session_id"`
	Response        *string `json:"response"`
	Status          string  `json:"status"`
	ClientMessageID string  `json:"client_message_id,omitempty"`
}

func accepted(v *chat.Visitor, messageID, clientMessageID string) *sendReply {
	return &sendReply{MessageID: messageID, Status: statusAccepted, body: encode(acceptedBody{
		Success: true, MessageID: messageID, ConversationID: v.ConversationID, SessionID: v.SessionID, Status: statusAccepted,
		ClientMessageID: clientMessageID,
	})}
}

// handleSend takes a visitor's message. An Authorization header is no credential here: pages send their anonymous key in it.
func (s *Server) handleSend(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		s.refuse(w, r, refuseMethod(w, "POST, OPTIONS"))
		return
	}
	credential, in, ref := s.readSend(w, r)
	if ref != nil {
		s.refuse(w, r, ref)
		return
	}
	d, ref := s.draft(in)
	if ref != nil {
		s.refuse(w, r, ref)
		return
	}
	from := s.callerOf(r)
	d.address = from.addr
	ctx, cancel := s.workContext(r.Context())
	defer cancel(nil)
	g, err := s.authorize(ctx, from, credential)
	if err != nil {
		s.refuse(w, r, causeOf(ctx, err))
		return
	}
	reply, f := s.send(r.Context(), g, d)
	switch {
	case r.Context().Err() != nil: // nobody reads an answer; the send goes on
	case f != nil:
		s.refuseWith(w, r, f)
	default:
		s.answer(w, http.StatusOK, reply.body)
	}
}

// readSend reads the request's body. What of it is missing is said in the words of the function.
func (s *Server) readSend(w http.ResponseWriter, r *http.Request) (c chat.Credential, in sendRequest, ref *chat.Refusal) {
	f, ref := s.readFields(w, r, false)
	if ref != nil {
		return c, in, ref
	}
	var texts [6]string
	for i, name := range []string{
		"session_token", "ticket", "message", "message_type", "clientMessageId", "client_message_id",
	} {
		text, ok := f.text(name)
		if !ok {
			return c, in, refuseBody(name + " must be a string")
		}
		texts[i] = text
	}
	c.Token, c.Ticket = chat.Token(strings.TrimSpace(texts[0])), chat.Token(strings.TrimSpace(texts[1]))
	if !hasCredential(c) || texts[2] == "" {
		return c, in, refuseRequest(http.StatusBadRequest, "missing_parameters",
			"Missing required parameters: session_token, message")
	}
	in = sendRequest{
		Text: texts[2], MessageType: either(texts[3], "text"), ClientMessageID: either(texts[4], texts[5]), Metadata: f["metadata"],
	}
	return c, in, nil
}

// draft checks a message.
func (s *Server) draft(in sendRequest) (*draft, *chat.Refusal) {
	text, ref := checkText(in.Text, s.opts.MaxMessageLength)
	if ref != nil && ref.Code == codeTooLong {
		s.metrics.limits.WithLabelValues(limitLength).Inc()
	}
	if ref != nil {
		return nil, ref
	}
	if in.MessageType != "" && in.MessageType != "text" {
		return nil, refuseRequest(http.StatusBadRequest, "unsupported_message_type", "Only text messages can be sent")
	}
	metadata, id, ref := checkMetadata(in.Metadata, in.ClientMessageID)
	if ref != nil {
		return nil, ref
	}
	return &draft{text: text, id: id, metadata: metadata, address: in.Address}, nil
}

// sendMessage sends a visitor's message and waits for what comes of it, or for the end of ctx; the send itself goes on then.
func (s *Server) sendMessage(ctx context.Context, g *chat.Grant, in sendRequest) (*sendReply, *chat.Refusal) {
	d, ref := s.draft(in)
	if ref != nil {
		return nil, ref
	}
	reply, f := s.send(ctx, g, d)
	if f != nil {
		return nil, f.Refusal
	}
	return reply, nil
}

// send makes sure that a message is sent once, however often the visitor asks, and that nobody's leaving cancels it.
func (s *Server) send(ctx context.Context, g *chat.Grant, d *draft) (*sendReply, *failure) {
	v := g.Visitor
	a, first, ref := s.sends.begin(sendKey{v.SessionID, d.id}, d.text)
	if ref != nil {
		return nil, &failure{Refusal: ref}
	}
	if !first {
		return s.repeat(ctx, v, a)
	}
	if s.isDraining() {
		f := &failure{Refusal: s.refuseDraining()}
		s.sends.finish(a, outcome{failure: f})
		return nil, f
	}
	started := s.spawnSend(func(ctx context.Context) { s.sends.finish(a, s.try(ctx, g, d, a)) })
	if !started {
		s.sends.finish(a, outcome{failure: fail(errStopped)})
	}
	select {
	case <-a.done:
		return a.outcome.reply, a.outcome.failure
	case <-ctx.Done():
		return nil, fail(context.Cause(ctx))
	}
}

// try sends a message that the limits admit. ctx ends with the server.
func (s *Server) try(ctx context.Context, g *chat.Grant, d *draft, a *attempt) outcome {
	place, f := s.reserve(ctx, g.Visitor)
	if f != nil {
		return s.beyond(ctx, g.Visitor, d, f)
	}
	if f := s.pace(g.Visitor); f != nil {
		place.release(rowNone)
		return outcome{failure: f}
	}
	d.place = place
	o := s.carryOut(ctx, g, d, a)
	place.release(o.effect)
	return o
}

// beyond answers a message for which the session has no room, unless it is the repeat of one that is stored.
func (s *Server) beyond(ctx context.Context, v *chat.Visitor, d *draft, f *failure) outcome {
	if d.id != "" && f.Code == codeMessageLimit {
		if id, err := s.storedID(ctx, v, d.id); err == nil && id != "" {
			return outcome{reply: accepted(v, id, d.id), stored: true}
		}
	}
	return outcome{failure: f}
}

// pace applies the limit of messages a minute.
func (s *Server) pace(v *chat.Visitor) *failure {
	limit := v.RateLimitPerMinute
	if limit <= 0 {
		limit = s.opts.MessagesPerMinute
	}
	current, wait, ok := s.sends.take(v.SessionID, limit)
	if ok {
		return nil
	}
	s.metrics.limits.WithLabelValues(limitMessages).Inc()
	return &failure{Refusal: chat.RefuseLimit(codeRateLimit, "Rate limit exceeded", wait), fields: map[string]any{
		"current_count": current, "limit_per_minute": limit, "reset_time": isoTime(s.opts.Now().Add(wait)),
	}}
}

// isoTime is a time as JavaScript writes it.
func isoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// repeat answers a message that was sent before. While the first send runs it waits for the id of its row only.
func (s *Server) repeat(ctx context.Context, v *chat.Visitor, a *attempt) (*sendReply, *failure) {
	timer := time.NewTimer(knownWait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, fail(context.Cause(ctx))
	case <-a.known:
	case <-timer.C:
	}
	if o, over := s.sends.result(a); over {
		return o.reply, o.failure
	}
	id, err := s.lookUp(ctx, v, a)
	if err != nil {
		return nil, fail(err)
	}
	if id == "" {
		ref := chat.RefuseUnavailable(s.retryIn(s.opts.Retry), nil)
		ref.Code, ref.Message = "send_in_progress", "The message is still being sent"
		return nil, &failure{Refusal: ref}
	}
	return accepted(v, id, a.key.client), nil
}

// lookUp returns the id of a running send's row, if it is known by now. Where nobody watches the conversation only the table tells; one
// repeat at a time asks it.
func (s *Server) lookUp(ctx context.Context, v *chat.Visitor, a *attempt) (string, error) {
	if id := s.sends.messageID(a); id != "" {
		return id, nil
	}
	select {
	case a.asking <- struct{}{}:
		defer func() { <-a.asking }()
	default:
		return "", nil
	}
	id, err := s.storedID(ctx, v, a.key.client)
	if id != "" {
		s.sends.observed(a.key, id)
	}
	return id, err
}

// storedID finds the row of a message that was sent before, perhaps through another process; "" when there is none.
func (s *Server) storedID(ctx context.Context, v *chat.Visitor, clientMessageID string) (string, error) {
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	raw, err := s.opts.Store.MessageByClientID(bounded, v, clientMessageID)
	if err != nil || raw == nil {
		return "", unavailable(ctx, err)
	}
	row, err := chat.DecodeRow(raw, nil)
	if err != nil {
		return "", unavailable(ctx, err)
	}
	return row.ID, nil
}

// unavailable makes a refusal of an upstream error, unless the work itself was given up.
func unavailable(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return causeOf(ctx, err)
	}
	return chat.RefuseUnavailable(functionRetry, err)
}
