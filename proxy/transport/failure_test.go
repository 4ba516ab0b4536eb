package transport_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/transport"
)

func TestFunctionsRefusalsAreRelayedWithoutDetails(t *testing.T) {
	const down = `{"error":"The service is temporarily unavailable","code":"upstream_unavailable","retry_after":2}`
	for name, test := range map[string]struct {
		status int
		body   string
		want   int
		answer string
	}{
		"session over": {401, `{"error":"Invalid or expired session","details":"SECRET"}`, 401,
			`{"error":"Invalid or expired session","code":"invalid_session"}`},
		"message limit": {429, `{"error":"Message limit reached for this session","max_messages":50,"current_messages":50,"x":"SECRET"}`, 429,
			`{"error":"Message limit reached for this session","code":"message_limit_reached","max_messages":50}`},
		"rate limit": {429, `{"error":"Rate limit exceeded","current_count":10,"limit_per_minute":10,"reset_time":"2026-01-02T03:04:35Z"}`, 429,
			`{"error":"Rate limit exceeded","code":"rate_limit_exceeded","limit_per_minute":10,
				"reset_time":"2026-01-02T03:04:35Z","retry_after":30}`},
		"fields of other types": {429, `{"error":"Rate limit exceeded","current_count":"SECRET","limit_per_minute":{"a":"SECRET"},
			"reset_time":"SECRET","success":"SECRET","reason":"SECRET"}`, 429,
			`{"error":"Rate limit exceeded","code":"rate_limit_exceeded","retry_after":1}`},
		"unknown text":                 {400, `{"error":"SECRET driver text"}`, 400, `{"error":"The request was not accepted","code":"refused"}`},
		"gateway limit":                {429, `SECRET`, 429, `{"error":"Too many requests","code":"too_many_requests","retry_after":2}`},
		"gateway refuses key":          {401, `{"message":"SECRET No API key found"}`, 503, down},
		"no such function":             {404, `{"code":"NOT_FOUND","message":"SECRET"}`, 503, down},
		"not stored":                   {500, `{"error":"Failed to save message","details":"SECRET"}`, 503, down},
		"driver":                       {500, `{"error":"Internal server error","message":"SECRET"}`, 503, down},
		"gateway page":                 {502, `<html>SECRET</html>`, 503, down},
		"success without JSON":         {200, `SECRET`, 503, down},
		"agent failed without the row": {500, `{"error":"Chat processing failed","message":"SECRET"}`, 503, down},
		"agent failed": {500, `{"success":false,"error":"Failed to process message with agent","message_id":"m","conversation_id":"c","message":"SECRET"}`,
			500, `{"success":false,"error":"Failed to process message with agent","code":"agent_failed","message_id":"m","conversation_id":"c"}`},
		"agent apologised": {500, `{"success":false,"error":"Chat processing failed","message_id":"m","conversation_id":"c","message":"I apologize","details":"SECRET"}`,
			500, `{"success":false,"error":"Chat processing failed","code":"agent_failed","message_id":"m","conversation_id":"c","message":"I apologize"}`},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSendRig(t, test.status, test.body, nil)
			w := do(g.rig, "POST", sendPath, message("a"))
			assert.Equal(t, test.want, w.Code)
			assert.JSONEq(t, test.answer, withoutRequestID(t, w.Body.String()))
			assert.NotContains(t, w.Body.String()+g.logs.String(), "SECRET")
			assert.Equal(t, test.want == 503 || strings.Contains(test.answer, "retry_after"), w.Header().Get("Retry-After") != "")
		})
	}
	t.Run("unreachable", func(t *testing.T) {
		g := newSendRig(t, 200, "", nil)
		g.functions.answer = func(context.Context, functionCall) (*transport.FunctionReply, error) {
			return nil, errors.New("call function: code network")
		}
		w := do(g.rig, "POST", sendPath, message("a"))
		assert.Equal(t, 503, w.Code)
		assert.JSONEq(t, down, withoutRequestID(t, w.Body.String()))
	})
}

func TestFunctionsOwnWaitIsPassedOn(t *testing.T) {
	for status, want := range map[int]int{503: 503, 429: 429} {
		g := newSendRig(t, 0, "", nil)
		g.functions.answer = func(context.Context, functionCall) (*transport.FunctionReply, error) {
			return &transport.FunctionReply{Status: status, Header: http.Header{"Retry-After": {"9"}}}, nil
		}
		w := do(g.rig, "POST", sendPath, message("a"))
		assert.Equal(t, want, w.Code)
		assert.Equal(t, "9", w.Header().Get("Retry-After"))
	}
}
