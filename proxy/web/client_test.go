package web_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func query(t *testing.T, r request) url.Values {
	t.Helper()
	values, err := url.ParseQuery(r.Query)
	require.NoError(t, err)
	return values
}

func TestClientShowsEachMessageOnceInDisplayOrder(t *testing.T) {
	s := newStage(t)
	s.events = func(c *stream, n int) {
		if n == 1 {
			c.connect("cursor-0", "resume-1")
			c.event("", "cursor-1", row("b", "assistant", "second", "10:00:02.000300Z", ""))
			c.event("", "cursor-2", row("a", "user", "first", "10:00:01Z", ""))
			c.event("", "cursor-3", row("b", "assistant", "second", "10:00:02.000300Z", `,"replayed":true`))
			c.event("", "cursor-4", row("d", "assistant", "fourth", "10:00:02.000200Z", ""))
			c.event("", "cursor-5", row("c", "assistant", "third", "10:00:02.000200+00:00", ""))
			c.event("reconnect", "cursor-5", `{"retry_ms":1,"reason":"restart"}`)
			c.hold()
			return
		}
		c.connect("cursor-5", "resume-2")
		c.event("", "cursor-6", row("a", "user", "first", "10:00:01Z", `,"replayed":true`))
		c.event("", "cursor-7", row("e", "assistant", "fifth", "10:00:03Z", `,"recovered":true`))
		c.end()
	}
	var got outcome
	run(t, s, "receive", nil, &got)

	assert.Equal(t, []string{"a", "c", "d", "b", "e"}, got.ids())
	assert.Equal(t, []string{
		"state connecting", "state live", "message b", "message a", "message d", "message c",
		"state connecting", "state live", "message e", "state ended", "ended ended",
	}, got.Seen)
	assert.Equal(t, "Ada", got.Session["agent_name"])
	assert.NotContains(t, got.Session, "ticket")

	assert.Equal(t, []string{"ticket", "events", "events"}, s.paths())
	assert.Equal(t, map[string]any{"session_token": token}, s.to("ticket")[0].Body)
	first, second := query(t, s.to("events")[0]), query(t, s.to("events")[1])
	assert.Equal(t, url.Values{"ticket": {"ticket-1"}, "history": {"50"}, "format": {"message"}}, first)
	assert.Equal(t, "resume-1", second.Get("ticket"), "the resume ticket replaces the first")
	assert.Equal(t, "cursor-5", second.Get("cursor"))
}

func TestClientAppliesUpdatesAndDeletions(t *testing.T) {
	s := newStage(t)
	s.events = func(c *stream, _ int) {
		c.connect("cursor-0", "resume-1")
		c.event("", "cursor-1", row("a", "user", "first", "10:00:01Z", ""))
		c.event("", "cursor-2", row("b", "assistant", "second", "10:00:02Z", ""))
		c.event("message_updated", "cursor-3", row("a", "user", "first, edited", "10:00:01Z", ""))
		c.event("message_updated", "cursor-4", row("older", "user", "before the history", "09:00:00Z", ""))
		c.event("message_deleted", "cursor-5", `{"id":"b","conversation_id":"c-1"}`)
		c.event("connection", "", `{"state":"catching_up"}`)
		c.event("connection", "", `{"state":"polling"}`)
		c.event("later_addition", "", `{"ignored":true}`)
		c.event("", "", `no json`)
		c.end()
	}
	var got outcome
	run(t, s, "receive", map[string]any{"transport": "sse"}, &got)

	require.Len(t, got.Messages, 1)
	assert.Equal(t, "first, edited", got.Messages[0].Content)
	assert.Equal(t, []string{
		"state connecting", "state live", "message a", "message b", "updated a", "deleted b",
		"state catching_up", "state polling", "state ended", "ended ended",
	}, got.Seen)
}

func TestClientLeavesTheFirstRetryToTheBrowser(t *testing.T) {
	s := newStage(t)
	s.events = func(c *stream, n int) {
		switch n {
		case 1:
			c.connect("cursor-0", "resume-1")
			c.event("", "cursor-1", row("a", "user", "first", "10:00:01Z", ""))
		case 2:
			c.connect("cursor-1", "resume-2")
			c.event("", "cursor-2", row("b", "user", "second", "10:00:02Z", ""))
		case 3:
			c.refuse(http.StatusUnauthorized) // closes an EventSource for good
		default:
			c.connect("cursor-2", "resume-3")
			c.end()
		}
	}
	var got outcome
	run(t, s, "receive", map[string]any{"transport": "sse"}, &got)

	assert.Equal(t, []string{"a", "b"}, got.ids())
	events := s.to("events")
	require.Len(t, events, 4)
	assert.Equal(t, events[0].Query, events[1].Query, "the browser repeats the address")
	assert.Equal(t, "cursor-1", events[1].LastEventID)
	assert.Equal(t, "cursor-2", query(t, events[3]).Get("cursor"))
	assert.Equal(t, "resume-2", query(t, events[3]).Get("ticket"))
	assert.Empty(t, events[3].LastEventID)
}

func TestClientStepsDownToPollingWhereStreamsDoNotOpen(t *testing.T) {
	s := newStage(t)
	polls := 0
	s.events = func(c *stream, _ int) { c.refuse(http.StatusNotImplemented) }
	s.messages = func(w http.ResponseWriter, r *http.Request, n int) {
		switch {
		case n > 8:
			answer(w, http.StatusGone, `{"code":"session_ended","message":"The session has ended"}`)
			return
		case r.URL.Query().Get("wait") == "0": // four probes and the first poll
			answer(w, http.StatusOK, `{"messages":[`+row("a", "user", "first", "10:00:01Z", "")+
				`],"updates":[],"cursor":"cursor-1","session":{"session_id":"s-1","agent_name":"Ada"},"resumed":false,"more":false}`)
			return
		}
		polls++
		switch polls {
		case 1:
			answer(w, http.StatusOK, `{"messages":[`+row("b", "user", "second", "10:00:02Z", "")+`],"updates":[{"type":"message_updated","message":`+
				row("a", "user", "first, edited", "10:00:01Z", "")+`}],"cursor":"cursor-2","more":true}`)
		case 2:
			answer(w, http.StatusOK, `{"messages":[],"updates":[{"type":"message_deleted","message":{"id":"b"}}],"cursor":"cursor-3","more":false}`)
		default:
			w.Header().Set("Retry-After", "0.01")
			answer(w, http.StatusServiceUnavailable, `{"code":"upstream_unavailable","message":"busy"}`)
		}
	}
	var got outcome
	run(t, s, "receive", nil, &got)

	require.Len(t, got.Messages, 1)
	assert.Equal(t, "first, edited", got.Messages[0].Content)
	assert.Equal(t, "ended", got.State)
	assert.Contains(t, got.Seen, "state polling")
	assert.Contains(t, got.Seen, "error session_ended")
	assert.Len(t, s.to("events"), 2)
	assert.Len(t, s.to("websocket"), 2)
	messages := s.to("messages")
	require.Len(t, messages, 9)
	assert.Equal(t, url.Values{"limit": {"50"}, "wait": {"0"}}, query(t, messages[0]))
	assert.Equal(t, url.Values{"limit": {"100"}, "wait": {"25"}, "cursor": {"cursor-1"}}, query(t, messages[5]))
	assert.Equal(t, "cursor-2", query(t, messages[6]).Get("cursor"))
	assert.Equal(t, "cursor-3", query(t, messages[8]).Get("cursor"))
	for _, r := range messages {
		assert.Equal(t, "Bearer "+token, r.Authorization)
	}
}

func TestClientStaysWithEventsWhileTheServerIsAway(t *testing.T) {
	s := newStage(t)
	s.events = func(c *stream, n int) {
		if n <= 4 {
			c.refuse(http.StatusBadGateway)
			return
		}
		c.connect("cursor-0", "resume-1")
		c.end()
	}
	s.messages = func(w http.ResponseWriter, _ *http.Request, _ int) {
		answer(w, http.StatusBadGateway, `<html>bad gateway</html>`)
	}
	s.socket = func(c *socket, _ int) { c.quit(1011) }
	var got outcome
	run(t, s, "receive", nil, &got)

	assert.Equal(t, "ended", got.State)
	assert.Len(t, s.to("events"), 5)
	assert.Empty(t, s.to("websocket"))
}

func TestClientComesBackAfterAnErrorEvent(t *testing.T) {
	s := newStage(t)
	s.events = func(c *stream, n int) {
		if n <= 3 {
			c.event("error", "", `{"code":"upstream_unavailable","message":"busy","retry_after":0.01}`)
			return
		}
		c.connect("cursor-0", "resume-1")
		c.end()
	}
	var got outcome
	run(t, s, "receive", nil, &got)

	assert.Equal(t, "ended", got.State)
	assert.Len(t, s.to("events"), 4)
	assert.Empty(t, s.to("messages"), "an error that was told needs no probe and speaks against no transport")
	assert.Contains(t, got.Seen, "error upstream_unavailable")
}

func TestClientReplacesATicketThatIsRefused(t *testing.T) {
	s := newStage(t)
	s.events = func(c *stream, n int) {
		if n == 1 {
			c.refuse(http.StatusUnauthorized)
			return
		}
		c.connect("cursor-0", "resume-1")
		c.end()
	}
	var got outcome
	run(t, s, "receive", nil, &got)

	assert.Equal(t, []string{"ticket", "events", "messages", "ticket", "events"}, s.paths())
	assert.Equal(t, "ticket-2", query(t, s.to("events")[1]).Get("ticket"))
}

func TestClientEndsWhenItsCredentialIsRefused(t *testing.T) {
	refuse := func(w http.ResponseWriter, _ *http.Request, _ int) {
		answer(w, http.StatusUnauthorized, `{"code":"invalid_session","message":"Invalid or expired session"}`)
	}
	t.Run("ticket", func(t *testing.T) {
		s := newStage(t)
		s.events = func(c *stream, _ int) { c.refuse(http.StatusUnauthorized) }
		s.messages = refuse
		var got outcome
		run(t, s, "receive", map[string]any{"sessionToken": "", "ticket": "old"}, &got)

		assert.Equal(t, []string{"state connecting", "error invalid_session", "state ended", "ended invalid"}, got.Seen)
		assert.Equal(t, []string{"events", "messages"}, s.paths())
		assert.Equal(t, "Bearer old", s.to("messages")[0].Authorization)
	})
	t.Run("token", func(t *testing.T) {
		s := newStage(t)
		s.ticket = func(w http.ResponseWriter, n int) { refuse(w, nil, n) }
		var got outcome
		run(t, s, "receive", nil, &got)

		assert.Equal(t, "ended", got.State)
		assert.Equal(t, []string{"ticket"}, s.paths())
	})
	t.Run("origin", func(t *testing.T) {
		s := newStage(t)
		s.ticket = func(w http.ResponseWriter, _ int) {
			answer(w, http.StatusForbidden, `{"code":"origin","message":"Origin not allowed"}`)
		}
		var got outcome
		run(t, s, "stopped", nil, &got)

		assert.Equal(t, []string{"state connecting", "error origin", "state offline"}, got.Seen)
		assert.Equal(t, []string{"ticket"}, s.paths())
	})
}

func TestClientResumesAWebSocketByCursor(t *testing.T) {
	s := newStage(t)
	frames := make(chan map[string]any, 4)
	s.socket = func(c *socket, n int) {
		switch n {
		case 1:
			frames <- c.authenticate("cursor-0", "resume-1")
			c.send(`{"type":"connection","data":{"state":"catching_up"}}`)
			c.send(`{"type":"message","message":` + row("b", "assistant", "second", "10:00:02Z", "") + `,"cursor":"cursor-1"}`)
			c.send(`{"type":"message","message":` + row("a", "user", "first", "10:00:01Z", "") + `,"cursor":"cursor-2"}`)
			c.send(`{"type":"connection","state":"live"}`)
			c.send(`{"type":"heartbeat"}`)
			c.quit(1012)
		case 2:
			c.send(`{"type":"error","code":"upstream_unavailable","message":"busy"}`)
			c.quit(4503)
		default:
			frames <- c.authenticate("cursor-2", "resume-2")
			c.send(`{"type":"message","message":` + row("b", "assistant", "second", "10:00:02Z", "") + `,"cursor":"cursor-3"}`)
			c.send(`{"type":"message_updated","message":` + row("b", "assistant", "edited", "10:00:02Z", "") + `,"cursor":"cursor-4"}`)
			c.send(`{"type":"message_deleted","message":{"id":"a","conversation_id":"c-1"},"cursor":"cursor-5"}`)
			c.send(`{"type":"session_ended","data":{"session_id":"s-1","status":"expired","end_reason":"timeout"}}`)
			c.quit(4410)
		}
	}
	var got outcome
	run(t, s, "receive", map[string]any{"transport": "websocket"}, &got)

	require.Len(t, got.Messages, 1)
	assert.Equal(t, "edited", got.Messages[0].Content)
	assert.Equal(t, []string{
		"state connecting", "state live", "state catching_up", "message b", "message a", "state live",
		"state connecting", "error upstream_unavailable", "state live", "updated b", "deleted a", "state ended", "ended expired",
	}, got.Seen)
	assert.Equal(t, map[string]any{"type": "authenticate", "sessionToken": token, "history": 50.0}, <-frames)
	assert.Equal(t, map[string]any{"type": "authenticate", "sessionToken": token, "history": 50.0, "cursor": "cursor-2"}, <-frames)
	assert.Equal(t, []string{"websocket", "websocket", "websocket"}, s.paths())
}

func TestClientDoesNotReconnectAfterAFinalClose(t *testing.T) {
	tests := []struct {
		code     int
		scenario string
		seen     []string
	}{
		{4400, "stopped", []string{"error bad_message", "state offline"}},
		{4401, "receive", []string{"error invalid_session", "state ended", "ended invalid"}},
		{4408, "stopped", []string{"error authentication_timeout", "state offline"}},
		{4410, "receive", []string{"error session_ended", "state ended", "ended ended"}},
	}
	for _, test := range tests {
		t.Run(test.seen[0], func(t *testing.T) {
			s := newStage(t)
			s.socket = func(c *socket, _ int) { c.quit(test.code) }
			var got outcome
			run(t, s, test.scenario, map[string]any{"transport": "websocket"}, &got)

			assert.Equal(t, append([]string{"state connecting"}, test.seen...), got.Seen)
			assert.Len(t, s.to("websocket"), 1)
		})
	}
}

func TestClientKeepsTicketAndCursorButNoToken(t *testing.T) {
	s := newStage(t)
	s.events = func(c *stream, n int) {
		if n == 1 {
			c.connect("cursor-0", "resume-1")
			c.event("", "cursor-1", row("row-1", "user", "Hello", "10:00:01Z", ""))
			c.hold()
			return
		}
		c.connect("cursor-1", "resume-2")
		c.event("", "cursor-2", row("row-2", "assistant", "Hi", "10:00:02Z", ""))
		c.end()
	}
	var got outcome
	run(t, s, "storage", nil, &got)

	require.Len(t, got.Kept, 1)
	var kept map[string]string
	require.NoError(t, json.Unmarshal([]byte(got.Kept[0]), &kept))
	assert.Equal(t, map[string]string{"ticket": "resume-1", "cursor": "cursor-1"}, kept)
	assert.Equal(t, []string{"row-2"}, got.ids())
	resumed := query(t, s.to("events")[1])
	assert.Equal(t, "resume-1", resumed.Get("ticket"))
	assert.Equal(t, "cursor-1", resumed.Get("cursor"))
	assert.Len(t, s.to("ticket"), 1, "the second client had no token to change")
	assert.Zero(t, got.Left, "an ended session leaves nothing behind")
}

func TestClientContinuesAfterClose(t *testing.T) {
	s := newStage(t)
	s.events = func(c *stream, n int) {
		if n == 1 {
			c.connect("cursor-0", "resume-1")
			c.event("", "cursor-1", row("row-1", "user", "Hello", "10:00:01Z", ""))
			c.hold()
			return
		}
		c.connect("cursor-1", "resume-2")
		c.end()
	}
	var got outcome
	run(t, s, "again", nil, &got)

	assert.Equal(t, "offline", got.Closed)
	assert.Equal(t, []string{"row-1"}, got.ids())
	assert.Equal(t, "cursor-1", query(t, s.to("events")[1]).Get("cursor"))
}

func TestClientRefusesOptionsThatCannotWork(t *testing.T) {
	var got outcome
	run(t, newStage(t), "bad", nil, &got)
	assert.Equal(t, []string{"no_credential", "bad_transport", "bad_transport"}, got.Codes)
}
