package rest_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/rest"
)

const token = "MDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAxLTE3NjM4MDAwMDA"

var validationVariants = map[string]struct {
	body string
	want rest.Validation
}{
	"A": {
		`[{"session_id":"` + idA + `","link_id":"` + idB + `","agent_id":"` + idC + `","agent_name":"Ada","conversation_id":"` + idC + `",
		"is_valid":true,"expires_at":"2026-12-01T10:00:00.123456+02:00","title":"Pilot","description":"About it","welcome_message":"Hello",
		"max_messages_per_session":100,"current_message_count":3,"rate_limit_per_minute":10}]`,
		rest.Validation{
			Valid: true, SessionID: idA, LinkID: idB, ConversationID: idC, AgentID: idC, AgentName: "Ada",
			Title: "Pilot", Description: "About it", WelcomeMessage: "Hello", MaxMessages: 100,
			RateLimitPerMinute: 10, ExpiresAt: time.Date(2026, 12, 1, 8, 0, 0, 123456000, time.UTC),
		},
	},
	"A, unknown token": {`[]`, rest.Validation{}},
	"B to D": {
		`[{"is_valid":true,"session_id":"` + idA + `","conversation_id":"` + idC + `","agent_id":"` + idB + `","agent_name":"Ada",
		"current_message_count":3,"max_messages_per_session":100,"session_timeout_minutes":30,"link_title":"Pilot","expires_at":"2026-12-01T08:00:00+00:00"}]`,
		rest.Validation{
			Valid: true, SessionID: idA, ConversationID: idC, AgentID: idB, AgentName: "Ada", Title: "Pilot",
			MaxMessages: 100, SessionTimeoutMinutes: 30, ExpiresAt: time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC),
		},
	},
	"B to D, unknown token": {
		`[{"is_valid":false,"session_id":null,"conversation_id":null,"agent_id":null,"agent_name":null,"current_message_count":0,
		"max_messages_per_session":0,"session_timeout_minutes":0,"link_title":null,"expires_at":null}]`,
		rest.Validation{},
	},
	"E": {
		`[{"is_valid":true,"session_id":"` + idA + `","conversation_id":"` + idC + `","agent_id":"` + idB + `","agent_name":"Ada",
		"current_message_count":3,"max_messages_per_session":100,"session_timeout_minutes":30,"link_title":"Pilot","expires_at":"infinity",
		"chat_intent":"SECRET","system_prompt_override":"SECRET"}]`,
		rest.Validation{
			Valid: true, SessionID: idA, ConversationID: idC, AgentID: idB, AgentName: "Ada", Title: "Pilot",
			MaxMessages: 100, SessionTimeoutMinutes: 30,
		},
	},
	"invalid with its ids": {`[{"is_valid":false,"session_id":"` + idA + `"}]`, rest.Validation{}},
	"a bare row": {
		`{"is_valid":true,"session_id":"` + idA + `","conversation_id":"` + idC + `"}`,
		rest.Validation{Valid: true, SessionID: idA, ConversationID: idC},
	},
	"the same row twice": {
		`[{"is_valid":true,"session_id":"` + idA + `","conversation_id":"` + idC + `"},{"is_valid":true,"session_id":"` + idA + `","conversation_id":"` + idC + `"}]`,
		rest.Validation{Valid: true, SessionID: idA, ConversationID: idC},
	},
	"null": {`null`, rest.Validation{}},
}

func TestValidateSessionReadsEveryVariant(t *testing.T) {
	for name, c := range validationVariants {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, answer(200, c.body))
			got, err := newClient(t, s).ValidateSession(t.Context(), token)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
			r := s.only(t)
			assert.Equal(t, "POST", r.Method)
			assert.Equal(t, "/rest/v1/rpc/validate_temp_chat_session", r.Path)
			assert.Empty(t, r.Raw)
			assert.JSONEq(t, `{"p_session_token":"`+token+`"}`, r.Body)
			assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
		})
	}
}

func TestValidateSessionTakesNoDoubtfulAnswerForAVerdict(t *testing.T) {
	for name, body := range map[string]string{
		"two sessions":      `[{"is_valid":true,"session_id":"` + idA + `","conversation_id":"` + idC + `"},{"is_valid":true,"session_id":"` + idB + `","conversation_id":"` + idC + `"}]`,
		"valid and invalid": `[{"is_valid":true,"session_id":"` + idA + `","conversation_id":"` + idC + `"},{"is_valid":false,"session_id":"` + idA + `"}]`,
		"valid without ids": `[{"is_valid":true}]`,
		"odd id":            `[{"is_valid":true,"session_id":"x),or(","conversation_id":"` + idC + `"}]`,
		"a scalar":          `true`,
		"wrong types":       `[{"is_valid":"yes"}]`,
		"odd expiry":        `[{"is_valid":true,"session_id":"` + idA + `","conversation_id":"` + idC + `","expires_at":"tomorrow"}]`,
		"nothing":           ``,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newClient(t, newScript(t, answer(200, body))).ValidateSession(t.Context(), token)
			e, ok := errors.AsType[*rest.Error](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, rest.CodeBadAnswer, e.Code)
			assert.True(t, rest.Unavailable(err))
			assert.Zero(t, got)
		})
	}
}

func TestValidateSessionRefusesWhatIsNoToken(t *testing.T) {
	s := newScript(t, answer(200, `[]`))
	c := newClient(t, s)
	for _, bad := range []string{"", "a b", "line\nbreak", "nul\x00", "ümlaut", strings.Repeat("a", 4097)} {
		_, err := c.ValidateSession(t.Context(), bad)
		require.ErrorIs(t, err, rest.ErrInvalidArgument)
		assert.False(t, rest.Unavailable(err))
	}
	assert.Empty(t, s.requests())
}

func TestRenamedValidationFunctionIsCalled(t *testing.T) {
	s := newScript(t, answer(200, `[]`))
	c := newClient(t, s, func(o *rest.Options) { o.Names.ValidateSession = "check_visitor" })
	_, err := c.ValidateSession(t.Context(), token)
	require.NoError(t, err)
	assert.Equal(t, "/rest/v1/rpc/check_visitor", s.only(t).Path)
}

func FuzzDecodeValidation(f *testing.F) {
	for _, c := range validationVariants {
		f.Add([]byte(c.body))
	}
	f.Add([]byte(`{`))
	f.Add([]byte(`[{"is_valid":true,"expires_at":"-infinity"}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		v, err := rest.DecodeValidation(body)
		switch {
		case err != nil || !v.Valid:
			require.Zero(t, v)
		default:
			require.NotEmpty(t, v.SessionID)
			require.NotEmpty(t, v.ConversationID)
			require.NotContains(t, v.SessionID+v.ConversationID, ",")
		}
	})
}
