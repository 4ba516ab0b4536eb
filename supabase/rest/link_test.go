package rest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/rest"
)

func TestLinksAreReadWithoutPrivateColumns(t *testing.T) {
	body := `[{"id":"` + idA + `","agent_id":"` + idB + `","source_conversation_id":"` + idC + `","is_active":true,
		"expires_at":"2026-12-01T08:00:00+00:00","session_timeout_minutes":30,"max_messages_per_session":100,"rate_limit_per_minute":10,
		"allowed_domains":["example.org"],"allowed_ips":["203.0.113.9","10.0.0.0/8"],"title":"Pilot","description":null,"welcome_message":"Hi"},
		{"id":"` + idB + `","agent_id":"` + idB + `","source_conversation_id":null,"is_active":null,"expires_at":"-infinity",
		"session_timeout_minutes":null,"max_messages_per_session":null,"rate_limit_per_minute":null,"allowed_domains":null,"allowed_ips":null,
		"title":"Old","description":null,"welcome_message":null}]`
	s := newScript(t, answer(200, body))
	got, err := newClient(t, s).Links(t.Context(), []string{idA, idB})
	require.NoError(t, err)
	assert.Equal(t, []rest.Link{
		{
			ID: idA, AgentID: idB, SourceConversationID: idC, IsActive: true,
			ExpiresAt:             time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC),
			SessionTimeoutMinutes: 30, MaxMessagesPerSession: 100, RateLimitPerMinute: 10,
			AllowedDomains: []string{"example.org"}, AllowedIPs: []string{"203.0.113.9", "10.0.0.0/8"},
			Title: "Pilot", WelcomeMessage: "Hi",
		},
		{ID: idB, AgentID: idB, ExpiresAt: time.Unix(0, 0).UTC(), Title: "Old"},
	}, got)
	r := s.only(t)
	assert.Equal(t, "/rest/v1/temporary_chat_links", r.Path)
	assert.Equal(t, "in.("+idA+","+idB+")", r.Query.Get("id"))
	columns := strings.Split(r.Query.Get("select"), ",")
	assert.Len(t, columns, 13)
	for _, private := range []string{"*", "system_prompt_override", "chat_intent", "vault_link_token_id", "user_id", "link_metadata"} {
		assert.NotContains(t, columns, private)
	}
}

func TestALinkWithOddValuesDoesNotHideOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		expires, domains string
		at               time.Time
		allowed          []string
	}{
		"never":                 {`"infinity"`, `null`, time.Time{}, nil},
		"far":                   {`"20000-01-01T00:00:00+00:00"`, `[]`, time.Time{}, []string{}},
		"as far as can be":      {`"294276-12-31T23:59:59.999999+00:00"`, `["a"]`, time.Time{}, []string{"a"}},
		"before Christ":         {`"0044-03-15T00:00:00+00:00 BC"`, `["a",null]`, time.Unix(0, 0).UTC(), []string{"a", ""}},
		"long before Christ":    {`"4714-11-24T00:00:00+00:00 BC"`, `[["a"],["b"]]`, time.Unix(0, 0).UTC(), []string{"a", "b"}},
		"lists of lists":        {`null`, `[[["a"],["b"]],[["c"],["d"]]]`, time.Time{}, []string{"a", "b", "c", "d"}},
		"without its time zone": {`"2026-12-01T08:00:00"`, `null`, time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC), nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, answer(200, `[{"id":"`+idA+`","is_active":true},
				{"id":"`+idB+`","is_active":true,"expires_at":`+tt.expires+`,"allowed_domains":`+tt.domains+`}]`))
			links, err := newClient(t, s).Links(t.Context(), []string{idA, idB})
			require.NoError(t, err)
			require.Len(t, links, 2)
			assert.Equal(t, tt.at, links[1].ExpiresAt)
			assert.Equal(t, tt.allowed, links[1].AllowedDomains)
		})
	}
	for _, bad := range []string{`"soon"`, `20000`, `"99-01-01T00:00:00"`} {
		s := newScript(t, answer(200, `[{"id":"`+idB+`","expires_at":`+bad+`}]`))
		_, err := newClient(t, s).Links(t.Context(), []string{idB})
		assert.Error(t, err, bad)
	}
}

func TestAgentNamesAreReadByID(t *testing.T) {
	s := newScript(t, answer(200, `[{"id":"`+idA+`","name":"Ada"},{"id":"`+idB+`","name":null}]`))
	got, err := newClient(t, s, func(o *rest.Options) {
		o.Names.Agents = rest.Table{Name: "bots", Columns: map[string]string{"name": "label"}}
	}).AgentNames(t.Context(), []string{idA, idB})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{idA: "Ada"}, got)
	r := s.only(t)
	assert.Equal(t, "/rest/v1/bots", r.Path)
	assert.Equal(t, "id,name:label", r.Query.Get("select"))
}

func TestConversationSessionsAreReadByID(t *testing.T) {
	s := newScript(t, answer(200, `[{"id":"`+idA+`","conversation_id":"`+idC+`","user_id":null},{"id":"`+idB+`","conversation_id":"`+idC+`","user_id":"`+idB+`"}]`))
	got, err := newClient(t, s).ConversationSessions(t.Context(), []string{idA, idB})
	require.NoError(t, err)
	assert.Equal(t, []rest.ConversationSession{
		{ID: idA, ConversationID: idC}, {ID: idB, ConversationID: idC, UserID: idB},
	}, got)
	r := s.only(t)
	assert.Equal(t, "/rest/v1/conversation_sessions", r.Path)
	assert.Equal(t, "id,conversation_id,user_id", r.Query.Get("select"))
}

func TestHostileIDsAreRefusedBeforeSending(t *testing.T) {
	s := newScript(t, answer(200, `[]`))
	c := newClient(t, s)
	for _, id := range []string{
		"", "x", "x),or(secret.eq.1", idA + ",", idA + "\n", `"` + idA + `"`, "{" + idA + "}", "urn:uuid:" + idA,
		strings.ReplaceAll(idA, "-", ""), "1.5", "-1", "12345678901234567890", "١٢٣", idA + "\x00", " " + idA, "null", "*",
	} {
		ids := []string{idA, id}
		_, err := c.Sessions(t.Context(), ids)
		require.ErrorIs(t, err, rest.ErrInvalidArgument, "%q", id)
		_, err = c.SessionsOfConversations(t.Context(), ids)
		require.ErrorIs(t, err, rest.ErrInvalidArgument, "%q", id)
		_, err = c.Links(t.Context(), ids)
		require.ErrorIs(t, err, rest.ErrInvalidArgument, "%q", id)
		_, err = c.AgentNames(t.Context(), ids)
		require.ErrorIs(t, err, rest.ErrInvalidArgument, "%q", id)
		_, err = c.ConversationSessions(t.Context(), ids)
		require.ErrorIs(t, err, rest.ErrInvalidArgument, "%q", id)
		_, err = c.MessagesByID(t.Context(), ids)
		require.ErrorIs(t, err, rest.ErrInvalidArgument, "%q", id)
		_, err = c.Messages(t.Context(), rest.MessagesQuery{Conversations: ids})
		require.ErrorIs(t, err, rest.ErrInvalidArgument, "%q", id)
		_, err = c.MessageByClientID(t.Context(), id, idA, "c-1")
		require.ErrorIs(t, err, rest.ErrInvalidArgument, "%q", id)
		_, err = c.MessageByClientID(t.Context(), idA, id, "c-1")
		require.ErrorIs(t, err, rest.ErrInvalidArgument, "%q", id)
		_, err = c.InsertMessage(t.Context(), map[string]any{"id": id, "conversation_id": idC})
		require.ErrorIs(t, err, rest.ErrInvalidArgument, "%q", id)
		if id != "" {
			assert.NotContains(t, err.Error(), "secret")
		}
	}
	assert.Empty(t, s.requests())
}
