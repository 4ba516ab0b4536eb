package proxy_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

func TestEveryAnswerKeepsItsAddressToItselfAndItsTypeFixed(t *testing.T) {
	w := newWorld(t, standin.Options{})
	n := w.start(func(o *proxy.Options) { o.Pages = true })
	a := &asker{t: t, ctx: w.ctx, base: n.base}
	token := w.fixture.Visitor.Token
	tests := []struct {
		method, path, body string
		header             []string
		status             int
	}{
		{"GET", "/temporary-chat-messages?session_token=" + token, "", nil, 200},
		{"GET", "/temporary-chat-messages?session_token=" + unknownToken, "", nil, 401},
		{"GET", "/temporary-chat-messages", "", nil, 400},
		{"GET", "/temporary-chat-messages", "", []string{"Origin", "https://elsewhere.example"}, 403},
		{"GET", "/temporary-chat-events?session_token=" + unknownToken, "", nil, 401},
		{"GET", "/temporary-chat-websocket", "", nil, 400},
		{"GET", "/realtime/v1/websocket", "", nil, 400},
		{"POST", "/temporary-chat-handler", "{}", nil, 400},
		{"POST", "/temporary-chat-ticket", `{"session_token":"` + token + `"}`, nil, 200},
		{"POST", "/temporary-chat-ticket", `{}`, []string{"Content-Encoding", "gzip"}, 415},
		{"POST", "/temporary-chat-api/health", "", nil, 200},
		{"POST", "/realtime/v1/api/broadcast", "{}", nil, 403},
		{"OPTIONS", "/temporary-chat-handler", "", []string{"Origin", "https://elsewhere.example"}, 200},
		{"PUT", "/temporary-chat-events", "", nil, 405},
		{"GET", "/", "", nil, 404},
		{"GET", "/chat", "", nil, 200},
		{"GET", "/chat/", "", nil, 308},
		{"GET", "/chat/assets/nothing.js", "", nil, 404},
		{"GET", "/client.js", "", nil, 200},
		{"POST", "/react.js", "", nil, 405},
		// As a base URL that ends with a slash yields it.
		{"GET", "//temporary-chat-messages?session_token=" + token, "", nil, 200},
		// A http.ServeMux would answer these with a redirect, query included.
		{"GET", "//?session_token=" + token, "", nil, 404},
		{"GET", "/chat/../temporary-chat-messages?session_token=" + token, "", nil, 404},
		{"POST", "/temporary-chat-api//validate?session_token=" + token, "{}", nil, 404},
		{"GET", "//chat?session_token=" + token, "", nil, 404},
		{"GET", "/temporary-chat-messages?session_token=" + token, "a body", nil, 400},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			got := a.do(tt.method, tt.path, tt.body, tt.header...)
			assert.Equal(t, tt.status, got.status, got.body)
			assert.Equal(t, "no-referrer", got.header.Get("Referrer-Policy"))
			assert.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
			if got.status != http.StatusPermanentRedirect {
				assert.Empty(t, got.header.Get("Location"))
				assert.NotEmpty(t, got.header.Get("Content-Type"))
			}
			assert.NotContains(t, got.header.Get("Location"), "?")
		})
	}
	events := a.open("/temporary-chat-events?session_token=" + token)
	assert.Equal(t, http.StatusOK, events.status)
	assert.Equal(t, "no-referrer", events.header.Get("Referrer-Policy"))
	assert.Equal(t, "nosniff", events.header.Get("X-Content-Type-Options"))
}
