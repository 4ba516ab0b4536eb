package chat_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// changeOf decodes the data object of a change.
func changeOf(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var data map[string]any
	require.NoError(t, json.Unmarshal(text, &data), "%s", text)
	return data
}

func TestChangesShowPublicColumnsOnly(t *testing.T) {
	for _, e := range exampleEvents() {
		data := changeOf(t, e.Encode(chat.DialectRealtime))
		assert.Equal(t, e.Kind.ChangeType(), data["type"])
		assert.Equal(t, []any{"public", "chat_messages_v2", nil}, []any{data["schema"], data["table"], data["errors"]})
		assert.Len(t, data["columns"], len(chat.PublicColumns()))
		record, shown := data["record"].(map[string]any)
		assert.Equal(t, e.Kind != chat.KindDeleted, shown)
		if shown {
			assert.Len(t, record, len(chat.PublicColumns()))
			assert.Equal(t, map[string]any{"type": "text", "text": e.Message.Content}, record["content"])
			assert.Nil(t, record["sender_user_id"])
		}
		old, replaces := data["old_record"]
		assert.Equal(t, e.Kind != chat.KindMessage, replaces)
		if replaces {
			assert.Equal(t, map[string]any{"id": e.Message.ID}, old)
		}
	}
}

func TestChangesUseTheNamesOfTheDatabase(t *testing.T) {
	n := newNode(t, newClock(), 1, func(o *chat.Options) {
		o.Table = chat.Table{Schema: "app", Name: `po"sts`, Columns: chat.Columns{"created_at": "at", "id": "key"}}
	})
	s := n.join(visitorS(), "", nil, nil)
	n.Publish(taggedRow("a", idC1, idS, start), false)
	n.Delete("a")
	s.take()
	require.Len(t, s.events, 2)
	data := changeOf(t, s.events[0].Encode(chat.DialectRealtime))
	assert.Equal(t, []any{"app", `po"sts`}, []any{data["schema"], data["table"]})
	record := data["record"].(map[string]any)
	assert.Equal(t, "a", record["key"])
	assert.Equal(t, start.Format("2006-01-02T15:04:05.999999-07:00"), record["at"])
	some := changeOf(t, s.events[0].AppendChange(nil, func(name string) bool { return name == "at" }))
	assert.Equal(t, map[string]any{"key": "a", "at": record["at"]}, some["record"])
	assert.Equal(t, map[string]any{"key": "a"}, changeOf(t, s.events[1].Encode(chat.DialectRealtime))["old_record"])
}

func TestChangesCarryTheTimeOfTheCommit(t *testing.T) {
	c := newClock()
	n := newNode(t, c, 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	live, read := taggedRow("a", idC1, idS, start), taggedRow("b", idC1, idS, start.Add(time.Millisecond))
	live.CommittedAt = start.Add(40 * time.Millisecond)
	n.Publish(live, false)
	n.Recover(idC1, []*chat.Row{read}, nil, nil)
	c.advance(time.Second)
	n.DeleteCommitted("a", start.Add(700*time.Millisecond))
	n.Delete("b")
	s.take()
	var times []any
	for _, e := range s.events {
		times = append(times, changeOf(t, e.Encode(chat.DialectRealtime))["commit_timestamp"])
	}
	at := func(d time.Duration) string { return start.Add(d).Format("2006-01-02T15:04:05.000Z") }
	assert.Equal(t, []any{at(40 * time.Millisecond), at(time.Millisecond), at(700 * time.Millisecond), at(time.Second)}, times)
}

func TestRealtimeDialectHasNoControls(t *testing.T) {
	assert.Nil(t, chat.Control{Type: "heartbeat"}.Encode(chat.DialectRealtime))
}

func TestCursorAtATimeOwesWhatWasCreatedSince(t *testing.T) {
	c := newClock()
	n := newNode(t, c, 1, nil)
	before, after := taggedRow("before", idC1, idS, start.Add(-time.Second)), taggedRow("after", idC1, idS, start.Add(time.Second))
	c.advance(2 * time.Second)
	table := []*chat.Row{before, after}
	s := n.join(visitorS(), n.CursorAt(visitorS(), start), table, nil)
	assert.Equal(t, []string{"message after recovered"}, s.log())
	n.Publish(taggedRow("late", idC1, idS, start.Add(-time.Millisecond)), false)
	assert.Equal(t, []string{"message after recovered", "message late replayed"}, s.log(), "the baseline did not show it")
	again := n.join(visitorS(), s.cursor, table, nil)
	assert.Empty(t, again.log())
	foreign := n.join(visitorS(), n.CursorAt(visitorOther(), start), table, nil)
	assert.Empty(t, foreign.log(), "of another class: as good as none")
}

func TestReleasedPositionIsThatOfEverythingGiven(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := &stream{t: t}
	o := streamOptions(s)
	o.Dialect = chat.DialectRealtime
	s.Attachment = n.Attach(visitorS(), n.CursorAt(visitorS(), start), o)
	require.True(t, s.Baseline(nil, nil, start.Add(-time.Minute), start))
	assert.Empty(t, s.Released())
	s.toLive(nil, nil)
	released := s.Released()
	assert.NotEmpty(t, released)
	n.Publish(taggedRow("a", idC1, idS, start.Add(time.Second)), false)
	assert.Equal(t, []string{"message a"}, n.join(visitorS(), released, nil, nil).log())
	assert.Empty(t, n.join(visitorS(), "", nil, nil).Released(), "other dialects are told their position")
}

func TestClassKeysAreEqualForWhoSeesTheSame(t *testing.T) {
	session := newNode(t, newClock(), 1, nil)
	assert.NotEqual(t, session.ClassKey(visitorS2()), session.ClassKey(visitorOther()))
	shared := newNode(t, newClock(), 1, func(o *chat.Options) { o.Rule.Mode = chat.ModeConversation })
	assert.Equal(t, shared.ClassKey(visitorS2()), shared.ClassKey(visitorOther()))
	assert.NotEqual(t, shared.ClassKey(visitorS()), shared.ClassKey(visitorOther()))
}
