package transport_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/transport"
)

const sentReply = `{"success":true,"message_id":"11111111-2222-4333-8444-555555555555","conversation_id":"conversation-1",` +
	`"session_id":"session-1","agent_name":"Ada","processed_at":"2026-01-02T03:04:05Z","remaining_messages":46,"response":""}`

func TestSocketMessageIsAcknowledged(t *testing.T) {
	for _, tt := range []struct{ name, message string }{
		{"content", `{"type":"message","content":"hello","clientMessageId":"m-1"}`},
		{"message", `{"type":"message","message":"hello","client_message_id":"m-1"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, nil)
			var calls atomic.Int32
			g.functions.call = func(_ context.Context, body []byte) (*transport.FunctionReply, error) {
				calls.Add(1)
				assert.Contains(t, string(body), `"message":"hello"`)
				assert.Contains(t, string(body), rigToken)
				return &transport.FunctionReply{Status: http.StatusOK, Body: []byte(sentReply)}, nil
			}
			p := g.dial(g.serve(), socketPath, nil)
			p.authenticated()
			for range 2 { // a repeat is sent once and acknowledged again
				p.send(tt.message)
				assert.Equal(t, `{"type":"ack","clientMessageId":"m-1",`+
					`"messageId":"11111111-2222-4333-8444-555555555555","status":"sent"}`, p.next())
			}
			assert.EqualValues(t, 1, calls.Load())
		})
	}
}

func TestSocketMessageIsCheckedAsAnyOther(t *testing.T) {
	for name, tt := range map[string]struct{ more, code string }{
		"type":     {`"content":"hello","message_type":"file"`, "unsupported_message_type"},
		"metadata": {`"content":"hello","metadata":[]`, "bad_metadata"},
		"controls": {`"content":"a\u009bb"`, "bad_text"},
		"length":   {`"content":"` + strings.Repeat("a", 4001) + `"`, "message_too_long"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSendRig(t, 200, sent, nil)
			p := g.dial(g.serve(), socketPath, nil)
			p.authenticated()
			p.send(`{"type":"message","clientMessageId":"m-1",` + tt.more + `}`)
			answer := p.next()
			assert.Contains(t, answer, `"code":"`+tt.code+`"`)
			assert.Contains(t, answer, `"m-1"`)
			assert.Empty(t, g.functions.all())
		})
	}
	t.Run("carried", func(t *testing.T) {
		g := newSendRig(t, 200, sentReply, nil)
		p := g.dial(g.serve(), socketPath, nil)
		p.authenticated()
		p.send(`{"type":"message","clientMessageId":"m-1","content":"hello","message_type":"text","metadata":{"locale":"de","other":"x"}}`)
		require.Contains(t, p.next(), `"ack"`)
		require.Len(t, g.functions.all(), 1)
		assert.JSONEq(t, `{"session_token":"`+rigToken+`","message":"hello","message_type":"text",
			"metadata":{"locale":"de","client_message_id":"m-1"}}`, g.functions.all()[0].body)
	})
}

func TestSocketMessageThatFailsIsToldWithItsID(t *testing.T) {
	g := newRig(t, nil)
	g.functions.call = func(context.Context, []byte) (*transport.FunctionReply, error) { return nil, io.ErrUnexpectedEOF }
	p := g.dial(g.serve(), socketPath, nil)
	p.authenticated()
	p.send(`{"type":"message","content":"hello","clientMessageId":"m-1"}`)
	var e struct {
		Type, Code, Message, ClientMessageID string
		RetryAfter                           int `json:"retry_after"`
	}
	require.NoError(t, json.Unmarshal([]byte(p.next()), &e))
	assert.Equal(t, "error", e.Type)
	assert.Equal(t, "upstream_unavailable", e.Code)
	assert.Equal(t, "m-1", e.ClientMessageID)
	assert.Positive(t, e.RetryAfter)
}

func TestSocketHasAtMostTwoMessagesUnderWay(t *testing.T) {
	g := newRig(t, nil)
	release := make(chan struct{})
	g.functions.call = func(ctx context.Context, _ []byte) (*transport.FunctionReply, error) {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return &transport.FunctionReply{Status: http.StatusOK, Body: []byte(sentReply)}, nil
	}
	p := g.dial(g.serve(), socketPath, nil)
	p.authenticated()
	for _, id := range []string{"m-1", "m-2", "m-3"} {
		p.send(`{"type":"message","content":"hello ` + id + `","clientMessageId":"` + id + `"}`)
	}
	assert.Equal(t, `{"type":"error","code":"limit_reached","message":"Too many messages are being answered",`+
		`"clientMessageId":"m-3","retry_after":1}`, p.next())
	close(release)
	assert.Contains(t, p.next(), `"type":"ack"`)
	assert.Contains(t, p.next(), `"type":"ack"`)
	p.send(`{"type":"message","content":"hello","clientMessageId":"m-4"}`)
	assert.Contains(t, p.next(), `"clientMessageId":"m-4"`)
}

func TestDrainWaitsForASendThatIsBeingAnswered(t *testing.T) {
	g := newRig(t, nil)
	called, release, drained := make(chan struct{}), make(chan struct{}), make(chan struct{})
	g.functions.call = func(context.Context, []byte) (*transport.FunctionReply, error) {
		close(called)
		<-release
		return &transport.FunctionReply{Status: http.StatusOK, Body: []byte(sentReply)}, nil
	}
	p := g.dial(g.serve(), socketPath, nil)
	p.authenticated()
	p.send(`{"type":"message","content":"hello","clientMessageId":"m-1"}`)
	<-called
	go func() { g.server.Drain(context.Background()); close(drained) }()
	code, _, _ := p.closed()
	assert.Equal(t, 1012, code)
	require.NoError(t, p.conn.Close())
	g.tracked.Wait()
	select {
	case <-drained:
		assert.Fail(t, "a send is still being answered")
	default:
	}
	close(release)
	<-drained
}
