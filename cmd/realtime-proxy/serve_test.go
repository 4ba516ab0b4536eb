package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/proxytest"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// rest calls the stand-in's PostgREST with the service key.
func (u upstream) rest(t *testing.T, method, path string, body any) {
	t.Helper()
	raw, err := json.Marshal(body)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), method, u.URL+"/rest/v1/"+path, bytes.NewReader(raw))
	require.NoError(t, err)
	req.Header.Set("apikey", u.ServiceKey)
	req.Header.Set("Authorization", "Bearer "+u.ServiceKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Less(t, resp.StatusCode, 300, string(answer))
}

// say stores a message of the session's visitor and returns its id.
func (u upstream) say(t *testing.T, s standin.FixtureSession, text string) string {
	t.Helper()
	id := uuid.NewString()
	u.rest(t, http.MethodPost, "chat_messages_v2", map[string]any{
		"id": id, "conversation_id": s.ConversationID, "session_id": s.ConversationSessionID, "role": "system",
		"content": map[string]any{"type": "text", "text": text, "metadata": map[string]any{
			"temporary_chat": true, "temp_session_id": s.ID, "original_role": "user", "is_anonymous_user": true,
		}},
	})
	return id
}

func TestServeCarriesAVisitorFromTheFirstMessageToTheEnd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	up := spawnStandin(t)
	process, at := spawnProxy(t, up)
	session := standin.NewFixture().Visitor
	v := &proxytest.Visitor{Base: "http://" + at.Listen, Token: session.Token}

	events, err := v.Events(ctx, proxytest.EventsOptions{})
	require.NoError(t, err)
	defer events.Close()
	require.Equal(t, http.StatusOK, events.Status)
	_, err = events.Until("connected")
	require.NoError(t, err)
	socket, err := v.Socket(ctx, "", 0)
	require.NoError(t, err)
	defer socket.Close()
	_, err = socket.Until(ctx, "authenticated")
	require.NoError(t, err)
	poll, err := v.Poll(ctx, "", 0, 0)
	require.NoError(t, err)

	// Live, on every transport.
	id := up.say(t, session, "first")
	m, err := events.Message()
	require.NoError(t, err)
	assert.Equal(t, id, m.ID)
	m, err = socket.ChatMessage(ctx)
	require.NoError(t, err)
	assert.Equal(t, id, m.ID)
	poll, err = v.Poll(ctx, poll.Cursor, 0, 10)
	require.NoError(t, err)
	require.Len(t, poll.Messages, 1)
	assert.Equal(t, id, poll.Messages[0].ID)

	// The visitor's own, and the agent's answer.
	reply, err := v.Send(ctx, "hello there", "c-1")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, reply.Status, reply.Body)
	for _, role := range []string{"user", "assistant"} {
		m, err = events.Message()
		require.NoError(t, err)
		assert.Equal(t, role, m.Role)
	}

	// Three missed while away, and only those, on every transport.
	cursors := map[string]string{"SSE": events.LastID, "polling": events.LastID}
	events.Close()
	for range 2 {
		_, err = socket.ChatMessage(ctx)
		require.NoError(t, err)
	}
	cursors["WebSocket"] = socket.Cursor
	socket.Close()
	var missed []string
	for i := range 3 {
		missed = append(missed, up.say(t, session, fmt.Sprint("missed ", i)))
	}
	t.Run("resume", func(t *testing.T) { checkResume(ctx, t, v, cursors, missed) })

	// A restart is a non-event for a visitor with a cursor.
	process.stop()
	missed = append(missed, up.say(t, session, "said while the proxy was away"))
	_, at = spawnProxy(t, up)
	v.Base = "http://" + at.Listen
	t.Run("resume after a restart", func(t *testing.T) { checkResume(ctx, t, v, cursors, missed) })

	t.Run("end", func(t *testing.T) { checkEnd(ctx, t, up, v, session) })
}

// checkResume comes back with the cursors and expects exactly the missed messages, then a live one.
func checkResume(ctx context.Context, t *testing.T, v *proxytest.Visitor, cursors map[string]string, missed []string) {
	events, err := v.Events(ctx, proxytest.EventsOptions{Cursor: cursors["SSE"]})
	require.NoError(t, err)
	defer events.Close()
	socket, err := v.Socket(ctx, cursors["WebSocket"], 0)
	require.NoError(t, err)
	defer socket.Close()
	var overEvents, overSocket, polled []string
	for range missed {
		m, err := events.Message()
		require.NoError(t, err)
		overEvents = append(overEvents, m.ID)
		m, err = socket.ChatMessage(ctx)
		require.NoError(t, err)
		overSocket = append(overSocket, m.ID)
	}
	reply, err := v.Poll(ctx, cursors["polling"], 0, 0)
	require.NoError(t, err)
	for _, m := range reply.Messages {
		polled = append(polled, m.ID)
	}
	assert.Equal(t, missed, overEvents)
	assert.Equal(t, missed, overSocket)
	assert.Equal(t, missed, polled)
	empty, err := v.Poll(ctx, events.LastID, 0, 0)
	require.NoError(t, err)
	assert.True(t, empty.Resumed)
	assert.Empty(t, empty.Messages, "nothing twice")
}

func checkEnd(ctx context.Context, t *testing.T, up upstream, v *proxytest.Visitor, session standin.FixtureSession) {
	events, err := v.Events(ctx, proxytest.EventsOptions{})
	require.NoError(t, err)
	defer events.Close()
	_, err = events.Until("connected")
	require.NoError(t, err)
	socket, err := v.Socket(ctx, "", 0)
	require.NoError(t, err)
	defer socket.Close()
	_, err = socket.Until(ctx, "authenticated")
	require.NoError(t, err)
	poll, err := v.Poll(ctx, "", 0, 0)
	require.NoError(t, err)
	polled := make(chan int, 1)
	go func() {
		reply, err := v.Poll(ctx, poll.Cursor, 0, 25)
		if assert.NoError(t, err) {
			polled <- reply.Status
		}
	}()

	up.rest(t, http.MethodPatch, "temporary_chat_sessions?id=eq."+session.ID, map[string]any{"status": "ended", "end_reason": "completed"})
	_, err = events.Until("session_ended")
	require.NoError(t, err)
	_, err = events.Next()
	assert.ErrorIs(t, err, io.EOF)
	_, err = socket.Until(ctx, "session_ended")
	require.NoError(t, err)
	_, err = socket.Next(ctx)
	assert.True(t, websocket.IsCloseError(err, 4410), "%v", err)
	assert.Equal(t, http.StatusGone, await(t, polled))
}

func TestServeWithoutAKeySaysWhereToGetIt(t *testing.T) {
	cmd := exec.Command(binary, "serve")
	cmd.Dir, cmd.Env = t.TempDir(), environ()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 2, exit.ExitCode())
	assert.Contains(t, string(out), "supabase status -o env")
}

func TestServeReportsEveryProblemOfTheConfiguration(t *testing.T) {
	anon := standinAnonKey(t)
	cmd := exec.Command(binary, "serve", "--listen=nowhere")
	cmd.Dir = t.TempDir()
	cmd.Env = environ("SUPABASE_SERVICE_ROLE_KEY="+anon, "PROXY_CHAT_VISIBILITY=everything", "PROXY_UNKNOWN=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	for _, key := range []string{"listen: ", "supabase.service_role_key: ", "chat.visibility: ", "PROXY_UNKNOWN: "} {
		assert.Contains(t, string(out), key)
	}
	assert.NotContains(t, string(out), anon)
}

func standinAnonKey(t *testing.T) string {
	s, err := standin.New(standin.Options{})
	require.NoError(t, err)
	defer s.Close()
	return s.AnonKey()
}

func TestHealthAsksTheAdminPort(t *testing.T) {
	up := spawnStandin(t)
	process, at := spawnProxy(t, up)
	ask := func() (string, error) {
		cmd := exec.Command(binary, "health", "--admin-listen="+at.Admin)
		cmd.Dir, cmd.Env = t.TempDir(), environ()
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := ask()
	require.NoError(t, err, out)
	assert.Equal(t, "ready\n", out)
	process.stop()
	_, err = ask()
	assert.Error(t, err)
}

func TestUnknownCommandsAndFlagsExitWithStatus2(t *testing.T) {
	for _, args := range [][]string{{"serve", "--nonsense"}, {"serve", "extra"}, {"nonsense"}} {
		cmd := exec.Command(binary, args...)
		cmd.Dir, cmd.Env = t.TempDir(), environ()
		var exit *exec.ExitError
		require.ErrorAs(t, cmd.Run(), &exit)
		assert.Equal(t, 2, exit.ExitCode(), "%v", args)
	}
}
