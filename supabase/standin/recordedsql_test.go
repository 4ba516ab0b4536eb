package standin_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// Conversations of the recordings.
const (
	a = "11111111-1111-4111-8111-111111111111"
	b = "22222222-2222-4222-8222-222222222222"
	c = "33333333-3333-4333-8333-333333333333"
)

// recordedTables are the tables of the database that the recordings were made with.
func recordedTables() []standin.TableDef {
	fresh := func(d standin.Defaults) any { return d.NewID() }
	now := func(d standin.Defaults) any { return d.Now }
	chat := []standin.Column{
		{Name: "id", Type: "uuid", NotNull: true, Default: fresh}, {Name: "conversation_id", Type: "uuid"},
		{Name: "seq", Type: "int8", Identity: true}, {Name: "role", Type: "text"}, {Name: "content", Type: "text"},
		{Name: "metadata", Type: "jsonb"}, {Name: "score", Type: "numeric", Scale: 4}, {Name: "tags", Type: "_text"},
		{Name: "deleted_at", Type: "timestamptz"}, {Name: "created_at", Type: "timestamptz", Default: now},
	}
	key := []string{"id"}
	return []standin.TableDef{
		{Name: "chat_messages_v2", Columns: chat, PrimaryKey: key, RLS: true},
		{Name: "chat_full", Columns: chat, PrimaryKey: key, FullIdentity: true},
		{Name: "conversations", PrimaryKey: key, Columns: []standin.Column{
			{Name: "id", Type: "uuid", Default: fresh}, {Name: "title", Type: "text"}, {Name: "created_at", Type: "timestamptz", Default: now}}},
		{Name: "nopk", FullIdentity: true, Columns: []standin.Column{{Name: "a", Type: "int4"}, {Name: "b", Type: "text"}}},
		{Name: "not_published", PrimaryKey: key, Columns: []standin.Column{{Name: "id", Type: "uuid", Default: fresh}}},
		{Name: "temporary_chat_sessions", PrimaryKey: key, Columns: []standin.Column{
			{Name: "id", Type: "uuid", Default: fresh}, {Name: "conversation_id", Type: "uuid", Default: fresh},
			{Name: "status", Type: "text"}, {Name: "end_reason", Type: "text"}}},
		{Name: "temporary_chat_links", PrimaryKey: key, Columns: []standin.Column{
			{Name: "id", Type: "uuid", Default: fresh}, {Name: "is_active", Type: "bool"}, {Name: "expires_at", Type: "timestamptz", Default: now}}},
	}
}

// recordedDB is the database that the SQL of a recording is done in.
type recordedDB interface {
	inTx(func(standin.Statements) error) error
	truncate(table string)
}

type memoryDB struct{ *standin.DB }

func (m memoryDB) inTx(fn func(standin.Statements) error) error {
	return m.Tx(func(tx *standin.Tx) error { return fn(tx) })
}

func (memoryDB) truncate(string) {} // sends nothing, and no recording looks at the table again

func (r *replay) insertRow(table string, row standin.Row) (id string) {
	r.transaction(func(tx standin.Statements) error {
		stored, err := tx.Insert(table, row)
		id, _ = stored["id"].(string)
		return err
	})
	return id
}

func (r *replay) insert(table, conversation, content string) string {
	return r.insertRow(table, standin.Row{"conversation_id": conversation, "role": "user", "content": content})
}

func (r *replay) update(table string, where, set standin.Row) {
	r.transaction(func(tx standin.Statements) error {
		_, err := tx.Update(table, where, set)
		return err
	})
}

func (r *replay) remove(table string, where standin.Row) {
	r.transaction(func(tx standin.Statements) error {
		_, err := tx.Delete(table, where)
		return err
	})
}

func (r *replay) transaction(fn func(standin.Statements) error) { require.NoError(r.t, r.db.inTx(fn)) }

func chatInsert(conversation, content string) func(*replay) {
	return func(r *replay) { r.row = r.insert("chat_messages_v2", conversation, content) }
}

var basicNotes = map[string]func(*replay){
	"SQL: INSERT one row": func(r *replay) {
		r.row = r.insertRow("chat_messages_v2", standin.Row{"conversation_id": a, "role": "user", "content": "hello", "metadata": map[string]int{"a": 1}})
	},
	"SQL: UPDATE and DELETE of that row (binding is INSERT only: nothing must come)": func(r *replay) {
		r.update("chat_messages_v2", standin.Row{"id": r.row}, standin.Row{"content": "x"})
		r.remove("chat_messages_v2", standin.Row{"id": r.row})
	},
	"SQL: INSERT after leave (nothing must come)": chatInsert(a, "after leave"),
}

const strangeText = "\u00fcn\u00efc\u00f6d\u00e9 \u6f22\u5b57 \U0001f389\U0001f469\u200d\U0001f469\u200d\U0001f467"

var typesNotes = map[string]func(*replay){
	"INSERT all column types": func(r *replay) {
		r.row = r.insertRow("chat_messages_v2", standin.Row{
			"conversation_id": a, "role": "assistant", "content": "plain", "tags": []any{"a", "b,c", nil}, "score": 12.34,
			"metadata":   json.RawMessage(`{"n":1,"f":1.5,"nul":null,"big":"12345678901234567890","nested":{"arr":[1,null,true],"s":"q\"uote"}}`),
			"created_at": "2026-01-02T03:04:05.123456+02:00",
		})
	},
	"INSERT unicode, control characters, emoji, RTL, zero-width, backslash, big jsonb number": func(r *replay) {
		r.insertRow("chat_messages_v2", standin.Row{"conversation_id": a, "role": "user",
			"content":  r.recordedContent(strangeText),
			"metadata": json.RawMessage(`{"u":"é🎉","num":12345678901234567890.123456789}`)})
	},
	"INSERT null content, null metadata": func(r *replay) {
		r.insertRow("chat_messages_v2", standin.Row{"conversation_id": a, "role": "user"})
	},
	"INSERT jsonb scalar null / string / array": func(r *replay) {
		r.transaction(func(tx standin.Statements) error {
			for _, metadata := range []string{`null`, `"str"`, `[1,2]`} {
				_, err := tx.Insert("chat_messages_v2", standin.Row{"conversation_id": a, "role": "user", "content": "",
					"metadata": json.RawMessage(metadata)})
				if err != nil {
					return err
				}
			}
			return nil
		})
	},
	"UPDATE (replica identity default)": func(r *replay) {
		r.update("chat_messages_v2", standin.Row{"id": r.row}, standin.Row{"content": "edited"})
	},
	"UPDATE of the primary key (replica identity default)": func(r *replay) {
		r.update("chat_messages_v2", standin.Row{"id": r.row}, standin.Row{"id": "99999999-9999-4999-8999-999999999999"})
	},
	"DELETE (replica identity default)": func(r *replay) {
		r.remove("chat_messages_v2", standin.Row{"id": "99999999-9999-4999-8999-999999999999"})
	},
	"INSERT, UPDATE, DELETE on table with REPLICA IDENTITY FULL": func(r *replay) {
		id := r.insertRow("chat_full", standin.Row{"conversation_id": a, "role": "user", "content": "full", "metadata": map[string]string{"k": "v"}})
		r.pause(20 * time.Millisecond)
		r.update("chat_full", standin.Row{"id": id}, standin.Row{"content": "full edited"})
		r.pause(20 * time.Millisecond)
		r.remove("chat_full", standin.Row{"id": id})
	},
	"table without primary key": func(r *replay) {
		r.insertRow("nopk", standin.Row{"a": 1, "b": "x"})
		r.update("nopk", nil, standin.Row{"b": "y"})
		r.remove("nopk", nil)
	},
	"one transaction: 3 inserts, update, delete": func(r *replay) {
		r.transaction(func(tx standin.Statements) error {
			var ids []any
			for _, content := range []string{"tx0", "tx1", "tx2"} {
				row, err := tx.Insert("chat_messages_v2", standin.Row{"conversation_id": b, "role": "user", "content": content})
				if err != nil {
					return err
				}
				ids = append(ids, row["id"])
			}
			_, err := tx.Update("chat_messages_v2", standin.Row{"id": ids[0]}, standin.Row{"content": "tx0b"})
			if err != nil {
				return err
			}
			_, err = tx.Delete("chat_messages_v2", standin.Row{"id": ids[1]})
			return err
		})
	},
	"rolled back transaction (nothing must come)": func(r *replay) {
		failed := errors.New("undo")
		err := r.db.inTx(func(tx standin.Statements) error {
			_, err := tx.Insert("chat_messages_v2", standin.Row{"conversation_id": b, "role": "user", "content": "no"})
			return errors.Join(err, failed)
		})
		require.ErrorIs(r.t, err, failed)
	},
	"TRUNCATE chat_full (what comes?)": func(r *replay) {
		r.insertRow("chat_full", standin.Row{"conversation_id": a, "role": "user"})
		r.db.truncate("chat_full")
	},
}

// recordedContent takes the content of the recorded row that begins with prefix: it holds characters that a source file should not.
func (r *replay) recordedContent(prefix string) string {
	for _, file := range []string{"02-types-v1", "02-types-v2"} {
		for _, l := range readRecording(r.t, file) {
			at := strings.Index(l.Frame, `"content": "`+prefix)
			if at < 0 {
				continue
			}
			var content string
			require.NoError(r.t, json.NewDecoder(strings.NewReader(l.Frame[at+len(`"content": `):])).Decode(&content))
			return content
		}
	}
	require.FailNow(r.t, "no such row")
	return ""
}

// incompressible gives n characters that a database would store out of line.
func incompressible(n int) string {
	source := rand.New(rand.NewPCG(1, 2))
	var s strings.Builder
	for range n {
		s.WriteByte("0123456789abcdef"[source.IntN(16)])
	}
	return s.String()
}

var largeNotes = map[string]func(*replay){
	"INSERT content of 60 bytes then 65 bytes with 2 MiB metadata": func(r *replay) {
		for _, n := range []int{60, 65} {
			r.insertRow("chat_messages_v2", standin.Row{"conversation_id": a, "role": "user", "content": strings.Repeat("s", n),
				"metadata": map[string]string{"x": strings.Repeat("m", 2<<20)}})
		}
	},
	"INSERT content = 2 MiB text": func(r *replay) {
		r.row = r.insertRow("chat_messages_v2", standin.Row{"conversation_id": a, "role": "user", "content": incompressible(2 << 20),
			"metadata": map[string]int{"small": 1}})
	},
	"UPDATE of another column of that row (2 MiB text is TOASTed and unchanged)": func(r *replay) {
		r.update("chat_messages_v2", standin.Row{"id": r.row}, standin.Row{"score": 1})
	},
	"DELETE of that row": func(r *replay) { r.remove("chat_messages_v2", standin.Row{"id": r.row}) },
	"INSERT content = 100 KiB of incompressible text (under the limit; frame shortened in this file)": func(r *replay) {
		r.row = r.insertRow("chat_messages_v2", standin.Row{"conversation_id": a, "role": "user", "content": incompressible(100 << 10),
			"metadata": json.RawMessage(`{}`)})
	},
	"UPDATE other column of the 100 KiB row (unchanged TOAST value)": func(r *replay) {
		r.update("chat_messages_v2", standin.Row{"id": r.row}, standin.Row{"score": 2})
	},
	"INSERT content of 1,000,000 bytes; then 1,047,000; then 1,048,000; then 1,048,576 bytes": func(r *replay) {
		for _, n := range []int{1_000_000, 1_047_000, 1_048_000, 1_048_576} {
			r.insert("chat_messages_v2", a, strings.Repeat("z", n))
		}
	},
}

var filterNotes = map[string]func(*replay){
	"INSERT conversation A": chatInsert(a, "for A"),
	"INSERT conversation B": func(r *replay) { r.insert("chat_messages_v2", b, "for B") },
	"INSERT conversation C": func(r *replay) { r.insert("chat_messages_v2", c, "for C") },
	"UPDATE moving the row of A to B (filter is on the NEW row)": func(r *replay) {
		r.update("chat_messages_v2", standin.Row{"id": r.row}, standin.Row{"conversation_id": b})
	},
	"UPDATE content of a row of A": func(r *replay) {
		r.row = r.insert("chat_messages_v2", a, "A2")
		r.pause(time.Second)
		r.update("chat_messages_v2", standin.Row{"id": r.row}, standin.Row{"content": "A2x"})
	},
	"DELETE row of A (replica identity default: old record has only the key; filtered bindings?)": func(r *replay) {
		r.remove("chat_messages_v2", standin.Row{"id": r.row})
	},
}

var filterInserts = map[string]func(*replay){
	"twice": func(r *replay) { r.insert("chat_messages_v2", a, "twice") },
	"and": func(r *replay) {
		r.transaction(func(tx standin.Statements) error {
			_, err := tx.Insert("chat_messages_v2", standin.Row{"conversation_id": a, "role": "user", "content": "sel1"})
			if err != nil {
				return err
			}
			_, err = tx.Insert("chat_messages_v2", standin.Row{"conversation_id": a, "role": "assistant", "content": "sel2"})
			return err
		})
	},
}

var fullIdentityNotes = map[string]func(*replay){
	"UPDATE moves row A->B, then B->A": func(r *replay) {
		for _, conversation := range []string{b, a} {
			r.update("chat_full", standin.Row{"id": r.row}, standin.Row{"conversation_id": conversation})
		}
	},
	"DELETE of A row and of B row (replica identity full)": func(r *replay) {
		r.remove("chat_full", standin.Row{"id": r.row})
		r.insert("chat_full", b, "B")
		r.remove("chat_full", standin.Row{"conversation_id": b})
	},
}

var duplicateNotes = map[string]func(*replay){
	"INSERT: how many copies?": chatInsert(a, "dup"),
	// Committed at once, read by the poller after the rejoin.
	"leave and INSERT at the same moment; then rejoin at once": chatInsert(a, "race"),
}

var refreshNotes = map[string]func(*replay){
	"INSERT after refresh: one copy?":              chatInsert(a, "after refresh"),
	"INSERT directly after the downgrade was sent": chatInsert(a, "just after downgrade"),
	"INSERT 4 s after the downgrade":               chatInsert(a, "4 s after downgrade"),
}

var expiryNotes = map[string]func(*replay){"INSERT after expiry": chatInsert(a, "after expiry")}

var idleNotes = map[string]func(*replay){"nothing sent from here on": func(r *replay) {
	for _, title := range []string{"tick1", "tick2", "tick3", "tick4", "tick5", "tick6"} {
		time.Sleep(10 * time.Second)
		r.insertRow("conversations", standin.Row{"title": title})
	}
	time.Sleep(10 * time.Second)
}}

const sentConversation = "11111111-1111-1111-1111-111111111111"

// sendTrigger is the trigger of the recording: realtime.send of a small object for each row.
func sendTrigger(tx *standin.Tx, old, row standin.Row) error {
	operation, source := "UPDATE", row
	switch {
	case old == nil:
		operation = "INSERT"
	case row == nil:
		operation, source = "DELETE", old
	}
	object := map[string]any{"operation": operation, "id": source["id"], "conversation_id": source["conversation_id"], "record": nil}
	if row != nil {
		object["record"] = map[string]any{"role": row["role"], "content": row["content"],
			"created_at": row["created_at"].(time.Time).Format("2006-01-02T15:04:05.999999") + "+00:00"}
	}
	payload, err := standin.JSONB(object)
	if err != nil {
		return err
	}
	return tx.Send("proxy-feed", operation, payload, true)
}

var sendNotes = map[string]func(*replay){
	"trigger on chat_messages_v2 calls realtime.send(payload, tg_op, topic proxy-feed, private true)": func(r *replay) {
		r.server.DB().AddTrigger("chat_messages_v2", sendTrigger)
	},
	"INSERT": chatInsert(sentConversation, "hi"),
	"UPDATE": func(r *replay) {
		r.update("chat_messages_v2", standin.Row{"id": r.row}, standin.Row{"content": "edited"})
	},
	"DELETE": func(r *replay) { r.remove("chat_messages_v2", standin.Row{"id": r.row}) },
	"one transaction with three INSERTs": func(r *replay) {
		r.transaction(func(tx standin.Statements) error {
			for _, content := range []string{"tx 0", "tx 1", "tx 2"} {
				_, err := tx.Insert("chat_messages_v2", standin.Row{"conversation_id": sentConversation, "role": "user", "content": content})
				if err != nil {
					return err
				}
			}
			return nil
		})
	},
	"INSERT with 400,000 bytes of content": chatInsert(sentConversation, strings.Repeat("x", 400_000)),
}

var replayNotes = map[string]func(*replay){"5 INSERTs while nobody is joined": func(r *replay) {
	r.server.DB().AddTrigger("chat_messages_v2", sendTrigger)
	for _, content := range []string{"missed 0", "missed 1", "missed 2", "missed 3", "missed 4"} {
		r.insert("chat_messages_v2", sentConversation, content)
	}
}}

var controlNotes = map[string]func(*replay){
	"session updated, still active: no frame expected": func(r *replay) {
		r.row = r.insertRow("temporary_chat_sessions", standin.Row{"status": "active"})
		r.update("temporary_chat_sessions", standin.Row{"id": r.row}, standin.Row{"status": "active"})
	},
	"session ended": func(r *replay) {
		r.update("temporary_chat_sessions", standin.Row{"id": r.row}, standin.Row{"status": "ended", "end_reason": "x"})
	},
	"session deleted": func(r *replay) { r.remove("temporary_chat_sessions", standin.Row{"id": r.row}) },
	"link expiry edited, still active: no frame expected": func(r *replay) {
		r.row = r.insertRow("temporary_chat_links", standin.Row{"is_active": true})
		r.update("temporary_chat_links", standin.Row{"id": r.row}, standin.Row{"expires_at": r.now()})
	},
	"link deactivated": func(r *replay) {
		r.update("temporary_chat_links", standin.Row{"id": r.row}, standin.Row{"is_active": false})
	},
	"link deleted": func(r *replay) { r.remove("temporary_chat_links", standin.Row{"id": r.row}) },
}
