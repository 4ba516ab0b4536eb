package chat

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Row is one row of the messages table as far as the proxy may know it. Private columns (metadata, context, tools, ...) are
// never decoded. A Row is not changed after DecodeRow.
type Row struct {
	ID             string
	ConversationID string
	// SessionID is the row's session_id column: an id of conversation_sessions, or any client-made uuid.
	SessionID     string
	Role          string
	SenderUserID  string
	SenderAgentID string
	CreatedAt     time.Time
	UpdatedAt     time.Time
	// CommittedAt is the commit time of the change that brought the row; zero for a row that was read back. DecodeRow does not set it.
	CommittedAt time.Time
	Content     Content
	// Partial says that columns the rule needs were absent (a change over 1 MiB, an unchanged TOAST value, a failed
	// authorisation upstream): the row must be read by id before it can be judged.
	Partial bool
}

// Content is what is kept of the content column.
type Content struct {
	Type string
	Text string
	// SessionTag is the temporary session that the row names (content.metadata.temp_session_id, in older rows session_id).
	SessionTag string
	// Visitor says that the row was written for an anonymous visitor (is_anonymous_user or original_role "user").
	Visitor         bool
	ClientMessageID string
	Greeting        bool
}

// Columns maps canonical column names (id, conversation_id, session_id, role, content, sender_user_id, sender_agent_id,
// created_at, updated_at) to the names in the database; a missing entry means the same name.
type Columns map[string]string

// Name returns the database's name of a canonical column.
func (c Columns) Name(canonical string) string {
	if actual := c[canonical]; actual != "" {
		return actual
	}
	return canonical
}

// ErrRow is wrapped by every DecodeRow error.
var ErrRow = errors.New("unreadable row")

// DecodeRow reads a row from the JSON of a change record (with the database's column names) or of a read-back (nil columns).
// It fails only when there is no id; whatever else is missing makes the row Partial.
func DecodeRow(record []byte, columns Columns) (*Row, error) {
	if !json.Valid(record) {
		return nil, fmt.Errorf("%w: not JSON", ErrRow)
	}
	names := make([]string, len(rowColumns))
	for i, canonical := range rowColumns {
		names[i] = columns.Name(canonical)
	}
	raw := scanFields(record, names)
	row := &Row{
		ID: text(raw[0]), ConversationID: text(raw[1]), SessionID: text(raw[2]), Role: text(raw[3]),
		SenderUserID: text(raw[4]), SenderAgentID: text(raw[5]), Content: decodeContent(raw[8]),
	}
	if row.ID == "" {
		return nil, fmt.Errorf("%w: no id", ErrRow)
	}
	var dated bool
	row.CreatedAt, dated = parseTime(text(raw[6]))
	row.UpdatedAt, _ = parseTime(text(raw[7]))
	row.Partial = !dated || raw[8] == nil
	for _, v := range raw[1:6] {
		// The values are text or null; anything else is none that the rule knows.
		row.Partial = row.Partial || len(v) == 0 || v[0] != '"' && v[0] != 'n'
	}
	return row, nil
}

// rowColumns are the canonical columns in the order in which DecodeRow looks at them.
var rowColumns = [...]string{
	"id", "conversation_id", "session_id", "role", "sender_user_id", "sender_agent_id", "created_at", "updated_at", "content",
}

// parseTime reads a timestamptz as PostgreSQL puts it into JSON. The column may be null, which is no position: false.
func parseTime(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, s)
	t = t.UTC().Truncate(time.Microsecond)
	if err != nil || t.Year() < 1 || t.Year() > 9999 { // JSON has no others, and an offset can lead there
		return time.Time{}, false
	}
	return t, true
}

// decodeContent is lenient: content is written by several generations of code, and relaxed databases allow bare strings. Keys are
// compared exactly and values read one by one, so that nothing beside a session mark can hide or stand in for it. raw is valid
// JSON or empty.
func decodeContent(raw []byte) Content {
	if len(raw) > 0 && raw[0] == '"' {
		return Content{Type: "text", Text: text(raw)}
	}
	o := scanFields(raw, contentKeys[:])
	c := Content{Type: text(o[0]), Text: text(o[1])}
	if c.Text == "" && (c.Type == "structured" || c.Type == "multimodal") {
		c.Text = textParts(o[2])
	}
	c.readMetadata(o[3])
	return c
}

var (
	contentKeys  = [...]string{"type", "text", "parts", "metadata"}
	metadataKeys = [...]string{
		"temp_session_id", "session_id", "is_anonymous_user", "original_role", "is_initial_greeting", "client_message_id",
	}
	partKeys = [...]string{"type", "content", "text"}
)

func (c *Content) readMetadata(raw []byte) {
	m := scanFields(raw, metadataKeys[:])
	c.SessionTag = tag(m[0])
	if c.SessionTag == "" {
		c.SessionTag = tag(m[1])
	}
	c.Visitor = string(m[2]) == "true" || text(m[3]) == "user"
	c.Greeting = string(m[4]) == "true"
	c.ClientMessageID = text(m[5])
}

// text returns the string that raw, which is valid JSON or empty, holds; "" when it is something else.
func text(raw []byte) (s string) {
	if len(raw) == 0 || raw[0] != '"' {
		return ""
	}
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner)
	}
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// tag keeps a session mark that is present but no string as a mark that fits nobody: such a row names some session, and
// naming a session that is not the visitor's hides it.
func tag(raw []byte) string {
	switch {
	case len(raw) == 0 || raw[0] == 'n':
		return ""
	case raw[0] != '"':
		return "(not a string)"
	}
	return text(raw)
}

// textParts joins the text of parts; a part holds it under content, in some writers under text.
func textParts(raw []byte) string {
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) != nil {
		return ""
	}
	var texts []string
	for _, p := range parts {
		part := scanFields(p, partKeys[:])
		if text(part[0]) != "text" {
			continue
		}
		if t := cmp.Or(text(part[1]), text(part[2])); t != "" {
			texts = append(texts, t)
		}
	}
	return strings.Join(texts, "\n")
}
