package standin

import (
	"encoding/json"
	"net/http"
)

// created is a row of create_temp_chat_session.
type created struct {
	sessionID, conversationID any
	token                     string
	agentID, agentName        any
	greeting                  any
	sendGreeting              any
	problem                   string
}

func (h *functionHandler) createSession(w http.ResponseWriter, r *http.Request, body []byte) {
	var in struct {
		Token      string  `json:"link_token"`
		Identifier *string `json:"participant_identifier"`
		Name       *string `json:"participant_name"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		h.internalError(w, err)
		return
	}
	if in.Token == "" {
		sendJSON(w, http.StatusBadRequest, failure{Error: "Missing link_token parameter"})
		return
	}
	row, err := h.call(rpcCreate, Row{
		"p_link_token": in.Token, "p_participant_identifier": in.Identifier, "p_participant_name": in.Name,
		"p_ip_address": clientIP(r), "p_user_agent": r.UserAgent(), "p_referrer": r.Referer(),
	})
	if err != nil {
		sendJSON(w, http.StatusBadRequest, failure{Error: "Failed to create session", Details: causeText(err)})
		return
	}
	if row["is_valid"] != true {
		problem := row.text("error_message")
		if problem == "" {
			problem = "Failed to create session"
		}
		sendJSON(w, http.StatusBadRequest, failure{Error: problem, Valid: denied})
		return
	}
	type session struct {
		ID             any    `json:"id"`
		Token          any    `json:"session_token"`
		ConversationID any    `json:"conversation_id"`
		AgentID        any    `json:"agent_id"`
		AgentName      any    `json:"agent_name"`
		MessageCount   int    `json:"message_count"`
		Status         string `json:"status"`
		Greeting       any    `json:"initial_agent_message"`
		SendGreeting   any    `json:"should_send_initial"`
	}
	sendJSON(w, http.StatusCreated, struct {
		Success bool               `json:"success"`
		Data    map[string]session `json:"data"`
	}{true, map[string]session{"session": {
		row["session_id"], row["session_token"], row["conversation_id"], row["agent_id"], row["agent_name"], 0, "active",
		row["initial_agent_message"], row["should_send_initial"],
	}}})
}

// createSession is the RPC create_temp_chat_session in its repaired form of 20250110000003.
func (db *DB) createSession(args Row) (Row, error) {
	token := db.sessionToken()
	vaultID := db.storeSecret(token)
	c := created{token: token}
	err := db.Tx(func(tx *Tx) error {
		link, err := tx.activeLink(args.text("p_link_token"))
		if err != nil {
			return err
		}
		if c.problem, err = tx.createProblem(link); err != nil || c.problem != "" {
			return err
		}
		agent, err := tx.first(TableAgents, Row{"id": link["agent_id"]})
		if err != nil {
			return err
		}
		c.agentID, c.agentName = link["agent_id"], agent["name"]
		c.greeting, c.sendGreeting = link["initial_agent_message"], link["send_initial_message"]
		return tx.openSession(link, vaultID, participant(args), &c)
	})
	switch {
	case err != nil:
		return nil, err
	case c.problem != "":
		return Row{"is_valid": false, "error_message": c.problem}, nil
	}
	return Row{
		"is_valid": true, "error_message": "", "session_id": c.sessionID, "session_token": c.token, "conversation_id": c.conversationID,
		"agent_id": c.agentID, "agent_name": c.agentName, "initial_agent_message": c.greeting, "should_send_initial": c.sendGreeting,
	}, nil
}

// participant gives the columns of the session that the caller of the RPC sets.
func participant(args Row) Row {
	row := make(Row)
	for _, name := range []string{"participant_identifier", "participant_name", "ip_address", "user_agent", "referrer"} {
		row[name] = args["p_"+name]
	}
	return row
}

// activeLink finds the active link of a token; blanks do not count. nil means that there is none.
func (tx *Tx) activeLink(token string) (Row, error) {
	vaultID := tx.db.vaultIDs[stripSpace(token)]
	if vaultID == "" {
		return nil, nil
	}
	return tx.first(TableLinks, Row{"vault_link_token_id": vaultID, "is_active": true})
}

func (tx *Tx) createProblem(link Row) (string, error) {
	if link == nil {
		return "Invalid chat link", nil
	}
	if !link.instant("expires_at").After(tx.now) {
		return "Chat link has expired", nil
	}
	sessions, err := tx.Rows(TableSessions, Row{"link_id": link["id"], "status": "active"})
	if err == nil && len(sessions) >= link.integer("max_sessions") {
		return "Maximum sessions reached", nil
	}
	return "", err
}

// openSession writes the conversation session, the session and the greeting.
func (tx *Tx) openSession(link Row, vaultID string, participant Row, c *created) error {
	c.conversationID = link["source_conversation_id"]
	if c.conversationID == nil {
		c.conversationID = tx.db.newID()
	}
	cs, err := tx.Insert(TableConversationSessions, Row{
		"conversation_id": c.conversationID, "agent_id": link["agent_id"], "title": link["title"],
	})
	if err != nil {
		return err
	}
	row := participant.clone()
	row["link_id"], row["vault_session_token_id"] = link["id"], vaultID
	row["conversation_id"], row["conversation_session_id"] = c.conversationID, cs["id"]
	session, err := tx.Insert(TableSessions, row)
	if err != nil {
		return err
	}
	c.sessionID = session["id"]
	if c.greeting == nil || c.sendGreeting != true {
		return nil
	}
	_, err = tx.Insert(TableMessages, Row{
		"conversation_id": c.conversationID, "session_id": cs["id"], "role": "assistant", "sender_agent_id": link["agent_id"],
		"content": map[string]any{"type": "text", "text": c.greeting, "metadata": map[string]any{
			"temporary_chat": true, "temp_session_id": session["id"], "temp_link_id": link["id"], "is_initial_greeting": true,
			"chat_intent": link["chat_intent"], "participant_name": session["participant_name"],
		}},
	})
	return err
}
