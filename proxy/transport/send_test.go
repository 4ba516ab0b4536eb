package transport_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/transport"
)

const sent = `{"success":true,"message_id":"11111111-1111-4111-8111-111111111111","conversation_id":"conversation-1",` +
	`"session_id":"session-1","agent_name":"Ada","processed_at":"2026-01-02T03:04:05.000Z","remaining_messages":9,"response":"Hello"}`

func TestSendRefusesWhatIsNoMessage(t *testing.T) {
	const missing = "Missing required parameters: session_token, message"
	tests := []struct {
		name, method, body string
		header             []string
		status             int
		code, text         string
	}{
		{"other method", "GET", "", nil, 405, "method_not_allowed", "Method not allowed"},
		{"empty body", "POST", "", nil, 400, "bad_request", "The request body must be a JSON object"},
		{"no JSON", "POST", "session_token=a&message=b", nil, 400, "bad_request", "The request body must be a JSON object"},
		{"null", "POST", "null", nil, 400, "bad_request", "The request body must be a JSON object"},
		{"list", "POST", "[]", nil, 400, "bad_request", "The request body must be a JSON object"},
		{"rest behind", "POST", message("a") + "{}", nil, 400, "bad_request", "The request body must be a JSON object"},
		{"too deep", "POST", `{"metadata":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}", nil, 400, "bad_request",
			"The request body must be a JSON object"},
		{"invalid UTF-8", "POST", `{"session_token":"t","message":"` + "\xff" + `"}`, nil, 400, "bad_request",
			"The request body must be a JSON object"},
		{"too large", "POST", message(strings.Repeat("a", 70_000)), nil, 413, "body_too_large", "The request body is too large"},
		{"form", "POST", message("a"), []string{"Content-Type", "application/x-www-form-urlencoded"}, 415,
			"unsupported_media_type", "Content-Type must be application/json"},
		{"other charset", "POST", message("a"), []string{"Content-Type", "application/json; charset=latin1"}, 415,
			"unsupported_media_type", "Content-Type must be application/json"},
		{"compressed", "POST", message("a"), []string{"Content-Encoding", "gzip"}, 415, "unsupported_encoding",
			"Content-Encoding is not supported"},
		{"nothing", "POST", "{}", nil, 400, "missing_parameters", missing},
		{"no message", "POST", `{"session_token":"t"}`, nil, 400, "missing_parameters", missing},
		{"no token", "POST", `{"message":"a"}`, []string{"Authorization", "Bearer " + rigToken}, 400, "missing_parameters", missing},
		{"other case", "POST", `{"Session_Token":"t","MESSAGE":"a"}`, nil, 400, "missing_parameters", missing},
		{"last name counts", "POST", `{"session_token":"t","message":"a","message":""}`, nil, 400, "missing_parameters", missing},
		{"message is a number", "POST", `{"session_token":"t","message":1e999999}`, nil, 400, "bad_request", "message must be a string"},
		{"token is an object", "POST", `{"session_token":{},"message":"a"}`, nil, 400, "bad_request", "session_token must be a string"},
		{"too long", "POST", message(strings.Repeat("a", 4001)), nil, 400, "message_too_long",
			"Message too long (maximum 4000 characters)"},
		{"too long in UTF-16", "POST", message(strings.Repeat("😀", 2001)), nil, 400, "message_too_long",
			"Message too long (maximum 4000 characters)"},
		{"too long before it is trimmed", "POST", message("a" + strings.Repeat(" ", 4000)), nil, 400, "message_too_long",
			"Message too long (maximum 4000 characters)"},
		{"blank", "POST", message(" \n\t\u00a0\ufeff"), nil, 400, "blank_message", "Message must not be blank"},
		{"control", "POST", message("a\x00b"), nil, 400, "bad_text", "Message contains control characters"},
		{"escape", "POST", message("a\x1b[31m"), nil, 400, "bad_text", "Message contains control characters"},
		{"next line of C1", "POST", message("a\u0085b"), nil, 400, "bad_text", "Message contains control characters"},
		{"escape of C1", "POST", message("a\u009b31m"), nil, 400, "bad_text", "Message contains control characters"},
		{"delete", "POST", message("a\x7fb"), nil, 400, "bad_text", "Message contains control characters"},
		{"file", "POST", message("a", "message_type", `"file"`), nil, 400, "unsupported_message_type", "Only text messages can be sent"},
		{"metadata is a list", "POST", message("a", "metadata", `[]`), nil, 400, "bad_metadata", "metadata must be an object"},
		{"metadata too large", "POST", message("a", "metadata", `{"locale":"`+strings.Repeat("x", 2048)+`"}`), nil, 400,
			"bad_metadata", "metadata is too large"},
		{"client id form", "POST", message("a", "clientMessageId", `"a b"`), nil, 400, "bad_client_message_id",
			"clientMessageId must be 1 to 64 letters, digits, dots, colons, dashes or underscores"},
		{"client id too long", "POST", message("a", "client_message_id", `"`+strings.Repeat("a", 65)+`"`), nil, 400,
			"bad_client_message_id", "clientMessageId must be 1 to 64 letters, digits, dots, colons, dashes or underscores"},
		{"client id type", "POST", message("a", "metadata", `{"client_message_id":7}`), nil, 400, "bad_client_message_id",
			"clientMessageId must be 1 to 64 letters, digits, dots, colons, dashes or underscores"},
		{"unknown token", "POST", `{"session_token":"unknown","message":"a"}`, nil, 401, "invalid_session", "Invalid or expired session"},
	}
	g := newSendRig(t, 200, sent, nil)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := do(g.rig, test.method, sendPath, test.body, test.header...)
			assert.Equal(t, test.status, w.Code)
			want, err := json.Marshal(map[string]string{"error": test.text, "code": test.code})
			require.NoError(t, err)
			assert.JSONEq(t, string(want), withoutRequestID(t, w.Body.String()))
			assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		})
	}
	assert.Empty(t, g.functions.all())
	assert.NotContains(t, g.logs.String(), rigToken)
}

func TestSendForwardsOnlyWhatIsAllowed(t *testing.T) {
	g := newSendRig(t, 200, sent, func(o *transport.Options) {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	})
	w := do(g.rig, "POST", sendPath, message(" one\r\ntwo ", "clientMessageId", `"c-1"`, "message_type", `"text"`, "metadata",
		`{"locale":"de","timezone":7,"temp_session_id":"other","participant_name":"Owner","page_url":"https://x/temp-chat/secret"}`),
		"X-Forwarded-For", "10.0.0.1, 198.51.100.7", "Cf-Connecting-Ip", "192.0.2.1", "Authorization", "Bearer anon", "Cookie", "a=b")
	require.Equal(t, 200, w.Code, w.Body)
	require.Len(t, g.functions.all(), 1)
	c := g.functions.all()[0]
	assert.Equal(t, "temporary-chat-handler POST", c.function+c.path+" "+c.method)
	assert.Equal(t, http.Header{
		"Content-Type": {"application/json"}, "X-Forwarded-For": {"198.51.100.7"}, "X-Real-Ip": {"198.51.100.7"},
	}, c.header)
	assert.JSONEq(t, `{"session_token":"`+rigToken+`","message":"one\ntwo","message_type":"text",
		"metadata":{"locale":"de","client_message_id":"c-1"}}`, c.body)
}

func TestMetadataIsKeptAsPlainText(t *testing.T) {
	for name, tt := range map[string]struct{ given, kept string }{
		"as it is":    {`{"locale":"de-CH","timezone":"Europe/Zürich"}`, `{"locale":"de-CH","timezone":"Europe/Zürich"}`},
		"bell":        {`{"locale":"de\u0007","timezone":"UTC"}`, `{"timezone":"UTC"}`},
		"escape":      {`{"locale":"\u001b[31mde"}`, `{}`},
		"C1":          {`{"locale":"de\u009b31m"}`, `{}`},
		"zero":        {`{"locale":"\u0000"}`, `{}`},
		"other types": {`{"locale":["de"],"timezone":{"a":"b"}}`, `{}`},
		"null":        {`null`, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSendRig(t, 200, sent, nil)
			require.Equal(t, 200, do(g.rig, "POST", sendPath, message("a", "metadata", tt.given)).Code)
			require.Len(t, g.functions.all(), 1)
			var call struct{ Metadata json.RawMessage }
			require.NoError(t, json.Unmarshal([]byte(g.functions.all()[0].body), &call))
			assert.JSONEq(t, tt.kept, string(call.Metadata))
		})
	}
}

func TestSendKeepsThePlainFieldsOfTheAnswer(t *testing.T) {
	g := newSendRig(t, 200, `{"success":true,"message_id":"m","remaining_messages":9,"response":{"id":"r","content":
		{"type":"text","text":"Hello <b>"},"metadata":{"llm":"SECRET"}},"metadata":{"x":"SECRET"},"debug":"SECRET","details":"SECRET",
		"tools":["SECRET"],"later_field":"kept","nothing":null}`, nil)
	w := do(g.rig, "POST", "/temporary-chat-handler", message("a", "clientMessageId", `"c-1"`), "Content-Type", "")
	require.Equal(t, 200, w.Code)
	assert.NotContains(t, w.Body.String(), "SECRET")
	var body map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	assert.NotEmpty(t, body["assistant_message_id"])
	delete(body, "assistant_message_id")
	assert.Equal(t, map[string]any{
		"success": true, "message_id": "m", "remaining_messages": 49.0, "response": "Hello <b>", "later_field": "kept", "nothing": nil,
		"client_message_id": "c-1",
	}, body)
}

func TestReplyIsReducedToText(t *testing.T) {
	for name, test := range map[string]struct{ fields, want string }{
		"text":             {`"response":"Hello"`, "Hello"},
		"message":          {`"response":{"role":"assistant","content":{"type":"text","text":"Hello"}}`, "Hello"},
		"content string":   {`"response":{"content":"Hello","metadata":{"text":"SECRET"}}`, "Hello"},
		"text field":       {`"response":{"text":"Hello"}`, "Hello"},
		"parts":            {`"response":{"parts":[{"type":"text","content":"One"},{"type":"image","content":"x"},{"type":"text","text":"Two"}]}`, "One\nTwo"},
		"parts in content": {`"response":{"content":{"type":"structured","parts":[{"type":"text","content":"One"}]}}`, "One"},
		"only metadata":    {`"response":{"metadata":{"text":"SECRET"}}`, ""},
		"list":             {`"response":["SECRET"]`, ""},
		"too deep":         {`"response":{"content":{"content":{"content":{"content":"SECRET"}}}}`, ""},
		"wrong types":      {`"response":{"content":7,"text":true,"parts":{"type":"text"}}`, ""},
		"odd parts":        {`"response":{"parts":[null,7,{"type":"text","text":"SECRET"}]}`, ""},
		"content instead":  {`"content":"Hello"`, "Hello"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSendRig(t, 200, `{"success":true,"message_id":"m",`+test.fields+`}`, nil)
			w := do(g.rig, "POST", sendPath, message("a"))
			require.Equal(t, 200, w.Code)
			assert.NotContains(t, w.Body.String(), "SECRET")
			var body map[string]any
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
			if got, ok := body["response"]; ok {
				assert.Equal(t, test.want, got)
			}
			assert.Equal(t, test.want != "", body["assistant_message_id"] != nil)
		})
	}
}

func TestFunctionThatTakesTooLongIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSendRig(t, 200, "", func(o *transport.Options) { o.FunctionTimeout = 20 * time.Second })
		g.functions.answer = func(ctx context.Context, _ functionCall) (*transport.FunctionReply, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		begun := time.Now()
		w := do(g.rig, "POST", sendPath, message("a"))
		assert.Equal(t, 503, w.Code)
		assert.Equal(t, 20*time.Second, time.Since(begun))
	})
}

func TestVisitorWhoLeavesDoesNotCancelTheSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSendRig(t, 200, "", nil)
		release := make(chan struct{})
		g.functions.answer = func(ctx context.Context, _ functionCall) (*transport.FunctionReply, error) {
			select {
			case <-release:
				return &transport.FunctionReply{Status: 200, Body: []byte(sent)}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan struct{})
		go func() {
			defer close(left)
			w := doContext(ctx, g.rig, "POST", sendPath, message("a", "clientMessageId", `"c-1"`))
			assert.Empty(t, w.Body.String(), "nobody reads an answer")
		}()
		synctest.Wait()
		leave()
		<-left
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			g.server.Drain(t.Context())
		}()
		synctest.Wait()
		select {
		case <-drained:
			require.Fail(t, "drained before the send was answered")
		default:
		}
		assert.Equal(t, 503, do(g.rig, "POST", sendPath, message("b")).Code, "no new send while draining")
		close(release)
		<-drained
		w := do(g.rig, "POST", sendPath, message("a", "clientMessageId", `"c-1"`))
		assert.Equal(t, 200, w.Code, "the answer is there for a repeat")
		assert.Contains(t, w.Body.String(), `"response":"Hello"`)
		assert.Len(t, g.functions.all(), 1)
	})
}

func TestServerThatStopsGivesSendsUp(t *testing.T) {
	g := newSendRig(t, 200, "", nil)
	called := make(chan struct{})
	g.functions.answer = func(ctx context.Context, _ functionCall) (*transport.FunctionReply, error) {
		close(called)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	answered := make(chan int)
	go func() { answered <- do(g.rig, "POST", sendPath, message("a")).Code }()
	<-called
	g.stop()
	assert.Equal(t, 503, <-answered)
	assert.Equal(t, 503, do(g.rig, "POST", sendPath, message("b")).Code)
}

func TestDeadlineOfTheBodyDoesNotCutTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSendRig(t, 200, "", nil)
		g.functions.answer = func(context.Context, functionCall) (*transport.FunctionReply, error) {
			time.Sleep(time.Minute)
			return &transport.FunctionReply{Status: 200, Body: []byte(sent)}, nil
		}
		body := message("a")
		status, answer := overPipe(t, g, fmt.Sprintf("%d\r\n\r\n%s", len(body), body))
		assert.Equal(t, http.StatusOK, status)
		assert.Contains(t, answer, "Hello")
	})
}

func TestBodyThatDoesNotComeIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSendRig(t, 200, sent, nil)
		begun := time.Now()
		status, _ := overPipe(t, g, "99\r\n\r\n{")
		assert.Equal(t, http.StatusRequestTimeout, status)
		assert.Equal(t, 10*time.Second, time.Since(begun))
	})
}

// overPipe makes a send over a connection in memory; rest begins with the body's length.
func overPipe(t *testing.T, g *sendRig, rest string) (status int, answer string) {
	t.Helper()
	listener := newPipeListener()
	srv := &http.Server{Handler: g.server.Handler()}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	conn := listener.dial()
	_, err := io.WriteString(conn, "POST "+sendPath+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "+rest)
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.NoError(t, srv.Close())
	require.ErrorIs(t, <-served, http.ErrServerClosed)
	return res.StatusCode, string(text)
}
