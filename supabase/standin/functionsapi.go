package standin

import (
	"encoding/json"
	"net/http"
)

// api gives the handler of one path of temporary-chat-api. Methods are not checked there.
func (h *functionHandler) api(path string) func(http.ResponseWriter, *http.Request, []byte) {
	switch path {
	case "", "health":
		return h.health
	case "validate":
		return h.validateLink
	case "validate-session":
		return h.validateSession
	case "create-session":
		return h.createSession
	case "end-session":
		return h.endSession
	}
	return h.unknownPath
}

func (h *functionHandler) health(w http.ResponseWriter, _ *http.Request, _ []byte) {
	sendJSON(w, http.StatusOK, struct {
		Status      string            `json:"status"`
		Message     string            `json:"message"`
		Timestamp   string            `json:"timestamp"`
		Version     string            `json:"version"`
		Environment map[string]string `json:"environment"`
	}{"healthy", "Temporary Chat API is running", h.timestamp(), "1.0.0",
		map[string]string{"supabase_url": "configured", "service_role_key": "configured"}})
}

func (h *functionHandler) unknownPath(w http.ResponseWriter, r *http.Request, _ []byte) {
	sendJSON(w, http.StatusNotFound, struct {
		Error     string         `json:"error"`
		Path      string         `json:"requested_path"`
		Endpoints []string       `json:"available_endpoints"`
		Debug     map[string]any `json:"debug"`
	}{"Not Found", r.URL.Path, []string{"/validate", "/validate-session", "/create-session", "/end-session", "/health"},
		map[string]any{"method": r.Method}})
}

type linkView struct {
	ID             any    `json:"id"`
	Title          any    `json:"title"`
	Description    any    `json:"description"`
	Welcome        any    `json:"welcome_message"`
	AgentName      string `json:"agent_name"`
	ExpiresAt      string `json:"expires_at"`
	MaxMessages    any    `json:"max_messages_per_session"`
	TimeoutMinutes any    `json:"session_timeout_minutes"`
	Active         any    `json:"is_active"`
}

func (h *functionHandler) validateLink(w http.ResponseWriter, _ *http.Request, body []byte) {
	var in struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		h.internalError(w, err)
		return
	}
	if in.Token == "" {
		sendJSON(w, http.StatusBadRequest, failure{Error: "Missing token parameter"})
		return
	}
	active, link, agent, err := h.activeLink(in.Token)
	status, text := h.linkProblem(active, link)
	switch {
	case err != nil:
		sendJSON(w, http.StatusInternalServerError, failure{Success: denied, Error: "Failed to validate chat link", Details: causeText(err)})
	case text != "":
		sendJSON(w, status, failure{Success: denied, Error: text})
	default:
		sendJSON(w, http.StatusOK, map[string]any{"success": true, "data": map[string]any{"link": linkView{
			link["id"], link["title"], link["description"], link["welcome_message"], (&sessionView{agent: agent}).agentName(),
			formatInstant(link.instant("expires_at")), link["max_messages_per_session"], link["session_timeout_minutes"], link["is_active"],
		}}})
	}
}

// activeLink finds the active link of a token, blanks not counted, with its agent. active says how many links are active at all.
func (h *functionHandler) activeLink(token string) (active int, link, agent Row, err error) {
	var links []Row
	err = h.transact(func(tx Statements) (err error) {
		links, err = tx.Rows(TableLinks, Row{"is_active": true})
		return err
	})
	if err != nil {
		return 0, nil, nil, err
	}
	ctx, cancel := h.database()
	defer cancel()
	for _, row := range links {
		secret, err := h.store.Secret(ctx, row.text("vault_link_token_id"))
		if err != nil {
			return len(links), nil, nil, err
		}
		if secret != "" && stripSpace(secret) == stripSpace(token) {
			link = row
			break
		}
	}
	if link == nil {
		return len(links), nil, nil, nil
	}
	err = h.transact(func(tx Statements) (err error) {
		agent, err = firstRow(tx, TableAgents, Row{"id": link["agent_id"]})
		return err
	})
	return len(links), link, agent, err
}

func (h *functionHandler) linkProblem(active int, link Row) (int, string) {
	switch {
	case active == 0:
		return http.StatusNotFound, "No active chat links found"
	case link == nil:
		return http.StatusNotFound, "Invalid or expired chat link"
	case !link.instant("expires_at").After(h.s.opts.Now()):
		return http.StatusGone, "Chat link has expired"
	case link.integer("session_count") >= link.integer("max_sessions"):
		return http.StatusTooManyRequests, "Maximum number of chat sessions reached"
	}
	return 0, ""
}

// validated is the row of validate_temp_chat_session, nil when there is none.
func (db *DB) validated(token string) (Row, error) {
	columns, err := db.validate(token)
	if err != nil || columns == nil {
		return nil, err
	}
	row := make(Row, len(columns))
	for _, c := range columns {
		row[c.name] = c.value
	}
	return row, nil
}

func (h *functionHandler) validateSession(w http.ResponseWriter, _ *http.Request, body []byte) {
	var in struct {
		Token string `json:"session_token"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		h.internalError(w, err)
		return
	}
	if in.Token == "" {
		sendJSON(w, http.StatusBadRequest, failure{Error: "Missing session_token parameter", Valid: denied})
		return
	}
	row, err := h.call(rpcValidate, Row{"p_session_token": in.Token})
	switch {
	case err != nil:
		sendJSON(w, http.StatusBadRequest, failure{Error: "Session validation failed", Details: causeText(err), Valid: denied})
	case row == nil:
		sendJSON(w, http.StatusUnauthorized, failure{Error: "Invalid or expired session", Valid: denied, Reason: "Session not found"})
	case row["is_valid"] != true:
		sendJSON(w, http.StatusUnauthorized, failure{Error: "Invalid or expired session", Valid: denied, Reason: "Session not valid"})
	default:
		writeJSON(w, http.StatusOK, encodeColumns(sessionBody(row)))
	}
}

// sessionBody gives the body of a valid session; columns that the RPC variant lacks vanish, as undefined does in JSON.
func sessionBody(row Row) []column {
	columns := []column{{"valid", true}}
	for _, c := range []column{
		{"session_id", "session_id"}, {"agent_id", "agent_id"}, {"agent_name", "agent_name"}, {"conversation_id", "conversation_id"},
		{"title", "title"}, {"description", "description"}, {"welcome_message", "welcome_message"},
		{"max_messages", "max_messages_per_session"}, {"current_messages", "current_message_count"},
		{"rate_limit", "rate_limit_per_minute"}, {"expires_at", "expires_at"},
	} {
		if v, ok := row[c.value.(string)]; ok {
			columns = append(columns, column{c.name, v})
		}
	}
	return columns
}

func (h *functionHandler) endSession(w http.ResponseWriter, _ *http.Request, body []byte) {
	var in struct {
		Token    string `json:"session_token"`
		Rating   any    `json:"satisfaction_rating"`
		Feedback any    `json:"feedback_text"`
		Reason   string `json:"end_reason"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		h.internalError(w, err)
		return
	}
	if in.Token == "" {
		sendJSON(w, http.StatusBadRequest, failure{Error: "Missing session_token parameter"})
		return
	}
	if in.Reason == "" {
		in.Reason = "completed"
	}
	row, err := h.call(rpcEnd, Row{"p_session_token": in.Token, "p_end_reason": in.Reason,
		"p_satisfaction_rating": plainJSON(in.Rating), "p_feedback_text": plainJSON(in.Feedback)})
	switch {
	case err != nil:
		sendJSON(w, http.StatusBadRequest, failure{Error: "Failed to end session", Details: causeText(err)})
	case row[rpcEnd] != true:
		sendJSON(w, http.StatusNotFound, failure{Error: "Session not found or already ended", Ended: denied})
	default:
		sendJSON(w, http.StatusOK, struct {
			Success bool   `json:"success"`
			Ended   bool   `json:"ended"`
			Reason  string `json:"end_reason"`
			EndedAt string `json:"ended_at"`
			Message string `json:"message"`
		}{true, true, in.Reason, h.timestamp(), "Session ended successfully"})
	}
}

// endSession is the RPC end_temp_chat_session, repaired unless it is set to be broken.
func (db *DB) endSession(args Row) (Row, error) {
	if db.isEndBroken() {
		return nil, missingVaultFunction()
	}
	ended := false
	err := db.Tx(func(tx *Tx) error {
		v, err := tx.view(args.text("p_session_token"))
		if err != nil || v == nil || v.session.text("status") != "active" {
			return err
		}
		ended = true
		set := Row{"status": "ended", "end_reason": args["p_end_reason"], "ended_at": tx.now,
			"satisfaction_rating": args["p_satisfaction_rating"], "feedback_text": args["p_feedback_text"]}
		if _, err := tx.Update(TableSessions, Row{"id": v.session["id"]}, set); err != nil {
			return err
		}
		_, err = tx.Update(TableConversationSessions, Row{"id": v.session["conversation_session_id"]},
			Row{"status": "completed", "ended_at": tx.now})
		return err
	})
	if err != nil {
		return nil, err
	}
	return Row{rpcEnd: ended}, nil
}

// plainJSON turns a number decoded by encoding/json into one that a column takes.
func plainJSON(v any) any {
	if f, ok := v.(float64); ok {
		return json.Number(formatFloat(f))
	}
	return v
}
