package transport_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

// A page of the proxy's own passes both the list of origins and those of a link.
func TestOnlyPagesThatTheProxyServesAreItsOwn(t *testing.T) {
	const trusted, foreign = "10.0.0.1:1", "192.0.2.7:1"
	tests := []struct {
		name, origin string
		pages        bool
		peer, proto  string // X-Forwarded-Proto
		tls, own     bool
	}{
		{"own page", "http://chat.example:8080", true, foreign, "", false, true},
		{"own page by way of TLS that ended in front", "https://chat.example:8080", true, foreign, "", false, true},
		{"other case", "HTTP://Chat.Example:8080", true, foreign, "", false, true},
		{"no pages served", "http://chat.example:8080", false, foreign, "", false, false},
		{"no pages served, TLS", "https://chat.example:8080", false, foreign, "", true, false},
		{"other port", "http://chat.example", true, foreign, "", false, false},
		{"other host", "http://evil.example:8080", true, foreign, "", false, false},
		{"host below", "http://a.chat.example:8080", true, foreign, "", false, false},
		{"other scheme", "ftp://chat.example:8080", true, foreign, "", false, false},
		{"no scheme", "chat.example:8080", true, foreign, "", false, false},
		{"empty scheme", "://chat.example:8080", true, foreign, "", false, false},
		{"opaque", "null", true, foreign, "", false, false},
		{"user", "http://u:p@chat.example:8080", true, foreign, "", false, false},
		{"path", "http://chat.example:8080/x", true, foreign, "", false, false},
		{"slash", "http://chat.example:8080/", true, foreign, "", false, false},
		{"blank", "http://chat.example:8080 ", true, foreign, "", false, false},
		{"TLS", "https://chat.example:8080", true, foreign, "", true, true},
		{"not by TLS", "http://chat.example:8080", true, foreign, "", true, false},
		{"as the proxy in front says", "https://chat.example:8080", true, trusted, "https", false, true},
		{"as it says of a WebSocket", "https://chat.example:8080", true, trusted, "WSS", false, true},
		{"not as it says", "http://chat.example:8080", true, trusted, "https", false, false},
		{"not as it says, without TLS", "https://chat.example:8080", true, trusted, "http", false, false},
		{"as the nearest says", "https://chat.example:8080", true, trusted, "http, https", false, true},
		{"not as the nearest says", "http://chat.example:8080", true, trusted, "http, https", false, false},
		{"what it says is nothing", "http://chat.example:8080", true, trusted, "gopher", false, true},
		{"a stranger says", "http://chat.example:8080", true, foreign, "https", false, true},
	}
	for _, tt := range tests {
		ask := func(t *testing.T, header, value string, origins, domains []string) *httptest.ResponseRecorder {
			g := newRig(t, func(o *transport.Options) {
				o.AllowedOrigins, o.OwnPages = origins, tt.pages
				o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			})
			g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
				return &chat.Grant{Visitor: restricted(domains, nil), Token: rigToken}, nil
			}
			r := httptest.NewRequest(http.MethodGet, "http://chat.example:8080"+pollPath+"?session_token="+rigToken, nil)
			r.RemoteAddr = tt.peer
			r.Header.Set(header, value)
			if tt.proto != "" {
				r.Header.Set("X-Forwarded-Proto", tt.proto)
			}
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			w := httptest.NewRecorder()
			g.server.Handler().ServeHTTP(w, r)
			return w
		}
		status := map[bool]int{true: http.StatusOK, false: http.StatusForbidden}[tt.own]
		t.Run(tt.name, func(t *testing.T) {
			w := ask(t, "Origin", tt.origin, nil, nil)
			assert.Equal(t, status, w.Code, w.Body)
			assert.Equal(t, tt.own, w.Header().Get("Access-Control-Allow-Origin") == tt.origin)
		})
		t.Run(tt.name+", of a link with domains", func(t *testing.T) {
			assert.Equal(t, status, ask(t, "Origin", tt.origin, []string{"*"}, []string{"good.example"}).Code)
		})
	}
}

func TestAnOwnPageNamedByItsRefererOnlyIsHeldToTheSame(t *testing.T) {
	for pages, status := range map[bool]int{true: http.StatusOK, false: http.StatusForbidden} {
		g := newRig(t, func(o *transport.Options) { o.OwnPages = pages })
		g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
			return &chat.Grant{Visitor: restricted([]string{"good.example"}, nil), Token: rigToken}, nil
		}
		w := do(g, "GET", pollPath+"?session_token="+rigToken, "", "Referer", "http://example.com/chat")
		assert.Equal(t, status, w.Code, "pages served: %v", pages)
	}
}
