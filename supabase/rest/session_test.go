package rest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/rest"
)

const (
	sessionSelect = "id,link_id,conversation_id,conversation_session_id,status,end_reason,started_at,ended_at,last_activity_at,last_message_at,message_count"

	sessionJSON = `{"id":"` + idA + `","link_id":"` + idB + `","conversation_id":"` + idC + `","conversation_session_id":null,
		"status":"ended","end_reason":"timeout","started_at":"2026-11-22T19:02:00.5+00:00","ended_at":"2026-11-22T19:32:00+00:00",
		"last_activity_at":"2026-11-22T19:02:00.195758+00:00","last_message_at":null,"message_count":4}`
)

func numbers(from, to int) []string {
	var ids []string
	for i := from; i < to; i++ {
		ids = append(ids, fmt.Sprintf("%08d-0000-4000-8000-000000000000", i))
	}
	return ids
}

func TestSessionsAreReadByID(t *testing.T) {
	s := newScript(t, answer(200, "["+sessionJSON+"]"))
	got, err := newClient(t, s).Sessions(t.Context(), []string{idB, idA, idB})
	require.NoError(t, err)
	assert.Equal(t, []rest.Session{{
		ID: idA, LinkID: idB, ConversationID: idC, Status: "ended", EndReason: "timeout",
		StartedAt:      time.Date(2026, 11, 22, 19, 2, 0, 500000000, time.UTC),
		EndedAt:        time.Date(2026, 11, 22, 19, 32, 0, 0, time.UTC),
		LastActivityAt: time.Date(2026, 11, 22, 19, 2, 0, 195758000, time.UTC),
		MessageCount:   4,
	}}, got)
	r := s.only(t)
	assert.Equal(t, "/rest/v1/temporary_chat_sessions", r.Path)
	assert.Equal(t, []string{"in.(" + idA + "," + idB + ")"}, r.Query["id"])
	assert.Equal(t, []string{sessionSelect}, r.Query["select"])
	assert.Equal(t, []string{"1000"}, r.Query["limit"])
	assert.Len(t, r.Query, 3)
}

func TestManySessionsAreReadInShortURLs(t *testing.T) {
	s := newScript(t, answer(200, "["+sessionJSON+"]"))
	got, err := newClient(t, s).Sessions(t.Context(), numbers(0, 250))
	require.NoError(t, err)
	assert.Len(t, got, 3) // one row an answer
	var asked []string
	for _, r := range s.requests() {
		assert.Less(t, len(r.Raw), 4400)
		asked = append(asked, strings.Split(strings.Trim(r.Query.Get("id"), "in.()"), ",")...)
	}
	assert.Equal(t, numbers(0, 250), asked)
}

func TestNoIDsMeanNoRequest(t *testing.T) {
	s := newScript(t, answer(500, ``))
	c := newClient(t, s)
	sessions, err := c.Sessions(t.Context(), nil)
	require.NoError(t, err)
	assert.Empty(t, sessions)
	rows, err := c.MessagesByID(t.Context(), []string{})
	require.NoError(t, err)
	assert.Empty(t, rows)
	assert.Empty(t, s.requests())
}

func TestFirstFailingBatchFailsTheCall(t *testing.T) {
	s := newScript(t, answer(200, "["+sessionJSON+"]"), answer(503, ``), answer(200, "[]"))
	got, err := newClient(t, s).Sessions(t.Context(), numbers(0, 250))
	require.True(t, rest.Unavailable(err))
	assert.Empty(t, got)
	assert.Len(t, s.requests(), 2)
}

func sessionRows(ids []string) string {
	rows := make([]string, len(ids))
	for i, id := range ids {
		rows[i] = `{"id":"` + id + `","conversation_id":"` + idC + `","status":"active"}`
	}
	return "[" + strings.Join(rows, ",") + "]"
}

func TestSessionsOfConversationsAreComplete(t *testing.T) {
	ids := numbers(0, 2500)
	for name, c := range map[string]struct {
		steps []string // rows and Content-Range of each answer
		want  int
		last  string // id=gt. of the last request
	}{
		"one page":                      {[]string{sessionRows(ids[:2]), "0-1/2"}, 2, ""},
		"none":                          {[]string{`[]`, "*/0"}, 0, ""},
		"several pages":                 {[]string{sessionRows(ids[:1000]), "0-999/2500", sessionRows(ids[1000:2000]), "0-999/1500", sessionRows(ids[2000:]), "0-499/500"}, 2500, "gt." + ids[1999]},
		"exactly one page":              {[]string{sessionRows(ids[:1000]), "0-999/1000"}, 1000, ""},
		"a server with a smaller cap":   {[]string{sessionRows(ids[:100]), "0-99/150", sessionRows(ids[100:150]), "0-49/50"}, 150, "gt." + ids[99]},
		"no count, short page":          {[]string{sessionRows(ids[:2]), ""}, 2, ""},
		"no count, full page":           {[]string{sessionRows(ids[:1000]), "0-999/*", `[]`, "*/*"}, 1000, "gt." + ids[999]},
		"rows deleted while it is read": {[]string{sessionRows(ids[:100]), "0-99/150", `[]`, "*/0"}, 100, "gt." + ids[99]},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			for i := 0; i < len(c.steps); i += 2 {
				s.steps = append(s.steps, answer(206, c.steps[i], "Content-Range", c.steps[i+1]))
			}
			got, err := newClient(t, s).SessionsOfConversations(t.Context(), []string{idC})
			require.NoError(t, err)
			assert.Len(t, got, c.want)
			seen := s.requests()
			require.Len(t, seen, len(c.steps)/2)
			assert.Equal(t, "count=exact", seen[0].Header.Get("Prefer"))
			assert.Equal(t, "in.("+idC+")", seen[0].Query.Get("conversation_id"))
			assert.Equal(t, "id.asc.nullslast", seen[0].Query.Get("order"))
			assert.Equal(t, sessionSelect, seen[0].Query.Get("select"))
			assert.Empty(t, seen[0].Query.Get("id"))
			assert.Empty(t, seen[0].Query.Get("status"), "a session that is over has used its conversation too")
			assert.Equal(t, c.last, seen[len(seen)-1].Query.Get("id"))
		})
	}
}

func TestSessionsOfConversationsDoNotLoopOnARepeatedPage(t *testing.T) {
	for name, body := range map[string]string{"same page": sessionRows([]string{idA}), "no ids": `[{"status":"active"}]`} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, answer(206, body, "Content-Range", "0-0/9"))
			_, err := newClient(t, s).SessionsOfConversations(t.Context(), []string{idC})
			require.ErrorContains(t, err, rest.CodeBadAnswer)
		})
	}
}

func TestSessionIsUpdatedByID(t *testing.T) {
	renamed := func(o *rest.Options) {
		o.Names.Sessions.Columns = map[string]string{"end_reason": "why", "id": "session_id"}
	}
	fields := map[string]any{"status": "ended", "end_reason": "completed"}
	t.Run("found", func(t *testing.T) {
		s := newScript(t, answer(200, `[{"id":"`+idA+`"}]`))
		require.NoError(t, newClient(t, s, renamed).UpdateSession(t.Context(), idA, fields))
		r := s.only(t)
		assert.Equal(t, "PATCH", r.Method)
		assert.Equal(t, "/rest/v1/temporary_chat_sessions", r.Path)
		assert.Equal(t, "eq."+idA, r.Query.Get("session_id"))
		assert.Equal(t, "id:session_id", r.Query.Get("select"))
		assert.Equal(t, "return=representation", r.Header.Get("Prefer"))
		assert.JSONEq(t, `{"status":"ended","why":"completed"}`, r.Body)
	})
	t.Run("not found", func(t *testing.T) {
		err := newClient(t, newScript(t, answer(200, `[]`))).UpdateSession(t.Context(), idA, fields)
		require.ErrorIs(t, err, rest.ErrNotFound)
	})
	t.Run("refused before sending", func(t *testing.T) {
		s := newScript(t, answer(200, `[]`))
		c := newClient(t, s)
		require.ErrorIs(t, c.UpdateSession(t.Context(), "x", fields), rest.ErrInvalidArgument)
		require.ErrorIs(t, c.UpdateSession(t.Context(), idA, nil), rest.ErrInvalidArgument)
		require.ErrorIs(t, c.UpdateSession(t.Context(), idA, map[string]any{"a b": 1}), rest.ErrInvalidArgument)
		require.Error(t, c.UpdateSession(t.Context(), idA, map[string]any{"a": func() {}}))
		assert.Empty(t, s.requests())
	})
}

func TestSessionIsEndedOnlyWhileItIsActive(t *testing.T) {
	renamed := func(o *rest.Options) { o.Names.Sessions.Columns = map[string]string{"status": "state"} }
	for body, want := range map[string]bool{`[{"id":"` + idA + `"}]`: true, `[]`: false} {
		s := newScript(t, answer(200, body))
		ended, err := newClient(t, s, renamed).EndSession(t.Context(), idA, map[string]any{"status": "ended"})
		require.NoError(t, err)
		assert.Equal(t, want, ended)
		r := s.only(t)
		assert.Equal(t, "PATCH /rest/v1/temporary_chat_sessions", r.Method+" "+r.Path)
		assert.Equal(t, []string{"eq." + idA, "eq.active"}, []string{r.Query.Get("id"), r.Query.Get("state")})
		assert.JSONEq(t, `{"state":"ended"}`, r.Body)
	}
	_, err := newClient(t, newScript(t, answer(400, `{"code":"23514","message":"x"}`))).EndSession(t.Context(), idA, map[string]any{"status": "x"})
	assert.True(t, rest.Constraint(err))
}

func TestConversationSessionIsCompletedUnlessSomebodyOwnsIt(t *testing.T) {
	s := newScript(t, answer(200, `[]`))
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	require.NoError(t, newClient(t, s).CompleteConversationSession(t.Context(), idB, at))
	r := s.only(t)
	assert.Equal(t, "PATCH /rest/v1/conversation_sessions", r.Method+" "+r.Path)
	assert.Equal(t, []string{"eq." + idB, "eq.active", "is.null"},
		[]string{r.Query.Get("id"), r.Query.Get("status"), r.Query.Get("user_id")})
	assert.JSONEq(t, `{"status":"completed","ended_at":"2026-01-02T03:04:05.000006Z"}`, r.Body)
}
