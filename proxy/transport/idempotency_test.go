package transport_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/transport"
)

const clientID = `"c-1"`

// stuckSend starts a send whose function answers when release is called, and returns when the function has been called.
func stuckSend(t *testing.T, g *sendRig) (answer <-chan string, release func(status int, body string)) {
	t.Helper()
	called, replies := make(chan struct{}), make(chan *transport.FunctionReply)
	g.functions.answer = func(ctx context.Context, _ functionCall) (*transport.FunctionReply, error) {
		close(called)
		return <-replies, nil
	}
	out := make(chan string, 1)
	go func() {
		w := do(g.rig, "POST", sendPath, message("a", "clientMessageId", clientID))
		out <- fmt.Sprint(w.Code, " ", w.Body)
	}()
	<-called
	return out, func(status int, body string) { replies <- &transport.FunctionReply{Status: status, Body: []byte(body)} }
}

const acceptedAnswer = `{"success":true,"message_id":"row-of-a","conversation_id":"conversation-1","session_id":"session-1",
	"response":null,"status":"accepted","client_message_id":"c-1"}`

func TestRepeatOfAFinishedSendGetsTheSameAnswer(t *testing.T) {
	g := newSendRig(t, 200, sent, nil)
	first := do(g.rig, "POST", sendPath, message("a", "clientMessageId", clientID))
	for _, name := range []string{"clientMessageId", "client_message_id"} {
		again := do(g.rig, "POST", "/temporary-chat-handler", message("a", name, clientID))
		assert.Equal(t, 200, again.Code)
		assert.Equal(t, first.Body.String(), again.Body.String())
	}
	again := do(g.rig, "POST", sendPath, message("a", "metadata", `{"client_message_id":"c-1"}`))
	assert.Equal(t, first.Body.String(), again.Body.String())
	assert.Len(t, g.functions.all(), 1)

	assert.Equal(t, 422, do(g.rig, "POST", sendPath, message("other text", "clientMessageId", clientID)).Code)
	other := strings.Replace(message("a", "clientMessageId", clientID), "session-1", "session-2", 1)
	assert.Equal(t, 200, do(g.rig, "POST", sendPath, other).Code)
	assert.Len(t, g.functions.all(), 2, "the id counts in its session only")
}

func TestRepeatOfARunningSendIsAcceptedOnceItsRowIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSendRig(t, 200, "", nil)
		first, release := stuckSend(t, g)
		repeat := make(chan string, 1)
		go func() { repeat <- do(g.rig, "POST", sendPath, message("a", "clientMessageId", clientID)).Body.String() }()
		synctest.Wait()
		g.server.Observed("session-2", "c-1", "another session's")
		g.server.Observed(rigSession, "c-2", "another message")
		synctest.Wait()
		assert.Empty(t, repeat)
		g.server.Observed(rigSession, "c-1", "row-of-a")
		g.server.Observed(rigSession, "c-1", "a second row is not news")
		assert.JSONEq(t, acceptedAnswer, <-repeat)
		release(200, sent)
		assert.Contains(t, <-first, `"response":"Hello"`)
		assert.Len(t, g.functions.all(), 1)
	})
}

func TestRepeatOfARunningSendWaitsBriefly(t *testing.T) {
	tests := map[string]struct {
		stored string
		err    error
		status int
		want   string
	}{
		"row in the table": {`{"id":"row-of-a","conversation_id":"conversation-1"}`, nil, 200, acceptedAnswer},
		"no row yet":       {"", nil, 503, `{"error":"The message is still being sent","code":"send_in_progress","retry_after":2}`},
		"unreachable": {"", errors.New("code network"), 503,
			`{"error":"The service is temporarily unavailable","code":"upstream_unavailable","retry_after":2}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newSendRig(t, 200, "", nil)
				first, release := stuckSend(t, g)
				g.store.find = func(context.Context, string) (json.RawMessage, error) {
					if test.stored == "" {
						return nil, test.err
					}
					return json.RawMessage(test.stored), nil
				}
				begun := time.Now()
				w := do(g.rig, "POST", sendPath, message("a", "clientMessageId", clientID))
				assert.Equal(t, test.status, w.Code)
				assert.JSONEq(t, test.want, withoutRequestID(t, w.Body.String()))
				assert.Equal(t, 3*time.Second, time.Since(begun))
				release(200, sent)
				<-first
			})
		})
	}
}

func TestConcurrentRepeatsMakeOneCall(t *testing.T) {
	g := newSendRig(t, 200, sent, nil)
	var all sync.WaitGroup
	answers := make([]string, 20)
	for i := range answers {
		all.Go(func() {
			answers[i] = do(g.rig, "POST", sendPath, message("a", "clientMessageId", clientID)).Body.String()
		})
	}
	all.Wait()
	for _, answer := range answers {
		assert.Equal(t, answers[0], answer)
	}
	assert.Len(t, g.functions.all(), 1)
}

func TestSendThatAnotherProcessMadeIsAccepted(t *testing.T) {
	g := newSendRig(t, 200, sent, nil)
	g.store.find = func(_ context.Context, id string) (json.RawMessage, error) {
		assert.Equal(t, "c-1", id)
		return json.RawMessage(`{"id":"row-of-a","conversation_id":"conversation-1"}`), nil
	}
	for range 2 {
		w := do(g.rig, "POST", sendPath, message("a", "clientMessageId", clientID))
		assert.Equal(t, 200, w.Code)
		assert.JSONEq(t, acceptedAnswer, w.Body.String())
	}
	assert.Empty(t, g.functions.all())
}

func TestSendThatCannotBeLookedUpIsNotMade(t *testing.T) {
	g := newSendRig(t, 200, sent, nil)
	g.store.find = func(context.Context, string) (json.RawMessage, error) { return nil, errors.New("code network") }
	assert.Equal(t, 503, do(g.rig, "POST", sendPath, message("a", "clientMessageId", clientID)).Code)
	assert.Empty(t, g.functions.all(), "it might be stored twice")
	assert.Equal(t, 200, do(g.rig, "POST", sendPath, message("a")).Code, "without an id there is nothing to look up")
}

func TestFailedSendMayBeRepeated(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		calls  int
	}{
		"nothing stored": {500, `{"error":"Failed to save message"}`, 2},
		"unavailable":    {503, ``, 2},
		"limit":          {429, `{"error":"Rate limit exceeded"}`, 2},
		"row stored":     {500, `{"error":"Chat processing failed","message_id":"m"}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSendRig(t, test.status, test.body, nil)
			first := do(g.rig, "POST", sendPath, message("a", "clientMessageId", clientID))
			again := do(g.rig, "POST", sendPath, message("a", "clientMessageId", clientID))
			assert.GreaterOrEqual(t, first.Code, 400)
			assert.Equal(t, first.Code, again.Code)
			assert.Equal(t, withoutRequestID(t, first.Body.String()), withoutRequestID(t, again.Body.String()))
			assert.Len(t, g.functions.all(), test.calls)
		})
	}
}

func TestSendWhoseRowWasSeenIsAcceptedWhenTheFunctionIsLost(t *testing.T) {
	g := newSendRig(t, 200, "", nil)
	first, release := stuckSend(t, g)
	g.server.Observed(rigSession, "c-1", "row-of-a")
	release(504, "")
	status, body, _ := strings.Cut(<-first, " ")
	assert.Equal(t, "200", status)
	assert.JSONEq(t, acceptedAnswer, body)
	w := do(g.rig, "POST", sendPath, message("a", "clientMessageId", clientID))
	assert.JSONEq(t, acceptedAnswer, w.Body.String())
	assert.Len(t, g.functions.all(), 1)
}

func TestAnswersThatAreKeptAreBounded(t *testing.T) {
	g := newSendRig(t, 200, `{"success":true,"message_id":"m","note":"`+strings.Repeat("x", 900<<10)+`"}`,
		func(o *transport.Options) { o.MessagesPerMinute = 100 })
	for i := range 20 { // 17 MiB
		require.Equal(t, 200, do(g.rig, "POST", sendPath, message("a", "clientMessageId", fmt.Sprintf(`"c-%d"`, i))).Code)
	}
	require.Len(t, g.functions.all(), 20)
	do(g.rig, "POST", sendPath, message("a", "clientMessageId", `"c-19"`))
	assert.Len(t, g.functions.all(), 20, "the newest is known")
	do(g.rig, "POST", sendPath, message("a", "clientMessageId", `"c-0"`))
	assert.Len(t, g.functions.all(), 21, "the oldest is forgotten")
}
