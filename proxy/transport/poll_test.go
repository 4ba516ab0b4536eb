package transport_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

// pollAnswer is the body of an answer to a poll.
type pollAnswer struct {
	Messages []chat.Message `json:"messages"`
	Updates  []struct {
		Type    string       `json:"type"`
		Message chat.Message `json:"message"`
	} `json:"updates"`
	Cursor  string `json:"cursor"`
	Resumed bool   `json:"resumed"`
	More    bool   `json:"more"`
	State   string `json:"state"`
}

func (a pollAnswer) ids() (ids []string) {
	for _, m := range a.Messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// poll asks with the rig's token and requires an answer.
func poll(t testing.TB, g *rig, cursor, query string) pollAnswer {
	t.Helper()
	w := do(g, "GET", pollPath+"?cursor="+url.QueryEscape(cursor)+"&"+query, "", "Authorization", "Bearer "+rigToken)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	var a pollAnswer
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
	return a
}

// restart forgets all classes, as another process or a restart would.
func (g *rig) restart() {
	g.hub.EndSession(rigConversation, rigSession, chat.Restart, nil)
}

func TestPollWithoutCursorGetsTheNewestMessages(t *testing.T) {
	g := newRig(t, nil)
	for n := range 5 {
		g.store(rigRow(rigSession, n))
	}
	w := do(g, "GET", "/functions/v1"+pollPath+"?limit=3&session_token="+rigToken, "")
	require.Equal(t, 200, w.Code)
	assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	var body map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	assert.NotEmpty(t, body["cursor"])
	delete(body, "cursor")
	rest, err := json.Marshal(body)
	require.NoError(t, err)
	item := `{"id":"row-%d","role":"assistant","content":"text %[1]d","timestamp":"2026-01-02T03:04:05.00%[1]dZ",
		"conversation_id":"conversation-1","agentId":"agent-1","userId":null}`
	assert.JSONEq(t, `{"messages":[`+fmt.Sprintf(item, 2)+","+fmt.Sprintf(item, 3)+","+fmt.Sprintf(item, 4)+`],"updates":[],
		"resumed":false,"more":false,"state":"live","session":{"session_id":"session-1","conversation_id":"conversation-1",
		"agent_name":"Ada","max_messages":50,"current_messages":3}}`, string(rest))
}

func TestASessionMayNotReadItsHistoryAllTheTime(t *testing.T) {
	g := newRig(t, nil)
	refused := 0
	for range 200 {
		w := do(g, "GET", pollPath, "", "Authorization", "Bearer "+rigToken)
		if w.Code == http.StatusOK {
			continue
		}
		refused++
		require.Equal(t, http.StatusTooManyRequests, w.Code)
		require.Contains(t, w.Body.String(), `"too_many_reads"`)
		require.Equal(t, "1", w.Header().Get("Retry-After"))
	}
	assert.Positive(t, refused)
	assert.EqualValues(t, refused, g.value("limits_reached_total", "limit", "histories_per_second"))
	assert.Equal(t, http.StatusOK, do(g, "GET", pollPath, "", "Authorization", "Bearer "+otherToken).Code, "another session")
}

func TestPollGoesOnFromItsCursor(t *testing.T) {
	g := newRig(t, nil)
	first := poll(t, g, "", "")
	assert.Empty(t, first.Messages)
	g.publish(1)
	g.publish(2)
	g.hub.Publish(rigRow("session-2", 3), false) // another visitor's
	second := poll(t, g, first.Cursor, "")
	assert.True(t, second.Resumed)
	assert.Equal(t, []string{"row-1", "row-2"}, second.ids())
	third := poll(t, g, second.Cursor, "")
	assert.Empty(t, third.Messages)
	assert.Equal(t, []string{"row-1", "row-2"}, poll(t, g, first.Cursor, "").ids(), "a cursor may come again")
	foreign := poll(t, g, "forged", "")
	assert.False(t, foreign.Resumed)
	assert.Equal(t, []string{"row-1", "row-2"}, foreign.ids())
}

func TestPollCutByItsLimitLosesNothing(t *testing.T) {
	const rows = 60
	for name, before := range map[string]func(*rig){
		"from the window":     func(*rig) {},
		"after a restart":     func(g *rig) { g.restart() },
		"restarts in between": nil,
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, nil)
			cursor := poll(t, g, "", "").Cursor
			for n := range rows {
				g.publish(n + 1)
			}
			if before != nil {
				before(g)
			}
			var got []string
			for more := true; more; {
				if before == nil {
					g.restart()
				}
				a := poll(t, g, cursor, "limit=7")
				require.LessOrEqual(t, len(a.Messages), 7)
				got, cursor, more = append(got, a.ids()...), a.Cursor, a.More
			}
			require.Len(t, got, rows)
			assert.True(t, slices.IsSortedFunc(got, byNumber))
			assert.Empty(t, poll(t, g, cursor, "").Messages)
		})
	}
}

func byNumber(a, b string) int {
	var x, y int
	_, _ = fmt.Sscanf(a, "row-%d", &x)
	_, _ = fmt.Sscanf(b, "row-%d", &y)
	return x - y
}

// A cursor remembers 80 rows of the last two minutes; what it does not is sent again, and must not stand in the way of the rest.
func TestPollOfABusyConversationComesToAnEnd(t *testing.T) {
	g := newRig(t, nil)
	cursor := poll(t, g, "", "").Cursor
	const rows = 300
	for n := range rows {
		g.store(rigRow(rigSession, n+1))
	}
	g.restart()
	fresh := map[string]bool{}
	polls := 0
	for more := true; more; polls++ {
		require.Less(t, polls, 100, "no end")
		a := poll(t, g, cursor, "limit=10")
		for _, m := range a.Messages {
			assert.True(t, m.Replayed || !fresh[m.ID], "%s doubled", m.ID)
			fresh[m.ID] = true
		}
		cursor, more = a.Cursor, a.More
		g.restart()
	}
	assert.Len(t, fresh, rows)
}

func TestPollTellsUpdatesAndDeletes(t *testing.T) {
	g := newRig(t, nil)
	cursor := poll(t, g, "", "").Cursor
	g.publish(1)
	g.publish(2)
	changed := rigRow(rigSession, 1)
	changed.Content.Text, changed.UpdatedAt = "new text", changed.UpdatedAt.Add(time.Second)
	g.hub.Publish(changed, true)
	g.hub.Delete("row-2")
	a := poll(t, g, cursor, "")
	assert.Equal(t, []string{"row-1", "row-2"}, a.ids())
	require.Len(t, a.Updates, 2)
	assert.Equal(t, "message_updated row-1 new text", a.Updates[0].Type+" "+a.Updates[0].Message.ID+" "+a.Updates[0].Message.Content)
	assert.Equal(t, "message_deleted row-2", a.Updates[1].Type+" "+a.Updates[1].Message.ID)
}

func TestMessageShownAgainOutdoesItsRemoval(t *testing.T) {
	g := newRig(t, nil)
	cursor := poll(t, g, "", "").Cursor
	row := func(text string, at time.Duration) *chat.Row {
		r := rigRow(rigSession, 1)
		r.Content.Text, r.UpdatedAt = text, r.UpdatedAt.Add(at)
		return r
	}
	g.hub.Publish(row("first", 0), false)
	g.hub.Publish(row("", time.Second), true) // blanked: taken back
	g.hub.Publish(row("second", 2*time.Second), true)
	a := poll(t, g, cursor, "")
	require.Equal(t, []string{"row-1"}, a.ids())
	assert.Equal(t, "second", a.Messages[0].Content)
	assert.Empty(t, a.Updates)
}

func TestPollThatIsOverrunLosesNothing(t *testing.T) {
	g := newSendRig(t, 200, "", func(o *transport.Options) { o.QueueEvents = 3 })
	cursor := poll(t, g.rig, "", "").Cursor
	g.publish(1)
	g.catching.delivered = func() {
		for n := 2; n <= 6; n++ {
			g.publish(n)
		}
	}
	first := poll(t, g.rig, cursor, "wait=20")
	assert.Equal(t, []string{"row-1"}, first.ids())
	g.catching.delivered = nil
	assert.Equal(t, []string{"row-2", "row-3", "row-4", "row-5", "row-6"}, poll(t, g.rig, first.Cursor, "").ids())
}

func TestRowsBetweenDeliveryAndAnswerAreNotLost(t *testing.T) {
	g := newSendRig(t, 200, "", nil)
	cursor := poll(t, g.rig, "", "").Cursor
	g.publish(1)
	n := 1
	g.catching.delivered = func() { n++; g.publish(n) }
	var got []string
	for range 3 {
		a := poll(t, g.rig, cursor, "limit=1")
		assert.True(t, a.More)
		got, cursor = append(got, a.ids()...), a.Cursor
	}
	assert.Equal(t, []string{"row-1", "row-2", "row-3"}, got)
}

func TestUnstoredReplyPassesTheLimitOfAPoll(t *testing.T) {
	g := newSendRig(t, 200, "", nil)
	cursor := poll(t, g.rig, "", "").Cursor
	g.publish(1)
	g.catching.delivered = func() {
		g.publish(2)
		g.hub.PublishUnstored(rigVisitor(rigSession), "reply", "only here")
	}
	a := poll(t, g.rig, cursor, "limit=1")
	assert.Equal(t, []string{"row-1", "reply"}, a.ids(), "no later poll can bring it")
	assert.True(t, a.More)
	g.catching.delivered = nil
	assert.Equal(t, []string{"row-2"}, poll(t, g.rig, a.Cursor, "").ids())
}

func TestAnotherVisitorsEventDoesNotPassTheGuard(t *testing.T) {
	g := newSendRig(t, 200, "", nil)
	cursor := poll(t, g.rig, "", "").Cursor
	other, err := g.backfiller.Join(t.Context(), rigVisitor("session-2"), "", chat.SubscriberOptions{})
	require.NoError(t, err)
	defer other.Close()
	g.hub.Publish(rigRow("session-2", 1), false)
	stray, _, _ := other.Next(1 << 20)
	require.Len(t, stray, 1)
	g.catching.stray = stray
	g.publish(2)
	assert.Equal(t, []string{"row-2"}, poll(t, g.rig, cursor, "").ids())
}

func TestRefusalsOfAPoll(t *testing.T) {
	g := newRig(t, nil)
	for name, test := range map[string]struct {
		method, query string
		status        int
		code          string
	}{
		"other method":   {"POST", "", 405, "method_not_allowed"},
		"no credential":  {"GET", "", 400, "missing_token"},
		"unknown":        {"GET", "session_token=unknown", 401, "invalid_session"},
		"limit no count": {"GET", "limit=many&session_token=" + rigToken, 400, "bad_request"},
		"negative wait":  {"GET", "wait=-1&session_token=" + rigToken, 400, "bad_request"},
	} {
		t.Run(name, func(t *testing.T) {
			w := do(g, test.method, pollPath+"?"+test.query, "")
			assert.Equal(t, test.status, w.Code)
			assert.Contains(t, w.Body.String(), `"code":"`+test.code+`"`)
		})
	}
	t.Run("cannot be read", func(t *testing.T) {
		g.backfiller.join = func() error { return chat.RefuseUnavailable(time.Second, errors.New("SECRET")) }
		w := do(g, "GET", pollPath+"?session_token="+rigToken, "")
		assert.Equal(t, 503, w.Code)
		assert.NotContains(t, w.Body.String(), "SECRET")
	})
	assert.NotContains(t, g.logs.String(), rigToken)
}

func TestPollWorksOverASocket(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.WriteTimeout = time.Second })
	base := g.serve()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for range 2 { // on one connection: a deadline must not outlive its answer
		res, err := client.Get(base + pollPath + "?session_token=" + rigToken)
		require.NoError(t, err)
		var a pollAnswer
		require.NoError(t, json.NewDecoder(res.Body).Decode(&a))
		require.NoError(t, res.Body.Close())
		assert.NotEmpty(t, a.Cursor)
	}
}
