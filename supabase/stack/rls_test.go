package stack_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/stack"
)

func signedIn(t *testing.T, user string) string {
	t.Helper()
	token, err := stack.Token("authenticated", user)
	require.NoError(t, err)
	return token
}

func TestRowLevelSecurityIsThatOfTheField(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			s := stack.Start(t, stack.Options{Postgres: kind, Profile: stack.Profile{Rows: true}})
			count := func(key, path string) int {
				t.Helper()
				return len(request{path: path, key: key}.do(t, s).rows(t))
			}
			service, anon := s.ServiceKey(), s.AnonKey()
			owner, stranger := signedIn(t, fixture.OwnerID), signedIn(t, fixture.StrangerID)

			t.Run("the service role sees all", func(t *testing.T) {
				assert.Equal(t, 11, count(service, "chat_messages_v2"))
				assert.Equal(t, 6, count(service, "temporary_chat_sessions"))
				assert.Equal(t, 5, count(service, "temporary_chat_links"))
			})
			t.Run("anon sees no message and no session", func(t *testing.T) {
				for _, key := range []string{anon, ""} {
					assert.Zero(t, count(key, "chat_messages_v2"))
					assert.Zero(t, count(key, "temporary_chat_sessions"))
					assert.Zero(t, count(key, "conversation_sessions"))
					assert.Zero(t, count(key, "agents"))
				}
			})
			t.Run("anon sees usable links with their private columns", func(t *testing.T) {
				rows := request{path: "temporary_chat_links?order=id&select=system_prompt_override", key: anon}.do(t, s).rows(t)
				require.Len(t, rows, 3)
				assert.Equal(t, "SECRET OVERRIDE", rows[1]["system_prompt_override"])
			})
			t.Run("any signed-in user sees all sessions", func(t *testing.T) {
				assert.Equal(t, 6, count(stranger, "temporary_chat_sessions"))
			})
			t.Run("a link's owner sees the messages of its conversations", func(t *testing.T) {
				assert.Equal(t, 11, count(owner, "chat_messages_v2"))
				assert.Equal(t, 1, count(stranger, "chat_messages_v2"), "his own forgery")
			})
			t.Run("any signed-in user writes into any conversation as himself", func(t *testing.T) {
				row := func(sender string) string {
					return `{"conversation_id":"` + fixture.Visitor.ConversationID + `","session_id":"` + fixture.Visitor.ConversationSessionID +
						`","role":"assistant","sender_user_id":"` + sender + `","content":{"type":"text","text":"x"}}`
				}
				write := request{method: http.MethodPost, path: "chat_messages_v2", key: stranger, body: row(fixture.StrangerID)}
				assert.Equal(t, http.StatusCreated, write.do(t, s).status)
				write.body = row(fixture.OwnerID)
				refused := write.do(t, s)
				assert.Equal(t, http.StatusForbidden, refused.status)
				assert.Equal(t, "42501", refused.code)
				write.key = anon
				assert.Equal(t, "42501", write.do(t, s).code)
			})
		})
	}
}
