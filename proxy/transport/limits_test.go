package transport_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

func TestConnectionsAreLimited(t *testing.T) {
	const second = "/temporary-chat-events?session_token=token-of-session-2-0123456789"
	tests := []struct {
		name   string
		change func(*transport.Options)
		other  string // path that is refused too, or not
		status int
	}{
		{"per session", func(o *transport.Options) { o.ConnectionsPerSession = 1 }, second, 200},
		{"per address", func(o *transport.Options) { o.ConnectionsPerAddress = 1 }, second, 429},
		{"in all", func(o *transport.Options) { o.Connections = 1 }, second, 429},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, tt.change)
			base := g.serve()
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			status := func(path string) int {
				res, err := client.Get(base + path)
				require.NoError(t, err)
				defer func() { _ = res.Body.Close() }()
				if res.StatusCode == http.StatusTooManyRequests {
					assert.Equal(t, "10", res.Header.Get("Retry-After"))
				}
				return res.StatusCode
			}
			first := g.openEvents(base + eventsPath)
			first.must()
			first.must()
			assert.Equal(t, 429, status(eventsPath))
			assert.Equal(t, tt.status, status(tt.other))

			p := g.dial(base, socketPath, nil)
			p.conn.SetPingHandler(nil)
			_ = p.conn.WriteMessage(1, []byte(authenticate)) // the server may hang up first
			code, _, before := p.closed()
			assert.Equal(t, 4429, code)
			require.Len(t, before, 1)
			assert.Contains(t, before[0], `"code":"too_many_connections"`)

			first.close()
			g.tracked.Wait()
			// The place is given back before the visitor counts as gone from the hub's view: retry until the stream is taken down.
			again := g.openEvents(base+eventsPath, "Accept", "text/event-stream")
			again.must()
		})
	}
}

func TestTooManyConnectionsIsToldToAnEventSource(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.Connections = 1 })
	base := g.serve()
	first := g.openEvents(base + eventsPath)
	first.must()
	first.must()
	second := g.openEvents(base+eventsPath, "Accept", "text/event-stream")
	ev := second.must()
	assert.Equal(t, "20000", ev.retry)
	assert.Equal(t, "error", ev.name)
	assert.Contains(t, ev.data, `"code":"too_many_connections"`)
}

func TestFailedTokensAreLimitedPerAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		g := newRig(t, func(o *transport.Options) { o.FailedTokensPerMinute = 3 })
		g.authorizer.authorize = func(ctx context.Context, c chat.Credential) (*chat.Grant, error) {
			if err := c.Try.Begin(ctx); err != nil {
				return nil, err
			}
			defer c.Try.Settle(true)
			asked++
			return nil, chat.RefuseInvalid(nil)
		}
		try := func(addr string) *httptest.ResponseRecorder {
			req := httptest.NewRequest(http.MethodGet, eventsPath, nil)
			req.RemoteAddr = addr
			w := httptest.NewRecorder()
			g.server.Handler().ServeHTTP(w, req)
			return w
		}
		for range 3 {
			assert.Equal(t, 401, try("192.0.2.1:1000").Code)
		}
		time.Sleep(20 * time.Second)
		w := try("192.0.2.1:2000")
		assert.Equal(t, 429, w.Code)
		assert.Equal(t, "40", w.Header().Get("Retry-After"))
		assert.Contains(t, w.Body.String(), `"code":"too_many_attempts"`)
		assert.Equal(t, 3, asked)
		assert.Equal(t, 401, try("192.0.2.2:1000").Code, "another address")
		time.Sleep(41 * time.Second)
		assert.Equal(t, 401, try("192.0.2.1:1000").Code, "a minute later")
	})
}

func TestFailuresOfUpstreamAreNotTheVisitors(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.FailedTokensPerMinute = 1 })
	g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
		return nil, chat.RefuseUnavailable(time.Second, nil)
	}
	for range 5 {
		w := httptest.NewRecorder()
		g.server.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, eventsPath, nil))
		assert.Equal(t, 503, w.Code)
	}
}

func TestLinkRestrictsWhereItIsUsed(t *testing.T) {
	tests := []struct {
		name, addr, origin string
		ips, domains       []string
		status             int
	}{
		{"address in network", "192.0.2.7:1", "", []string{"192.0.2.0/24"}, nil, 200},
		{"the address", "192.0.2.7:1", "", []string{"10.0.0.1", "192.0.2.7"}, nil, 200},
		{"the address as a network", "192.0.2.7:1", "", []string{"192.0.2.7/32"}, nil, 200},
		{"other address", "192.0.2.7:1", "", []string{"198.51.100.0/24"}, nil, 403},
		{"unreadable network", "192.0.2.7:1", "", []string{"everywhere"}, nil, 403},
		{"domain", "192.0.2.7:1", "https://a.example.com", nil, []string{"a.example.com"}, 200},
		{"below a domain", "192.0.2.7:1", "https://a.example.com", nil, []string{"*.example.com"}, 200},
		{"other domain", "192.0.2.7:1", "https://a.example.com", nil, []string{"example.com"}, 403},
		{"likeness of a domain", "192.0.2.7:1", "https://badexample.com", nil, []string{"*.example.com"}, 403},
		{"page of the called host", "192.0.2.7:1", "http://example.com", nil, []string{"other.test"}, 403},
		{"no page", "192.0.2.7:1", "", nil, []string{"other.test"}, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, func(o *transport.Options) { o.AllowedOrigins = []string{"*"} })
			g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
				v := rigVisitor(rigSession)
				v.AllowedIPs, v.AllowedDomains = tt.ips, tt.domains
				return &chat.Grant{Visitor: v}, nil
			}
			ctx, cancel := context.WithCancel(t.Context())
			req := httptest.NewRequest(http.MethodGet, "http://example.com"+eventsPath, nil).WithContext(ctx)
			req.RemoteAddr = tt.addr
			if tt.origin != "" {
				req.Header.Set("Origin", tt.origin)
			}
			g.backfiller.deliver = func(context.Context) error { cancel(); return context.Canceled }
			w := httptest.NewRecorder()
			g.server.Handler().ServeHTTP(w, req)
			cancel()
			assert.Equal(t, tt.status, w.Code)
		})
	}
}

func TestClientAddress(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	tests := []struct{ name, remote, forwarded, cloudflare, want string }{
		{"socket", "192.0.2.1:80", "", "", "192.0.2.1"},
		{"untrusted peer", "192.0.2.1:80", "198.51.100.1", "198.51.100.2", "192.0.2.1"},
		{"trusted peer", "10.0.0.1:80", "198.51.100.1", "", "198.51.100.1"},
		{"right-most untrusted", "10.0.0.1:80", "6.6.6.6, 198.51.100.1, 10.2.3.4", "", "198.51.100.1"},
		{"with port", "10.0.0.1:80", "198.51.100.1:4711", "", "198.51.100.1"},
		{"IPv6", "[fd00::1]:80", "2001:db8::1", "", "2001:db8::1"},
		{"IPv6 in brackets", "[fd00::1]:80", "[2001:db8::1]:80", "", "2001:db8::1"},
		{"mapped", "[::ffff:10.0.0.1]:80", "::ffff:198.51.100.1", "", "198.51.100.1"},
		{"garbage", "10.0.0.1:80", "198.51.100.1, unknown", "", "10.0.0.1"},
		{"all trusted", "10.0.0.1:80", "10.1.1.1", "", "10.0.0.1"},
		{"Cloudflare", "10.0.0.1:80", "", "198.51.100.2", "198.51.100.2"},
		{"several headers", "10.0.0.1:80", "6.6.6.6|198.51.100.1|10.2.3.4", "", "198.51.100.1"},
		{"with a zone", "[fd00::1]:80", "fe80::1%eth0", "", "fe80::1"},
		{"with a zone and a port", "[fd00::1]:80", "[fe80::1%eth0]:80", "", "fe80::1"},
		{"socket with a zone", "[fe80::1%eth0]:80", "", "", "fe80::1"},
		{"forwarded beats Cloudflare", "10.0.0.1:80", "198.51.100.1", "198.51.100.2", "198.51.100.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got netip.Addr
			g := newRig(t, func(o *transport.Options) { o.TrustedProxies = trusted })
			g.authorizer.authorize = func(_ context.Context, c chat.Credential) (*chat.Grant, error) {
				got = c.Address
				return nil, chat.RefuseInvalid(nil)
			}
			req := httptest.NewRequest(http.MethodGet, eventsPath, nil)
			req.RemoteAddr = tt.remote
			for _, line := range strings.Split(tt.forwarded, "|") {
				if line != "" {
					req.Header.Add("X-Forwarded-For", line)
				}
			}
			if tt.cloudflare != "" {
				req.Header.Set("CF-Connecting-IP", tt.cloudflare)
			}
			g.server.Handler().ServeHTTP(httptest.NewRecorder(), req)
			assert.Equal(t, tt.want, got.String())
		})
	}
}

func TestCredentialOfARequest(t *testing.T) {
	tests := []struct {
		name, query, authorization, lastEventID string
		token, ticket, cursor                   string
	}{
		{"token", "?session_token=a", "", "", "a", "", ""},
		{"ticket", "?ticket=b&cursor=c", "", "", "", "b", "c"},
		{"bearer token", "", "Bearer d", "", "d", "", ""},
		{"bearer ticket", "", "bearer t1.e", "", "", "t1.e", ""},
		{"query beats bearer", "?ticket=b", "Bearer d", "", "", "b", ""},
		{"other scheme", "?session_token=a", "Basic d", "", "a", "", ""},
		{"last event id", "?session_token=a&cursor=c", "", "f", "a", "", "f"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got chat.Credential
			g := newRig(t, nil)
			g.authorizer.authorize = func(_ context.Context, c chat.Credential) (*chat.Grant, error) {
				got = c
				return nil, chat.RefuseInvalid(nil)
			}
			req := httptest.NewRequest(http.MethodGet, "/temporary-chat-events"+tt.query, nil)
			req.Header.Set("Authorization", tt.authorization)
			req.Header.Set("Last-Event-ID", tt.lastEventID)
			g.server.Handler().ServeHTTP(httptest.NewRecorder(), req)
			assert.Equal(t, tt.token, got.Token.Reveal())
			assert.Equal(t, tt.ticket, got.Ticket.Reveal())
			assert.Equal(t, tt.cursor, got.Cursor)
		})
	}
}

func TestCORS(t *testing.T) {
	tests := []struct {
		name, method, origin string
		any                  bool
		status               int
		allowOrigin          string
	}{
		{"preflight of a known page", "OPTIONS", "http://localhost:3000", false, 200, "http://localhost:3000"},
		{"preflight of a foreign page", "OPTIONS", "https://evil.test", false, 200, ""},
		{"foreign page", "GET", "https://evil.test", false, 403, ""},
		{"opaque page", "GET", "null", false, 403, ""},
		{"known page", "GET", "http://LOCALHOST:3000", false, 401, "http://LOCALHOST:3000"},
		{"page of the called host", "GET", "http://example.com", false, 403, ""},
		{"no page", "GET", "", false, 401, ""},
		{"any page", "GET", "https://any.test", true, 401, "*"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, func(o *transport.Options) {
				if tt.any {
					o.AllowedOrigins = []string{"*"}
				}
			})
			req := httptest.NewRequest(tt.method, "http://example.com/temporary-chat-events?session_token=x", nil)
			if tt.origin != "" {
				req.Header.Set("Origin", tt.origin)
			}
			w := httptest.NewRecorder()
			g.server.Handler().ServeHTTP(w, req)
			assert.Equal(t, tt.status, w.Code)
			assert.Equal(t, tt.allowOrigin, w.Header().Get("Access-Control-Allow-Origin"))
			if tt.method == http.MethodOptions {
				assert.Equal(t, "ok", w.Body.String())
			}
			if tt.allowOrigin != "" {
				assert.Contains(t, w.Header().Get("Access-Control-Allow-Headers"), "authorization, x-client-info, apikey, content-type")
			}
		})
	}
}

func TestUnknownPathIsNotFound(t *testing.T) {
	g := newRig(t, nil)
	for _, path := range []string{"/", "/functions/v1/debug-temp-chat", "/rest/v1/messages", "/temporary-chat-events/x"} {
		w := httptest.NewRecorder()
		g.server.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		assert.Equal(t, 404, w.Code)
		assert.JSONEq(t, `{"error":"Not Found","code":"not_found","request_id":"`+w.Header().Get("X-Request-Id")+`"}`, w.Body.String())
	}
}
