package standin_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// seeded gives a stand-in with the fixture; nothing is served.
func seeded(t *testing.T, opts standin.Options) (*standin.Server, *standin.Fixture) {
	t.Helper()
	server, err := standin.New(opts)
	require.NoError(t, err)
	t.Cleanup(server.Close)
	f, err := server.Seed()
	require.NoError(t, err)
	return server, f
}

func codeOf(t *testing.T, err error) string {
	t.Helper()
	pg, ok := errors.AsType[*standin.Error](err)
	require.True(t, ok, "%v is no database error", err)
	return pg.Code
}

func with(row standin.Row, set standin.Row) standin.Row {
	changed := standin.Row{}
	for k, v := range row {
		changed[k] = v
	}
	for k, v := range set {
		changed[k] = v
	}
	return changed
}

func TestSchemaRefusesWhatTheFieldRefuses(t *testing.T) {
	_, f := seeded(t, standin.Options{})
	for name, test := range map[string]struct {
		table string
		row   standin.Row
		code  string
	}{
		"role user without a sender":      {standin.TableMessages, with(f.Rows["m02"], standin.Row{"role": "user"}), "23514"},
		"both senders":                    {standin.TableMessages, with(f.Rows["m01"], standin.Row{"sender_user_id": f.OwnerID}), "23514"},
		"unknown role":                    {standin.TableMessages, with(f.Rows["m02"], standin.Row{"role": "thinking"}), "23514"},
		"content of type error":           {standin.TableMessages, f.Rows["m09"], "23514"},
		"content that is a string":        {standin.TableMessages, f.Rows["m12"], "23514"},
		"unknown conversation":            {standin.TableMessages, with(f.Rows["m02"], standin.Row{"conversation_id": f.OwnerID}), "23503"},
		"unknown agent":                   {standin.TableMessages, with(f.Rows["m01"], standin.Row{"sender_agent_id": f.OwnerID}), "23503"},
		"no session id":                   {standin.TableMessages, with(f.Rows["m02"], standin.Row{"session_id": nil}), "23502"},
		"malformed uuid":                  {standin.TableMessages, with(f.Rows["m02"], standin.Row{"id": "nope"}), "22P02"},
		"malformed timestamp":             {standin.TableMessages, with(f.Rows["m02"], standin.Row{"created_at": "nope"}), "22007"},
		"unknown column":                  {standin.TableMessages, with(f.Rows["m02"], standin.Row{"nope": 1}), "42703"},
		"unknown table":                   {"nope", standin.Row{}, "42P01"},
		"long version":                    {standin.TableMessages, with(f.Rows["m02"], standin.Row{"version": "01234567890"}), "22001"},
		"inet that is a word":             {standin.TableSessions, standin.Row{"link_id": f.Isolated.ID, "ip_address": "unknown"}, "22P02"},
		"conversation session of nobody":  {standin.TableConversationSessions, standin.Row{"conversation_id": f.OwnerID}, "23514"},
		"agent without a name":            {standin.TableAgents, standin.Row{}, "23502"},
		"second row with one primary key": {standin.TableAgents, standin.Row{"id": f.AgentID, "name": "Eve"}, "23505"},
	} {
		t.Run(name, func(t *testing.T) {
			server, _ := seeded(t, standin.Options{})
			_, err := server.DB().Insert(test.table, test.row)
			require.Error(t, err)
			assert.Equal(t, test.code, codeOf(t, err))
		})
	}
}

func TestEveryFixtureRowFitsARelaxedSchema(t *testing.T) {
	server, f := seeded(t, standin.Options{Relaxed: true})
	require.Len(t, f.Rows, 13)
	for name, row := range f.Rows {
		_, err := server.DB().Insert(standin.TableMessages, row)
		require.NoError(t, err, name)
	}
}

func TestStrictSchemaAllowsOneConversationSessionAConversation(t *testing.T) {
	server, f := seeded(t, standin.Options{Strict: true})
	_, err := server.DB().Insert(standin.TableConversationSessions,
		standin.Row{"conversation_id": f.Shared.ConversationID, "agent_id": f.AgentID})
	assert.Equal(t, "23505", codeOf(t, err))
}

func TestSessionEndReasonIsChecked(t *testing.T) {
	server, f := seeded(t, standin.Options{})
	_, err := server.DB().Update(standin.TableSessions, standin.Row{"id": f.Visitor.ID}, standin.Row{"end_reason": "link_deleted"})
	assert.Equal(t, "23514", codeOf(t, err))
}

func TestDeletesCascade(t *testing.T) {
	for name, test := range map[string]struct {
		table, id string
		gone      []string
		kept      []string
	}{
		"link takes its sessions":         {standin.TableLinks, "link", []string{"session"}, []string{"message"}},
		"agent takes links and messages":  {standin.TableAgents, "agent", []string{"link", "session", "message"}, nil},
		"conversation takes its messages": {standin.TableConversationSessions, "conversation", []string{"message"}, []string{"session"}},
	} {
		t.Run(name, func(t *testing.T) {
			server, f := seeded(t, standin.Options{})
			stored, err := server.DB().Insert(standin.TableMessages, f.Rows["m01"])
			require.NoError(t, err)
			ids := map[string]string{"link": f.Isolated.ID, "agent": f.AgentID, "conversation": f.Visitor.ConversationSessionID,
				"session": f.Visitor.ID, "message": stored["id"].(string)}
			tables := map[string]string{"link": standin.TableLinks, "session": standin.TableSessions, "message": standin.TableMessages}
			_, err = server.DB().Delete(test.table, standin.Row{"id": ids[test.id]})
			require.NoError(t, err)
			for _, what := range test.gone {
				_, ok := server.DB().Row(tables[what], ids[what])
				assert.False(t, ok, "%s is still there", what)
			}
			for _, what := range test.kept {
				_, ok := server.DB().Row(tables[what], ids[what])
				assert.True(t, ok, "%s is gone", what)
			}
		})
	}
}

func TestDeletedConversationSessionLeavesTheVisitorSessionWithNull(t *testing.T) {
	server, f := seeded(t, standin.Options{})
	_, err := server.DB().Delete(standin.TableConversationSessions, standin.Row{"id": f.Visitor.ConversationSessionID})
	require.NoError(t, err)
	row, ok := server.DB().Row(standin.TableSessions, f.Visitor.ID)
	require.True(t, ok)
	assert.Nil(t, row["conversation_session_id"])
}

func TestTriggersCountAsInTheField(t *testing.T) {
	server, f := seeded(t, standin.Options{})
	db := server.DB()
	_, err := db.Insert(standin.TableMessages, f.Rows["m01"])
	require.NoError(t, err)
	conversation, _ := db.Row(standin.TableConversationSessions, f.Visitor.ConversationSessionID)
	assert.Equal(t, json.Number("1"), conversation["message_count"])
	link, _ := db.Row(standin.TableLinks, f.Isolated.ID)
	assert.Equal(t, json.Number("1"), link["session_count"])

	_, err = db.Update(standin.TableSessions, standin.Row{"id": f.Visitor.ID}, standin.Row{"status": "ended", "ended_at": db.Now()})
	require.NoError(t, err)
	link, _ = db.Row(standin.TableLinks, f.Isolated.ID)
	assert.Equal(t, json.Number("0"), link["session_count"])
	session, _ := db.Row(standin.TableSessions, f.Visitor.ID)
	assert.NotNil(t, session["session_duration_seconds"])
}

func TestTransactionsOverlapAndCommitInTheirOwnOrder(t *testing.T) {
	server, f := seeded(t, standin.Options{Relaxed: true})
	db := server.DB()
	first, second := db.Begin(), db.Begin()
	row := with(f.Rows["m02"], standin.Row{"created_at": nil})
	delete(row, "created_at")
	early, err := first.Insert(standin.TableMessages, row)
	require.NoError(t, err)
	late := with(row, standin.Row{"id": f.OwnerID})
	_, err = second.Insert(standin.TableMessages, late)
	require.NoError(t, err)

	own, err := first.Rows(standin.TableMessages, nil)
	require.NoError(t, err)
	assert.Len(t, own, 1, "a transaction reads its own writes only")
	rows, err := db.Rows(standin.TableMessages, nil)
	require.NoError(t, err)
	assert.Empty(t, rows, "nothing is visible before the commit")

	require.NoError(t, second.Commit())
	require.NoError(t, first.Commit())
	rows, err = db.Rows(standin.TableMessages, nil)
	require.NoError(t, err)
	require.Len(t, rows, 2)
	assert.Equal(t, early["id"], rows[1]["id"], "the order is that of the commits")
	assert.Equal(t, first.Start(), rows[1]["created_at"], "created_at is the start of the transaction")
	assert.ErrorIs(t, first.Commit(), standin.ErrTxDone)
}

func TestConflictShowsAtCommit(t *testing.T) {
	server, f := seeded(t, standin.Options{})
	first, second := server.DB().Begin(), server.DB().Begin()
	for _, tx := range []*standin.Tx{first, second} {
		_, err := tx.Insert(standin.TableMessages, f.Rows["m02"])
		require.NoError(t, err)
	}
	require.NoError(t, first.Commit())
	assert.Equal(t, "23505", codeOf(t, second.Commit()))
}

func TestFailedTransactionLeavesNothing(t *testing.T) {
	server, f := seeded(t, standin.Options{})
	db := server.DB()
	failed := errors.New("failed")
	err := db.Tx(func(tx *standin.Tx) error {
		if _, err := tx.Delete(standin.TableAgents, nil); err != nil {
			return err
		}
		return failed
	})
	require.ErrorIs(t, err, failed)
	for table, id := range map[string]string{standin.TableAgents: f.AgentID, standin.TableLinks: f.Full.ID, standin.TableSessions: f.Shared.ID} {
		_, ok := db.Row(table, id)
		assert.True(t, ok, table)
	}
	tx := db.Begin()
	_, err = tx.Delete(standin.TableAgents, nil)
	require.NoError(t, err)
	tx.Rollback()
	require.ErrorIs(t, tx.Commit(), standin.ErrTxDone)
	_, ok := db.Row(standin.TableAgents, f.AgentID)
	assert.True(t, ok)
}

func TestValuesLookLikePostgreSQL(t *testing.T) {
	server, _ := seeded(t, standin.Options{})
	server.DB().Define(standin.TableDef{Name: "values", PrimaryKey: []string{"id"}, Columns: []standin.Column{
		{Name: "id", Type: "int8", Identity: true}, {Name: "n", Type: "numeric", Scale: 4}, {Name: "j", Type: "jsonb"},
		{Name: "t", Type: "timestamptz"}, {Name: "b", Type: "bool"}, {Name: "i", Type: "int2"},
	}})
	row, err := server.DB().Insert("values", standin.Row{"n": "12.34", "b": "t", "i": 7, "t": "2026-11-22 20:02:00.195750+01",
		"j": json.RawMessage(`{"longer":1e3,"b":"<&\u2028>","a":[1,{"x":0.5e-1}],"b":2}`)})
	require.NoError(t, err)
	assert.Equal(t, json.Number("12.3400"), row["n"])
	assert.Equal(t, true, row["b"])
	assert.Equal(t, time.Date(2026, 11, 22, 19, 2, 0, 195750000, time.UTC), row["t"])
	assert.Equal(t, `{"a": [1, {"x": 0.05}], "b": 2, "longer": 1000}`, string(row["j"].(json.RawMessage)))
	_, err = server.DB().Insert("values", standin.Row{"i": 70000})
	assert.Equal(t, "22003", codeOf(t, err))
}

func TestUpdatesTouchUpdatedAt(t *testing.T) {
	clock := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	server, f := seeded(t, standin.Options{Now: func() time.Time { return clock }})
	_, err := server.DB().Insert(standin.TableMessages, f.Rows["m02"])
	require.NoError(t, err)
	clock = clock.Add(time.Hour)
	_, err = server.DB().Update(standin.TableMessages, nil, standin.Row{"metadata": map[string]int{"x": 1}})
	require.NoError(t, err)
	row, ok := server.DB().Row(standin.TableMessages, f.Rows["m02"]["id"].(string))
	require.True(t, ok)
	assert.Equal(t, clock, row["updated_at"])
}
