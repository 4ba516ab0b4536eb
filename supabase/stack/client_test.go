package stack_test

import (
	"context"
	"encoding/json"
	"net/http"
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

func TestClientReadsAndChangesSessions(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	client := serviceClient(t, s)
	ctx := t.Context()

	sessions, err := client.Sessions(ctx, []string{fixture.Visitor.ID, fixture.Shared.ID, uuid.NewString()})
	require.NoError(t, err)
	require.Len(t, sessions, 2)
	visitor := sessions[slices.IndexFunc(sessions, func(s rest.Session) bool { return s.ID == fixture.Visitor.ID })]
	assert.Equal(t, fixture.Visitor.LinkID, visitor.LinkID)
	assert.Equal(t, fixture.Visitor.ConversationID, visitor.ConversationID)
	assert.Equal(t, fixture.Visitor.ConversationSessionID, visitor.ConversationSessionID)
	assert.Equal(t, "active", visitor.Status)
	assert.WithinDuration(t, time.Now(), visitor.StartedAt, time.Minute)
	assert.True(t, visitor.EndedAt.IsZero())

	shared, err := client.SessionsOfConversations(ctx, []string{fixture.Shared.ConversationID, fixture.Visitor.ConversationID})
	require.NoError(t, err)
	assert.Len(t, shared, 3)

	require.NoError(t, client.UpdateSession(ctx, fixture.Visitor.ID, map[string]any{
		"status": "ended", "end_reason": "completed", "ended_at": time.Now().Add(time.Minute), "message_count": 4}))
	sessions, err = client.Sessions(ctx, []string{fixture.Visitor.ID})
	require.NoError(t, err)
	assert.Equal(t, "completed", sessions[0].EndReason)
	assert.Equal(t, 4, sessions[0].MessageCount)
	require.ErrorIs(t, client.UpdateSession(ctx, uuid.NewString(), map[string]any{"status": "ended"}), rest.ErrNotFound)
	assert.True(t, rest.Constraint(client.UpdateSession(ctx, fixture.Visitor.ID, map[string]any{"end_reason": "link_deleted"})))

	owners, err := client.ConversationSessions(ctx, []string{fixture.Visitor.ConversationSessionID, uuid.NewString()})
	require.NoError(t, err)
	assert.Equal(t, []rest.ConversationSession{{
		ID: fixture.Visitor.ConversationSessionID, ConversationID: fixture.Visitor.ConversationID}}, owners)
}

func TestClientReadsEverySessionOfABusyConversation(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	require.NoError(t, s.Exec(t.Context(), `
		insert into public.temporary_chat_sessions (link_id, vault_session_token_id, conversation_id)
		select $1, vault.create_secret('token ' || i), $2 from generate_series(1, 1500) i`,
		fixture.Contextual.ID, fixture.Shared.ConversationID))
	sessions, err := serviceClient(t, s).SessionsOfConversations(t.Context(), []string{fixture.Shared.ConversationID})
	require.NoError(t, err)
	assert.Len(t, sessions, 1502)
}

func TestClientReadsLinksAndAgents(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	client := serviceClient(t, s)
	require.NoError(t, s.Exec(t.Context(), "update public.temporary_chat_links set allowed_domains = '{example.org,\"a b\"}',"+
		" allowed_ips = '{203.0.113.0/24,2001:db8::1}' where id = $1", fixture.Isolated.ID))

	links, err := client.Links(t.Context(), []string{fixture.Isolated.ID, fixture.Inactive.ID})
	require.NoError(t, err)
	require.Len(t, links, 2)
	slices.SortFunc(links, func(a, b rest.Link) int { return strings.Compare(a.ID, b.ID) })
	isolated := links[0]
	assert.Equal(t, fixture.AgentID, isolated.AgentID)
	assert.Equal(t, "Pilot feedback", isolated.Title)
	assert.Equal(t, []string{"example.org", "a b"}, isolated.AllowedDomains)
	assert.Equal(t, []string{"203.0.113.0/24", "2001:db8::1"}, isolated.AllowedIPs)
	assert.Empty(t, isolated.SourceConversationID)
	assert.True(t, isolated.IsActive)
	assert.WithinDuration(t, time.Now().Add(24*time.Hour), isolated.ExpiresAt, time.Minute)
	assert.False(t, links[1].IsActive)
	assert.Nil(t, links[1].AllowedIPs)

	names, err := client.AgentNames(t.Context(), []string{fixture.AgentID, uuid.NewString()})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{fixture.AgentID: "Ada"}, names)
}

func TestClientEstimatesTheServersClock(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	client := serviceClient(t, s)
	now, err := client.Ping(t.Context())
	require.NoError(t, err)
	assert.WithinDuration(t, value[time.Time](t, s, "select now()"), now, 2*time.Second)
	page, err := client.Messages(t.Context(), rest.MessagesQuery{Conversations: []string{fixture.Visitor.ConversationID}})
	require.NoError(t, err)
	assert.False(t, page.ServerTime.After(value[time.Time](t, s, "select now()")), "surely reached")
	assert.WithinDuration(t, client.Now(), page.ServerTime, 2*time.Second)
}

func TestClientUsesRenamedTablesAndColumns(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Rows: true}})
	require.NoError(t, s.Exec(t.Context(), `create schema chat;
		create view chat.notes as select id, conversation_id as room, session_id, role, content as body, sender_user_id,
			sender_agent_id, created_at as made_at, updated_at, metadata from public.chat_messages_v2;
		create or replace view public.notes as select * from chat.notes;
		grant select on public.notes to service_role`))
	require.NoError(t, s.ReloadSchema(t.Context()))
	names := rest.DefaultNames()
	names.Messages = rest.Table{Name: "notes", Columns: map[string]string{"conversation_id": "room", "content": "body", "created_at": "made_at"}}
	client := restClient(t, rest.Options{URL: gateway(t, s), Key: s.ServiceKey(), Names: names})
	page, err := client.Messages(t.Context(), rest.MessagesQuery{Conversations: []string{fixture.Visitor.ConversationID}, Descending: true, Limit: 3})
	require.NoError(t, err)
	assert.Equal(t, fixtureIDs("m13", "m11", "m10"), ids(t, page.Rows))
	found, err := client.MessageByClientID(t.Context(), fixture.Visitor.ConversationID, fixture.Visitor.ID, "c-17")
	require.NoError(t, err)
	assert.Equal(t, fixtureIDs("m02"), ids(t, []json.RawMessage{found}))
}

func TestClientTellsFailuresApart(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	url := gateway(t, s)
	ping := func(key, schema, table string) error {
		names := rest.DefaultNames()
		names.Schema, names.Messages.Name = schema, table
		_, err := restClient(t, rest.Options{URL: url, Key: key, Names: names}).Ping(t.Context())
		return err
	}
	const table = "chat_messages_v2"
	require.NoError(t, ping(s.ServiceKey(), "public", table))
	require.NoError(t, ping(s.AnonKey(), "public", table), "row level security hides rows, not the table")

	missing := ping(s.ServiceKey(), "public", "no_such_table")
	assert.True(t, rest.MissingTable(missing), "%v", missing)
	hidden := ping(s.ServiceKey(), "vault", table)
	assert.True(t, rest.Unavailable(hidden), "%v", hidden)
	refused := ping(s.ServiceKey()+"x", "public", table)
	assert.True(t, rest.Forbidden(refused), "%v", refused)
	require.NoError(t, s.Exec(t.Context(), "revoke all on public.chat_messages_v2 from anon"))
	revoked := ping(s.AnonKey(), "public", table)
	assert.True(t, rest.Forbidden(revoked), "%v", revoked)
}

func TestClientSeesOutagesAndTheirEnd(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	client := serviceClient(t, s)
	validated := func() error {
		v, err := client.ValidateSession(t.Context(), fixture.Visitor.Token)
		if err == nil {
			assert.True(t, v.Valid)
		}
		return err
	}
	failed := func(statuses ...int) {
		t.Helper()
		err := validated()
		var failure *rest.Error
		require.ErrorAs(t, err, &failure)
		assert.True(t, rest.Unavailable(err), "no answer says nothing about the token")
		assert.Contains(t, statuses, failure.Status)
		assert.NotContains(t, err.Error(), fixture.Visitor.Token)
	}
	require.NoError(t, validated())

	require.NoError(t, s.StopPostgres())
	failed(http.StatusServiceUnavailable)
	require.NoError(t, s.StartPostgres(t.Context()))
	require.NoError(t, s.WaitREST(t.Context()))
	require.NoError(t, validated())

	s.KillPostgREST()
	failed(http.StatusBadGateway)
	require.NoError(t, s.StartPostgREST(t.Context()))
	require.NoError(t, validated())
}

func TestClientGivesUpOnALockedTable(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	client := restClient(t, rest.Options{URL: gateway(t, s), Key: s.ServiceKey(), Timeout: 300 * time.Millisecond})
	conn, err := s.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context())) // ends the transaction
	for _, statement := range []string{"begin", "lock table public.chat_messages_v2 in access exclusive mode"} {
		_, err := conn.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	_, err = client.Ping(t.Context())
	var failure *rest.Error
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, rest.CodeTimeout, failure.Code, "%v", err)
	assert.True(t, rest.Unavailable(err))
}
