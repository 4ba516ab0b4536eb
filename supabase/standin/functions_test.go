package standin_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

func post(server *standin.Server, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/functions/v1/"+path, strings.NewReader(body))
	w := httptest.NewRecorder()
	server.Handler().ServeHTTP(w, r)
	return w
}

func decode(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var body map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body), w.Body.String())
	return body
}

func fixed(at time.Time) func() time.Time { return func() time.Time { return at } }

func TestFunctionBodies(t *testing.T) {
	at := time.Date(2026, 11, 22, 19, 2, 0, 0, time.UTC)
	server, f := seeded(t, standin.Options{Now: fixed(at)})
	for name, test := range map[string]struct {
		path, body string
		status     int
		want       string
	}{
		"validate": {"temporary-chat-api/validate", `{"token":"` + f.Isolated.Token + `"}`, 200, `{"success":true,"data":{"link":{"id":"` + f.Isolated.ID +
			`","title":"Pilot feedback","description":"Tell us what you think","welcome_message":"Welcome!","agent_name":"Ada",` +
			`"expires_at":"2026-11-23T19:02:00+00:00","max_messages_per_session":100,"session_timeout_minutes":30,"is_active":true}}}`},
		"validate token with a line break": {"temporary-chat-api/validate", `{"token":"` + f.Isolated.Token[:76] + `\n` + f.Isolated.Token[76:] + `"}`, 200, ""},
		"validate without token":           {"temporary-chat-api/validate", `{}`, 400, `{"error":"Missing token parameter"}`},
		"validate unknown":                 {"temporary-chat-api/validate", `{"token":"x"}`, 404, `{"success":false,"error":"Invalid or expired chat link"}`},
		"validate inactive":                {"temporary-chat-api/validate", `{"token":"` + f.Inactive.Token + `"}`, 404, `{"success":false,"error":"Invalid or expired chat link"}`},
		"validate expired":                 {"temporary-chat-api/validate", `{"token":"` + f.Expired.Token + `"}`, 410, `{"success":false,"error":"Chat link has expired"}`},
		"validate full": {"temporary-chat-api/validate", `{"token":"` + f.Full.Token + `"}`, 429,
			`{"success":false,"error":"Maximum number of chat sessions reached"}`},
		"validate-session": {"temporary-chat-api/validate-session", `{"session_token":"` + f.Visitor.Token + `"}`, 200, `{"valid":true,"session_id":"` + f.Visitor.ID +
			`","agent_id":"` + f.AgentID + `","agent_name":"Ada","conversation_id":"` + f.Visitor.ConversationID +
			`","max_messages":100,"current_messages":0,"expires_at":"2026-11-23T19:02:00+00:00"}`},
		"validate-session unknown": {"temporary-chat-api/validate-session", `{"session_token":"x"}`, 401,
			`{"error":"Invalid or expired session","valid":false,"reason":"Session not valid"}`},
		"create with unknown link": {"temporary-chat-api/create-session", `{"link_token":"x"}`, 400, `{"error":"Invalid chat link","valid":false}`},
		"create on a full link":    {"temporary-chat-api/create-session", `{"link_token":"` + f.Full.Token + `"}`, 400, `{"error":"Maximum sessions reached","valid":false}`},
		"create on an expired":     {"temporary-chat-api/create-session", `{"link_token":"` + f.Expired.Token + `"}`, 400, `{"error":"Chat link has expired","valid":false}`},
		"end unknown": {"temporary-chat-api/end-session", `{"session_token":"x"}`, 404,
			`{"error":"Session not found or already ended","ended":false}`},
		"end for a wrong reason": {"temporary-chat-api/end-session", `{"session_token":"` + f.Visitor.Token + `","end_reason":"bored"}`, 400, ""},
		"end": {"temporary-chat-api/end-session", `{"session_token":"` + f.SharedOther.Token + `","satisfaction_rating":5,"feedback_text":"fine"}`, 200,
			`{"success":true,"ended":true,"end_reason":"completed","ended_at":"2026-11-22T19:02:00.000Z","message":"Session ended successfully"}`},
		"no such path":      {"temporary-chat-api/nope", `{}`, 404, ""},
		"no such function":  {"debug-temp-chat", `{}`, 404, `{"code":"NOT_FOUND","message":"Requested function was not found"}`},
		"malformed body":    {"temporary-chat-api/validate", `{`, 500, ""},
		"send nothing":      {"temporary-chat-handler", `{"session_token":"x"}`, 400, `{"error":"Missing required parameters: session_token, message"}`},
		"send too much":     {"temporary-chat-handler", `{"session_token":"x","message":"` + strings.Repeat("\U0001f600", 2001) + `"}`, 400, `{"error":"Message too long (maximum 4000 characters)"}`},
		"send as nobody":    {"temporary-chat-handler", `{"session_token":"x","message":"hi"}`, 401, ""},
		"send a file":       {"temporary-chat-handler", `{"session_token":"` + f.Visitor.Token + `","message":"hi","message_type":"file"}`, 500, ""},
		"send blanks":       {"temporary-chat-handler", `{"session_token":"` + f.Visitor.Token + `","message":"   "}`, 500, ""},
		"health":            {"temporary-chat-api/health", ``, 200, ""},
		"health of the api": {"temporary-chat-api", ``, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := post(server, test.path, test.body)
			assert.Equal(t, test.status, w.Code, w.Body)
			if test.want != "" {
				assert.JSONEq(t, test.want, w.Body.String())
			}
		})
	}
}

func TestFunctionsAnswerPreflight(t *testing.T) {
	server, _ := seeded(t, standin.Options{})
	r := httptest.NewRequest(http.MethodOptions, "/functions/v1/temporary-chat-handler", nil)
	w := httptest.NewRecorder()
	server.Handler().ServeHTTP(w, r)
	assert.Equal(t, "ok", w.Body.String())
	assert.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
	r = httptest.NewRequest(http.MethodGet, "/functions/v1/temporary-chat-handler", nil)
	w = httptest.NewRecorder()
	server.Handler().ServeHTTP(w, r)
	assert.Equal(t, http.StatusMethodNotAllowed, w.Code)
}

func TestCreatedSessionCanChat(t *testing.T) {
	server, f := seeded(t, standin.Options{Agent: func(_ context.Context, text string) string { return "You said: " + text }})
	w := post(server, "temporary-chat-api/create-session", `{"link_token":"`+f.Isolated.Token+`","participant_name":"Ann"}`)
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	session := decode(t, w)["data"].(map[string]any)["session"].(map[string]any)
	assert.Equal(t, "Hello! What did you think of the pilot?", session["initial_agent_message"])
	assert.Equal(t, true, session["should_send_initial"])
	assert.Equal(t, "active", session["status"])
	token := session["session_token"].(string)
	assert.Len(t, token, 63)

	w = post(server, "temporary-chat-handler", `{"session_token":"`+token+`","message":" <b>hi</b> ","metadata":{"client_message_id":"c-1","ip_address":"x"}}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	reply := decode(t, w)
	assert.Equal(t, "You said: <b>hi</b>", reply["response"])
	assert.Equal(t, "Ada", reply["agent_name"])
	assert.InDelta(t, 99, reply["remaining_messages"], 0)
	assert.Equal(t, []string{"success", "message_id", "conversation_id", "session_id", "agent_name", "processed_at",
		"remaining_messages", "response"}, keysInOrder(w.Body.String()))

	rows, err := server.DB().Rows(standin.TableMessages, standin.Row{"conversation_id": session["conversation_id"]})
	require.NoError(t, err)
	require.Len(t, rows, 3, "greeting, visitor, agent")
	var content struct {
		Text     string
		Metadata map[string]any
	}
	require.NoError(t, json.Unmarshal(rows[1]["content"].(json.RawMessage), &content))
	assert.Equal(t, "<b>hi</b>", content.Text)
	assert.Equal(t, "c-1", content.Metadata["client_message_id"])
	assert.Equal(t, session["id"], content.Metadata["temp_session_id"])
	assert.NotEqual(t, "x", content.Metadata["ip_address"], "what the visitor sends does not replace what the function knows")
	assert.Equal(t, reply["message_id"], rows[1]["id"])
	assert.Equal(t, "system", rows[1]["role"])
	assert.Equal(t, f.AgentID, rows[2]["sender_agent_id"])
	assert.Contains(t, string(rows[2]["metadata"].(json.RawMessage)), "SECRET PROMPT")
	assert.NotContains(t, w.Body.String(), "SECRET")
}

func keysInOrder(object string) (keys []string) {
	d := json.NewDecoder(strings.NewReader(object))
	depth, key := 0, true
	for {
		token, err := d.Token()
		if err != nil {
			return keys
		}
		switch delim, ok := token.(json.Delim); {
		case ok && (delim == '{' || delim == '['):
			depth++
			key = true
		case ok:
			depth--
			key = true
		case depth == 1 && key:
			keys, key = append(keys, token.(string)), false
		default:
			key = true
		}
	}
}

func TestMarkupIsReplaced(t *testing.T) {
	server, f := seeded(t, standin.Options{Agent: func(_ context.Context, text string) string { return text }})
	w := post(server, "temporary-chat-handler", `{"session_token":"`+f.Visitor.Token+`","message":"a <script>x()</script>      b"}`)
	assert.Equal(t, "a [Content removed for security]   b", decode(t, w)["response"])
}

func TestContextualSessionsShareTheOwnersConversation(t *testing.T) {
	server, f := seeded(t, standin.Options{})
	w := post(server, "temporary-chat-api/create-session", `{"link_token":"`+f.Contextual.Token+`"}`)
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	session := decode(t, w)["data"].(map[string]any)["session"].(map[string]any)
	assert.Equal(t, f.Shared.ConversationID, session["conversation_id"])

	strict, f := seeded(t, standin.Options{Strict: true})
	w = post(strict, "temporary-chat-api/create-session", `{"link_token":"`+f.Contextual.Token+`"}`)
	assert.Equal(t, http.StatusBadRequest, w.Code)
	assert.Contains(t, decode(t, w)["details"], "duplicate key")
}

func TestOwnersMessagesCountAgainstVisitors(t *testing.T) {
	server, f := seeded(t, standin.Options{})
	for range 10 {
		row := with(f.Rows["m04"], standin.Row{})
		delete(row, "id")
		delete(row, "created_at")
		_, err := server.DB().Insert(standin.TableMessages, row)
		require.NoError(t, err)
	}
	w := post(server, "temporary-chat-handler", `{"session_token":"`+f.Shared.Token+`","message":"hi"}`)
	require.Equal(t, http.StatusTooManyRequests, w.Code)
	body := decode(t, w)
	assert.Equal(t, "Rate limit exceeded", body["error"])
	assert.InDelta(t, 10, body["limit_per_minute"], 0)

	_, err := server.DB().Update(standin.TableLinks, standin.Row{"id": f.Contextual.ID}, standin.Row{"max_messages_per_session": 10})
	require.NoError(t, err)
	w = post(server, "temporary-chat-handler", `{"session_token":"`+f.Shared.Token+`","message":"hi"}`)
	assert.JSONEq(t, `{"error":"Message limit reached for this session","max_messages":10,"current_messages":10}`, w.Body.String())
}

func TestBrokenValidationIs401AtTheHandler(t *testing.T) {
	server, f := seeded(t, standin.Options{})
	server.DB().SetValidateVariant(standin.VariantBrokenColumn)
	w := post(server, "temporary-chat-handler", `{"session_token":"`+f.Visitor.Token+`","message":"hi"}`)
	assert.Equal(t, http.StatusUnauthorized, w.Code)
	assert.Contains(t, w.Body.String(), "does not exist")
}

func TestHandlerFaults(t *testing.T) {
	send := func(server *standin.Server, f *standin.Fixture) *httptest.ResponseRecorder {
		return post(server, "temporary-chat-handler", `{"session_token":"`+f.Visitor.Token+`","message":"hi"}`)
	}
	stored := func(t *testing.T, server *standin.Server, f *standin.Fixture) int {
		rows, err := server.DB().Rows(standin.TableMessages, standin.Row{"conversation_id": f.Visitor.ConversationID})
		require.NoError(t, err)
		return len(rows)
	}
	t.Run("agent fails", func(t *testing.T) {
		server, f := seeded(t, standin.Options{})
		server.Faults().Set(standin.Fault{Kind: standin.AgentFails, Count: 1})
		w := send(server, f)
		assert.Equal(t, http.StatusInternalServerError, w.Code)
		body := decode(t, w)
		assert.Equal(t, "Failed to process message with agent", body["error"])
		assert.NotEmpty(t, body["message_id"])
		assert.Equal(t, 1, stored(t, server, f))
		assert.Equal(t, http.StatusOK, send(server, f).Code, "the fault strikes once")
		assert.Equal(t, 1, server.Faults().Fired(standin.AgentFails))
	})
	t.Run("object response", func(t *testing.T) {
		server, f := seeded(t, standin.Options{})
		server.Faults().Set(standin.Fault{Kind: standin.ObjectResponse})
		response := decode(t, send(server, f))["response"].(map[string]any)
		assert.Equal(t, "assistant", response["role"])
		assert.Contains(t, response, "metadata")
	})
	t.Run("row never stored", func(t *testing.T) {
		server, f := seeded(t, standin.Options{})
		server.Faults().Set(standin.Fault{Kind: standin.RowNotStored})
		assert.Equal(t, http.StatusOK, send(server, f).Code)
		assert.Equal(t, 1, stored(t, server, f))
	})
	t.Run("reply before row", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			server, f := seeded(t, standin.Options{AgentDelay: 3 * time.Second})
			began := time.Now()
			server.Faults().Set(standin.Fault{Kind: standin.ReplyBeforeRow, Delay: time.Second})
			assert.Equal(t, http.StatusOK, send(server, f).Code)
			assert.Equal(t, 3*time.Second, time.Since(began))
			assert.Equal(t, 1, stored(t, server, f))
			time.Sleep(2 * time.Second)
			assert.Equal(t, 2, stored(t, server, f))
		})
	})
	t.Run("row before reply", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			server, f := seeded(t, standin.Options{})
			began := time.Now()
			server.Faults().Set(standin.Fault{Kind: standin.RowBeforeReply, Delay: time.Minute})
			time.AfterFunc(time.Second, func() { assert.Equal(t, 2, stored(t, server, f)) })
			assert.Equal(t, http.StatusOK, send(server, f).Code)
			assert.Equal(t, time.Minute, time.Since(began))
		})
	})
}
