package standin

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf16"
)

const (
	maxMessageUnits = 4000 // UTF-16 units
	apology         = "I apologize, but I encountered an error processing your message. Please try again."
	removedNotice   = "[Content removed for security]"
)

var (
	unsafeMarkup = regexp.MustCompile(`(?is)<(script|iframe|object|embed)\b.*?</(script|iframe|object|embed)>|` +
		`<(script|iframe|object|embed)\b[^>]*>|javascript:|vbscript:|data:text/html`)
	longBlanks = regexp.MustCompile(`\s{3,}`)
)

func sanitize(s string) string {
	s = strings.TrimSpace(s)
	s = unsafeMarkup.ReplaceAllString(s, removedNotice)
	s = longBlanks.ReplaceAllString(s, "   ")
	units := utf16.Encode([]rune(s))
	if len(units) > maxMessageUnits {
		s = string(utf16.Decode(units[:maxMessageUnits]))
	}
	return s
}

// turn is one visitor message on its way through temporary-chat-handler.
type turn struct {
	view        *sessionView
	text        string
	messageType string
	metadata    map[string]any
	ip          string
	visitorRow  Row
	remaining   int
}

// chatFailure is the body of a failure after the visitor's row was stored.
type chatFailure struct {
	Success        bool   `json:"success"`
	Error          string `json:"error"`
	MessageID      any    `json:"message_id"`
	ConversationID any    `json:"conversation_id"`
	Message        string `json:"message,omitempty"`
}

type chatReply struct {
	Success        bool            `json:"success"`
	MessageID      any             `json:"message_id"`
	ConversationID any             `json:"conversation_id"`
	SessionID      any             `json:"session_id"`
	AgentName      any             `json:"agent_name"`
	ProcessedAt    string          `json:"processed_at"`
	Remaining      int             `json:"remaining_messages"`
	Response       json.RawMessage `json:"response"`
}

// message serves temporary-chat-handler.
func (h *functionHandler) message(w http.ResponseWriter, r *http.Request, body []byte) {
	var in struct {
		Token    string         `json:"session_token"`
		Message  string         `json:"message"`
		Type     string         `json:"message_type"`
		Metadata map[string]any `json:"metadata"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		h.internalError(w, err)
		return
	}
	switch {
	case in.Token == "" || in.Message == "":
		sendJSON(w, http.StatusBadRequest, failure{Error: "Missing required parameters: session_token, message"})
		return
	case len(utf16.Encode([]rune(in.Message))) > maxMessageUnits:
		sendJSON(w, http.StatusBadRequest, failure{Error: "Message too long (maximum 4000 characters)"})
		return
	}
	sessionID := h.admit(w, in.Token)
	if sessionID == nil {
		return
	}
	t := &turn{text: sanitize(in.Message), messageType: in.Type, metadata: in.Metadata, ip: clientIP(r)}
	if status, problem := h.storeVisitor(t, sessionID); problem != nil {
		sendJSON(w, status, problem)
		return
	}
	h.answer(w, t)
}

// sessionByID reads a session with what belongs to it; nil when it is gone.
func sessionByID(tx Statements, id any) (*sessionView, error) {
	session, err := firstRow(tx, TableSessions, Row{"id": id})
	if err != nil || session == nil {
		return nil, err
	}
	v := &sessionView{session: session}
	if v.link, err = firstRow(tx, TableLinks, Row{"id": session["link_id"]}); err != nil {
		return nil, err
	}
	if v.agent, err = firstRow(tx, TableAgents, Row{"id": v.link["agent_id"]}); err != nil {
		return nil, err
	}
	counted, err := tx.Rows(TableMessages, Row{"conversation_id": session["conversation_id"], "role": "user"})
	v.userMessages = len(counted)
	return v, err
}

// storeVisitor writes the visitor's row and the session's counters.
func (h *functionHandler) storeVisitor(t *turn, sessionID any) (int, any) {
	var stage string
	err := h.transact(func(tx Statements) (err error) {
		stage = "Internal server error"
		if t.view, err = sessionByID(tx, sessionID); err != nil || t.view == nil {
			return err
		}
		stage = "Failed to create conversation session"
		if t.view.session["conversation_session_id"] == nil {
			return pgErrorf("PGRST204", "Could not find the 'metadata' column of 'conversation_sessions' in the schema cache")
		}
		stage = "Failed to save message"
		if t.text == "" {
			return pgErrorf("23514", "new row for relation %q violates check constraint", TableMessages)
		}
		if t.visitorRow, err = tx.Insert(TableMessages, t.row()); err != nil {
			return err
		}
		t.remaining = t.view.link.integer("max_messages_per_session") - t.view.userMessages - 1
		_, err = tx.Update(TableSessions, Row{"id": t.view.session["id"]}, Row{
			"message_count": t.view.userMessages + 1, "session_metadata": t.visitorMetadata(),
		})
		return err
	})
	switch {
	case err != nil:
		return http.StatusInternalServerError, failure{Error: stage, Details: causeText(err)}
	case t.view == nil:
		return http.StatusUnauthorized, failure{Error: "Invalid or expired session"}
	}
	return 0, nil
}

func (t *turn) visitorMetadata() map[string]any {
	if t.metadata == nil {
		return map[string]any{}
	}
	return t.metadata
}

// row is the visitor's row: role system, both senders null, the visitor's own metadata spread into content.metadata.
func (t *turn) row() Row {
	metadata := map[string]any{}
	for key, v := range t.metadata {
		metadata[key] = v
	}
	for key, v := range map[string]any{
		"temporary_chat": true, "temp_session_id": t.view.session["id"], "ip_address": t.ip, "original_role": "user",
		"is_anonymous_user": true, "participant_name": t.view.session["participant_name"],
	} {
		metadata[key] = v
	}
	kind := t.messageType
	if kind == "" {
		kind = "text"
	}
	return Row{
		"conversation_id": t.view.session["conversation_id"], "session_id": t.view.session["conversation_session_id"],
		"role": "system", "content": map[string]any{"type": kind, "text": t.text, "metadata": metadata},
	}
}

// answer runs the agent, stores its row and replies, in the order that the faults ask for.
func (h *functionHandler) answer(w http.ResponseWriter, t *turn) {
	faults := h.s.faults
	conversation, visitor := t.view.session["conversation_id"], t.visitorRow["id"]
	if _, failed := faults.fire(AgentFails, ""); failed {
		sendJSON(w, http.StatusInternalServerError, chatFailure{false, "Failed to process message with agent", visitor, conversation, ""})
		return
	}
	if !h.s.wait(h.s.opts.AgentDelay) {
		panic(http.ErrAbortHandler)
	}
	text := h.s.opts.Agent(h.s.ctx, t.text)
	row := t.agentRow(text, h.s.opts.NewID(), h.s.opts.Now())
	insert := func() error {
		return h.transact(func(tx Statements) error {
			_, err := tx.Insert(TableMessages, row)
			return err
		})
	}
	_, lost := faults.fire(RowNotStored, "")
	late, isLate := faults.fire(ReplyBeforeRow, "")
	switch {
	case lost:
	case isLate:
		defer func() {
			_ = http.NewResponseController(w).Flush() // an unflushed reply goes out when the handler returns
			h.s.after(late.Delay, func() { _ = insert() })
		}()
	default:
		if err := insert(); err != nil {
			sendJSON(w, http.StatusInternalServerError, chatFailure{false, "Chat processing failed", visitor, conversation, apology})
			return
		}
		if early, ok := faults.fire(RowBeforeReply, ""); ok && !h.s.wait(early.Delay) {
			panic(http.ErrAbortHandler)
		}
	}
	sendJSON(w, http.StatusOK, chatReply{true, visitor, conversation, t.view.session["id"], t.view.agentName(),
		h.timestamp(), t.remaining, h.response(text, row)})
}

// response is the text of the answer, or with the fault ObjectResponse the whole message as the newer chat function gives it.
func (h *functionHandler) response(text string, row Row) json.RawMessage {
	if _, ok := h.s.faults.fire(ObjectResponse, ""); !ok {
		return appendString(nil, text)
	}
	object, err := json.Marshal(map[string]any{
		"id": row["id"], "version": "2.0.0", "role": "assistant", "content": row["content"], "metadata": row["metadata"],
		"context": row["context"],
	})
	if err != nil {
		return appendString(nil, text)
	}
	return object
}

// agentRow is what the chat function stores: no temporary session id, but all its private workings in metadata.
func (t *turn) agentRow(text, id string, now time.Time) Row {
	session := t.view.session
	return Row{
		"id": id, "version": "2.0.0", "conversation_id": session["conversation_id"],
		"session_id": session["conversation_session_id"], "role": "assistant", "sender_agent_id": t.view.link["agent_id"],
		"content":  map[string]any{"type": "text", "text": text},
		"metadata": agentMetadata(t.text, text),
		"context": map[string]any{"conversation_id": session["conversation_id"], "agent_id": t.view.link["agent_id"],
			"session_id": session["conversation_session_id"]},
		"created_at": now,
	}
}

func agentMetadata(question, answer string) map[string]any {
	return map[string]any{
		"tokens": 1312, "processing_time_ms": 2890, "tool_execution_count": 1,
		"processingDetails": map[string]any{
			"llm_calls": []any{map[string]any{
				"stage": "main_llm_call",
				"request": map[string]any{"messages": []any{
					map[string]any{"role": "system", "content": "SECRET PROMPT " + strings.Repeat("private instructions ", 100)},
					map[string]any{"role": "user", "content": question},
				}},
				"response": map[string]any{"text": answer, "tool_calls": []any{
					map[string]any{"name": "crm_lookup", "arguments": "{}"},
				}},
			}},
			"intent_classification": map[string]any{"reasoning": "private reasoning"},
		},
	}
}
