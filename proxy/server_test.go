package proxy_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/proxy/proxytest"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// private are strings of the fixture rows that must never leave.
var private = []string{"SECRET PROMPT", "203.0.113.9", "198.51.100.4", "collect pilot feedback", "crm_lookup", "llm_calls", "temp_link_id", "error_type"}

func TestSentMessageAndItsAnswerReachEveryTransport(t *testing.T) {
	w := newWorld(t, standin.Options{Agent: func(context.Context, string) string { return "the answer" }})
	n := w.start(nil)
	v := n.visitor(w.fixture.Visitor)
	events := watch(t, w.ctx, v)
	socket := talk(t, w.ctx, v)
	poll, err := v.Poll(w.ctx, "", 0, 0)
	require.NoError(t, err)

	reply, err := v.Send(w.ctx, "the question", "c-1")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, reply.Status, reply.Body)
	assert.Equal(t, "the answer", reply.Body["response"])

	var ids []string
	for _, want := range []struct{ role, text string }{{"user", "the question"}, {"assistant", "the answer"}} {
		m, err := events.Message()
		require.NoError(t, err)
		assert.Equal(t, want.role, m.Role)
		assert.Equal(t, want.text, m.Content)
		overSocket, err := socket.ChatMessage(w.ctx)
		require.NoError(t, err)
		assert.Equal(t, m, overSocket)
		ids = append(ids, m.ID)
	}
	assert.Equal(t, ids[0], reply.Body["message_id"])
	assert.Equal(t, ids[1], reply.Body["assistant_message_id"])
	got, err := v.Poll(w.ctx, poll.Cursor, 0, 5)
	require.NoError(t, err)
	require.Len(t, got.Messages, 2)
	assert.Equal(t, "c-1", got.Messages[0].ClientMessageID)

	again, err := v.Send(w.ctx, "the question", "c-1")
	require.NoError(t, err)
	assert.Equal(t, ids[0], again.Body["message_id"], "a repeat is the same message")
}

func TestInsertedMessageSatisfiesTheTableAndIsSeen(t *testing.T) {
	w := newWorld(t, standin.Options{})
	n := w.start(func(o *proxy.Options) { o.SendVia = "insert" })
	v := n.visitor(w.fixture.Visitor)
	events := watch(t, w.ctx, v)
	reply, err := v.Send(w.ctx, "stored by the proxy", "c-2")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, reply.Status, reply.Body)
	m, err := events.Message()
	require.NoError(t, err)
	assert.Equal(t, "user", m.Role)
	assert.Equal(t, reply.Body["message_id"], m.ID)
	again, err := v.Send(w.ctx, "stored by the proxy", "c-2")
	require.NoError(t, err)
	assert.Equal(t, m.ID, again.Body["message_id"])
	rows, err := w.standin.DB().Rows(standin.TableMessages, standin.Row{"conversation_id": w.fixture.Visitor.ConversationID})
	require.NoError(t, err)
	assert.Len(t, rows, 1)
}

func TestReplyThatIsStoredNowhereIsGivenToTheSession(t *testing.T) {
	w := newWorld(t, standin.Options{Agent: func(context.Context, string) string { return "only in the answer" }})
	n := w.start(nil)
	w.standin.Faults().Set(standin.Fault{Kind: standin.RowNotStored})
	v := n.visitor(w.fixture.SharedOther)
	events := watch(t, w.ctx, v)
	reply, err := v.Send(w.ctx, "hello", "")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, reply.Status, reply.Body)
	own, err := events.Message()
	require.NoError(t, err)
	assert.Equal(t, "user", own.Role)
	answer, err := events.Message()
	require.NoError(t, err)
	assert.Equal(t, "only in the answer", answer.Content)
	assert.True(t, answer.Unstored)
	assert.Equal(t, answer.ID, reply.Body["assistant_message_id"])
}

func TestEndedSessionClosesEveryTransport(t *testing.T) {
	w := newWorld(t, standin.Options{})
	n := w.start(nil)
	require.NoError(t, w.standin.WaitLive(w.ctx, standin.TableSessions))
	v := n.visitor(w.fixture.Visitor)
	events := watch(t, w.ctx, v)
	envelope, err := v.Events(w.ctx, proxytest.EventsOptions{Path: "/functions/v1/temporary-chat-events"})
	require.NoError(t, err)
	defer envelope.Close()
	_, err = envelope.Next()
	require.NoError(t, err)
	socket := talk(t, w.ctx, v)
	first, err := v.Poll(w.ctx, "", 0, 0)
	require.NoError(t, err)
	polled := make(chan *proxytest.PollReply, 1)
	go func() {
		reply, err := v.Poll(w.ctx, first.Cursor, 0, 25)
		assert.NoError(t, err)
		polled <- reply
	}()

	_, err = w.standin.DB().Update(standin.TableSessions, standin.Row{"id": w.fixture.Visitor.ID}, standin.Row{"status": "terminated", "end_reason": "terminated"})
	require.NoError(t, err)
	ended, err := events.Until("session_ended")
	require.NoError(t, err)
	assert.Contains(t, ended.Data, `"status":"terminated"`)
	_, err = events.Next()
	assert.ErrorIs(t, err, io.EOF)
	last, err := envelope.Next()
	require.NoError(t, err)
	assert.Contains(t, last.Data, `"type":"session_ended"`)
	_, err = socket.Until(w.ctx, "session_ended")
	require.NoError(t, err)
	_, err = socket.Next(w.ctx)
	assert.True(t, websocket.IsCloseError(err, 4410), "%v", err)
	assert.Equal(t, http.StatusGone, (<-polled).Status)

	again, err := v.Events(w.ctx, proxytest.EventsOptions{})
	require.NoError(t, err)
	defer again.Close()
	assert.Contains(t, []int{http.StatusUnauthorized, http.StatusGone}, again.Status)
}

func TestUnpublishedMessagesTableIsPolledAndExplained(t *testing.T) {
	w := newWorld(t, standin.Options{})
	w.standin.DB().SetPublication()
	n := w.startCold(nil)
	v := n.visitor(w.fixture.Visitor)
	events := watch(t, w.ctx, v)
	id := w.say(w.fixture.Visitor, "polled")
	m, err := events.Message()
	require.NoError(t, err)
	assert.Equal(t, id, m.ID)
	logs := w.logs.String()
	assert.Contains(t, logs, "alter publication supabase_realtime add table public.chat_messages_v2;")
	assert.Contains(t, logs, "endings take up to 15 s")
}

func TestProxyStartsBeforeItsSupabaseAndRecovers(t *testing.T) {
	w := newWorld(t, standin.Options{})
	w.standin.Faults().Set(standin.Fault{Kind: standin.DatabaseDown})
	n := w.startCold(nil)
	v := n.visitor(w.fixture.Visitor)
	reply, err := v.Poll(w.ctx, "", 0, 0)
	require.NoError(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, reply.Status)
	stream, err := v.Events(w.ctx, proxytest.EventsOptions{})
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, stream.Status, "an EventSource must be told to come back")
	_, err = stream.Until("error")
	require.NoError(t, err)
	stream.Close()

	w.standin.Faults().ClearAll()
	require.NoError(t, w.standin.WaitLive(w.ctx, standin.TableMessages))
	reply, err = v.Poll(w.ctx, "", 0, 0)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, reply.Status)
	n.stop()
	assert.Contains(t, w.logs.String(), "Supabase cannot be reached")
}

func TestTokensAndKeysNeverReachTheLog(t *testing.T) {
	w := newWorld(t, standin.Options{})
	n := w.start(nil)
	v := n.visitor(w.fixture.Visitor)
	for _, token := range []string{v.Token, "an-unknown-token-of-good-shape-0123456789"} {
		events, err := (&proxytest.Visitor{Base: n.base, Token: token}).Events(w.ctx, proxytest.EventsOptions{})
		require.NoError(t, err)
		events.Close()
	}
	_, err := v.Send(w.ctx, "hello", "")
	require.NoError(t, err)
	n.stop()
	logs := w.logs.String()
	for _, secret := range []string{v.Token, "an-unknown-token", w.standin.ServiceKey(), w.standin.AnonKey(), "session_token="} {
		assert.NotContains(t, logs, secret)
	}
}
