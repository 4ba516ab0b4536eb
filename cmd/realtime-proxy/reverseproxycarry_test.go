package main_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/proxytest"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// A page elsewhere, and the setting that lets it call.
const (
	appOrigin   = "https://app.example.com"
	pageAllowed = "PROXY_CORS_ALLOWED_ORIGINS=" + appOrigin
)

// checkResumesAfterCut expects streams that end without a word to be continued by their cursors. back is the gateway to come back to.
func checkResumesAfterCut(t *testing.T, up upstream, g *gateway, protocol string, cut func(), back func() *gateway) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	session := standin.NewFixture().Visitor
	v := g.visitor(t, session, protocol, "127.0.0.1")
	events, err := v.Events(ctx, proxytest.EventsOptions{})
	require.NoError(t, err)
	defer events.Close()
	socket, err := v.Socket(ctx, "", 0)
	require.NoError(t, err)
	defer socket.Close()
	_, err = socket.Until(ctx, "authenticated")
	require.NoError(t, err)
	seen := up.say(t, session, "before the cut")
	m, err := events.Message()
	require.NoError(t, err)
	require.Equal(t, seen, m.ID)
	_, err = socket.ChatMessage(ctx)
	require.NoError(t, err)
	cut()
	_, err = events.Until("reconnect")
	require.Error(t, err, "the stream is cut without a word")
	_, err = socket.Until(ctx, "heartbeat")
	require.Error(t, err, "so is the socket")
	require.NoError(t, ctx.Err())

	missed := []string{up.say(t, session, "during the cut"), up.say(t, session, "and once more")}
	cursors := map[string]string{"SSE": events.LastID, "WebSocket": socket.Cursor, "polling": events.LastID}
	checkResume(ctx, t, back().visitor(t, session, protocol, "127.0.0.1"), cursors, missed)
}

// streamEncoding is how an event stream comes to a client that takes gzip.
func streamEncoding(t *testing.T, g *gateway, protocol string) string {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	v := g.visitor(t, standin.NewFixture().Visitor, protocol, "127.0.0.1")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.Base+"/temporary-chat-events?session_token="+v.Token, nil)
	require.NoError(t, err)
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := v.Client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	return resp.Header.Get("Content-Encoding")
}

// checkRealtime expects a row through the protocol of Supabase Realtime, for a page that may call and for no other.
func checkRealtime(t *testing.T, up upstream, g *gateway) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	session := standin.NewFixture().Visitor
	v := g.visitor(t, session, "HTTP-1.1", "127.0.0.1")
	dialer := websocket.Dialer{TLSClientConfig: v.TLS}
	address := "wss" + strings.TrimPrefix(g.base, "https") + "/realtime/v1/websocket?vsn=1.0.0&apikey=" + session.Token
	_, resp, err := dialer.DialContext(ctx, address, http.Header{"Origin": {"https://elsewhere.example"}})
	require.ErrorIs(t, err, websocket.ErrBadHandshake)
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	socket, _, err := dialer.DialContext(ctx, address, http.Header{"Origin": {appOrigin}})
	require.NoError(t, err)
	defer socket.Close()
	deadline, _ := ctx.Deadline()
	require.NoError(t, socket.SetReadDeadline(deadline))
	require.NoError(t, socket.WriteMessage(websocket.TextMessage, []byte(`{"topic":"realtime:chat","event":"phx_join","ref":"1","join_ref":"1",`+
		`"payload":{"config":{"postgres_changes":[{"event":"INSERT","schema":"public","table":"chat_messages_v2"}]}}}`)))
	until := func(text string) {
		for frame := []byte{}; !strings.Contains(string(frame), text); {
			_, frame, err = socket.ReadMessage()
			require.NoError(t, err, text)
		}
	}
	until("Subscribed to PostgreSQL")
	until(up.say(t, session, "through a gateway"))
}

// checkAnswersPages expects a page elsewhere to be told what it may send, and why something is refused.
func checkAnswersPages(t *testing.T, g *gateway, protocol string) {
	v := g.visitor(t, standin.NewFixture().Visitor, protocol, "127.0.0.1")
	ask := func(method, path, body string) (*http.Response, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, v.Base+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Origin", appOrigin)
		req.Header.Set("Content-Type", "application/json")
		resp, err := v.Client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, appOrigin, resp.Header.Get("Access-Control-Allow-Origin"))
		assert.Equal(t, "Origin", resp.Header.Get("Vary"))
		return resp, string(text)
	}
	const path = "/functions/v1/temporary-chat-handler"
	resp, _ := ask(http.MethodOptions, path, "")
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Contains(t, resp.Header.Get("Access-Control-Allow-Headers"), "content-type")
	resp, text := ask(http.MethodPost, "/"+path, "{}")
	assert.Equal(t, http.StatusBadRequest, resp.StatusCode, "as a base URL that ends with a slash yields it")
	assert.Contains(t, text, `"code":"missing_parameters"`)

	resp, text = ask(http.MethodPost, path, `{"message":"`+strings.Repeat("a", 100<<10)+`"}`)
	assert.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
	var refusal struct{ Code string }
	require.NoError(t, json.Unmarshal([]byte(text), &refusal), text)
	assert.Equal(t, "body_too_large", refusal.Code)
}
