package standin

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Names of the tables that New defines.
const (
	TableMessages             = "chat_messages_v2"
	TableLinks                = "temporary_chat_links"
	TableSessions             = "temporary_chat_sessions"
	TableConversationSessions = "conversation_sessions"
	TableAgents               = "agents"
)

func freshID(d Defaults) any            { return d.NewID() }
func startTime(d Defaults) any          { return d.Now }
func constant(v any) func(Defaults) any { return func(Defaults) any { return v } }
func textColumn(name string) Column     { return Column{Name: name, Type: "text"} }
func uuidColumn(name string) Column     { return Column{Name: name, Type: "uuid"} }
func required(c Column) Column          { c.NotNull = true; return c }
func timeColumn(name string) Column     { return Column{Name: name, Type: "timestamptz"} }
func counter(name string) Column        { return Column{Name: name, Type: "int4", Default: constant(0)} }
func touched(name string) Column        { return Column{Name: name, Type: "timestamptz", Default: startTime} }
func primary() Column                   { return Column{Name: "id", Type: "uuid", NotNull: true, Default: freshID} }
func objectColumn(name string) Column   { return Column{Name: name, Type: "jsonb", Default: emptyJSON} }
func limitColumn(name string, n int) Column {
	return Column{Name: name, Type: "int4", Default: constant(n)}
}
func varchar(name string, n int) Column { return Column{Name: name, Type: "varchar", MaxLength: n} }
func emptyJSON(Defaults) any            { return json.RawMessage("{}") }

func touchUpdatedAt(now time.Time, old, row Row) {
	if old != nil {
		row["updated_at"] = now
	}
}

// chatTables are the tables of temporary chat, parents first.
func chatTables(relaxed, strict bool) []TableDef {
	return []TableDef{agentsTable(), conversationSessionsTable(strict), messagesTable(relaxed), linksTable(), sessionsTable()}
}

func agentsTable() TableDef {
	return TableDef{
		Name: TableAgents, PrimaryKey: []string{"id"}, RLS: true,
		Columns: []Column{primary(), required(textColumn("name")), uuidColumn("user_id"), touched("created_at"), touched("updated_at")},
		Before:  touchUpdatedAt,
	}
}

func conversationSessionsTable(strict bool) TableDef {
	status := varchar("status", 20)
	status.Default = constant("active")
	def := TableDef{
		Name: TableConversationSessions, PrimaryKey: []string{"id"}, FullIdentity: true, RLS: true,
		Columns: []Column{
			primary(), required(uuidColumn("conversation_id")), uuidColumn("user_id"), uuidColumn("agent_id"), touched("started_at"), timeColumn("ended_at"),
			touched("last_active"), counter("message_count"), counter("total_tokens_used"), counter("tool_calls_count"),
			objectColumn("session_state"), objectColumn("interruption_context"), status, textColumn("title"),
		},
		Indexed: []string{"conversation_id"},
		Checks: []Check{
			oneOf("conversation_sessions_status_check", "status", "active", "paused", "completed", "abandoned"),
			{Name: "check_session_actor", OK: func(r Row) bool { return r["user_id"] != nil || r["agent_id"] != nil }},
		},
		ForeignKeys: []ForeignKey{{Name: "conversation_sessions_agent_id_fkey", Column: "agent_id", RefTable: TableAgents, RefColumn: "id"}},
	}
	if strict {
		def.Unique = []Unique{{Name: "conversation_sessions_conversation_id_key", Columns: []string{"conversation_id"}}}
	}
	return def
}

func messagesTable(relaxed bool) TableDef {
	version := varchar("version", 10)
	version.Default = constant("1.0.0")
	def := TableDef{
		Name: TableMessages, PrimaryKey: []string{"id"}, RLS: true, Before: touchUpdatedAt, After: countMessage,
		Columns: []Column{
			primary(), required(version), required(uuidColumn("conversation_id")), required(uuidColumn("session_id")), uuidColumn("parent_message_id"),
			uuidColumn("channel_id"), uuidColumn("sender_user_id"), uuidColumn("sender_agent_id"), required(varchar("role", 20)),
			required(Column{Name: "content", Type: "jsonb"}), objectColumn("metadata"), objectColumn("context"),
			{Name: "tools", Type: "jsonb"}, {Name: "memory_refs", Type: "_uuid"}, uuidColumn("state_snapshot_id"),
			{Name: "audit", Type: "jsonb"}, touched("created_at"), touched("updated_at"),
		},
		Indexed: []string{"conversation_id", "session_id"},
		Checks: []Check{
			oneOf("chat_messages_v2_role_check", "role", "system", "user", "assistant", "tool"),
			{Name: "check_actor_exclusivity", OK: actorExclusivity},
		},
		ForeignKeys: []ForeignKey{
			{Name: "chat_messages_v2_conversation_id_fkey", Column: "conversation_id", RefTable: TableConversationSessions, RefColumn: "conversation_id"},
			{Name: "chat_messages_v2_sender_agent_id_fkey", Column: "sender_agent_id", RefTable: TableAgents, RefColumn: "id"},
		},
	}
	if !relaxed {
		def.Checks = append(def.Checks, Check{Name: "check_content_structure", OK: contentStructure})
	}
	return def
}

func linksTable() TableDef {
	return TableDef{
		Name: TableLinks, PrimaryKey: []string{"id"}, RLS: true, Before: touchUpdatedAt,
		Readable: func(_ string, r Row, now time.Time) bool {
			return r["is_active"] == true && r.instant("expires_at").After(now)
		},
		Columns: []Column{
			primary(), required(uuidColumn("agent_id")), required(uuidColumn("user_id")), required(uuidColumn("vault_link_token_id")), textColumn("short_code"),
			required(textColumn("title")), textColumn("description"), textColumn("welcome_message"), required(timeColumn("expires_at")),
			limitColumn("max_sessions", 1), limitColumn("max_messages_per_session", 100), limitColumn("session_timeout_minutes", 30),
			counter("session_count"), counter("total_messages"), timeColumn("last_accessed_at"),
			{Name: "is_active", Type: "bool", Default: constant(true)}, {Name: "allowed_domains", Type: "_text"},
			{Name: "allowed_ips", Type: "_inet"}, limitColumn("rate_limit_per_minute", 10), objectColumn("link_metadata"),
			objectColumn("ui_customization"), touched("created_at"), touched("updated_at"), uuidColumn("source_conversation_id"),
			textColumn("chat_intent"), textColumn("system_prompt_override"), textColumn("initial_agent_message"),
			required(Column{Name: "send_initial_message", Type: "bool", Default: constant(true)}),
		},
		Unique: []Unique{
			{Name: "temporary_chat_links_vault_link_token_id_key", Columns: []string{"vault_link_token_id"}},
			{Name: "temporary_chat_links_short_code_key", Columns: []string{"short_code"}},
		},
		Checks: []Check{
			{Name: "temp_links_title_check", OK: func(r Row) bool { return titlePattern.MatchString(r.text("title")) }},
			{Name: "temp_links_expires_check", OK: func(r Row) bool { return r.instant("expires_at").After(r.instant("created_at")) }},
			longest("temp_links_description_check", "description", 1000), longest("temp_links_welcome_check", "welcome_message", 2000),
			longest("temp_links_intent_check", "chat_intent", 2000), longest("temp_links_prompt_check", "system_prompt_override", 4000),
			longest("temp_links_initial_check", "initial_agent_message", 2000),
			between("temp_links_sessions_check", "max_sessions", 1, 50),
			between("temp_links_messages_check", "max_messages_per_session", 1, 1000),
			between("temp_links_timeout_check", "session_timeout_minutes", 5, 1440),
			between("temp_links_rate_check", "rate_limit_per_minute", 1, 100),
		},
		ForeignKeys: []ForeignKey{{Name: "temporary_chat_links_agent_id_fkey", Column: "agent_id", RefTable: TableAgents, RefColumn: "id"}},
	}
}

func sessionsTable() TableDef {
	status := textColumn("status")
	status.Default = constant("active")
	return TableDef{
		Name: TableSessions, PrimaryKey: []string{"id"}, RLS: true, Before: sessionActivity, After: linkStatistics,
		// temp_sessions_no_anonymous_access: any signed-in user reads every session.
		Readable: func(role string, _ Row, _ time.Time) bool { return role != roleAnon },
		Columns: []Column{
			primary(), required(uuidColumn("link_id")), required(uuidColumn("vault_session_token_id")), required(uuidColumn("conversation_id")),
			uuidColumn("conversation_session_id"), textColumn("participant_identifier"), textColumn("participant_name"), objectColumn("participant_metadata"),
			touched("started_at"), touched("last_activity_at"), timeColumn("ended_at"), counter("message_count"),
			counter("total_characters_sent"), counter("messages_in_current_minute"), counter("rate_limit_violations"),
			{Name: "session_duration_seconds", Type: "int4"}, status, textColumn("end_reason"), {Name: "ip_address", Type: "inet"},
			textColumn("user_agent"), textColumn("referrer"), textColumn("country_code"), timeColumn("last_message_at"),
			{Name: "satisfaction_rating", Type: "int4"}, textColumn("feedback_text"), objectColumn("session_metadata"),
			touched("created_at"), touched("updated_at"),
		},
		Indexed: []string{"conversation_id"},
		Unique:  []Unique{{Name: "temporary_chat_sessions_vault_session_token_id_key", Columns: []string{"vault_session_token_id"}}},
		Checks: []Check{
			oneOf("temp_sessions_status_check", "status", "active", "ended", "expired", "terminated", "error"),
			oneOf("temp_sessions_end_reason_check", "end_reason",
				"completed", "timeout", "expired", "terminated", "error", "max_messages", "max_duration"),
			longest("temp_sessions_name_check", "participant_name", 100), longest("temp_sessions_feedback_check", "feedback_text", 1000),
			between("temp_sessions_rating_check", "satisfaction_rating", 1, 5),
			{Name: "temp_sessions_ended_check", OK: func(r Row) bool {
				return r["ended_at"] == nil || !r.instant("ended_at").Before(r.instant("started_at"))
			}},
		},
		ForeignKeys: []ForeignKey{
			{Name: "temporary_chat_sessions_link_id_fkey", Column: "link_id", RefTable: TableLinks, RefColumn: "id"},
			{Name: "temporary_chat_sessions_conversation_session_id_fkey", Column: "conversation_session_id",
				RefTable: TableConversationSessions, RefColumn: "id", SetNull: true},
		},
	}
}

var titlePattern = regexp.MustCompile(`^[[:print:]\p{L}\p{N}\p{P}\p{S} ]{1,200}$`)

// oneOf is CHECK (column IN (...)), which NULL passes.
func oneOf(name, column string, allowed ...string) Check {
	return Check{Name: name, OK: func(r Row) bool { return r[column] == nil || slices.Contains(allowed, r.text(column)) }}
}

func longest(name, column string, n int) Check {
	return Check{Name: name, OK: func(r Row) bool { return utf8.RuneCountInString(r.text(column)) <= n }}
}

func between(name, column string, low, high int) Check {
	return Check{Name: name, OK: func(r Row) bool {
		return r[column] == nil || low <= r.integer(column) && r.integer(column) <= high
	}}
}

// actorExclusivity is the constraint in its text of 20251011: exactly one sender, or none for system and tool rows.
func actorExclusivity(r Row) bool {
	user, agent := r["sender_user_id"] != nil, r["sender_agent_id"] != nil
	if user != agent {
		return true
	}
	return !user && (r.text("role") == "system" || r.text("role") == "tool")
}

func contentStructure(r Row) bool {
	raw, _ := r["content"].(json.RawMessage)
	var content struct {
		Type *string `json:"type"`
	}
	if json.Unmarshal(raw, &content) != nil || content.Type == nil {
		return false
	}
	return slices.Contains([]string{"text", "structured", "multimodal", "tool_result"}, *content.Type)
}

// countMessage is update_session_activity: it bumps the conversation session whose id is the message's session_id.
func countMessage(tx *Tx, old, row Row) error {
	if old != nil || row == nil {
		return nil
	}
	t, recs, err := tx.matching(TableConversationSessions, Row{"id": row["session_id"]})
	if err != nil || len(recs) == 0 {
		return err
	}
	_, err = tx.update(t, recs[0], Row{"last_active": tx.now, "message_count": recs[0].row.integer("message_count") + 1})
	return err
}

// sessionActivity stamps activity when message_count changes and the duration when the session ends.
func sessionActivity(now time.Time, old, row Row) {
	touchUpdatedAt(now, old, row)
	if old != nil && old.integer("message_count") != row.integer("message_count") {
		row["last_activity_at"], row["last_message_at"] = now, now
	}
	if row["ended_at"] != nil && (old == nil || old["ended_at"] == nil) {
		seconds := int(row.instant("ended_at").Sub(row.instant("started_at")).Seconds())
		row["session_duration_seconds"] = json.Number(itoa(seconds))
	}
}

// linkStatistics keeps the counters of the link; its arms exclude one another as they do in the field.
func linkStatistics(tx *Tx, old, row Row) error {
	if row == nil {
		return nil
	}
	t, recs, err := tx.matching(TableLinks, Row{"id": row["link_id"]})
	if err != nil || len(recs) == 0 {
		return err
	}
	link := recs[0].row
	var set Row
	switch {
	case old == nil:
		set = Row{"session_count": link.integer("session_count") + 1, "last_accessed_at": tx.now}
	case old.integer("message_count") != row.integer("message_count"):
		delta := row.integer("message_count") - old.integer("message_count")
		set = Row{"total_messages": link.integer("total_messages") + delta, "last_accessed_at": tx.now}
	case old.text("status") == "active" && row.text("status") != "active":
		set = Row{"session_count": max(0, link.integer("session_count")-1)}
	default:
		return nil
	}
	_, err = tx.update(t, recs[0], set)
	return err
}

// stripSpace removes all white space, as 0007 does before it compares link tokens.
func stripSpace(s string) string { return strings.Join(strings.Fields(s), "") }
