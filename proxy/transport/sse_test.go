package transport_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

const eventsPath = "/temporary-chat-events?session_token=" + rigToken

// rawStream opens an event stream on a plain socket and returns its head and a reader of the rest.
func rawStream(t *testing.T, base, path, extra string) (string, *bufio.Reader, net.Conn) {
	t.Helper()
	u, err := url.Parse(base)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: proxy.test\r\n"+extra+"\r\n")
	require.NoError(t, err)
	r := bufio.NewReader(conn)
	var head strings.Builder
	for {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		if line == "\r\n" {
			return head.String(), r, conn
		}
		head.WriteString(line)
	}
}

func TestEventStreamHasTheMessageShapeToTheByte(t *testing.T) {
	g := newRig(t, nil)
	head, r, _ := rawStream(t, g.serve(), eventsPath, "Origin: http://localhost:3000\r\n")

	assert.True(t, strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n"), head)
	for _, line := range []string{
		"Content-Type: text/event-stream; charset=utf-8", "Cache-Control: no-cache, no-transform", "Connection: close",
		"X-Accel-Buffering: no", "Referrer-Policy: no-referrer", "X-Content-Type-Options: nosniff",
		"Access-Control-Allow-Origin: http://localhost:3000", "Vary: Origin",
	} {
		assert.Contains(t, head, line+"\r\n")
	}
	assert.NotContains(t, head, "Transfer-Encoding")

	g.publish(1)
	body := readUntil(t, r, `"row-1"`)
	g.endSession()
	body += readUntil(t, r, "")
	ids, rest := withoutIDs(body)
	assert.Equal(t, "retry: 2000\n\n"+
		"event: connected\n"+
		`data: {"session_id":"session-1","conversation_id":"conversation-1","agent_name":"Ada","max_messages":50,`+
		`"current_messages":3,"resumed":false,"ticket":"`+rigTicket+`","ticket_expires_in":3600,"state":"live"}`+"\n\n"+
		`data: {"id":"row-1","role":"assistant","content":"text 1","timestamp":"2026-01-02T03:04:05.001Z",`+
		`"conversation_id":"conversation-1","agentId":"agent-1","userId":null}`+"\n\n"+
		"event: session_ended\n"+`data: {"session_id":"session-1","status":"completed"}`+"\n\n", rest)
	assert.Len(t, ids, 2, "connected and the message carry a cursor")
}

func TestEventStreamHasTheEnvelopeShapeToTheByte(t *testing.T) {
	g := newRig(t, nil)
	_, r, _ := rawStream(t, g.serve(), "/functions/v1"+eventsPath, "")
	g.publish(1)
	body := readUntil(t, r, `"row-1"`)
	g.endSession()
	body += readUntil(t, r, "")
	_, rest := withoutIDs(body)
	const stamp = `,"timestamp":"2026-01-02T03:04:05Z"}` + "\n\n"
	assert.Equal(t, "retry: 2000\n\n"+
		`data: {"type":"connected","data":{"session_id":"session-1","conversation_id":"conversation-1","agent_name":"Ada",`+
		`"max_messages":50,"current_messages":3,"resumed":false,"ticket":"`+rigTicket+`","ticket_expires_in":3600,`+
		`"state":"live"}`+stamp+
		`data: {"type":"message","data":{"id":"row-1","role":"assistant","content":"text 1",`+
		`"timestamp":"2026-01-02T03:04:05.001Z","conversation_id":"conversation-1","agentId":"agent-1","userId":null}`+stamp+
		`data: {"type":"session_ended","data":{"session_id":"session-1","status":"completed"}`+stamp, rest)
}

// readUntil reads blocks up to the one that holds text, or to the end.
func readUntil(t *testing.T, r *bufio.Reader, text string) string {
	t.Helper()
	var body strings.Builder
	for found := false; ; {
		line, err := r.ReadString('\n')
		body.WriteString(line)
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			require.Empty(t, text, "the stream ended")
			return body.String()
		}
		found = found || text != "" && strings.Contains(line, text)
		if found && line == "\n" {
			return body.String()
		}
	}
}

// withoutIDs takes the id lines, which are signed and not readable, out of a stream's body.
func withoutIDs(body string) (ids []string, rest string) {
	var kept []string
	for line := range strings.Lines(body) {
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			ids = append(ids, strings.TrimSpace(id))
			continue
		}
		kept = append(kept, line)
	}
	return ids, strings.Join(kept, "")
}

func TestFormatParameterOverridesThePath(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	envelope := g.openEvents(base + eventsPath + "&format=envelope")
	envelope.must()
	assert.Contains(t, envelope.must().data, `{"type":"connected"`)
	message := g.openEvents(base + "/functions/v1" + eventsPath + "&format=message")
	message.must()
	assert.Equal(t, "connected", message.must().name)
}

func TestVisitorResumesFromTheLastEventID(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	first := g.openEvents(base + eventsPath)
	first.must()
	first.must()
	g.publish(1)
	last := first.must()
	require.Contains(t, last.data, `"row-1"`)
	first.close()
	g.publish(2)
	g.publish(3)

	second := g.openEvents(base+eventsPath+"&cursor=ignored&history=10", "Last-Event-ID", last.id)
	second.must()
	assert.Contains(t, second.must().data, `"resumed":true`)
	assert.Contains(t, second.must().data, `"row-2"`)
	assert.Contains(t, second.must().data, `"row-3"`)
	g.publish(4)
	assert.Contains(t, second.must().data, `"row-4"`)
}

func TestHistoryComesBeforeLiveRowsAndOnlyOnce(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.HistoryMax = 2 })
	g.store(rigRow(rigSession, -3), rigRow(rigSession, -2), rigRow(rigSession, -1))
	events := g.openEvents(g.serve() + eventsPath + "&history=100")
	events.must()
	events.must()
	ev := events.must()
	assert.Contains(t, ev.data, `"row--2"`)
	assert.Empty(t, ev.id, "history is not owed")
	assert.Contains(t, events.must().data, `"row--1"`)
	g.publish(1)
	assert.Contains(t, events.must().data, `"row-1"`)
}

func TestForeignRowsAreNotWritten(t *testing.T) {
	g := newRig(t, nil)
	events := g.openEvents(g.serve() + eventsPath)
	events.must()
	events.must()
	g.hub.Publish(rigRow("session-2", 1), false)
	g.publish(2)
	assert.Contains(t, events.must().data, `"row-2"`)
}

func TestGuardStandsInFrontOfHistoryToo(t *testing.T) {
	g := newRig(t, nil)
	foreign := g.hub.Attach(rigVisitor("session-2"), "", chat.SubscriberOptions{})
	g.backfiller.past = foreign.History([]*chat.Row{rigRow("session-2", 1)}, nil)
	foreign.Close()
	require.Len(t, g.backfiller.past, 1)
	events := g.openEvents(g.serve() + eventsPath + "&history=1")
	events.must()
	events.must()
	g.publish(2)
	assert.Contains(t, events.must().data, `"row-2"`)
}

func TestLongHistoryIsWrittenInBatches(t *testing.T) {
	g := newRig(t, nil)
	var rows []*chat.Row
	for n := range 30 {
		row := rigRow(rigSession, n-30)
		row.Content.Text = strings.Repeat("x", 10_000)
		rows = append(rows, row)
	}
	g.store(rows...)
	events := g.openEvents(g.serve() + eventsPath + "&history=30")
	events.must()
	events.must()
	for _, row := range rows {
		assert.Contains(t, events.must().data, `"`+row.ID+`"`)
	}
	g.publish(1) // what follows was written after the history was counted
	events.must()
	assert.GreaterOrEqual(t, g.value("writes_total", "transport", "sse"), 5.0)
}

func TestRefusalsOfAnEventStream(t *testing.T) {
	unavailable := chat.RefuseUnavailable(3*time.Second, io.ErrUnexpectedEOF)
	tests := []struct {
		name, method, path, accept string
		err                        error
		status                     int
		retryAfter, body           string
	}{
		{"method", "POST", eventsPath, "", nil, 405, "", `{"error":"Method not allowed","code":"method_not_allowed"`},
		{"no token", "GET", "/temporary-chat-events", "", nil, 400, "", `{"error":"Missing session_token parameter"`},
		{"format", "GET", eventsPath + "&format=xml", "", nil, 400, "", `"code":"bad_request"`},
		{"history", "GET", eventsPath + "&history=-1", "", nil, 400, "", `"code":"bad_request"`},
		{"invalid", "GET", eventsPath, "text/event-stream", chat.RefuseInvalid(nil), 401, "", `{"error":"Invalid or expired session"`},
		{"ended", "GET", eventsPath, "text/event-stream", chat.RefuseEnded(nil), 410, "", `"code":"session_ended"`},
		{"unavailable", "GET", eventsPath, "", unavailable, 503, "3", `"retry_after":3`},
		{"internal", "GET", eventsPath, "", io.ErrNoProgress, 500, "", `{"error":"Internal server error","code":"internal"`},
		{
			"unavailable to an EventSource", "GET", eventsPath, "text/event-stream", unavailable, 200, "",
			"retry: 6000\nevent: error\ndata: {\"code\":\"upstream_unavailable\"," +
				"\"message\":\"The service is temporarily unavailable\",\"retry_after\":3}\n\n",
		},
		{
			"unavailable to an EventSource of envelopes", "GET", "/functions/v1" + eventsPath, "text/event-stream", unavailable, 200, "",
			"retry: 6000\ndata: {\"type\":\"error\",\"data\":{\"code\":\"upstream_unavailable\"," +
				"\"message\":\"The service is temporarily unavailable\",\"retry_after\":3},\"timestamp\":\"2026-01-02T03:04:05Z\"}\n\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, nil)
			g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) { return nil, tt.err }
			req := httptest.NewRequest(tt.method, tt.path, nil)
			req.Header.Set("Accept", tt.accept)
			w := httptest.NewRecorder()
			g.server.Handler().ServeHTTP(w, req)
			assert.Equal(t, tt.status, w.Code)
			assert.Equal(t, tt.retryAfter, w.Header().Get("Retry-After"))
			assert.Contains(t, w.Body.String(), tt.body)
			assert.NotContains(t, w.Body.String(), "unexpected EOF", "causes are not sent")
			if errors.Is(tt.err, io.ErrUnexpectedEOF) {
				assert.Contains(t, g.logs.String(), "unexpected EOF", "causes are logged")
			}
		})
	}
}

func TestEventStreamWorksOverHTTP2(t *testing.T) {
	g := newRig(t, nil)
	srv := httptest.NewUnstartedServer(g.server.Handler())
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	t.Cleanup(g.stop)
	res, err := srv.Client().Get(srv.URL + eventsPath)
	require.NoError(t, err)
	require.Equal(t, 2, res.ProtoMajor)
	events := &eventReader{t: t, r: bufio.NewReader(res.Body), body: res.Body}
	t.Cleanup(events.close)
	events.must()
	events.must()
	g.publish(1)
	assert.Contains(t, events.must().data, `"row-1"`)
	g.endSession()
	assert.Equal(t, "session_ended", events.must().name)
	_, more := events.next()
	assert.False(t, more)
	g.tracked.Wait()
}

func TestNoTokenReachesTheLog(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	events := g.openEvents(base + eventsPath)
	events.must()
	events.must()
	g.endSession()
	events.must()
	events.close()
	res, err := http.Get(base + "/temporary-chat-events?ticket=" + rigTicket)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	assert.Equal(t, 401, res.StatusCode)
	g.tracked.Wait()
	g.stop()
	logs := g.logs.String()
	assert.Contains(t, logs, "stream ended")
	assert.Contains(t, logs, "request refused")
	assert.NotContains(t, logs, rigToken)
	assert.NotContains(t, logs, rigTicket)
}
