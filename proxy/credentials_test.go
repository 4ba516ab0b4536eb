package proxy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

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
	n := w.start(func(o *proxy.Options) { o.Limits.FailedTokensPerMinute, o.Session.TicketLife = 1000, time.Second })
	a := &asker{t: t, ctx: w.ctx, base: n.base}
	c := collectCredentials(w, a)
	other := newWorld(t, standin.Options{})
	foreign := collectCredentials(other, &asker{t: t, ctx: other.ctx, base: other.start(func(o *proxy.Options) {
		o.SigningKeys = [][]byte{[]byte("another key of thirty-two bytes.")}
	}).base})
	require.Eventually(t, func() bool {
		return a.do("GET", "/temporary-chat-messages?ticket="+c.ticket, "").status == http.StatusUnauthorized
	}, 20*time.Second, 100*time.Millisecond, "the ticket expires")
	wrong := map[string]string{
		"known before": unknownToken, "malformed": "no token at all!", "too long": strings.Repeat("a", 600),
		"expired ticket": c.ticket, "forged ticket": c.forged, "ticket of other keys": foreign.ticket, "no ticket": "t1.",
	}
	for way, try := range waysIn {
		t.Run(way, func(t *testing.T) {
			a := &asker{t: t, ctx: w.ctx, base: n.base}
			first := try(a, unknownToken)
			answers := make(map[string]func() string, len(wrong))
			for name, credential := range wrong {
				answers[name] = try(a, credential)
			}
			want := first()
			for name, answer := range answers {
				assert.Equal(t, want, answer(), name)
			}
		})
	}
	for name, query := range map[string]string{
		"no text": "?session_token=%00%ff", "token as a ticket": "?ticket=" + c.token, "service key": "?session_token=" + w.serviceKey,
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, waysIn["poll"](a, unknownToken)(), shape(t, a.do("GET", "/temporary-chat-messages"+query, "")))
		})
	}
}

// waysIn bring a credential to an endpoint; what they return waits for the answer.
var waysIn = map[string]func(a *asker, credential string) func() string{
	"poll":                     byQuery("/temporary-chat-messages?session_token="),
	"poll, as ticket":          byQuery("/temporary-chat-messages?ticket="),
	"events":                   byQuery("/temporary-chat-events?session_token="),
	"events, as ticket":        byQuery("/functions/v1/temporary-chat-events?ticket="),
	"events of an EventSource": byQuery("/temporary-chat-events?session_token=", "Accept", "text/event-stream"),
	"poll, as bearer": func(a *asker, credential string) func() string {
		return now(shape(a.t, a.do("GET", "/temporary-chat-messages", "", "Authorization", "Bearer "+credential)))
	},
	"handler":          byBody("/temporary-chat-handler", `,"message":"hello"`),
	"ticket":           byBody("/temporary-chat-ticket", ""),
	"validate-session": byBody("/temporary-chat-api/validate-session", ""),
	"end-session":      byBody("/functions/v1/temporary-chat-api/end-session", ""),
	"broadcast": func(a *asker, credential string) func() string {
		const body = `{"messages":[{"topic":"a","event":"b","payload":{}}]}`
		return now(shape(a.t, a.do("POST", "/realtime/v1/api/broadcast", body, "Apikey", credential)))
	},
	"websocket": func(a *asker, credential string) func() string {
		return a.rest(a.dial("/temporary-chat-websocket", fmt.Sprintf(`{"type":"authenticate","sessionToken":%q}`, credential)))
	},
	"websocket by its address": func(a *asker, credential string) func() string {
		return a.rest(a.dial("/temporary-chat-websocket?session_token="+url.QueryEscape(credential), `{"type":"typing"}`))
	},
	"realtime": func(a *asker, credential string) func() string {
		const join = `{"topic":"realtime:a","event":"phx_join","ref":"1","payload":{"config":{}}}`
		conn := a.dial("/realtime/v1/websocket?vsn=1.0.0&apikey="+url.QueryEscape(credential), join)
		return func() string {
			var text strings.Builder
			for range 3 { // the reply, why, and the close
				_, frame, err := conn.ReadMessage()
				require.NoError(a.t, err)
				text.Write(frame)
			}
			return text.String()
		}
	},
}

func now(text string) func() string { return func() string { return text } }

func byQuery(path string, header ...string) func(a *asker, credential string) func() string {
	return func(a *asker, credential string) func() string {
		return now(shape(a.t, a.do("GET", path+url.QueryEscape(credential), "", header...)))
	}
}

func byBody(path, more string) func(a *asker, credential string) func() string {
	return func(a *asker, credential string) func() string {
		return now(shape(a.t, a.do("POST", path, fmt.Sprintf(`{"session_token":%q%s}`, credential, more))))
	}
}

// shape is an answer without what is each request's own.
func shape(t *testing.T, got answer) string {
	t.Helper()
	require.GreaterOrEqual(t, got.status, 400)
	var body map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.body), &body), got.body)
	delete(body, "request_id")
	header := got.header.Clone()
	for _, name := range []string{"Date", "X-Request-Id"} {
		header.Del(name)
	}
	text, err := json.Marshal([]any{got.status, header, body})
	require.NoError(t, err)
	return string(text)
}

// rest reads all frames of a socket and how it was closed.
func (a *asker) rest(conn *websocket.Conn) func() string {
	return func() string {
		var text strings.Builder
		for {
			_, frame, err := conn.ReadMessage()
			if err != nil {
				return text.String() + err.Error()
			}
			text.Write(frame)
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
