package rest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/rest"
)

type visitorRow struct {
	ID             string         `json:"id"`
	ConversationID string         `json:"conversation_id"`
	Role           string         `json:"role"`
	Content        map[string]any `json:"content"`
}

var sentRow = visitorRow{ID: idA, ConversationID: idC, Role: "system", Content: map[string]any{"type": "text", "text": "a < b & c"}}

const storedRow = `{"id":"` + idA + `","conversation_id":"` + idC + `","role":"system"}`

func TestInsertMessageReturnsTheStoredRow(t *testing.T) {
	s := newScript(t, answer(201, "["+storedRow+"]"))
	got, err := newClient(t, s, func(o *rest.Options) {
		o.Names.Messages.Columns = map[string]string{"id": "msg_id", "content": "body"}
	}).InsertMessage(t.Context(), sentRow)
	require.NoError(t, err)
	assert.Equal(t, storedRow, string(got))
	r := s.only(t)
	assert.Equal(t, "POST", r.Method)
	assert.Equal(t, "/rest/v1/chat_messages_v2", r.Path)
	assert.Equal(t, map[string][]string{
		"on_conflict": {"msg_id"},
		"select":      {"id:msg_id,conversation_id,session_id,role,content:body,sender_user_id,sender_agent_id,created_at,updated_at"},
	}, map[string][]string(r.Query))
	assert.Equal(t, []string{"return=representation,resolution=ignore-duplicates"}, r.Header.Values("Prefer"))
	assert.JSONEq(t, `{"msg_id":"`+idA+`","conversation_id":"`+idC+`","role":"system","body":{"type":"text","text":"a < b & c"}}`, r.Body)
}

func TestRepeatedInsertReturnsTheFirstRow(t *testing.T) {
	s := newScript(t, answer(200, `[]`), answer(200, "["+storedRow+"]"))
	got, err := newClient(t, s).InsertMessage(t.Context(), sentRow)
	require.NoError(t, err)
	assert.Equal(t, storedRow, string(got))
	seen := s.requests()
	require.Len(t, seen, 2)
	assert.Equal(t, "GET", seen[1].Method)
	assert.Equal(t, "in.("+idA+")", seen[1].Query.Get("id"))
	assert.Empty(t, seen[1].Header.Get("Prefer"))
}

func TestInsertMessageReportsWhatItCannotStore(t *testing.T) {
	t.Run("id taken in another conversation", func(t *testing.T) {
		s := newScript(t, answer(200, `[]`), answer(200, `[{"id":"`+idA+`","conversation_id":"`+idB+`"}]`))
		_, err := newClient(t, s).InsertMessage(t.Context(), sentRow)
		assert.True(t, rest.Conflict(err), "%v", err)
	})
	t.Run("stored and gone", func(t *testing.T) {
		_, err := newClient(t, newScript(t, answer(200, `[]`))).InsertMessage(t.Context(), sentRow)
		require.ErrorIs(t, err, rest.ErrNotFound)
	})
	t.Run("read-back fails", func(t *testing.T) {
		_, err := newClient(t, newScript(t, answer(200, `[]`), answer(503, ``))).InsertMessage(t.Context(), sentRow)
		assert.True(t, rest.Unavailable(err))
	})
	t.Run("no such conversation", func(t *testing.T) {
		_, err := newClient(t, newScript(t, answer(409, `{"code":"23503"}`))).InsertMessage(t.Context(), sentRow)
		assert.True(t, rest.Constraint(err))
		assert.False(t, rest.Unavailable(err))
	})
}

func TestInsertMessageRefusesUnusableRows(t *testing.T) {
	s := newScript(t, answer(201, `[]`))
	c := newClient(t, s)
	for name, row := range map[string]any{
		"no object": []int{1}, "null": nil, "no id": map[string]any{"conversation_id": idC},
		"id of another type": map[string]any{"id": 7, "conversation_id": idC},
		"odd column":         map[string]any{"id": idA, "conversation_id": idC, "a,b": 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.InsertMessage(t.Context(), row)
			require.ErrorIs(t, err, rest.ErrInvalidArgument)
		})
	}
	_, err := c.InsertMessage(t.Context(), map[string]any{"id": idA, "conversation_id": idC, "content": func() {}})
	require.Error(t, err)
	assert.Empty(t, s.requests())
}
