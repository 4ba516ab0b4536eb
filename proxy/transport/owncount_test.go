package transport_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

// countedRig is a rig whose table counts so many messages for each session, and how often it was asked.
func countedRig(t *testing.T, stored int) (g *sendRig, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	g = newSendRig(t, 200, sent, nil)
	g.store.count = func(context.Context) (int, error) { asked.Add(1); return stored, nil }
	return g, asked
}

// toldBy is what a poll says of the session.
func toldBy(g *sendRig, token, cursor string) map[string]any {
	g.t.Helper()
	w := do(g.rig, "GET", pollPath+"?cursor="+cursor, "", "Authorization", "Bearer "+token)
	require.Equal(g.t, http.StatusOK, w.Code, w.Body)
	body := fieldsOf(g.t.(*testing.T), w.Body.Bytes())
	session := body["session"].(map[string]any)
	session["cursor"] = body["cursor"]
	return session
}

func TestVisitorIsToldTheirOwnCountOfMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, asked := countedRig(t, 7)
		first := toldBy(g, rigToken, "")
		assert.EqualValues(t, 7, first["current_messages"])
		answer := g.functions.answer
		g.functions.answer = func(ctx context.Context, c functionCall) (*transport.FunctionReply, error) {
			assert.EqualValues(t, 8, toldBy(g, rigToken, "")["current_messages"], "the message that is being answered too")
			return answer(ctx, c)
		}
		require.Equal(t, 200, do(g.rig, "POST", sendPath, message("a")).Code)
		assert.EqualValues(t, 8, toldBy(g, rigToken, "")["current_messages"], "the message just sent too")
		assert.EqualValues(t, 8, toldBy(g, rigToken, first["cursor"].(string))["current_messages"], "known, and so told those who come back too")
		assert.EqualValues(t, 1, asked.Load(), "one count serves the whole session")

		time.Sleep(2 * time.Minute)
		assert.NotContains(t, toldBy(g, rigToken, first["cursor"].(string)), "current_messages", "the count is old")
		assert.EqualValues(t, 1, asked.Load(), "nothing is asked for who comes back")
		assert.EqualValues(t, 7, toldBy(g, rigToken, "")["current_messages"])
		assert.EqualValues(t, 2, asked.Load())
	})
}

// A storm of returning visitors meets a process that has counted nothing yet.
func TestVisitorsWhoComeBackCostNoCount(t *testing.T) {
	before, _ := countedRig(t, 7)
	cursor := toldBy(before, rigToken, "")["cursor"].(string)
	for name, told := range map[string]func(t *testing.T, g *sendRig) string{
		"events": func(_ *testing.T, g *sendRig) string {
			events := g.openEvents(g.serve() + eventsPath + "&cursor=" + cursor)
			events.must()
			return events.must().data
		},
		"websocket": func(_ *testing.T, g *sendRig) string {
			p := g.dial(g.serve(), socketPath, http.Header{})
			p.send(fmt.Sprintf(`{"type":"authenticate","sessionToken":%q,"cursor":%q}`, rigToken, cursor))
			return p.next()
		},
		"poll": func(_ *testing.T, g *sendRig) string {
			return do(g.rig, "GET", pollPath+"?cursor="+cursor, "", "Authorization", "Bearer "+rigToken).Body.String()
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, asked := countedRig(t, 7)
			text := told(t, g)
			assert.Contains(t, text, `"max_messages":50`)
			assert.NotContains(t, text, "current_messages")
			assert.Zero(t, asked.Load())
		})
	}
}

func TestCountThatIsNotThereHoldsNobodyUp(t *testing.T) {
	for name, tt := range map[string]struct {
		count func(context.Context) (int, error)
		limit int
		held  time.Duration
	}{
		"fails":                                  {count: func(context.Context) (int, error) { return 0, errors.New("no answer") }, limit: 50},
		"hangs":                                  {count: func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }, limit: 50, held: time.Second},
		"is kept for no session without a limit": {count: func(context.Context) (int, error) { return 7, nil }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, _ := countedRig(t, 7)
				stored := 0
				limitedTo(g, tt.limit, &stored)
				g.store.count = tt.count
				begun := time.Now()
				assert.NotContains(t, toldBy(g, rigToken, ""), "current_messages")
				assert.Equal(t, tt.held, time.Since(begun))
			})
		})
	}
}

func TestCountsForThoseWhoConnectAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, asked := countedRig(t, 7)
		answer := make(chan struct{})
		g.store.count = func(context.Context) (int, error) { asked.Add(1); <-answer; return 7, nil }
		g.authorizer.authorize = func(_ context.Context, c chat.Credential) (*chat.Grant, error) {
			return &chat.Grant{Visitor: rigVisitor(c.Token.Reveal()), Token: c.Token}, nil
		}
		told := make(chan map[string]any)
		const visitors = 20
		for n := range visitors {
			go func() { told <- toldBy(g, fmt.Sprint("session-", n), "") }()
		}
		for range visitors - 8 {
			assert.NotContains(t, <-told, "current_messages", "too many are being counted")
		}
		synctest.Wait()
		assert.EqualValues(t, 8, asked.Load())
		close(answer)
		for range 8 {
			assert.EqualValues(t, 7, (<-told)["current_messages"])
		}
		assert.EqualValues(t, 7, toldBy(g, "session-99", "")["current_messages"], "there is room again")
	})
}

func TestFunctionsCountsOfTheWholeConversationStayHere(t *testing.T) {
	const validated = `{"valid":true,"session_id":"session-1","max_messages":50,"current_messages":41}`
	for name, tt := range map[string]struct {
		limit  int
		answer string
		call   func(g *sendRig) string
		want   string
	}{
		"validate-session":                 {50, validated, validateSession, `{"valid":true,"session_id":"session-1","max_messages":50,"current_messages":7}`},
		"validate-session without a limit": {0, validated, validateSession, `{"valid":true,"session_id":"session-1","max_messages":50}`},
		"a message": {50, `{"success":true,"message_id":"m","remaining_messages":9}`, sendOne,
			`{"success":true,"message_id":"m","remaining_messages":42}`},
		"a message without a limit": {0, `{"success":true,"message_id":"m","remaining_messages":9}`, sendOne, `{"success":true,"message_id":"m"}`},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSendRig(t, 200, tt.answer, nil)
			stored := 7
			limitedTo(g, tt.limit, &stored)
			assert.JSONEq(t, tt.want, tt.call(g))
		})
	}
}

func validateSession(g *sendRig) string {
	return do(g.rig, "POST", apiPath+"/validate-session", `{"session_token":"`+rigToken+`"}`).Body.String()
}

func sendOne(g *sendRig) string { return do(g.rig, "POST", sendPath, message("a")).Body.String() }
