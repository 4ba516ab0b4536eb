package standin

import (
	"net/http"
	"time"
)

// admit applies the validate RPC, the message limit and the rate limit. It gives the id of the session, or nil when it has
// answered.
func (h *functionHandler) admit(w http.ResponseWriter, token string) (sessionID any) {
	row, err := h.call(rpcValidate, Row{"p_session_token": token})
	switch {
	case err != nil:
		sendJSON(w, http.StatusUnauthorized, failure{Error: "Invalid or expired session", Details: causeText(err)})
		return nil
	case row == nil || row["is_valid"] != true:
		sendJSON(w, http.StatusUnauthorized, failure{Error: "Invalid or expired session", Details: "Session not found or no longer valid"})
		return nil
	case row.integer("current_message_count") >= row.integer("max_messages_per_session"):
		sendJSON(w, http.StatusTooManyRequests, struct {
			Error   string `json:"error"`
			Max     any    `json:"max_messages"`
			Current any    `json:"current_messages"`
		}{"Message limit reached for this session", row["max_messages_per_session"], row["current_message_count"]})
		return nil
	}
	rate, err := h.call(rpcRate, Row{"p_session_token": token})
	if err != nil || rate == nil || rate.integer("current_count") < rate.integer("limit_per_minute") {
		return row["session_id"] // an error of this RPC is ignored
	}
	sendJSON(w, http.StatusTooManyRequests, struct {
		Error   string `json:"error"`
		Current int    `json:"current_count"`
		Limit   int    `json:"limit_per_minute"`
		Reset   string `json:"reset_time"`
	}{"Rate limit exceeded", rate.integer("current_count"), rate.integer("limit_per_minute"), formatInstant(rate.instant("reset_time"))})
	return nil
}

// rate is check_temp_chat_rate_limit (0012): rows of role user in the current calendar minute of the conversation.
func (db *DB) rate(token string) (Row, error) {
	var row Row
	err := db.Tx(func(tx *Tx) error {
		v, err := tx.view(token)
		if err != nil {
			return err
		}
		minute := tx.now.Truncate(time.Minute)
		if v == nil {
			row = Row{"allowed": false, "current_count": number(0), "limit_per_minute": number(0), "reset_time": tx.now.Add(time.Minute)}
			return nil
		}
		rows, err := tx.Rows(TableMessages, Row{"conversation_id": v.session["conversation_id"], "role": "user"})
		current := 0
		for _, message := range rows {
			if !message.instant("created_at").Before(minute) {
				current++
			}
		}
		row = Row{"allowed": current < v.link.integer("rate_limit_per_minute"), "current_count": number(current),
			"limit_per_minute": v.link["rate_limit_per_minute"], "reset_time": minute.Add(time.Minute)}
		return err
	})
	return row, err
}
