package transport_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

func TestOriginsAreComparedWhole(t *testing.T) {
	g := newRig(t, nil) // for http://localhost:3000
	for name, tt := range map[string]struct {
		origin string
		status int
	}{
		"itself":         {"http://localhost:3000", http.StatusOK},
		"other case":     {"HTTP://LocalHost:3000", http.StatusOK},
		"longer host":    {"http://localhost:3000.evil.test", http.StatusForbidden},
		"longer port":    {"http://localhost:30001", http.StatusForbidden},
		"shorter port":   {"http://localhost:300", http.StatusForbidden},
		"no port":        {"http://localhost", http.StatusForbidden},
		"host below":     {"http://a.localhost:3000", http.StatusForbidden},
		"longer name":    {"http://notlocalhost:3000", http.StatusForbidden},
		"other scheme":   {"https://localhost:3000", http.StatusForbidden},
		"path":           {"http://localhost:3000/x", http.StatusForbidden},
		"user":           {"http://localhost:3000@evil.test", http.StatusForbidden},
		"two at once":    {"http://localhost:3000, https://evil.test", http.StatusForbidden},
		"called address": {"http://example.com", http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			w := do(g, "GET", pollPath+"?session_token="+rigToken, "", "Origin", tt.origin)
			assert.Equal(t, tt.status, w.Code)
			allowed := ""
			if tt.status == http.StatusOK {
				allowed = tt.origin
			}
			assert.Equal(t, allowed, w.Header().Get("Access-Control-Allow-Origin"))
			assert.Equal(t, "Origin", w.Header().Get("Vary"))
		})
	}
}

// What a page may send and read, and for how long it may know: the headers of supabase-js and those of the browser's own event streams.
func TestPagesAreToldWhatTheyMaySendAndRead(t *testing.T) {
	for name, list := range map[string][]string{"by the list": {"http://localhost:3000"}, "by any": {"*"}} {
		for _, method := range []string{"OPTIONS", "GET"} {
			t.Run(method+" "+name, func(t *testing.T) {
				g := newRig(t, func(o *transport.Options) { o.AllowedOrigins = list })
				w := do(g, method, pollPath, "", "Origin", "http://localhost:3000")
				for header, want := range map[string]string{
					"Access-Control-Allow-Origin":   list[0],
					"Access-Control-Allow-Methods":  "GET, POST, OPTIONS",
					"Access-Control-Allow-Headers":  "authorization, x-client-info, apikey, content-type, cache-control, last-event-id",
					"Access-Control-Expose-Headers": "Retry-After, X-Request-Id",
					"Access-Control-Max-Age":        "600",
				} {
					assert.Equal(t, want, w.Header().Get(header), header)
				}
				w = do(g, method, pollPath, "", "Origin", "https://foreign.test")
				assert.Equal(t, list[0] == "*", w.Header().Get("Access-Control-Allow-Headers") != "")
			})
		}
	}
}

func TestSocketsOfForeignPagesAreRefused(t *testing.T) {
	g := newRig(t, nil)
	base := "ws" + g.serve()[len("http"):]
	for _, path := range []string{socketPath + "?session_token=" + rigToken, frontPath + "?vsn=1.0.0&apikey=" + rigToken} {
		for origin, status := range map[string]int{
			"https://foreign.test": http.StatusForbidden, "http://localhost:3000": http.StatusSwitchingProtocols, "": http.StatusSwitchingProtocols,
		} {
			t.Run(path+" from "+origin, func(t *testing.T) {
				header := http.Header{}
				if origin != "" {
					header.Set("Origin", origin)
				}
				conn, res, err := websocket.DefaultDialer.Dial(base+path, header)
				if err == nil {
					require.NoError(t, conn.Close())
				}
				require.NotNil(t, res, "%v", err)
				assert.Equal(t, status, res.StatusCode)
			})
		}
	}
}

func TestSocketsAndBroadcastsHoldALinkToItsLists(t *testing.T) {
	const origin = "https://evil.example"
	for code, tt := range map[string]struct {
		link *chat.Visitor
		text string
	}{
		"origin_not_allowed":  {restricted([]string{"good.example"}, nil), "This origin is not allowed"},
		"address_not_allowed": {restricted(nil, []string{"198.51.100.0/24"}), "This link may not be used from here"},
	} {
		g := newRig(t, func(o *transport.Options) { o.AllowedOrigins, o.RefusalDelay = []string{origin}, soon })
		g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
			return &chat.Grant{Visitor: tt.link, Token: rigToken}, nil
		}
		base, header := g.serve(), http.Header{"Origin": {origin}}
		t.Run("Realtime "+code, func(t *testing.T) {
			c := &client{peer: g.dial(base, frontPath+"?vsn=1.0.0&apikey="+rigToken, header), version: phoenix.V1}
			c.t = t
			c.join(frontTopic, frontBinding)
			assert.Contains(t, c.expect(frontTopic, phoenix.EventReply), "Unauthorized: "+tt.text)
			assert.Equal(t, tt.text, c.closedFor(frontTopic))
		})
		t.Run("WebSocket "+code, func(t *testing.T) {
			p := g.dial(base, socketPath+"?session_token="+rigToken, header)
			_, frame, err := p.conn.ReadMessage()
			require.NoError(t, err)
			assert.Contains(t, string(frame), `"code":"`+code+`"`)
			_, _, err = p.conn.ReadMessage()
			assert.True(t, websocket.IsCloseError(err, chat.InvalidSession.Close), "%v", err)
		})
		t.Run("broadcast "+code, func(t *testing.T) {
			for _, path := range []string{broadcastPath, broadcastPath + "/a/events/b"} {
				w := do(g, "POST", path, `{"messages":[{"topic":"a","event":"b","payload":{}}]}`,
					"Origin", origin, "Authorization", "Bearer "+rigToken)
				assert.Equal(t, http.StatusForbidden, w.Code)
				assert.JSONEq(t, `{"message":"`+tt.text+`"}`, w.Body.String())
				assert.Equal(t, origin, w.Header().Get("Access-Control-Allow-Origin"))
			}
		})
	}
}
