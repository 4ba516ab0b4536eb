package stack_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/rest"
	"github.com/agentopia/realtime-proxy/supabase/stack"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

const validate = "validate_temp_chat_session"

// columnsOf lists the keys of a JSON object in their order.
func columnsOf(t *testing.T, object string) []string {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(object))
	_, err := decoder.Token()
	require.NoError(t, err)
	var keys []string
	for decoder.More() {
		key, err := decoder.Token()
		require.NoError(t, err)
		keys = append(keys, key.(string))
		var skipped json.RawMessage
		require.NoError(t, decoder.Decode(&skipped))
	}
	return keys
}

// TestValidationAnswersAsTheStandInDoes asks PostgREST and the stand-in the same, for every variant that answers.
func TestValidationAnswersAsTheStandInDoes(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Relaxed: true, Rows: true}})
	fake := seededStandIn(t, standin.Options{Relaxed: true})
	tokens := map[string]string{
		"visitor": fixture.Visitor.Token, "shared": fixture.Shared.Token, "inactive link": fixture.InactiveVisitor.Token,
		"expired link": fixture.ExpiredVisitor.Token, "full link": fixture.FullVisitor.Token, "unknown": "no-such-token-0123456789",
	}
	for _, variant := range []struct {
		file string
		fake standin.Variant
	}{
		{"60_validate_a.sql", standin.VariantA}, {"60_validate_d.sql", standin.VariantD}, {"60_validate_e.sql", standin.VariantE},
	} {
		require.NoError(t, s.Apply(t.Context(), variant.file))
		fake.DB().SetValidateVariant(variant.fake)
		for name, token := range tokens {
			t.Run(variant.file+" "+name, func(t *testing.T) {
				wanted := rpc(validate, fake.ServiceKey(), tokenArgument(token)).through(t, fake.Handler())
				got := rpc(validate, s.ServiceKey(), tokenArgument(token)).do(t, s)
				wantedRows, gotRows := wanted.rows(t), got.rows(t)
				require.Len(t, gotRows, len(wantedRows))
				if len(gotRows) == 0 {
					return
				}
				assert.Equal(t, columnsOf(t, strings.Trim(wanted.body, "[]")), columnsOf(t, strings.Trim(got.body, "[]")))
				for _, row := range []map[string]any{wantedRows[0], gotRows[0]} {
					if row["expires_at"] != nil {
						row["expires_at"] = "some time"
					}
				}
				assert.Equal(t, wantedRows[0], gotRows[0])
			})
		}
	}
}

func TestBrokenDeploymentsFailAsInTheField(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true, Validate: stack.VariantEBroken, BrokenEnd: true}})
	client := serviceClient(t, s)
	argument := tokenArgument(fixture.Visitor.Token)

	t.Run("validation reads a missing column", func(t *testing.T) {
		a := rpc(validate, s.ServiceKey(), argument).do(t, s)
		assert.Equal(t, http.StatusBadRequest, a.status)
		assert.Equal(t, "42703", a.code)
		_, err := client.ValidateSession(t.Context(), fixture.Visitor.Token)
		require.Error(t, err)
		assert.True(t, rest.MissingColumn(err))
		assert.True(t, rest.Unavailable(err))
	})
	t.Run("ending calls a missing function", func(t *testing.T) {
		a := rpc("end_temp_chat_session", s.ServiceKey(), argument).do(t, s)
		assert.Equal(t, http.StatusNotFound, a.status)
		assert.Equal(t, "42883", a.code)
	})
	t.Run("the vault demands the service role", func(t *testing.T) {
		require.NoError(t, s.Apply(t.Context(), "60_validate_d.sql"))
		a := rpc(validate, s.AnonKey(), argument).do(t, s)
		assert.Equal(t, http.StatusBadRequest, a.status)
		assert.Equal(t, "P0001", a.code)
		assert.Equal(t, true, rpc(validate, s.ServiceKey(), argument).do(t, s).rows(t)[0]["is_valid"])
	})
	t.Run("an open vault lets anon validate", func(t *testing.T) {
		require.NoError(t, s.Apply(t.Context(), "12_vault_open.sql"))
		assert.Equal(t, true, rpc(validate, s.AnonKey(), argument).do(t, s).rows(t)[0]["is_valid"])
	})
	t.Run("a function that is not there", func(t *testing.T) {
		require.NoError(t, s.Exec(t.Context(), "drop function public.validate_temp_chat_session(text)"))
		require.NoError(t, s.ReloadSchema(t.Context()))
		a := rpc(validate, s.ServiceKey(), argument).do(t, s)
		assert.Equal(t, http.StatusNotFound, a.status)
		assert.Equal(t, "PGRST202", a.code)
		_, err := client.ValidateSession(t.Context(), fixture.Visitor.Token)
		require.Error(t, err)
		assert.True(t, rest.MissingFunction(err))
	})
}

func TestPlainSQLPassesTheVaultsRoleCheck(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	assert.True(t, value[bool](t, s, "select is_valid from public.validate_temp_chat_session($1)", fixture.Visitor.Token))
}

// newSession is a row of create_temp_chat_session.
type newSession struct {
	ID             string `json:"session_id"`
	Token          string `json:"session_token"`
	ConversationID string `json:"conversation_id"`
	AgentName      string `json:"agent_name"`
	Valid          bool   `json:"is_valid"`
	Problem        string `json:"error_message"`
	Greeting       string `json:"initial_agent_message"`
}

func createSession(t *testing.T, s *stack.Stack, linkToken string) newSession {
	t.Helper()
	argument, err := json.Marshal(map[string]string{"p_link_token": linkToken, "p_participant_name": "Kim", "p_ip_address": "203.0.113.7"})
	require.NoError(t, err)
	a := rpc("create_temp_chat_session", s.ServiceKey(), string(argument)).do(t, s)
	require.Equal(t, http.StatusOK, a.status, a.body)
	var rows []newSession
	require.NoError(t, json.Unmarshal([]byte(a.body), &rows))
	require.Len(t, rows, 1)
	return rows[0]
}

func TestASessionIsCreatedUsedAndEnded(t *testing.T) {
	for name, profile := range map[string]stack.Profile{"strict": {Seed: true, Strict: true}, "not strict": {Seed: true}} {
		t.Run(name, func(t *testing.T) {
			s := stack.Start(t, stack.Options{Profile: profile})
			client := serviceClient(t, s)

			created := createSession(t, s, fixture.Isolated.Token)
			assert.True(t, created.Valid)
			assert.Empty(t, created.Problem)
			assert.Equal(t, "Ada", created.AgentName)
			assert.Regexp(t, `^[A-Za-z0-9_-]{63}$`, created.Token)
			validation, err := client.ValidateSession(t.Context(), created.Token)
			require.NoError(t, err)
			assert.True(t, validation.Valid)
			assert.Equal(t, created.ID, validation.SessionID)
			assert.Equal(t, created.Greeting, value[string](t, s,
				"select content ->> 'text' from public.chat_messages_v2 where conversation_id = $1", created.ConversationID))

			shared := createSession(t, s, " "+fixture.Contextual.Token+"\n")
			assert.True(t, shared.Valid, "white space does not count")
			assert.Equal(t, fixture.Shared.ConversationID, shared.ConversationID)

			for token, problem := range map[string]string{
				fixture.Expired.Token: "Chat link has expired", fixture.Full.Token: "Maximum sessions reached",
				fixture.Inactive.Token: "Invalid chat link", "unknown-token-0123456789": "Invalid chat link",
			} {
				refused := createSession(t, s, token)
				assert.False(t, refused.Valid)
				assert.Equal(t, problem, refused.Problem)
			}

			end := rpc("end_temp_chat_session", s.ServiceKey(), tokenArgument(created.Token))
			assert.Equal(t, "true", end.do(t, s).body)
			assert.Equal(t, "false", end.do(t, s).body, "it has ended already")
			sessions, err := client.Sessions(t.Context(), []string{created.ID})
			require.NoError(t, err)
			require.Len(t, sessions, 1)
			assert.Equal(t, "ended", sessions[0].Status)
			assert.Equal(t, "completed", sessions[0].EndReason)
			assert.WithinDuration(t, time.Now(), sessions[0].EndedAt, time.Minute)
			validation, err = client.ValidateSession(t.Context(), created.Token)
			require.NoError(t, err)
			assert.False(t, validation.Valid)
		})
	}
}

func TestAnUnusableAddressBreaksSessionCreation(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	a := rpc("create_temp_chat_session", s.ServiceKey(), `{"p_link_token":"x","p_ip_address":"unknown"}`).do(t, s)
	assert.Equal(t, http.StatusBadRequest, a.status)
	assert.Equal(t, "22P02", a.code)
}

func TestALinkTokenFromTheVaultHasALineBreakThatCreationIgnores(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	require.NoError(t, s.Exec(t.Context(), "update public.temporary_chat_links set vault_link_token_id = public.generate_temp_chat_token()"+
		" where id = $1", fixture.Isolated.ID))
	stored := value[string](t, s, "select d.decrypted_secret from vault.decrypted_secrets d join public.temporary_chat_links l"+
		" on l.vault_link_token_id = d.id where l.id = $1", fixture.Isolated.ID)
	assert.Equal(t, 76, strings.IndexByte(stored, '\n'))
	stripped := strings.ReplaceAll(stored, "\n", "")
	assert.Len(t, stripped, 94)
	assert.True(t, createSession(t, s, stripped).Valid)
}

func TestRateLimitsCountTheWrongRows(t *testing.T) {
	s := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	check := rpc("check_temp_chat_rate_limit", s.ServiceKey(), tokenArgument(fixture.Shared.Token))
	row := check.do(t, s).rows(t)[0]
	assert.Equal(t, true, row["allowed"])
	assert.Equal(t, []any{0.0, 10.0}, []any{row["current_count"], row["limit_per_minute"]})

	require.NoError(t, s.Exec(t.Context(), "insert into public.chat_messages_v2 (conversation_id, session_id, role, sender_user_id, content, created_at)"+
		` select $1, gen_random_uuid(), 'user', $2, '{"type": "text", "text": "mine"}', now() + interval '1 min' from generate_series(1, 10)`,
		fixture.Shared.ConversationID, fixture.OwnerID))
	row = check.do(t, s).rows(t)[0]
	assert.Equal(t, false, row["allowed"], "the owner's messages count against the visitor")

	unknown := rpc("check_temp_chat_rate_limit", s.ServiceKey(), tokenArgument("unknown"))
	row = unknown.do(t, s).rows(t)[0]
	assert.Equal(t, []any{false, 0.0, 0.0}, []any{row["allowed"], row["current_count"], row["limit_per_minute"]})

	require.NoError(t, s.Apply(t.Context(), "63_rate_limit_counters.sql"))
	assert.Equal(t, true, check.do(t, s).rows(t)[0]["allowed"])
	assert.Empty(t, unknown.do(t, s).rows(t))
}
