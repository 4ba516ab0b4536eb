package web_test

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClientSendsAgainUnderTheSameID(t *testing.T) {
	s := newStage(t)
	stored := make(chan struct{})
	s.events = func(c *stream, _ int) {
		c.connect("cursor-0", "resume-1")
		<-stored
		c.event("", "cursor-1", row("row-1", "user", "Hello", "10:00:01Z", `,"client_message_id":"c-1"`))
		c.event("", "cursor-2", row("row-2", "assistant", "Hi", "10:00:02Z", ""))
		c.hold()
	}
	s.handler = func(w http.ResponseWriter, _ map[string]any, n int) {
		switch n {
		case 1:
			hangUp(w)
		case 2:
			w.Header().Set("Retry-After", "0.01")
			answer(w, http.StatusServiceUnavailable, `{"code":"upstream_unavailable","message":"busy"}`)
		default:
			close(stored)
			answer(w, http.StatusOK, `{"success":true,"message_id":"row-1","conversation_id":"c-1","response":"Hi","assistant_message_id":"row-2","client_message_id":"c-1"}`)
		}
	}
	var got outcome
	run(t, s, "send", nil, &got)

	sent := s.to("handler")
	require.Len(t, sent, 3)
	for _, r := range sent {
		assert.Equal(t, map[string]any{
			"session_token": token, "message": "Hello", "clientMessageId": "c-1", "metadata": map[string]any{"page": "test"},
		}, r.Body)
	}
	assert.Equal(t, []string{"row-1", "row-2"}, got.ids(), "neither the own row nor the reply is doubled")
	assert.False(t, got.Messages[0].Pending)
	assert.Equal(t, "row-1", got.Answer["message_id"])
	assert.Contains(t, got.Seen, "message local-c-1")
	assert.Contains(t, got.Seen, "updated local-c-1->row-1")
	assert.Contains(t, got.Seen, "answering true")
	assert.Contains(t, got.Seen, "answering false")
}

// away breaks every request but the first stream until the nth request for a stream comes.
func away(s *stage, n int) {
	var back atomic.Bool
	s.events = func(c *stream, i int) {
		switch {
		case i == 1:
			c.connect("cursor-0", "resume-1")
		case i < n:
			hangUp(c.w)
		default:
			back.Store(true)
			c.connect("cursor-0", "resume-1")
			c.hold()
		}
	}
	s.messages = func(w http.ResponseWriter, _ *http.Request, _ int) { hangUp(w) }
	s.handler = func(w http.ResponseWriter, _ map[string]any, _ int) {
		if !back.Load() {
			hangUp(w)
			return
		}
		answer(w, http.StatusOK, `{"success":true,"message_id":"row-1","response":null,"status":"accepted"}`)
	}
}

// hangUp ends the connection as a network that breaks: the visitor cannot know whether the request arrived.
func hangUp(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

func TestClientSendsAgainWhenTheConnectionIsBack(t *testing.T) {
	s := newStage(t)
	away(s, 50) // by then all tries would be used up
	var got outcome
	run(t, s, "awaySend", nil, &got)

	assert.Len(t, s.to("handler"), 2, "no try is wasted on a network that is away")
	assert.Equal(t, []shown{{ID: "row-1", Role: "user", Content: "Hello"}}, got.Messages)
}

func TestClientGivesUpASendThatWaitsWhenItIsClosed(t *testing.T) {
	s := newStage(t)
	away(s, 1_000_000)
	var got outcome
	run(t, s, "closedSend", nil, &got)

	require.Len(t, got.Failures, 1)
	assert.Equal(t, "network", got.Failures[0].Code)
	assert.Len(t, s.to("handler"), 5)
	assert.Equal(t, []shown{{ID: "local-c-1", Role: "user", Content: "Hello", Failed: true, Error: "network"}}, got.Messages)
}

func TestClientKeepsARefusedMessageToSendAgain(t *testing.T) {
	s := newStage(t)
	s.events = func(c *stream, _ int) {
		c.connect("cursor-0", "resume-1")
		c.hold()
	}
	s.handler = func(w http.ResponseWriter, _ map[string]any, n int) {
		if n == 2 {
			answer(w, http.StatusOK, `{"success":true,"message_id":"row-1","response":null,"status":"accepted"}`)
			return
		}
		w.Header().Set("Retry-After", "12")
		answer(w, http.StatusTooManyRequests, `{"error":"Rate limit exceeded","code":"rate_limited","limit_per_minute":10}`)
	}
	var got outcome
	run(t, s, "refusedSend", nil, &got)

	assert.Equal(t, []shown{{ID: "local-c-1", Role: "user", Content: "Hello", Failed: true, Error: "rate_limited"}}, got.Between)
	assert.Equal(t, []shown{{ID: "row-1", Role: "user", Content: "Hello"}}, got.Messages, "sent, and the other discarded")
	require.Len(t, got.Failures, 4)
	assert.Equal(t, 429, got.Failures[0].Status)
	assert.InDelta(t, 12_000, got.Failures[0].RetryAfter, 0)
	assert.Equal(t, "Rate limit exceeded", got.Failures[0].Message)
	assert.Equal(t, "empty_message", got.Failures[2].Code)
	assert.Equal(t, "message_too_long", got.Failures[3].Code)
	sent := s.to("handler")
	require.Len(t, sent, 3)
	assert.Equal(t, sent[0].Body, sent[1].Body, "the same id and metadata")
}

func TestClientMarksAMessageSentWhenOnlyItsReplyFailed(t *testing.T) {
	s := newStage(t)
	s.events = func(c *stream, _ int) {
		c.connect("cursor-0", "resume-1")
		c.hold()
	}
	s.handler = func(w http.ResponseWriter, _ map[string]any, n int) {
		if n == 1 {
			answer(w, http.StatusTooManyRequests, `{"error":"Rate limit exceeded"}`)
			return
		}
		answer(w, http.StatusOK, `{"success":false,"error":"Chat processing failed","message_id":"row-1","message":"Sorry"}`)
	}
	var got outcome
	run(t, s, "agentFailed", nil, &got)

	assert.Equal(t, []shown{{ID: "row-1", Role: "user", Content: "Hello"}}, got.Messages)
	assert.Equal(t, "http_200", got.Failures[0].Code)
	assert.Len(t, s.to("handler"), 2, "a stored message is not sent again")
}

func TestClientShowsAReplyThatNoStreamBrings(t *testing.T) {
	s := newStage(t)
	second := make(chan struct{})
	s.events = func(c *stream, _ int) {
		c.connect("cursor-0", "resume-1")
		<-second
		c.event("", "cursor-1", row("row-2", "assistant", "Only in the answer", "10:00:02Z", ""))
		c.end()
	}
	s.handler = func(w http.ResponseWriter, _ map[string]any, n int) {
		if n == 2 {
			answer(w, http.StatusOK, `{"success":true,"message_id":"row-3","response":"With an id","assistant_message_id":"row-4"}`)
			close(second)
			return
		}
		answer(w, http.StatusOK, `{"success":true,"message_id":"row-1","response":"Only in the answer"}`)
	}
	var got outcome
	run(t, s, "reply", nil, &got)

	assert.ElementsMatch(t, []string{"row-1", "row-2", "row-3", "row-4"}, got.ids())
	assert.Contains(t, got.Seen, "message local-reply-c-1")
	assert.Contains(t, got.Seen, "updated local-reply-c-1->row-2", "a late row takes its place")
}
