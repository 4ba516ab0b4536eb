package transport_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

// waitingPoll starts a long poll in a bubble and returns when it waits.
func waitingPoll(t *testing.T, g *rig, query string) <-chan string {
	t.Helper()
	cursor := poll(t, g, "", "").Cursor
	out := make(chan string, 1)
	go func() {
		w := do(g, "GET", pollPath+"?wait=20&cursor="+cursor+"&session_token="+rigToken+query, "")
		out <- fmt.Sprint(w.Code, " ", w.Body)
	}()
	synctest.Wait()
	require.Empty(t, out, "it waits")
	return out
}

func TestLongPollWakesForAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		out := waitingPoll(t, g, "")
		begun := time.Now()
		g.hub.Publish(rigRow("session-2", 2), false) // another visitor's does not wake it
		synctest.Wait()
		require.Empty(t, out)
		g.publish(1)
		status, body, _ := strings.Cut(<-out, " ")
		assert.Equal(t, "200", status)
		var a pollAnswer
		require.NoError(t, json.Unmarshal([]byte(body), &a))
		assert.Equal(t, []string{"row-1"}, a.ids())
		assert.Zero(t, time.Since(begun))
		assert.Empty(t, poll(t, g, a.Cursor, "").Messages)
	})
}

func TestLongPollEndsWithItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		cursor := poll(t, g, "", "").Cursor
		for _, wait := range []struct {
			query string
			want  time.Duration
		}{{"", 0}, {"wait=0", 0}, {"wait=7", 7 * time.Second}, {"wait=25", 25 * time.Second}, {"wait=9999", 25 * time.Second}} {
			begun := time.Now()
			a := poll(t, g, cursor, wait.query)
			assert.Empty(t, a.Messages)
			assert.Equal(t, wait.want, time.Since(begun), wait.query)
			cursor = a.Cursor
		}
		begun := time.Now()
		g.publish(1)
		assert.Len(t, poll(t, g, cursor, "wait=20").Messages, 1)
		assert.Zero(t, time.Since(begun), "what is there does not wait")
	})
}

func TestLongPollEndsWithItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		out := waitingPoll(t, g, "")
		g.endSession()
		status, body, _ := strings.Cut(<-out, " ")
		assert.Equal(t, "410", status)
		assert.JSONEq(t, `{"error":"The session has ended","code":"session_ended"}`, withoutRequestID(t, body))
	})
}

func TestSessionThatCannotBeConfirmedIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		out := waitingPoll(t, g, "")
		g.hub.EndSession(rigConversation, rigSession, chat.Unavailable, nil)
		assert.Contains(t, <-out, "503 ")
	})
}

func TestSessionThatEndsWhileAPollReadsGetsNothing(t *testing.T) {
	g := newRig(t, nil)
	cursor := poll(t, g, "", "").Cursor
	g.publish(1)
	g.backfiller.deliver = func(context.Context) error { g.endSession(); return nil }
	w := do(g, "GET", pollPath+"?cursor="+cursor+"&session_token="+rigToken, "")
	assert.Equal(t, 410, w.Code)
	assert.NotContains(t, w.Body.String(), "text 1")
}

func TestSessionThatEndsWhileAPollIsEncodedGetsNothing(t *testing.T) {
	g := newRig(t, nil)
	cursor := poll(t, g, "", "").Cursor
	g.publish(1)
	g.backfiller.state = g.endSession // the body is being made
	w := do(g, "GET", pollPath+"?cursor="+cursor+"&session_token="+rigToken, "")
	assert.Equal(t, 410, w.Code)
	assert.NotContains(t, w.Body.String(), "text 1")
}

func TestLongPollEndsWhenTheServerDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		out := waitingPoll(t, g, "")
		g.server.Drain(t.Context())
		answer := <-out
		assert.Contains(t, answer, "200 ")
		assert.Contains(t, answer, `"messages":[]`)
		w := do(g, "GET", pollPath+"?session_token="+rigToken, "")
		assert.Equal(t, 503, w.Code)
		assert.Contains(t, w.Body.String(), `"code":"restart"`)
		assert.NotEmpty(t, w.Header().Get("Retry-After"))
	})
}

func TestLongPollEndsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		out := waitingPoll(t, g, "")
		g.stop()
		assert.Contains(t, <-out, "503 ")
	})
}

func TestVisitorWhoLeavesALongPollLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(o *transport.Options) { o.ConnectionsPerSession = 1 })
		cursor := poll(t, g, "", "").Cursor
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan struct{})
		go func() {
			defer close(left)
			w := doContext(ctx, g, "GET", pollPath+"?wait=20&cursor="+cursor+"&session_token="+rigToken, "")
			assert.Empty(t, w.Body.String())
		}()
		synctest.Wait()
		w := do(g, "GET", pollPath+"?session_token="+rigToken, "")
		assert.Equal(t, 429, w.Code, "a poll that waits is a connection")
		assert.Contains(t, w.Body.String(), `"code":"too_many_connections"`)
		leave()
		<-left
		assert.Empty(t, subscribers(g))
		poll(t, g, cursor, "")
	})
}
