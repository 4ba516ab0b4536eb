package stack_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/rest"
	"github.com/agentopia/realtime-proxy/supabase/stack"
)

// These tests run every method of the client of package rest against a real PostgREST.

// row is what the tests read of a message.
type row struct {
	ID        string          `json:"id"`
	Content   json.RawMessage `json:"content"`
	CreatedAt time.Time       `json:"created_at"`
}

func ids(t *testing.T, rows []json.RawMessage) []string {
	t.Helper()
	found := make([]string, len(rows))
	for i, raw := range rows {
		var r row
		require.NoError(t, json.Unmarshal(raw, &r))
		found[i] = r.ID
	}
	return found
}

func fixtureIDs(names ...string) []string {
	found := make([]string, len(names))
	for i, name := range names {
		found[i] = fixture.Rows[name]["id"].(string)
	}
	return found
}

// allPages reads page after page in one direction.
func allPages(t *testing.T, client *rest.Client, q rest.MessagesQuery) (found []string, pages int) {
	t.Helper()
	for {
		page, err := client.Messages(t.Context(), q)
		require.NoError(t, err)
		found = append(found, ids(t, page.Rows)...)
		pages++
		if !page.More {
			return found, pages
		}
		if q.Descending {
			q.Before = page.Last
		} else {
			q.After = page.Last
		}
	}
}

// manyMessages stores rows in C1 and in C2, ten at a time with one created_at, and returns their ids in order.
func manyMessages(t *testing.T, s *stack.Stack, n int) []string {
	t.Helper()
	require.NoError(t, s.Exec(t.Context(), `
		insert into public.chat_messages_v2 (conversation_id, session_id, role, content, created_at)
		select case when i % 2 = 0 then $1::uuid else $2::uuid end, gen_random_uuid(), 'system', '{"type": "text", "text": "x"}',
			timestamptz '2026-04-01 00:00:00.000001+00' + i / 10 * interval '1 microsecond'
		from generate_series(0, $3::integer - 1) i`, fixture.Visitor.ConversationID, fixture.Shared.ConversationID, n))
	return strings.Fields(value[string](t, s, "select string_agg(id::text, ' ' order by created_at, id) from public.chat_messages_v2"))
}

func TestClientPagesThroughEqualTimestampsBothWays(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			s := stack.Start(t, stack.Options{Postgres: kind, Profile: stack.Profile{Seed: true}})
			client := serviceClient(t, s)
			wanted := manyMessages(t, s, 2345)
			backwards := slices.Clone(wanted)
			slices.Reverse(backwards)
			both := []string{fixture.Visitor.ConversationID, fixture.Shared.ConversationID}
			for _, limit := range []int{0, 107} {
				found, pages := allPages(t, client, rest.MessagesQuery{Conversations: both, Limit: limit})
				assert.Equal(t, wanted, found, "limit %d", limit)
				assert.Greater(t, pages, 2)
				found, _ = allPages(t, client, rest.MessagesQuery{Conversations: both, Limit: limit, Descending: true})
				assert.Equal(t, backwards, found, "limit %d, descending", limit)
			}
		})
	}
}

func TestClientBoundsMessagesByTimeAndPosition(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Rows: true, Relaxed: true}})
	client := serviceClient(t, s)
	c1 := []string{fixture.Visitor.ConversationID}
	at := func(clock string) time.Time {
		parsed, err := time.Parse(time.RFC3339, "2026-03-02T"+clock+"Z")
		require.NoError(t, err)
		return parsed
	}
	position := func(name string) rest.Position {
		created, err := time.Parse(time.RFC3339, fixture.Rows[name]["created_at"].(string))
		require.NoError(t, err)
		return rest.Position{CreatedAt: created, ID: fixture.Rows[name]["id"].(string)}
	}
	for name, c := range map[string]struct {
		query  rest.MessagesQuery
		wanted []string
	}{
		"everything":   {rest.MessagesQuery{}, []string{"m01", "m02", "m07", "m08", "m03", "m09", "m10", "m11", "m12", "m13"}},
		"since":        {rest.MessagesQuery{Since: at("10:04:00")}, []string{"m10", "m11", "m12", "m13"}},
		"until":        {rest.MessagesQuery{Until: at("10:00:21")}, []string{"m01", "m02"}},
		"after":        {rest.MessagesQuery{After: position("m11")}, []string{"m12", "m13"}},
		"before":       {rest.MessagesQuery{Before: position("m02")}, []string{"m01"}},
		"newest first": {rest.MessagesQuery{Descending: true, Limit: 2}, []string{"m13", "m12"}},
		"a span":       {rest.MessagesQuery{Since: at("10:03:00"), Before: position("m11")}, []string{"m09", "m10"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.query.Conversations = c1
			page, err := client.Messages(t.Context(), c.query)
			require.NoError(t, err)
			assert.Equal(t, fixtureIDs(c.wanted...), ids(t, page.Rows))
			assert.Equal(t, position(c.wanted[len(c.wanted)-1]), page.Last)
		})
	}

	t.Run("rows without a position are left out", func(t *testing.T) {
		require.NoError(t, s.Exec(t.Context(), "update public.chat_messages_v2 set created_at = case when role = 'tool' then null"+
			" else 'infinity'::timestamptz end where role in ('tool', 'system')"))
		page, err := client.Messages(t.Context(), rest.MessagesQuery{Conversations: c1})
		require.NoError(t, err)
		assert.Equal(t, fixtureIDs("m01", "m03", "m09", "m10", "m11", "m12", "m13"), ids(t, page.Rows))
	})
	t.Run("private columns are not read", func(t *testing.T) {
		rows, err := client.MessagesByID(t.Context(), fixtureIDs("m03"))
		require.NoError(t, err)
		require.Len(t, rows, 1)
		assert.NotContains(t, string(rows[0]), "SECRET")
		assert.ElementsMatch(t, []string{"id", "conversation_id", "session_id", "role", "content", "sender_user_id",
			"sender_agent_id", "created_at", "updated_at"}, columnsOf(t, string(rows[0])))
	})
}

func TestClientReadsManyIDsInBatches(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	client := serviceClient(t, s)
	wanted := manyMessages(t, s, 250)
	rows, err := client.MessagesByID(t.Context(), slices.Concat(wanted, wanted[:5], []string{uuid.NewString()}))
	require.NoError(t, err)
	assert.ElementsMatch(t, wanted, ids(t, rows))

	conversations := []string{fixture.Visitor.ConversationID}
	for len(conversations) < 100 {
		conversations = append(conversations, uuid.NewString())
	}
	page, err := client.Messages(t.Context(), rest.MessagesQuery{Conversations: conversations})
	require.NoError(t, err)
	assert.Len(t, page.Rows, 125)
}

func TestClientInsertsAMessageOnce(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true, Strict: true}})
	client := serviceClient(t, s)
	message := func(id, text string) map[string]any {
		return map[string]any{
			"id": id, "conversation_id": fixture.Visitor.ConversationID, "session_id": fixture.Visitor.ConversationSessionID, "role": "system",
			"content": map[string]any{"type": "text", "text": text, "metadata": map[string]any{
				"temp_session_id": fixture.Visitor.ID, "client_message_id": "c:1.a_b-2", "is_anonymous_user": true}},
		}
	}
	id := uuid.NewString()
	first, err := client.InsertMessage(t.Context(), message(id, "first"))
	require.NoError(t, err)
	second, err := client.InsertMessage(t.Context(), message(id, "second"))
	require.NoError(t, err)
	assert.JSONEq(t, string(first), string(second), "the stored row is left as it is")
	assert.Contains(t, string(second), "first")

	t.Run("and finds it by its client id", func(t *testing.T) {
		_, err := client.InsertMessage(t.Context(), message(uuid.NewString(), "later"))
		require.NoError(t, err)
		found, err := client.MessageByClientID(t.Context(), fixture.Visitor.ConversationID, fixture.Visitor.ID, "c:1.a_b-2")
		require.NoError(t, err)
		assert.JSONEq(t, string(first), string(found))
		for _, other := range [][3]string{
			{fixture.Visitor.ConversationID, fixture.Visitor.ID, "c-2"},
			{fixture.Visitor.ConversationID, fixture.Shared.ID, "c:1.a_b-2"},
			{fixture.Shared.ConversationID, fixture.Visitor.ID, "c:1.a_b-2"},
		} {
			_, err := client.MessageByClientID(t.Context(), other[0], other[1], other[2])
			require.ErrorIs(t, err, rest.ErrNotFound)
		}
	})
	t.Run("a sender's row is not the visitor's", func(t *testing.T) {
		forged := message(uuid.NewString(), "forged")
		forged["sender_user_id"], forged["created_at"] = fixture.StrangerID, "2026-01-01T00:00:00Z"
		_, err := client.InsertMessage(t.Context(), forged)
		require.NoError(t, err)
		found, err := client.MessageByClientID(t.Context(), fixture.Visitor.ConversationID, fixture.Visitor.ID, "c:1.a_b-2")
		require.NoError(t, err)
		assert.JSONEq(t, string(first), string(found))
	})
	t.Run("refused rows are told apart", func(t *testing.T) {
		conflicting := message(id, "other conversation")
		conflicting["conversation_id"] = fixture.Shared.ConversationID
		_, err := client.InsertMessage(t.Context(), conflicting)
		assert.True(t, rest.Conflict(err), "%v", err)
		for name, change := range map[string]map[string]any{
			"visitor as role user":    {"role": "user"},
			"content of type error":   {"content": map[string]any{"type": "error"}},
			"unknown conversation":    {"conversation_id": uuid.NewString()},
			"no session id":           {"session_id": nil},
			"unknown agent as sender": {"sender_agent_id": uuid.NewString()},
		} {
			bad := message(uuid.NewString(), "bad")
			for column, v := range change {
				bad[column] = v
			}
			_, err := client.InsertMessage(t.Context(), bad)
			assert.True(t, rest.Constraint(err), "%s: %v", name, err)
			assert.False(t, rest.Unavailable(err), name)
		}
		unknown := message(uuid.NewString(), "bad")
		unknown["mood"] = "good"
		_, err = client.InsertMessage(t.Context(), unknown)
		assert.True(t, rest.MissingColumn(err), "%v", err)
	})
}

func TestClientReadsWhatChangedSince(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Rows: true, Relaxed: true}})
	client := serviceClient(t, s)
	before := value[time.Time](t, s, "select clock_timestamp()")
	require.NoError(t, s.Exec(t.Context(), "update public.chat_messages_v2 set content = content where id = $1", fixtureIDs("m02")[0]))
	require.NoError(t, s.Exec(t.Context(), `insert into public.chat_messages_v2 (conversation_id, session_id, role, content, created_at, updated_at)
		values ($1, gen_random_uuid(), 'system', '{"type": "text", "text": "x"}', now(), null)`, fixture.Visitor.ConversationID))
	inserted := value[string](t, s, "select id::text from public.chat_messages_v2 where updated_at is null")
	q := rest.MessagesQuery{Conversations: []string{fixture.Visitor.ConversationID}, ChangedSince: before}
	found, pages := allPages(t, client, q)
	assert.Equal(t, append(fixtureIDs("m02"), inserted), found, "what was updated and what was created")
	assert.Equal(t, 1, pages)
	q.Since = before
	found, _ = allPages(t, client, q)
	assert.Equal(t, []string{inserted}, found)
}
