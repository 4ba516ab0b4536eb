package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// asker makes requests, follows no redirect, and keeps what comes back: statuses, heads and bodies.
type asker struct {
	t    *testing.T
	ctx  context.Context
	base string
	seen bytes.Buffer
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a *asker) keep(status int, header http.Header, body string) answer {
	a.seen.WriteString(http.StatusText(status) + "\n")
	require.NoError(a.t, header.Write(&a.seen))
	a.seen.WriteString(body + "\n")
	return answer{status, header, body}
}

func (a *asker) request(method, path, body string, header ...string) *http.Response {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.ctx, method, a.base+path, strings.NewReader(body))
	require.NoError(a.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(a.t, err)
	return resp
}

func (a *asker) do(method, path, body string, header ...string) answer {
	a.t.Helper()
	resp := a.request(method, path, body, header...)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(a.t, err)
	return a.keep(resp.StatusCode, resp.Header, string(text))
}

// open opens an event stream and reads as far as its first event.
func (a *asker) open(path string, header ...string) answer {
	a.t.Helper()
	resp := a.request(http.MethodGet, path, "", header...)
	defer resp.Body.Close()
	var text strings.Builder
	for lines := bufio.NewScanner(resp.Body); lines.Scan() && !strings.HasPrefix(text.String(), "data: "); {
		text.Reset()
		text.WriteString(lines.Text())
	}
	return a.keep(resp.StatusCode, resp.Header, text.String())
}

// dial opens a WebSocket and writes a frame.
func (a *asker) dial(path, frame string) *websocket.Conn {
	a.t.Helper()
	conn, resp, err := websocket.DefaultDialer.DialContext(a.ctx, "ws"+strings.TrimPrefix(a.base, "http")+path, nil)
	require.NoError(a.t, err)
	a.t.Cleanup(func() { _ = conn.Close() }) // closed already when it was heard
	a.keep(resp.StatusCode, resp.Header, "")
	require.NoError(a.t, conn.WriteMessage(websocket.TextMessage, []byte(frame)))
	return conn
}

// hear reads the first frame, or how the socket was closed, and closes it.
func (a *asker) hear(conn *websocket.Conn) {
	a.t.Helper()
	deadline, _ := a.ctx.Deadline()
	require.NoError(a.t, conn.SetReadDeadline(deadline))
	_, text, err := conn.ReadMessage()
	if err != nil {
		text = []byte(err.Error())
	}
	a.keep(0, http.Header{}, string(text))
	require.NoError(a.t, conn.Close())
}

// metricsText is all that the admin port tells of metrics.
func metricsText(t *testing.T, n *node) string {
	t.Helper()
	resp, err := http.Get(n.admin + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(text)
}

// field is a string of an answer's JSON object.
func field(t *testing.T, got answer, name string) (text string) {
	t.Helper()
	var body map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(got.body), &body), "%d %s", got.status, got.body)
	require.NoError(t, json.Unmarshal(body[name], &text), "%s", got.body)
	return text
}
