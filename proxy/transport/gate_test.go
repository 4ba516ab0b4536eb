package transport_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// restricted is the rig's visitor under a link with lists.
func restricted(domains, addresses []string) *chat.Visitor {
	v := rigVisitor(rigSession)
	v.AllowedDomains, v.AllowedIPs = domains, addresses
	return v
}

// envelope is an event of the functions' own form.
type envelope struct {
	Type string
	Data struct{ Code string }
}

// readEnvelope returns the next event that is neither the head nor the state of the feed.
func readEnvelope(events *eventReader) envelope {
	events.t.Helper()
	for {
		var e envelope
		block := events.must()
		if block.data == "" {
			continue
		}
		require.NoError(events.t, json.Unmarshal([]byte(block.data), &e), block.data)
		if e.Type != "connection" {
			return e
		}
	}
}

func TestEveryEndpointHoldsALinkToItsLists(t *testing.T) {
	const code, origin = "address_not_allowed", "https://evil.example"
	lists := map[string]*chat.Visitor{
		"address_not_allowed": restricted(nil, []string{"198.51.100.0/24"}),
		"origin_not_allowed":  restricted([]string{"good.example"}, nil),
	}
	requests := map[string]struct{ method, path, body string }{
		"events":           {"GET", eventsPath, ""},
		"poll":             {"GET", pollPath + "?session_token=" + rigToken, ""},
		"send":             {"POST", sendPath, message("a")},
		"ticket":           {"POST", "/temporary-chat-ticket", `{"session_token":"` + rigToken + `"}`},
		"validate-session": {"POST", apiPath + "/validate-session", `{"session_token":"` + rigToken + `"}`},
		"end-session":      {"POST", apiPath + "/end-session", `{"session_token":"` + rigToken + `"}`},
	}
	for want, v := range lists {
		for name, r := range requests {
			t.Run(name+" "+want, func(t *testing.T) {
				g := newSendRig(t, 200, "{}", func(o *transport.Options) { o.AllowedOrigins = []string{origin} })
				g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
					return &chat.Grant{Visitor: v, Token: rigToken}, nil
				}
				w := do(g.rig, r.method, r.path, r.body, "Origin", origin, "Accept", "text/event-stream")
				assert.Equal(t, http.StatusForbidden, w.Code)
				assert.Contains(t, w.Body.String(), `"code":"`+want+`"`)
				assert.Equal(t, origin, w.Header().Get("Access-Control-Allow-Origin"), "the page may read why")
				assert.Empty(t, g.functions.all())
			})
		}
	}
	t.Run("a page named by its referer only", func(t *testing.T) {
		g := newSendRig(t, 200, "{}", nil)
		g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
			return &chat.Grant{Visitor: lists["origin_not_allowed"], Token: rigToken}, nil
		}
		w := do(g.rig, "GET", pollPath+"?session_token="+rigToken, "", "Referer", "https://evil.example/page?x=1")
		assert.Equal(t, http.StatusForbidden, w.Code)
		w = do(g.rig, "GET", pollPath+"?session_token="+rigToken, "", "Referer", "https://good.example/page?x=1")
		assert.Equal(t, http.StatusOK, w.Code, w.Body)
	})
}

func TestListsAreReadAsPostgreSQLPrintsThem(t *testing.T) {
	for name, test := range map[string]struct {
		domains, addresses []string
		allowed            bool
	}{
		"host address with a mask":  {nil, []string{"203.0.113.200/24"}, true},
		"mapped network":            {nil, []string{"::ffff:203.0.113.0/120"}, true},
		"mapped address":            {nil, []string{"::ffff:203.0.113.9"}, true},
		"everywhere in IPv4":        {nil, []string{"0.0.0.0/0"}, true},
		"everywhere in IPv6":        {nil, []string{"::/0"}, false},
		"any domain":                {[]string{"*"}, nil, true},
		"domain as an origin":       {[]string{"https://Page.Example:8443/"}, nil, true},
		"domain with its port":      {[]string{"page.example:8443"}, nil, true},
		"domain with another port":  {[]string{"page.example:80"}, nil, false},
		"other scheme":              {[]string{"http://page.example:8443"}, nil, false},
		"nothing readable":          {[]string{"", " "}, nil, false},
		"domain fits, address not":  {[]string{"page.example"}, []string{"10.0.0.0/8"}, false},
		"one of several fits":       {[]string{"other.example", "PAGE.example"}, []string{"10.0.0.0/8", "203.0.113.9"}, true},
		"suffix without its dot":    {[]string{"*.ample"}, nil, false},
		"pattern within the domain": {[]string{"page.*"}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSendRig(t, 200, "{}", func(o *transport.Options) { o.AllowedOrigins = []string{"*"} })
			g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
				return &chat.Grant{Visitor: restricted(test.domains, test.addresses), Token: rigToken}, nil
			}
			w := do(g.rig, "GET", pollPath+"?session_token="+rigToken, "", "Origin", "https://page.example:8443")
			assert.Equal(t, test.allowed, w.Code == http.StatusOK, w.Body)
		})
	}
}

func TestOpenConnectionsEndWhenTheirLinkForbidsThem(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	events := g.openEvents(base+"/functions/v1/temporary-chat-events?session_token="+rigToken, "Origin", "http://localhost:3000")
	require.Equal(t, "connected", readEnvelope(events).Type)
	socket, _, err := websocket.DefaultDialer.Dial("ws"+base[len("http"):]+"/temporary-chat-websocket?session_token="+rigToken, nil)
	require.NoError(t, err)
	defer socket.Close()
	var frame struct{ Type, Code string }
	require.NoError(t, socket.ReadJSON(&frame))
	require.Equal(t, "authenticated", frame.Type)

	g.server.LinkChanged(restricted([]string{"localhost"}, []string{"127.0.0.0/8"})) // still fine for both
	g.publish(1)
	assert.Equal(t, "message", readEnvelope(events).Type)
	require.NoError(t, socket.ReadJSON(&frame))
	assert.Equal(t, "message", frame.Type)

	g.server.LinkChanged(restricted([]string{"good.example"}, nil)) // of the two only the stream has a page
	refused := readEnvelope(events)
	assert.Equal(t, "error", refused.Type)
	assert.Equal(t, "origin_not_allowed", refused.Data.Code)
	_, open := events.next()
	assert.False(t, open)

	g.server.LinkChanged(restricted(nil, []string{"198.51.100.0/24"}))
	g.publish(2)
	require.NoError(t, socket.ReadJSON(&frame))
	assert.Equal(t, "error", frame.Type)
	assert.Equal(t, "address_not_allowed", frame.Code)
	err = socket.ReadJSON(&frame)
	assert.True(t, websocket.IsCloseError(err, 4401), "%v", err)
}

func TestRealtimeChannelEndsWhenItsLinkForbidsIt(t *testing.T) {
	both(t, func(t *testing.T, v phoenix.Version) {
		g := newRig(t, nil)
		c := g.realtime(g.serve(), v)
		c.live(frontTopic, frontBinding)
		g.server.LinkChanged(restricted(nil, []string{"127.0.0.0/8"})) // still fine
		g.publish(1)
		c.change(frontTopic)
		g.server.LinkChanged(restricted(nil, []string{"198.51.100.0/24"}))
		assert.Contains(t, c.expect(frontTopic, phoenix.EventSystem), `"status":"error"`)
		c.expect(frontTopic, phoenix.EventClose)
		g.publish(2)
		c.quiet()
	})
}

func TestWaitingPollEndsWhenItsLinkForbidsIt(t *testing.T) {
	tracked := make(chan struct{}, 1)
	g := newRig(t, func(o *transport.Options) {
		inner := o.Track
		o.Track = func(v *chat.Visitor) func() {
			defer func() { tracked <- struct{}{} }()
			return inner(v)
		}
	})
	cursor := poll(t, g, "", "").Cursor
	<-tracked
	answers := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		answers <- do(g, "GET", pollPath+"?wait=20&session_token="+rigToken+"&cursor="+url.QueryEscape(cursor), "")
	}()
	<-tracked
	g.server.LinkChanged(restricted(nil, []string{"198.51.100.0/24"}))
	select {
	case w := <-answers:
		assert.Equal(t, http.StatusForbidden, w.Code)
		assert.Contains(t, w.Body.String(), "address_not_allowed")
	case <-time.After(15 * time.Second):
		require.FailNow(t, "the poll went on waiting")
	}
}

func TestSocketSendsUnderTheNewestLimits(t *testing.T) {
	g := newSendRig(t, 200, sent, nil)
	base := g.serve()
	socket, _, err := websocket.DefaultDialer.Dial("ws"+base[len("http"):]+"/temporary-chat-websocket?session_token="+rigToken, nil)
	require.NoError(t, err)
	defer socket.Close()
	var frame struct{ Type, Code string }
	require.NoError(t, socket.ReadJSON(&frame))
	v := rigVisitor(rigSession)
	v.MaxMessages = 1
	g.server.LinkChanged(v)
	for _, want := range []string{"ack", "error"} {
		require.NoError(t, socket.WriteJSON(map[string]string{"type": "message", "content": "a"}))
		for frame.Type = ""; frame.Type != want; {
			require.NoError(t, socket.ReadJSON(&frame))
		}
	}
	assert.Equal(t, "message_limit_reached", frame.Code)
}
