package transport_test

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

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

const (
	socketPath   = "/temporary-chat-websocket"
	authenticate = `{"type":"authenticate","sessionToken":"` + rigToken + `"}`
)

// peer is the visitor's side of a WebSocket.
type peer struct {
	t    testing.TB
	conn *websocket.Conn
}

func (g *rig) dial(base, path string, header http.Header) *peer {
	g.t.Helper()
	u, err := url.Parse(base + path)
	require.NoError(g.t, err)
	u.Scheme = "ws"
	conn, res, err := websocket.DefaultDialer.Dial(u.String(), header)
	require.NoError(g.t, err)
	require.Equal(g.t, http.StatusSwitchingProtocols, res.StatusCode)
	g.t.Cleanup(func() { _ = conn.Close() })
	return &peer{t: g.t, conn: conn}
}

func (p *peer) send(text string) {
	p.t.Helper()
	require.NoError(p.t, p.conn.WriteMessage(websocket.TextMessage, []byte(text)))
}

// next reads one text message.
func (p *peer) next() string {
	p.t.Helper()
	kind, text, err := p.conn.ReadMessage()
	require.NoError(p.t, err)
	require.Equal(p.t, websocket.TextMessage, kind)
	return string(text)
}

// closed reads up to the close frame and returns what came before it.
func (p *peer) closed() (code int, reason string, before []string) {
	p.t.Helper()
	for {
		_, text, err := p.conn.ReadMessage()
		if err == nil {
			before = append(before, string(text))
			continue
		}
		var frame *websocket.CloseError
		require.ErrorAs(p.t, err, &frame)
		return frame.Code, frame.Text, before
	}
}

func (p *peer) authenticated() string {
	p.t.Helper()
	p.send(authenticate)
	return p.next()
}

func TestSocketAuthenticatesAndReceives(t *testing.T) {
	g := newRig(t, nil)
	p := g.dial(g.serve(), socketPath, nil)
	var hello struct {
		Type, Cursor string
		Data         map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(p.authenticated()), &hello))
	assert.Equal(t, "authenticated", hello.Type)
	assert.NotEmpty(t, hello.Cursor)
	assert.Equal(t, map[string]any{
		"session_id": rigSession, "conversation_id": rigConversation, "agent_name": "Ada", "max_messages": 50.0,
		"current_messages": 3.0, "resumed": false, "ticket": rigTicket, "ticket_expires_in": 3600.0, "state": "live",
	}, hello.Data)

	g.publish(1)
	text := p.next()
	assert.True(t, strings.HasPrefix(text, `{"type":"message","message":{"id":"row-1","role":"assistant","content":"text 1",`+
		`"timestamp":"2026-01-02T03:04:05.001Z","conversation_id":"conversation-1","agentId":"agent-1","userId":null},"cursor":"`), text)

	g.endSession()
	code, reason, before := p.closed()
	assert.Equal(t, 4410, code)
	assert.Equal(t, "The session has ended", reason)
	assert.Equal(t, []string{`{"type":"session_ended","data":{"session_id":"session-1","status":"completed"}}`}, before)
}

func TestSocketAcceptsEveryFormOfCredential(t *testing.T) {
	tests := []struct {
		name, query string
		header      http.Header
		first       string
	}{
		{"sessionToken", "", nil, authenticate},
		{"session_token", "", nil, `{"type":"authenticate","session_token":"` + rigToken + `"}`},
		{"ticket", "", nil, `{"type":"authenticate","ticket":"` + rigToken + `"}`},
		{"query token", "?session_token=" + rigToken, nil, ""},
		{"query ticket", "?ticket=" + rigToken, nil, ""},
		{"header", "", http.Header{"Authorization": {"Bearer " + rigToken}}, ""},
	}
	g := newRig(t, nil)
	base := g.serve()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := g.dial(base, "/functions/v1"+socketPath+tt.query, tt.header)
			if tt.first != "" {
				p.send(tt.first)
			}
			assert.Contains(t, p.next(), `"type":"authenticated"`)
			require.NoError(t, p.conn.Close())
			g.tracked.Wait()
		})
	}
}

func TestSocketResumesFromACursorAndGivesHistory(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	g.store(rigRow(rigSession, -2), rigRow(rigSession, -1))
	p := g.dial(base, socketPath, nil)
	p.send(`{"type":"authenticate","sessionToken":"` + rigToken + `","history":1}`)
	p.next()
	assert.Contains(t, p.next(), `"row--1"`)
	g.publish(1)
	var last struct{ Cursor string }
	require.NoError(t, json.Unmarshal([]byte(p.next()), &last))
	require.NoError(t, p.conn.Close())
	g.publish(2)

	p = g.dial(base, socketPath, nil)
	p.send(`{"type":"authenticate","sessionToken":"` + rigToken + `","cursor":"` + last.Cursor + `"}`)
	assert.Contains(t, p.next(), `"resumed":true`)
	assert.Contains(t, p.next(), `"row-2"`)
}

func TestSocketEchoesPings(t *testing.T) {
	g := newRig(t, nil)
	p := g.dial(g.serve(), socketPath, nil)
	p.send(`{"type":"ping","t":12}`)
	assert.Equal(t, `{"type":"pong","t":12}`, p.next(), "before authentication")
	p.authenticated()
	p.send(`{"type":"ping","t":"a<b"}`)
	assert.Equal(t, `{"type":"pong","t":"a<b"}`, p.next())
	p.send(`{"type":"ping"}`)
	assert.Equal(t, `{"type":"pong"}`, p.next())

	pong := make(chan string, 1)
	p.conn.SetPongHandler(func(payload string) error { pong <- payload; return nil })
	require.NoError(t, p.conn.WriteControl(websocket.PingMessage, []byte("payload"), time.Now().Add(time.Second)))
	p.send(`{"type":"ping","t":2}`)
	assert.Equal(t, `{"type":"pong","t":2}`, p.next(), "the control frame came before it")
	assert.Equal(t, "payload", <-pong)
}

func TestSocketAnswersTheVisitorsClose(t *testing.T) {
	g := newRig(t, nil)
	p := g.dial(g.serve(), socketPath, nil)
	p.authenticated()
	frame := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "bye")
	require.NoError(t, p.conn.WriteControl(websocket.CloseMessage, frame, time.Now().Add(time.Second)))
	code, _, _ := p.closed()
	assert.Equal(t, websocket.CloseNormalClosure, code)
	g.tracked.Wait()
	assert.Empty(t, g.hub.Visitors())
}

func TestBadInputEndsASocket(t *testing.T) {
	text, binary := websocket.TextMessage, websocket.BinaryMessage
	type frame struct {
		kind int
		text string
	}
	three := func(s string) []frame { return []frame{{text, s}, {text, s}, {text, s}} }
	tests := []struct {
		name    string
		frames  []frame
		code    int
		errors  []string // codes of the error events before the close
		refusal error
	}{
		{"binary", []frame{{binary, "{}"}}, 4400, []string{"bad_message"}, nil},
		{"not JSON", three("hello"), 4400, []string{"bad_message", "bad_message", "bad_message"}, nil},
		{"not an object", three(`[1]`), 4400, []string{"bad_message", "bad_message", "bad_message"}, nil},
		{"invalid UTF-8", three("{\"type\":\"ping\",\"x\":\"\xff\"}"), 4400, []string{"bad_message", "bad_message", "bad_message"}, nil},
		{"unknown type", three(`{"type":"dance"}`), 4400, []string{"bad_message", "bad_message", "bad_message"}, nil},
		{"wrong type", three(`{"type":"authenticate","sessionToken":5}`), 4400, []string{"bad_message", "bad_message", "bad_message"}, nil},
		{"deep", three(strings.Repeat("[", 5000)), 4400, []string{"bad_message", "bad_message", "bad_message"}, nil},
		{"no credential", three(`{"type":"authenticate"}`), 4400, []string{"bad_message", "bad_message", "bad_message"}, nil},
		{
			"message first", three(`{"type":"message","content":"hi"}`), 4400,
			[]string{"not_authenticated", "not_authenticated", "bad_message"}, nil,
		},
		{"authenticated twice", append([]frame{{text, authenticate}}, three(authenticate)...), 4400, []string{"bad_message", "bad_message", "bad_message"}, nil},
		{"too big", []frame{{text, `{"type":"` + strings.Repeat("x", 20_000) + `"}`}}, 1009, []string{"too_big"}, nil},
		{"huge", []frame{{text, strings.Repeat("x", 2_000_000)}}, 1009, []string{"too_big"}, nil},
		{"invalid session", []frame{{text, `{"type":"authenticate","sessionToken":"wrong"}`}}, 4401, []string{"invalid_session"}, nil},
		{"ended session", []frame{{text, authenticate}}, 4410, []string{"session_ended"}, chat.RefuseEnded(nil)},
		{"unavailable", []frame{{text, authenticate}}, 4503, []string{"upstream_unavailable"}, chat.RefuseUnavailable(time.Second, nil)},
		{"internal", []frame{{text, authenticate}}, 4503, []string{"upstream_unavailable"}, context.DeadlineExceeded},
		{"limit", []frame{{text, authenticate}}, 4429, []string{"rate"}, chat.RefuseLimit("rate", "Too fast", time.Second)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, nil)
			if tt.refusal != nil {
				g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) { return nil, tt.refusal }
			}
			p := g.dial(g.serve(), socketPath, nil)
			go func() {
				for _, f := range tt.frames {
					_ = p.conn.WriteMessage(f.kind, []byte(f.text)) // the server may hang up first
				}
			}()
			code, reason, before := p.closed()
			assert.Equal(t, tt.code, code)
			assert.NotEmpty(t, reason)
			var codes []string
			for _, text := range before {
				var e struct{ Type, Code, Message string }
				require.NoError(t, json.Unmarshal([]byte(text), &e))
				if e.Type == "authenticated" {
					continue
				}
				assert.Equal(t, "error", e.Type)
				assert.NotEmpty(t, e.Message)
				if tt.code == 4401 {
					assert.Equal(t, "Invalid session", e.Message)
				}
				codes = append(codes, e.Code)
			}
			if tt.name != "authenticated twice" || len(codes) > 0 { // the end may overtake what is queued behind the join
				assert.Equal(t, tt.errors[len(tt.errors)-len(codes):], codes)
			}
		})
	}
}

func TestSignalsWithoutAReaderAreNotFaults(t *testing.T) {
	g := newRig(t, nil)
	p := g.dial(g.serve(), socketPath, nil)
	p.authenticated()
	for range 4 {
		p.send(`{"type":"typing","isTyping":true}`)
		p.send(`{"type":"read","messageId":"x"}`)
	}
	p.send(`{"type":"ping","t":1}`)
	assert.Equal(t, `{"type":"pong","t":1}`, p.next())
}

func TestProtocolErrorIsAnswered(t *testing.T) {
	g := newRig(t, nil)
	p := g.dial(g.serve(), socketPath, nil)
	p.authenticated()
	_, err := p.conn.NetConn().Write([]byte{0x81 | 0x70, 0x80, 0, 0, 0, 0}) // reserved bits
	require.NoError(t, err)
	code, _, _ := p.closed()
	assert.Equal(t, websocket.CloseProtocolError, code)
	g.tracked.Wait()
}

func TestSocketThatDoesNotAuthenticateIsClosed(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.AuthenticateTimeout = 30 * time.Millisecond })
	p := g.dial(g.serve(), socketPath, nil)
	code, _, before := p.closed()
	assert.Equal(t, 4408, code)
	assert.Equal(t, []string{`{"type":"error","code":"authentication_timeout","message":"Authentication timed out"}`}, before)
}

func TestSocketThatLeavesWhileJoiningIsNoticed(t *testing.T) {
	g := newRig(t, nil)
	entered, left := make(chan struct{}), make(chan error, 1)
	g.authorizer.authorize = func(ctx context.Context, _ chat.Credential) (*chat.Grant, error) {
		close(entered)
		<-ctx.Done()
		left <- ctx.Err()
		return nil, ctx.Err()
	}
	p := g.dial(g.serve(), socketPath, nil)
	p.send(authenticate)
	<-entered
	require.NoError(t, p.conn.Close())
	assert.ErrorIs(t, <-left, context.Canceled)
}

func TestUpgradeRefusals(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	upgrade := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	with := func(key, value string) http.Header {
		h := upgrade.Clone()
		h.Set(key, value)
		return h
	}
	tests := []struct {
		name, method string
		header       http.Header
		status       int
		body         string
	}{
		{"no upgrade", "GET", nil, 400, "Expected WebSocket"},
		{"method", "POST", upgrade, 405, "Method not allowed"},
		{"version", "GET", with("Sec-Websocket-Version", "8"), 400, "Expected WebSocket"},
		{"key", "GET", with("Sec-Websocket-Key", "short"), 400, "Expected WebSocket"},
		{"foreign page", "GET", with("Origin", "https://evil.test"), 403, "This origin is not allowed"},
		{"known page", "GET", with("Origin", "http://localhost:3000"), 101, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequest(tt.method, base+socketPath, nil)
			require.NoError(t, err)
			req.Header = tt.header.Clone()
			if req.Header == nil {
				req.Header = http.Header{}
			}
			res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
			require.NoError(t, err)
			defer func() { _ = res.Body.Close() }()
			assert.Equal(t, tt.status, res.StatusCode)
			if tt.body != "" {
				var body struct{ Error, Code string }
				require.NoError(t, json.NewDecoder(res.Body).Decode(&body))
				assert.Equal(t, tt.body, body.Error)
				assert.NotEmpty(t, body.Code)
			}
		})
	}
}

func TestOneEventReachesManySockets(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	var peers []*peer
	for range 5 {
		p := g.dial(base, socketPath, nil)
		p.authenticated()
		peers = append(peers, p)
	}
	for n := range 100 {
		g.publish(n)
	}
	for _, p := range peers {
		for n := range 100 {
			require.Contains(t, p.next(), fmt.Sprintf(`"row-%d"`, n))
		}
	}
}

func TestNoTokenOfASocketReachesTheLog(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	p := g.dial(base, socketPath, nil)
	p.authenticated()
	g.endSession()
	p.closed()
	p = g.dial(base, socketPath+"?ticket="+rigTicket, nil)
	code, _, _ := p.closed()
	assert.Equal(t, 4401, code)
	g.stop()
	logs := g.logs.String()
	assert.Contains(t, logs, "stream refused")
	assert.NotContains(t, logs, rigToken)
	assert.NotContains(t, logs, rigTicket)
}
