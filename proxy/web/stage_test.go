package web_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
)

const token = "secret-session-token"

// request is one request as the stage received it.
type request struct {
	Method, Path, Query, Authorization, LastEventID string
	Body                                            map[string]any
}

// stage is a scripted proxy. Each field answers the nth request, counted from 1, of its endpoint.
type stage struct {
	*httptest.Server
	ticket   func(w http.ResponseWriter, n int)
	events   func(c *stream, n int)
	socket   func(c *socket, n int)
	messages func(w http.ResponseWriter, r *http.Request, n int)
	handler  func(w http.ResponseWriter, body map[string]any, n int)

	mu  sync.Mutex
	got []request
	n   map[string]int
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{n: map[string]int{}}
	s.ticket = func(w http.ResponseWriter, n int) {
		answer(w, http.StatusOK, fmt.Sprintf(`{"ticket":"ticket-%d","expires_in":120,"session_id":"s-1","conversation_id":"c-1"}`, n))
	}
	s.events = func(c *stream, _ int) { c.refuse(http.StatusNotFound) }
	s.messages = func(w http.ResponseWriter, _ *http.Request, _ int) {
		answer(w, http.StatusOK, `{"messages":[],"updates":[],"cursor":"","session":{"session_id":"s-1"},"resumed":true,"more":false}`)
	}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.CloseClientConnections)
	t.Cleanup(s.Close)
	t.Cleanup(func() { s.assertNoTokenInURLs(t) })
	return s
}

func (s *stage) serve(w http.ResponseWriter, r *http.Request) {
	body, n := s.note(r)
	switch r.Method + " " + r.URL.Path {
	case "POST /temporary-chat-ticket":
		s.ticket(w, n)
	case "GET /temporary-chat-events":
		s.events(&stream{w: w, r: r}, n)
	case "GET /temporary-chat-websocket":
		s.upgrade(w, r, n)
	case "GET /temporary-chat-messages":
		s.messages(w, r, n)
	case "POST /temporary-chat-handler":
		s.handler(w, body, n)
	default:
		answer(w, http.StatusNotFound, `{"error":"Not Found"}`)
	}
}

func (s *stage) note(r *http.Request) (body map[string]any, n int) {
	raw, _ := io.ReadAll(r.Body)
	_ = json.NewDecoder(bytes.NewReader(raw)).Decode(&body) // GET has none
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n[r.URL.Path]++
	s.got = append(s.got, request{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery,
		Authorization: r.Header.Get("Authorization"), LastEventID: r.Header.Get("Last-Event-ID"), Body: body,
	})
	return body, s.n[r.URL.Path]
}

func (s *stage) requests() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.got...)
}

// to returns the requests of one endpoint, in the order of their arrival.
func (s *stage) to(endpoint string) []request {
	var got []request
	for _, r := range s.requests() {
		if r.Path == "/temporary-chat-"+endpoint {
			got = append(got, r)
		}
	}
	return got
}

// paths lists the endpoints asked, in order.
func (s *stage) paths() []string {
	var paths []string
	for _, r := range s.requests() {
		paths = append(paths, strings.TrimPrefix(r.Path, "/temporary-chat-"))
	}
	return paths
}

func (s *stage) assertNoTokenInURLs(t *testing.T) {
	for _, r := range s.requests() {
		assert.NotContains(t, r.Path+"?"+r.Query, token)
	}
}

func (s *stage) upgrade(w http.ResponseWriter, r *http.Request, n int) {
	if s.socket == nil {
		answer(w, http.StatusBadRequest, `{"error":"Expected WebSocket"}`)
		return
	}
	conn, err := new(websocket.Upgrader).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	s.socket(&socket{conn}, n)
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// stream is one request for events; its end closes the connection.
type stream struct {
	w       http.ResponseWriter
	r       *http.Request
	started bool
}

func (c *stream) refuse(status int) { answer(c.w, status, `{"code":"refused","message":"refused"}`) }

// event writes one event; name and id may be empty.
func (c *stream) event(name, id, data string) {
	if !c.started {
		c.started = true
		c.w.Header().Set("Content-Type", "text/event-stream")
	}
	if name != "" {
		_, _ = fmt.Fprintf(c.w, "event: %s\n", name)
	}
	if id != "" {
		_, _ = fmt.Fprintf(c.w, "id: %s\n", id)
	}
	_, _ = fmt.Fprintf(c.w, "data: %s\n\n", data)
	_ = http.NewResponseController(c.w).Flush()
}

// connect writes connected with the cursor and, when not empty, a resume ticket.
func (c *stream) connect(cursor, ticket string) {
	c.event("connected", cursor, fmt.Sprintf(
		`{"session_id":"s-1","conversation_id":"c-1","agent_name":"Ada","max_messages":20,"current_messages":2,"resumed":false,"ticket":%q}`, ticket))
}

func (c *stream) end() {
	c.event("session_ended", "", `{"session_id":"s-1","status":"ended","end_reason":"completed","ended_at":"2026-03-01T10:00:00Z"}`)
}

// hold keeps the stream open until the client leaves.
func (c *stream) hold() { <-c.r.Context().Done() }

// socket is one WebSocket connection.
type socket struct{ *websocket.Conn }

// authenticate reads the first frame and answers it.
func (c *socket) authenticate(cursor, ticket string) map[string]any {
	var frame map[string]any
	_ = c.ReadJSON(&frame) // an unreadable frame shows as an empty one in the assertions
	c.send(fmt.Sprintf(`{"type":"authenticated","data":{"session_id":"s-1","agent_name":"Ada","ticket":%q},"cursor":%q}`, ticket, cursor))
	return frame
}

func (c *socket) send(text string) { _ = c.WriteMessage(websocket.TextMessage, []byte(text)) }

// quit closes with a code and waits until the client has read it.
func (c *socket) quit(code int) {
	_ = c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""))
	for {
		if _, _, err := c.ReadMessage(); err != nil {
			return
		}
	}
}

// row is a message object as the proxy encodes it. at is the time of day.
func row(id, role, content, at, more string) string {
	return fmt.Sprintf(`{"id":%q,"role":%q,"content":%q,"timestamp":"2026-03-01T%s","conversation_id":"c-1","agentId":null,"userId":null%s}`,
		id, role, content, at, more)
}
