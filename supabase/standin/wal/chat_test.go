package wal_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/stack"
	"github.com/agentopia/realtime-proxy/supabase/standin"
	"github.com/agentopia/realtime-proxy/supabase/standin/wal"
)

// chat is a whole project: PostgreSQL, PostgREST, and the stand-in's Realtime and Edge Functions on the same rows.
type chat struct {
	t      *testing.T
	server *standin.Server
	base   string // of the realtime socket
	store  *wal.Store
}

func newChat(t *testing.T, st *stack.Stack) *chat {
	t.Helper()
	d := &database{t: t, dsn: st.DSN()}
	var err error
	d.Store, err = wal.OpenStore(t.Context(), d.dsn)
	require.NoError(t, err)
	t.Cleanup(d.Close)
	source := d.source()
	server, err := standin.New(standin.Options{Source: source, Store: d.Store, REST: st.Handler()})
	require.NoError(t, err)
	web := httptest.NewServer(server.Handler())
	t.Cleanup(web.Close)
	t.Cleanup(server.Close)
	d.run(source, server.Deliver)
	return &chat{t: t, server: server, base: "ws" + strings.TrimPrefix(web.URL, "http"), store: d.Store}
}

// post calls an Edge Function.
func (c *chat) post(path, body string) (int, map[string]any) {
	c.t.Helper()
	r := httptest.NewRequestWithContext(c.t.Context(), http.MethodPost, "/functions/v1/"+path, strings.NewReader(body))
	w := httptest.NewRecorder()
	c.server.Handler().ServeHTTP(w, r)
	var answer map[string]any
	require.NoError(c.t, json.Unmarshal(w.Body.Bytes(), &answer), w.Body.String())
	return w.Code, answer
}

// get reads rows through PostgREST.
func (c *chat) get(query string) []map[string]any {
	c.t.Helper()
	r := httptest.NewRequestWithContext(c.t.Context(), http.MethodGet, "/rest/v1/"+query, nil)
	r.Header.Set("Apikey", c.server.ServiceKey())
	w := httptest.NewRecorder()
	c.server.Handler().ServeHTTP(w, r)
	require.Equal(c.t, http.StatusOK, w.Code, w.Body.String())
	var rows []map[string]any
	require.NoError(c.t, json.Unmarshal(w.Body.Bytes(), &rows))
	return rows
}

func TestEdgeFunctionsWriteToTheRealDatabase(t *testing.T) {
	st := stack.Start(t, stack.Options{Profile: stack.Profile{Seed: true}})
	c := newChat(t, st)
	f := standin.NewFixture()

	t.Run("links are validated", func(t *testing.T) {
		for token, want := range map[string]int{
			f.Isolated.Token: http.StatusOK, f.Inactive.Token: http.StatusNotFound, f.Expired.Token: http.StatusGone,
			f.Full.Token: http.StatusTooManyRequests, "unknown": http.StatusNotFound,
		} {
			status, answer := c.post("temporary-chat-api/validate", `{"token":"`+token+`"}`)
			assert.Equal(t, want, status, "%v", answer)
		}
	})
	t.Run("a message brings the visitor's and the agent's row", func(t *testing.T) {
		messages := joinTable(t, c.base, c.server.ServiceKey(), standin.TableMessages)
		status, answer := c.post("temporary-chat-handler", `{"session_token":"`+f.Visitor.Token+`","message":"Hello","metadata":{"k":"v"}}`)
		require.Equal(t, http.StatusOK, status, "%v", answer)
		for i, want := range []string{`"system"`, `"assistant"`} {
			data := messages.change().Data
			assert.Equal(t, want, string(data.Record["role"]))
			assert.Equal(t, `"`+f.Visitor.ConversationID+`"`, string(data.Record["conversation_id"]))
			if i == 0 {
				assert.Equal(t, `"`+answer["message_id"].(string)+`"`, string(data.Record["id"]))
				assert.Contains(t, string(data.Record["content"]), `"original_role": "user"`)
			}
		}
		rows := c.get(standin.TableMessages + "?conversation_id=eq." + f.Visitor.ConversationID + "&order=created_at")
		require.Len(t, rows, 2)
		assert.Equal(t, answer["response"], rows[1]["content"].(map[string]any)["text"])
		assert.Equal(t, "2.0.0", rows[1]["version"])
	})
	t.Run("a session is created, validated and ended", func(t *testing.T) {
		sessions := joinTable(t, c.base, c.server.ServiceKey(), standin.TableSessions)
		status, answer := c.post("temporary-chat-api/create-session", `{"link_token":"`+f.Contextual.Token+`","participant_name":"Bo"}`)
		require.Equal(t, http.StatusCreated, status, "%v", answer)
		session := answer["data"].(map[string]any)["session"].(map[string]any)
		created := sessions.change().Data
		assert.Equal(t, "INSERT", created.Type)
		assert.Equal(t, `"Bo"`, string(created.Record["participant_name"]))
		token := session["session_token"].(string)

		status, answer = c.post("temporary-chat-api/validate-session", `{"session_token":"`+token+`"}`)
		require.Equal(t, http.StatusOK, status, "%v", answer)
		assert.Equal(t, session["id"], answer["session_id"])
		expires, err := time.Parse(time.RFC3339Nano, answer["expires_at"].(string))
		require.NoError(t, err)
		assert.True(t, expires.After(time.Now()))

		status, answer = c.post("temporary-chat-api/end-session", `{"session_token":"`+token+`","satisfaction_rating":5}`)
		require.Equal(t, http.StatusOK, status, "%v", answer)
		ended := sessions.change().Data
		assert.Equal(t, `"ended"`, string(ended.Record["status"]))
		assert.Equal(t, "5", string(ended.Record["satisfaction_rating"]))
		status, _ = c.post("temporary-chat-api/end-session", `{"session_token":"`+token+`"}`)
		assert.Equal(t, http.StatusNotFound, status)
	})
	t.Run("refusals of the database are answered as the functions do", func(t *testing.T) {
		status, answer := c.post("temporary-chat-handler", `{"session_token":"unknown","message":"Hello"}`)
		assert.Equal(t, http.StatusUnauthorized, status, "%v", answer)
		status, answer = c.post("temporary-chat-handler", `{"session_token":"`+f.Visitor.Token+`","message":"x","message_type":"poem"}`)
		assert.Equal(t, http.StatusInternalServerError, status)
		assert.Equal(t, "Failed to save message", answer["error"])
		assert.Contains(t, answer["details"], "check_content_structure")
		status, answer = c.post("temporary-chat-api/end-session", `{"session_token":"`+f.Visitor.Token+`","satisfaction_rating":9}`)
		assert.Equal(t, http.StatusBadRequest, status)
		assert.Contains(t, answer["details"], "temp_sessions_rating_check")
	})
}
