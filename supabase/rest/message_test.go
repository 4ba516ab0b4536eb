package rest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/rest"
)

const messageSelect = "id,conversation_id,session_id,role,content,sender_user_id,sender_agent_id,created_at,updated_at"

var (
	noon     = time.Date(2026, 11, 22, 12, 0, 0, 195758000, time.UTC)
	position = rest.Position{CreatedAt: noon, ID: idB}
)

func messageRow(id, createdAt string) string {
	return fmt.Sprintf(`{"id":%q,"content":{"text":"1 < 2 \u2028"},"created_at":%q}`, id, createdAt)
}

func TestMessagesAsksForOnePage(t *testing.T) {
	const (
		up    = "created_at.asc.nullslast,id.asc.nullslast"
		down  = "created_at.desc.nullsfirst,id.desc.nullsfirst"
		first = `"0001-01-01T00:00:00.000000Z"`
		last  = `"9999-12-31T23:59:59.000000Z"`
		at    = `"2026-11-22T12:00:00.195758Z"`
	)
	berlin := time.FixedZone("CET", 3600)
	for name, c := range map[string]struct {
		q            rest.MessagesQuery
		order, bound string
		limit        string
	}{
		"all":   {rest.MessagesQuery{}, up, `created_at.gte.` + first + `,created_at.lt.` + last, "1000"},
		"since": {rest.MessagesQuery{Since: noon.In(berlin), Limit: 50}, up, `created_at.gte.` + at + `,created_at.lt.` + last, "50"},
		"until": {rest.MessagesQuery{Until: noon}, up, `created_at.gte.` + first + `,created_at.lt.` + at, "1000"},
		"after": {
			rest.MessagesQuery{Since: noon.Add(-time.Hour), After: position}, up,
			`created_at.gte.` + at + `,created_at.lt.` + last + `,or(created_at.gt.` + at + `,id.gt.` + idB + `)`, "1000",
		},
		"after something older than since": {
			rest.MessagesQuery{Since: noon.Add(time.Hour), After: position}, up,
			`created_at.gte."2026-11-22T13:00:00.195758Z",created_at.lt.` + last + `,or(created_at.gt.` + at + `,id.gt.` + idB + `)`, "1000",
		},
		"changed": {
			rest.MessagesQuery{Since: noon.Add(-time.Hour), ChangedSince: noon}, up,
			`created_at.gte."2026-11-22T11:00:00.195758Z",created_at.lt.` + last + `,or(created_at.gte.` + at + `,updated_at.gte.` + at + `)`, "1000",
		},
		"newest": {rest.MessagesQuery{Descending: true, Limit: 1000}, down, `created_at.gte.` + first + `,created_at.lt.` + last, "1000"},
		"before": {
			rest.MessagesQuery{Descending: true, Before: position}, down,
			`created_at.gte.` + first + `,created_at.lte.` + at + `,or(created_at.lt.` + at + `,id.lt.` + idB + `)`, "1000",
		},
		"between": {
			rest.MessagesQuery{After: position, Before: rest.Position{CreatedAt: noon, ID: "77"}, Until: noon.Add(time.Hour)}, up,
			`created_at.gte.` + at + `,created_at.lte.` + at + `,or(created_at.gt.` + at + `,id.gt.` + idB + `),or(created_at.lt.` + at + `,id.lt.77)`, "1000",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, answer(200, `[]`))
			c.q.Conversations = []string{idA, idC}
			page, err := newClient(t, s).Messages(t.Context(), c.q)
			require.NoError(t, err)
			assert.Empty(t, page.Rows)
			assert.True(t, page.Last.IsZero())
			assert.False(t, page.More)
			r := s.only(t)
			assert.Equal(t, "/rest/v1/chat_messages_v2", r.Path)
			assert.Equal(t, map[string][]string{
				"and": {"(" + c.bound + ")"}, "conversation_id": {"in.(" + idA + "," + idC + ")"},
				"limit": {c.limit}, "order": {c.order}, "select": {messageSelect},
			}, map[string][]string(r.Query))
		})
	}
}

func TestMessagesReturnsRowsVerbatimWithTheirLastPosition(t *testing.T) {
	rows := []string{
		messageRow(idA, "2026-11-22T12:00:00+00:00"),
		messageRow(idB, "2026-11-22T13:00:00.195758+01:00"),
	}
	s := newScript(t, answer(200, "["+strings.Join(rows, ",\n ")+"]"))
	page, err := newClient(t, s).Messages(t.Context(), rest.MessagesQuery{Conversations: []string{idC}, Limit: 2})
	require.NoError(t, err)
	require.Len(t, page.Rows, 2)
	assert.Equal(t, rows[0], string(page.Rows[0]))
	assert.Equal(t, rows[1], string(page.Rows[1]))
	assert.Equal(t, position, page.Last)
	assert.True(t, page.More)
}

func TestOnlyPagesThatCannotHaveBeenCutAreTheLast(t *testing.T) {
	for name, c := range map[string]struct {
		limit, rows int
		more        bool
	}{
		"empty": {10, 0, false}, "short": {10, 9, false}, "full": {10, 10, true},
		"shorter than any cap": {1000, 99, false}, "cut at a low cap": {1000, 100, true},
		"cut at some cap": {0, 500, true}, "full at the usual cap": {0, 1000, true},
	} {
		t.Run(name, func(t *testing.T) {
			rows := make([]string, c.rows)
			for i := range rows {
				rows[i] = messageRow(idA, "2026-11-22T12:00:00Z")
			}
			client := newClient(t, newScript(t, answer(200, "["+strings.Join(rows, ",")+"]")))
			page, err := client.Messages(t.Context(), rest.MessagesQuery{Conversations: []string{idC}, Limit: c.limit})
			require.NoError(t, err)
			assert.Len(t, page.Rows, c.rows)
			assert.Equal(t, c.more, page.More)
		})
	}
}

func TestRenamedColumnsComeBackCanonical(t *testing.T) {
	s := newScript(t, answer(200, `[]`))
	c := newClient(t, s, func(o *rest.Options) {
		o.Names.Messages = rest.Table{Name: "msgs", Columns: map[string]string{
			"id": "msg_id", "conversation_id": "thread", "created_at": "at", "content": "body",
			"sender_user_id": "author", "sender_agent_id": "bot",
		}}
	})
	_, err := c.Messages(t.Context(), rest.MessagesQuery{Conversations: []string{idC}, After: position})
	require.NoError(t, err)
	_, err = c.MessageByClientID(t.Context(), idC, idA, "c-17")
	require.ErrorIs(t, err, rest.ErrNotFound)
	seen := s.requests()
	assert.Equal(t, "/rest/v1/msgs", seen[0].Path)
	assert.Equal(t, "id:msg_id,conversation_id:thread,session_id,role,content:body,sender_user_id:author,sender_agent_id:bot,created_at:at,updated_at", seen[0].Query.Get("select"))
	assert.Equal(t, "eq."+idC, seen[0].Query.Get("thread"))
	assert.Equal(t, "at.asc.nullslast,msg_id.asc.nullslast", seen[0].Query.Get("order"))
	assert.Contains(t, seen[0].Query.Get("and"), `or(at.gt."2026-11-22T12:00:00.195758Z",msg_id.gt.`+idB+`)`)
	assert.Equal(t, "eq.c-17", seen[1].Query.Get("body->metadata->>client_message_id"))
	assert.Equal(t, "is.null", seen[1].Query.Get("author"))
	assert.Equal(t, "is.null", seen[1].Query.Get("bot"))
}

func TestMessagesRefusesUnusableQueries(t *testing.T) {
	s := newScript(t, answer(200, `[]`))
	c := newClient(t, s)
	one := []string{idC}
	for name, q := range map[string]rest.MessagesQuery{
		"no conversation":        {},
		"too many conversations": {Conversations: numbers(0, 101)},
		"negative limit":         {Conversations: one, Limit: -1},
		"limit above the cap":    {Conversations: one, Limit: 1001},
		"position without id":    {Conversations: one, After: rest.Position{CreatedAt: noon}},
		"position without time":  {Conversations: one, Before: rest.Position{ID: idA}},
		"hostile position":       {Conversations: one, After: rest.Position{CreatedAt: noon, ID: "1),or(id.gt.0"}},
		"time after all":         {Conversations: one, Until: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"change before all":      {Conversations: one, ChangedSince: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)},
		"time before all":        {Conversations: one, Since: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Messages(t.Context(), q)
			require.ErrorIs(t, err, rest.ErrInvalidArgument)
		})
	}
	assert.Empty(t, s.requests())
}

func TestPageWithoutUsablePositionIsAnError(t *testing.T) {
	for name, row := range map[string]string{
		"no id": `{"created_at":"2026-11-22T12:00:00Z"}`, "no time": `{"id":"` + idA + `","created_at":null}`,
		"odd time": `{"id":"` + idA + `","created_at":"noon"}`, "no object": `7`,
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, newScript(t, answer(200, `[`+row+`]`)))
			_, err := c.Messages(t.Context(), rest.MessagesQuery{Conversations: []string{idC}})
			require.ErrorContains(t, err, rest.CodeBadAnswer)
		})
	}
}

func TestMessagesByIDReturnsRows(t *testing.T) {
	row := messageRow(idA, "2026-11-22T12:00:00Z")
	s := newScript(t, answer(200, "["+row+"]"))
	got, err := newClient(t, s).MessagesByID(t.Context(), []string{idA, "42"})
	require.NoError(t, err)
	require.Len(t, got, 1)
	assert.Equal(t, row, string(got[0]))
	r := s.only(t)
	assert.Equal(t, "in.(42,"+idA+")", r.Query.Get("id"))
	assert.Equal(t, messageSelect, r.Query.Get("select"))
}

func TestMessageByClientIDLooksAtTheVisitorsOwnRows(t *testing.T) {
	row := messageRow(idA, "2026-11-22T12:00:00Z")
	s := newScript(t, answer(200, "["+row+"]"))
	got, err := newClient(t, s).MessageByClientID(t.Context(), idC, idA, "c-17:a.b_c")
	require.NoError(t, err)
	assert.Equal(t, row, string(got))
	r := s.only(t)
	assert.Equal(t, map[string][]string{
		"content->metadata->>client_message_id": {"eq.c-17:a.b_c"},
		"content->metadata->>temp_session_id":   {"eq." + idA},
		"conversation_id":                       {"eq." + idC},
		"sender_user_id":                        {"is.null"},
		"sender_agent_id":                       {"is.null"},
		"limit":                                 {"1"},
		"order":                                 {"created_at.asc.nullslast,id.asc.nullslast"},
		"select":                                {messageSelect},
	}, map[string][]string(r.Query))
	assert.Contains(t, r.Raw, "content-%3Emetadata-%3E%3Eclient_message_id=eq.c-17%3Aa.b_c")
}

func TestHostileClientMessageIDsAreRefusedBeforeSending(t *testing.T) {
	s := newScript(t, answer(200, `[]`))
	c := newClient(t, s)
	for _, id := range []string{"", "a b", "a,b", "a)", "a(", `a"`, `a\`, "a&id=eq.1", "a*", "a%", "ä", "a\n", strings.Repeat("a", 65)} {
		_, err := c.MessageByClientID(t.Context(), idC, idA, id)
		require.ErrorIs(t, err, rest.ErrInvalidArgument, "%q", id)
	}
	assert.Empty(t, s.requests())
}

func FuzzPositionOfRow(f *testing.F) {
	f.Add([]byte(messageRow(idA, "2026-11-22T12:00:00.195758+00:00")))
	f.Add([]byte(`{"id":42,"created_at":"2026-11-22T12:00:00"}`))
	f.Add([]byte(`{"id":"x","created_at":"infinity"}`))
	f.Fuzz(func(t *testing.T, row []byte) {
		p, err := rest.PositionOf(json.RawMessage(row))
		if err != nil {
			require.Zero(t, p)
			return
		}
		require.False(t, p.IsZero())
		require.Regexp(t, `^[0-9a-fA-F-]+$`, p.ID)
		require.False(t, p.CreatedAt.IsZero())
	})
}

func TestMessagesOfAVisitorAreCounted(t *testing.T) {
	s := newScript(t, answer(206, `[{"id":"`+idB+`"}]`, "Content-Range", "0-0/42"))
	c := newClient(t, s)
	n, err := c.CountVisitorMessages(t.Context(), idC, idA)
	require.NoError(t, err)
	assert.Equal(t, 42, n)
	r := s.only(t)
	assert.Contains(t, r.Header.Get("Prefer"), "count=exact")
	assert.Equal(t, map[string][]string{
		"conversation_id": {"eq." + idC}, "sender_user_id": {"is.null"}, "sender_agent_id": {"is.null"}, "limit": {"1"}, "select": {"id"},
		"or": {"(content->metadata->>temp_session_id.eq." + idA + ",content->metadata->>session_id.eq." + idA + ")"},
	}, map[string][]string(r.Query))

	_, err = c.CountVisitorMessages(t.Context(), idC, "x)")
	require.ErrorIs(t, err, rest.ErrInvalidArgument)
	_, err = newClient(t, newScript(t, answer(200, `[]`))).CountVisitorMessages(t.Context(), idC, idA)
	require.ErrorContains(t, err, rest.CodeBadAnswer, "an answer without a count tells nothing")
}
