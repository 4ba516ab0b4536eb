package standin

import (
	"encoding/json"
	"net/http"
)

// created is a row of create_temp_chat_session.
type created struct {
	sessionID, token, conversationID any
	agentID, agentName               any
	greeting                         any
	sendGreeting                     any
	problem                          string
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
	c, err := h.s.db.createSession(in.Token, Row{
		"participant_identifier": in.Identifier, "participant_name": in.Name, "ip_address": clientIP(r),
		"user_agent": r.UserAgent(), "referrer": r.Referer(),
	})
	if err != nil {
		sendJSON(w, http.StatusBadRequest, failure{Error: "Failed to create session", Details: causeText(err)})
		return
	}
	if c.problem != "" {
		sendJSON(w, http.StatusBadRequest, failure{Error: c.problem, Valid: denied})
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
		c.sessionID, c.token, c.conversationID, c.agentID, c.agentName, 0, "active", c.greeting, c.sendGreeting,
	}}})
}

// createSession is the RPC create_temp_chat_session in its repaired form of 20250110000003.
func (db *DB) createSession(linkToken string, participant Row) (c created, err error) {
	c.token = db.sessionToken()
	vaultID := db.storeSecret(c.token.(string))
	err = db.Tx(func(tx *Tx) error {
		link, err := tx.activeLink(linkToken)
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
		return tx.openSession(link, vaultID, participant, &c)
	})
	return c, err
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
