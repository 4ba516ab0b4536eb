package transport_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/transport"
)

func FuzzSendAnswersEveryBody(f *testing.F) {
	for _, seed := range []string{message("a"), "{}", `{"session_token":1}`, `{"session_token":"token-of-","message":"a"}`, message("a", "metadata", `{"locale":"x","client_message_id":"c"}`)} {
		f.Add(seed)
	}
	g := newSendRig(f, 200, sent, func(o *transport.Options) { o.MessagesPerMinute = 1 << 30 })
	f.Fuzz(func(t *testing.T, body string) {
		w := do(g.rig, "POST", sendPath, body)
		assert.Contains(t, []int{200, 400, 401, 413, 422, 429}, w.Code)
		assert.True(t, json.Valid(w.Body.Bytes()))
	})
}

func FuzzFunctionAnswersNeverBreakTheSend(f *testing.F) {
	f.Add(200, sent)
	f.Add(500, `{"error":"Chat processing failed","message_id":"m"}`)
	f.Add(429, `{"error":"Rate limit exceeded","reset_time":"9999-12-31T23:59:59Z"}`)
	f.Add(200, `{"response":{"parts":[{"type":"text","text":"a"}]}}`)
	g := newSendRig(f, 200, sent, func(o *transport.Options) { o.MessagesPerMinute = 1 << 30 })
	f.Fuzz(func(t *testing.T, status int, body string) {
		g.functions.answer = func(context.Context, functionCall) (*transport.FunctionReply, error) {
			return &transport.FunctionReply{Status: status, Body: []byte(body)}, nil
		}
		w := do(g.rig, "POST", sendPath, message("a"))
		assert.Contains(t, []int{200, 400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 429, 500, 503}, w.Code)
		assert.True(t, json.Valid(w.Body.Bytes()), w.Body.String())
	})
}
