package proxy_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

const unknownToken = "an-unknown-token-of-good-shape-0123456789"

// credentials are of every kind, good and bad.
type credentials struct {
	token, ticket, forged, cursor string
	all                           []string // but the cursor
}

func collectCredentials(w *world, a *asker) credentials {
	w.t.Helper()
	c := credentials{token: w.fixture.Visitor.Token}
	var ticket struct{ Ticket string }
	issued := a.do("POST", "/temporary-chat-ticket", `{"session_token":"`+c.token+`"}`)
	require.NoError(w.t, json.Unmarshal([]byte(issued.body), &ticket))
	require.NotEmpty(w.t, ticket.Ticket)
	var place struct{ Cursor string }
	polled := a.do("GET", "/temporary-chat-messages", "", "Authorization", "Bearer "+c.token)
	require.NoError(w.t, json.Unmarshal([]byte(polled.body), &place))
	require.NotEmpty(w.t, place.Cursor)
	c.ticket, c.cursor = ticket.Ticket, place.Cursor
	c.forged = c.ticket[:len(c.ticket)-4] + "AAAA"
	c.all = []string{c.token, unknownToken, "short-token", c.ticket, c.forged, w.serviceKey, w.anonKey}
	return c
}

// bring brings a credential in every way there is, also where it does not belong. The sockets have yet to answer.
func bring(a *asker, credential, cursor string) (sockets []*websocket.Conn) {
	name, quoted := "session_token", `"`+credential+`"`
	if strings.HasPrefix(credential, "t1.") {
		name = "ticket"
	}
	query := "?" + name + "=" + url.QueryEscape(credential)
	apikey := "?apikey=" + url.QueryEscape(credential)
	header := []string{"Authorization", "Bearer " + credential, "Apikey", credential, "Referer", a.base + "/chat" + query, "Last-Event-Id", cursor}

	for _, path := range []string{
		"/temporary-chat-messages", "/temporary-chat-websocket", "/functions/v1/temporary-chat-messages", "/nowhere", "/chat/", "/client.js",
		"//temporary-chat-messages", "//chat/../temporary-chat-events", "/x/../temporary-chat-messages", "/temporary-chat-api//validate", "/realtime/v1/websocket",
	} {
		a.do("GET", path+query, "")
		a.do("GET", path+"?cursor="+cursor, "", header...)
		a.do("DELETE", path+query, "", header...)
	}
	a.do("GET", "/temp-chat/"+credential, "", "Origin", "https://elsewhere.example")
	a.do("GET", "/temporary-chat-messages/"+credential, "")
	a.open("/temporary-chat-events" + query)
	a.open("/functions/v1/temporary-chat-events?cursor="+cursor, append(header, "Accept", "text/event-stream")...)
	for _, body := range []string{
		`{"` + name + `":` + quoted + `,"message":"hello"}`, `{"` + name + `":` + quoted + `,"message":7}`, `{"session_token":[` + quoted + `]}`,
		`{"token":` + quoted + `}`, quoted,
	} {
		for _, path := range []string{"/temporary-chat-handler", "/temporary-chat-ticket", "/temporary-chat-api/validate",
			"/temporary-chat-api/validate-session", "/realtime/v1/api/broadcast"} {
			if path != "/temporary-chat-ticket" || !strings.Contains(body, `"message"`) {
				a.do("POST", path+query, body, header...)
			}
		}
	}
	for _, frame := range []string{`{"type":"authenticate","` + name + `":` + quoted + `}`, `{"type":` + quoted + `}`, credential} {
		a.hear(a.dial("/temporary-chat-websocket", frame))
	}
	a.hear(a.dial("/temporary-chat-websocket"+query, `{"type":"ping"}`))
	join := `{"topic":"realtime:a","event":"phx_join","ref":"1","payload":{"access_token":` + quoted + `}}`
	return append(sockets, a.dial("/realtime/v1/websocket"+apikey+"&vsn=1.0.0", join))
}

func TestCredentialsAreInNoLogNoMetricNoErrorAndNoHeader(t *testing.T) {
	w := newWorld(t, standin.Options{Agent: func(context.Context, string) string { return "the answer" }})
	n := w.start(func(o *proxy.Options) { o.Limits.FailedTokensPerMinute, o.Pages = 1000, true })
	a := &asker{t: t, ctx: w.ctx, base: n.base}
	c := collectCredentials(w, a)
	a.seen.Reset() // those answers are where a ticket and a cursor belong
	var sockets []*websocket.Conn
	for _, credential := range c.all {
		sockets = append(sockets, bring(a, credential, c.cursor)...)
	}
	for _, socket := range sockets { // the refusals of the protocol wait
		a.hear(socket)
	}
	metrics := metricsText(t, n)
	n.stop()

	names := []string{"session_token=", "ticket=", "apikey=", "cursor="}
	check := func(where, text string, secrets ...string) {
		for _, secret := range append(secrets, names...) {
			assert.False(t, strings.Contains(text, secret), "%s holds %s", where, secret)
		}
	}
	require.Contains(t, w.logs.String(), "request refused", "the debug level is on")
	check("the log", w.logs.String(), append(c.all, c.cursor)...)
	check("the metrics", metrics, append(c.all, c.cursor)...)
	check("an answer", a.seen.String(), c.all...)
}

// Whoever tries tokens learns only that they are no good.
func TestWrongCredentialsAreAnsweredAlike(t *testing.T) {
	w := newWorld(t, standin.Options{})
	n := w.start(func(o *proxy.Options) { o.Limits.FailedTokensPerMinute = 1000 })
	a := &asker{t: t, ctx: w.ctx, base: n.base}
	c := collectCredentials(w, a)
	other := newWorld(t, standin.Options{})
	foreign := collectCredentials(other, &asker{t: t, ctx: other.ctx, base: other.start(func(o *proxy.Options) {
		o.SigningKeys = [][]byte{[]byte("another key of thirty-two bytes.")}
	}).base})
	shape := func(got answer) (int, http.Header, string) {
		var body map[string]any
		require.NoError(t, json.Unmarshal([]byte(got.body), &body), got.body)
		delete(body, "request_id")
		text, err := json.Marshal(body)
		require.NoError(t, err)
		for _, name := range []string{"Date", "X-Request-Id"} {
			got.header.Del(name)
		}
		return got.status, got.header, string(text)
	}
	for _, path := range []string{"/temporary-chat-messages", "/temporary-chat-events"} {
		status, header, body := shape(a.do("GET", path+"?session_token="+unknownToken, ""))
		require.Equal(t, http.StatusUnauthorized, status)
		for name, query := range map[string]string{
			"known before": "?session_token=" + unknownToken, "malformed": "?session_token=%00%ff", "too long": "?session_token=" + strings.Repeat("a", 600),
			"forged ticket": "?ticket=" + c.forged, "ticket of other keys": "?ticket=" + foreign.ticket, "no ticket": "?ticket=t1.",
			"token as a ticket": "?ticket=" + c.token, "ticket as a token": "?session_token=" + c.forged, "service key": "?session_token=" + w.serviceKey,
		} {
			t.Run(path+"/"+name, func(t *testing.T) {
				gotStatus, gotHeader, gotBody := shape(a.do("GET", path+query, ""))
				assert.Equal(t, status, gotStatus)
				assert.Equal(t, header, gotHeader)
				assert.Equal(t, body, gotBody)
			})
		}
	}
}

func TestSigningKeysRotateWithoutLosingTicketsAndCursors(t *testing.T) {
	w := newWorld(t, standin.Options{})
	first, second := []byte("the first key of thirty-two bytes"), []byte("the second key of thirty-two bytes")
	start := func(keys ...[]byte) *asker {
		return &asker{t: t, ctx: w.ctx, base: w.start(func(o *proxy.Options) { o.SigningKeys = keys }).base}
	}
	before := collectCredentials(w, start(first))
	during := start(second, first)
	after := start(second)
	resumed := func(a *asker, c credentials) (int, bool) {
		got := a.do("GET", "/temporary-chat-messages?ticket="+c.ticket+"&cursor="+c.cursor, "")
		var body struct{ Resumed bool }
		require.NoError(t, json.Unmarshal([]byte(got.body), &body))
		return got.status, body.Resumed
	}
	status, ok := resumed(during, before)
	assert.Equal(t, http.StatusOK, status)
	assert.True(t, ok, "signed by the key that was first before")
	status, _ = resumed(after, before)
	assert.Equal(t, http.StatusUnauthorized, status, "the old key is gone")
	status, ok = resumed(after, collectCredentials(w, during))
	assert.Equal(t, http.StatusOK, status)
	assert.True(t, ok, "the first key signs")
}
