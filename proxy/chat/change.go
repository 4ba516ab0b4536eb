package chat

import (
	"cmp"
	"slices"
	"time"
)

// Table is what the database calls the messages table. The zero value means the names of DecodeRow in public.chat_messages_v2.
type Table struct {
	Schema, Name string
	Columns      Columns
}

// WithDefaults returns the table with the default names where it has none.
func (t Table) WithDefaults() Table {
	t.Schema, t.Name = cmp.Or(t.Schema, "public"), cmp.Or(t.Name, "chat_messages_v2")
	return t
}

// PublicColumn is a column of the messages table that visitors may know.
type PublicColumn struct {
	Column string // canonical
	Type   string // PostgreSQL's pg_type.typname
}

// PublicColumns lists the columns of a public row in the order of the table.
func PublicColumns() []PublicColumn {
	return []PublicColumn{
		{"id", "uuid"}, {"conversation_id", "uuid"}, {"sender_user_id", "uuid"}, {"sender_agent_id", "uuid"},
		{"role", "varchar"}, {"content", "jsonb"}, {"created_at", "timestamptz"},
	}
}

// Column returns the text of a public column as PostgreSQL would show it; false means NULL.
func (m *Message) Column(canonical string) (text string, ok bool) {
	switch canonical {
	case "id":
		return m.ID, true
	case "conversation_id":
		return m.ConversationID, true
	case "role":
		return m.Role, true
	case "content":
		return string(m.contentColumn()), true
	case "created_at":
		return m.Timestamp.UTC().Format("2006-01-02T15:04:05.999999-07:00"), true
	case "sender_agent_id":
		if m.AgentID != nil {
			return *m.AgentID, true
		}
	}
	return "", false
}

// contentColumn is the content column as jsonb prints it, with nothing but the text.
func (m *Message) contentColumn() []byte {
	return append(append([]byte(`{"text": `), marshal(m.Content)...), `, "type": "text"}`...)
}

// changeLayout is what the changes of one table have in common.
type changeLayout struct {
	head    string         // up to the type
	tail    string         // between the columns and the commit time
	id      []byte         // the key of the primary key
	columns []layoutColumn // in the order of the table
	record  []layoutColumn // in the order of a jsonb object: short names first
}

type layoutColumn struct {
	canonical, name string
	key, typ        []byte // quoted
}

var defaultLayout = newChangeLayout(Table{})

func newChangeLayout(t Table) *changeLayout {
	t = t.WithDefaults()
	l := &changeLayout{
		head: `{"table":` + string(marshal(t.Name)) + `,"type":"`,
		tail: `,"errors":null,"schema":` + string(marshal(t.Schema)) + `,"commit_timestamp":"`,
		id:   marshal(t.Columns.Name("id")),
	}
	for _, c := range PublicColumns() {
		name := t.Columns.Name(c.Column)
		l.columns = append(l.columns, layoutColumn{c.Column, name, marshal(name), marshal(c.Type)})
	}
	l.record = slices.SortedFunc(slices.Values(l.columns), func(a, b layoutColumn) int {
		return cmp.Or(cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	return l
}

var changeTypes = [...]string{KindMessage: "INSERT", KindUpdated: "UPDATE", KindDeleted: "DELETE"}

// ChangeType is the kind as Supabase Realtime names it: INSERT, UPDATE or DELETE.
func (k Kind) ChangeType() string { return changeTypes[k] }

// AppendChange appends the data object of a postgres_changes message of Supabase Realtime. only (nil for all) chooses columns by the
// database's names; the primary key is always there. Encode(DialectRealtime) is the shared form with all columns.
func (e *Event) AppendChange(dst []byte, only func(name string) bool) []byte {
	l := e.layout
	if l == nil {
		l = defaultLayout
	}
	dst = append(append(dst, l.head...), e.Kind.ChangeType()...)
	dst = append(dst, '"')
	if e.Kind != KindDeleted {
		dst = e.appendRecord(append(dst, `,"record":`...), l, only)
	}
	dst = l.appendColumns(append(dst, `,"columns":`...), only)
	dst = append(dst, l.tail...)
	dst = e.commitTime().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	dst = append(dst, '"')
	if e.Kind != KindMessage {
		dst = append(append(dst, `,"old_record":{`...), l.id...)
		dst = append(append(append(dst, ": "...), marshal(e.Message.ID)...), '}')
	}
	return append(dst, '}')
}

func (c *layoutColumn) selected(only func(string) bool) bool {
	return only == nil || c.canonical == "id" || only(c.name)
}

func (e *Event) appendRecord(dst []byte, l *changeLayout, only func(string) bool) []byte {
	open := byte('{')
	for i := range l.record {
		c := &l.record[i]
		if !c.selected(only) {
			continue
		}
		dst = append(dst, open)
		if open == ',' {
			dst = append(dst, ' ')
		}
		open = ','
		dst = append(append(dst, c.key...), ": "...)
		text, ok := e.Message.Column(c.canonical)
		switch {
		case !ok:
			dst = append(dst, "null"...)
		case c.canonical == "content":
			dst = append(dst, text...)
		default:
			dst = append(dst, marshal(text)...)
		}
	}
	return append(dst, '}')
}

func (l *changeLayout) appendColumns(dst []byte, only func(string) bool) []byte {
	open := byte('[')
	for i := range l.columns {
		c := &l.columns[i]
		if !c.selected(only) {
			continue
		}
		dst = append(dst, open)
		if open == ',' {
			dst = append(dst, ' ')
		}
		open = ','
		dst = append(append(dst, `{"name": `...), c.key...)
		dst = append(append(append(dst, `, "type": `...), c.typ...), '}')
	}
	return append(dst, ']')
}

// commitTime is when the change was committed, where that is known: a row that was read back has no such time.
func (e *Event) commitTime() time.Time {
	switch {
	case !e.committed.IsZero():
		return e.committed.UTC()
	case e.Kind == KindMessage:
		return e.Message.Timestamp.UTC()
	}
	return e.At.UTC()
}
