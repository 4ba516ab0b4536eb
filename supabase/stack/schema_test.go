package stack_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/stack"
)

// insertMessage stores a row of C1 whose other columns are literals.
func insertMessage(role, senderUser, senderAgent, content string) string {
	return "insert into public.chat_messages_v2 (conversation_id, session_id, role, sender_user_id, sender_agent_id, content)" +
		" values ('" + fixture.Visitor.ConversationID + "', '" + fixture.Visitor.ConversationSessionID + "', '" + role + "', " +
		senderUser + ", " + senderAgent + ", '" + content + "')"
}

func quoted(s string) string { return "'" + s + "'" }

// constraintCase is a statement and the constraint that refuses it, "" when none does.
type constraintCase struct {
	name, sql, code, constraint string
}

func (c constraintCase) check(t *testing.T, s *stack.Stack) {
	t.Helper()
	err := s.Exec(t.Context(), c.sql)
	if c.code == "" {
		assert.NoError(t, err)
		return
	}
	var refused *pgconn.PgError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, c.code, refused.Code)
	assert.Equal(t, c.constraint, refused.ConstraintName)
}

func TestConstraintsRefuseWhatTheFieldRefuses(t *testing.T) {
	const text = `{"type": "text", "text": "hello"}`
	user, agent := quoted(fixture.OwnerID), quoted(fixture.AgentID)
	session := "update public.temporary_chat_sessions set %s where id = '" + fixture.Visitor.ID + "'"
	cases := []constraintCase{
		{"visitor as role user without a sender", insertMessage("user", "null", "null", text), "23514", "check_actor_exclusivity"},
		{"both senders", insertMessage("user", user, agent, text), "23514", "check_actor_exclusivity"},
		{"visitor as role system", insertMessage("system", "null", "null", text), "", ""},
		{"tool without a sender", insertMessage("tool", "null", "null", `{"type": "tool_result"}`), "", ""},
		{"assistant sent by a user", insertMessage("assistant", user, "null", text), "", ""},
		{"unknown role", insertMessage("thinking", "null", "null", text), "23514", "chat_messages_v2_role_check"},
		{"unknown agent", insertMessage("assistant", "null", user, text), "23503", "chat_messages_v2_sender_agent_id_fkey"},
		{"second link of a token", "update public.temporary_chat_links set vault_link_token_id = (select vault_link_token_id from" +
			" public.temporary_chat_links where id = '" + fixture.Full.ID + "') where id = '" + fixture.Isolated.ID + "'", "23505",
			"temporary_chat_links_vault_link_token_id_key"},
		{"link without a title", "update public.temporary_chat_links set title = ''", "23514", "temp_links_title_check"},
		{"link that ends before it begins", "update public.temporary_chat_links set expires_at = created_at", "23514", "temp_links_expires_check"},
		{"end reason of the owner's tool", fmt.Sprintf(session, "end_reason = 'manually_ended'"), "23514", "temp_sessions_end_reason_check"},
		{"unknown session status", fmt.Sprintf(session, "status = 'over'"), "23514", "temp_sessions_status_check"},
		{"session that ends before it begins", fmt.Sprintf(session, "ended_at = started_at - interval '1 s'"), "23514", "temp_sessions_ended_check"},
	}
	structure := []constraintCase{
		{"content of type error", insertMessage("assistant", "null", agent, `{"type": "error"}`), "23514", "check_content_structure"},
		{"content that is a string", insertMessage("assistant", "null", agent, `"text"`), "23514", "check_content_structure"},
	}
	unknownConversation := "update public.chat_messages_v2 set conversation_id = gen_random_uuid() where id = '" + fixture.Rows["m01"]["id"].(string) + "'"
	secondSession := "insert into public.conversation_sessions (conversation_id, agent_id) values ('" +
		fixture.Visitor.ConversationID + "', " + agent + ")"

	t.Run("strict", func(t *testing.T) {
		s := stack.Start(t, stack.Options{Profile: stack.Profile{Strict: true, Rows: true}})
		for _, c := range append(append(cases, structure...),
			constraintCase{"message of no conversation", unknownConversation, "23503", "chat_messages_v2_conversation_id_fkey"},
			constraintCase{"second session of a conversation", secondSession, "23505", "conversation_sessions_conversation_id_key"},
		) {
			t.Run(c.name, func(t *testing.T) { c.check(t, s) })
		}
	})
	t.Run("relaxed", func(t *testing.T) {
		s := stack.Start(t, stack.Options{Profile: stack.Profile{Relaxed: true, Rows: true}})
		for i := range structure {
			structure[i].code = ""
		}
		for _, c := range append(append(cases, structure...),
			constraintCase{"message of no conversation", unknownConversation, "", ""},
			constraintCase{"second session of a conversation", secondSession, "", ""},
		) {
			t.Run(c.name, func(t *testing.T) { c.check(t, s) })
		}
	})
}

func TestTriggersCountAsInTheField(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	visitor, link := quoted(fixture.Visitor.ID), quoted(fixture.Isolated.ID)
	linkCount := "select session_count from public.temporary_chat_links where id = " + link
	assert.Equal(t, 1, value[int](t, s, linkCount))

	require.NoError(t, s.Exec(t.Context(), insertMessage("system", "null", "null", `{"type": "text", "text": "one"}`)))
	assert.Equal(t, 1, value[int](t, s, "select message_count from public.conversation_sessions where id = $1",
		fixture.Visitor.ConversationSessionID))

	require.NoError(t, s.Exec(t.Context(), "update public.temporary_chat_sessions set message_count = 3 where id = "+visitor))
	assert.Equal(t, 3, value[int](t, s, "select total_messages from public.temporary_chat_links where id = "+link))
	assert.Equal(t, 1, value[int](t, s, "select messages_in_current_minute from public.temporary_chat_sessions where id = "+visitor))
	assert.True(t, value[bool](t, s, "select last_message_at is not null from public.temporary_chat_sessions where id = "+visitor))

	end := "update public.temporary_chat_sessions set status = 'ended', ended_at = started_at + interval '90 s'%s where id = " + visitor
	require.NoError(t, s.Exec(t.Context(), fmt.Sprintf(end, ", message_count = 4")))
	assert.Equal(t, 1, value[int](t, s, linkCount), "a change of both frees no place")
	assert.Equal(t, 90, value[int](t, s, "select session_duration_seconds from public.temporary_chat_sessions where id = "+visitor))

	require.NoError(t, s.Exec(t.Context(), "update public.temporary_chat_sessions set status = 'ended' where id = "+quoted(fixture.FullVisitor.ID)))
	assert.Equal(t, 0, value[int](t, s, "select session_count from public.temporary_chat_links where id = "+quoted(fixture.Full.ID)))
}

func TestCleanUpFunctionsExpireSessions(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	state := func(id string) string {
		return value[string](t, s, "select status || ' ' || coalesce(end_reason, '') from public.temporary_chat_sessions where id = $1", id)
	}
	require.NoError(t, s.Exec(t.Context(), "update public.temporary_chat_links set session_timeout_minutes = 60"))
	require.NoError(t, s.Exec(t.Context(), "update public.temporary_chat_sessions set started_at = now() - interval '2 h',"+
		" last_activity_at = now() - interval '45 min'"))
	require.NoError(t, s.Exec(t.Context(), "update public.temporary_chat_links set session_timeout_minutes = 30 where id = "+quoted(fixture.Isolated.ID)))

	assert.Equal(t, 1, value[int](t, s, "select public.expire_inactive_sessions()"))
	assert.Equal(t, "expired timeout", state(fixture.Visitor.ID))
	assert.Equal(t, "active ", state(fixture.Shared.ID))

	assert.Equal(t, 5, value[int](t, s, "select public.cleanup_expired_temp_chats()"), "its 30 minutes ignore the link's")
	assert.Equal(t, "expired timeout", state(fixture.Shared.ID))
	assert.False(t, value[bool](t, s, "select is_active from public.temporary_chat_links where id = $1", fixture.Expired.ID))
}

func TestPublicationProfilesCanBeSwitched(t *testing.T) {
	s := stack.Start(t, stack.Options{})
	published := "select coalesce(string_agg(tablename, ' ' order by tablename), '') from pg_publication_tables where pubname = 'supabase_realtime'"
	all := "chat_messages_v2 temporary_chat_links temporary_chat_sessions"
	assert.Equal(t, all, value[string](t, s, published))
	for _, step := range []struct{ file, tables string }{
		{"50_publication_none.sql", ""}, {"50_publication_none.sql", ""}, {"50_publication_messages.sql", "chat_messages_v2"},
		{"50_publication_all.sql", all}, {"50_publication_none.sql", ""},
	} {
		require.NoError(t, s.Apply(t.Context(), step.file))
		assert.Equal(t, step.tables, value[string](t, s, published), step.file)
	}
	assert.Equal(t, "conversation_sessions", value[string](t, s,
		"select string_agg(relname, ' ') from pg_class where relreplident = 'f' and relnamespace = 'public'::regnamespace"))
}
