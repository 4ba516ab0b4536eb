package standin

import (
	"net/http"
	"time"
)

// Variant is one of the bodies that validate_temp_chat_session has had in the field.
type Variant uint8

// The variants. A, B, C, D and E answer; the others fail in the ways in which deployments do.
const (
	VariantA              Variant = iota // 0006: thirteen columns, no row for an unknown token
	VariantB                             // 0008: ten columns, one row with is_valid=false for an unknown token
	VariantC                             // 0009: as B
	VariantD                             // 0010: as B
	VariantE                             // 20250110000004 repaired: as D plus two private columns
	VariantBrokenColumn                  // SQLSTATE 42703: reads a column that does not exist
	VariantBrokenFunction                // 42883: calls a vault function that does not exist
	VariantRaises                        // P0001: the vault function refuses the caller's role
	VariantTimeout                       // 57014: statement timeout
	VariantMissing                       // PGRST202: the function is not there
)

// sessionView is a session with what belongs to it.
type sessionView struct {
	session, link, agent Row
	userMessages         int // rows with role user in the conversation
	now                  time.Time
}

func (v *sessionView) active() bool {
	return v.session.text("status") == "active" && v.link.instant("expires_at").After(v.now)
}

func (v *sessionView) agentName() string {
	if name := v.agent.text("name"); name != "" {
		return name
	}
	return "AI Assistant"
}

// view finds the session of a token, which must be exact to the letter; nil means unknown. The database must be locked.
func (tx *Tx) view(token string) (*sessionView, error) {
	vaultID := tx.db.vaultIDs[stripSpace(token)]
	if vaultID == "" || tx.db.secrets[vaultID] != token {
		return nil, nil
	}
	session, err := tx.first(TableSessions, Row{"vault_session_token_id": vaultID})
	if err != nil || session == nil {
		return nil, err
	}
	v := &sessionView{session: session, now: tx.now}
	if v.link, err = tx.first(TableLinks, Row{"id": session["link_id"]}); err != nil {
		return nil, err
	}
	if v.agent, err = tx.first(TableAgents, Row{"id": v.link["agent_id"]}); err != nil {
		return nil, err
	}
	_, counted, err := tx.matching(TableMessages, Row{"conversation_id": session["conversation_id"], "role": "user"})
	v.userMessages = len(counted)
	return v, err
}

func (tx *Tx) first(table string, where Row) (Row, error) {
	rows, err := tx.Rows(table, where)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

// column is one column of an RPC result.
type column struct {
	name  string
	value any
}

// validate runs the RPC in the chosen variant: nil columns mean no row.
func (db *DB) validate(token string) ([]column, error) {
	variant := db.validateVariant()
	if err := variant.failure(); err != nil {
		return nil, err
	}
	var columns []column
	err := db.Tx(func(tx *Tx) error {
		v, err := tx.view(token)
		if err != nil {
			return err
		}
		if variant == VariantA {
			columns = v.columnsA()
			return nil
		}
		columns = v.columnsB()
		if variant == VariantE {
			columns = append(columns, v.private()...)
		}
		return nil
	})
	return columns, err
}

func (v Variant) failure() error {
	switch v {
	case VariantBrokenColumn:
		return undefinedColumn("tcs", "expires_at")
	case VariantBrokenFunction:
		return missingVaultFunction()
	case VariantRaises:
		return pgErrorf("P0001", "Access denied: vault_decrypt requires service_role")
	case VariantTimeout:
		return pgErrorf("57014", "canceling statement due to statement timeout")
	case VariantMissing:
		return missingFunction("validate_temp_chat_session", "p_session_token")
	}
	return nil
}

func missingVaultFunction() error {
	err := pgErrorf("42883", "function vault.decrypt_secret(uuid) does not exist")
	err.Hint = "No function matches the given name and argument types. You might need to add explicit type casts."
	return err
}

func missingFunction(name, args string) error {
	return pgErrorf("PGRST202", "Could not find the function public.%s(%s) in the schema cache", name, args)
}

func (v *sessionView) columnsA() []column {
	if v == nil {
		return nil
	}
	valid := v.active() && v.link["is_active"] == true && v.userMessages < v.link.integer("max_messages_per_session")
	return []column{
		{"session_id", v.session["id"]}, {"link_id", v.link["id"]}, {"agent_id", v.link["agent_id"]}, {"agent_name", v.agent["name"]},
		{"conversation_id", v.session["conversation_id"]}, {"is_valid", valid}, {"expires_at", v.link["expires_at"]},
		{"title", v.link["title"]}, {"description", v.link["description"]}, {"welcome_message", v.link["welcome_message"]},
		{"max_messages_per_session", v.link["max_messages_per_session"]}, {"current_message_count", number(v.userMessages)},
		{"rate_limit_per_minute", v.link["rate_limit_per_minute"]},
	}
}

func (v *sessionView) columnsB() []column {
	if v == nil || !v.active() {
		return []column{
			{"is_valid", false}, {"session_id", nil}, {"conversation_id", nil}, {"agent_id", nil}, {"agent_name", nil},
			{"current_message_count", number(0)}, {"max_messages_per_session", number(0)},
			{"session_timeout_minutes", number(0)}, {"link_title", nil}, {"expires_at", nil},
		}
	}
	return []column{
		{"is_valid", true}, {"session_id", v.session["id"]}, {"conversation_id", v.session["conversation_id"]},
		{"agent_id", v.link["agent_id"]}, {"agent_name", v.agent["name"]}, {"current_message_count", number(v.userMessages)},
		{"max_messages_per_session", v.link["max_messages_per_session"]},
		{"session_timeout_minutes", v.link["session_timeout_minutes"]}, {"link_title", v.link["title"]},
		{"expires_at", v.link["expires_at"]},
	}
}

func (v *sessionView) private() []column {
	if v == nil || !v.active() {
		return []column{{"chat_intent", nil}, {"system_prompt_override", nil}}
	}
	return []column{{"chat_intent", v.link["chat_intent"]}, {"system_prompt_override", v.link["system_prompt_override"]}}
}

func encodeColumns(columns []column) []byte {
	body := []byte{'{'}
	for i, c := range columns {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendValue(append(appendString(body, c.name), ':'), c.value)
	}
	return append(body, '}')
}

// rpc serves POST /rest/v1/rpc/NAME.
func (h *restHandler) rpc(w http.ResponseWriter, r *http.Request, role, name string) {
	body, err := readBody(r)
	if err != nil {
		writeRESTError(w, role, err)
		return
	}
	args, err := bodyRows(body)
	switch {
	case err != nil || len(args) != 1:
		writeRESTError(w, role, pgErrorf("PGRST102", "Empty or invalid json"))
		return
	case name != "validate_temp_chat_session":
		writeRESTError(w, role, missingFunction(name, ""))
		return
	}
	token, ok := args[0]["p_session_token"].(string)
	if !ok || len(args[0]) != 1 {
		writeRESTError(w, role, missingFunction(name, ""))
		return
	}
	columns, err := h.db.validate(token)
	if err != nil {
		writeRESTError(w, role, err)
		return
	}
	if columns == nil {
		writeJSON(w, http.StatusOK, []byte("[]"))
		return
	}
	writeJSON(w, http.StatusOK, append(append([]byte{'['}, encodeColumns(columns)...), ']'))
}
