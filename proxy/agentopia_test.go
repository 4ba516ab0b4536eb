package proxy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/proxy/proxytest"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

const pageOrigin = "http://localhost:5173"

// publicPage makes the calls of the application's public page, with its bodies and headers. Its base URL is the proxy's.
type publicPage struct {
	*world
	base   string
	origin string
}

// call posts as the page's browser does: after a preflight, with the page's origin. key is the anonymous key where the page sends it.
func (p *publicPage) call(path, key string, body map[string]any) (int, map[string]any) {
	p.t.Helper()
	target := p.base + "/functions/v1/" + path
	preflight, err := http.NewRequestWithContext(p.ctx, http.MethodOptions, target, nil)
	require.NoError(p.t, err)
	preflight.Header.Set("Origin", p.origin)
	preflight.Header.Set("Access-Control-Request-Method", "POST")
	preflight.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
	resp, err := http.DefaultClient.Do(preflight)
	require.NoError(p.t, err)
	resp.Body.Close()
	require.Equal(p.t, http.StatusOK, resp.StatusCode)
	require.Equal(p.t, p.origin, resp.Header.Get("Access-Control-Allow-Origin"))
	require.Contains(p.t, resp.Header.Get("Access-Control-Allow-Headers"), "authorization")

	raw, err := json.Marshal(body)
	require.NoError(p.t, err)
	req, err := http.NewRequestWithContext(p.ctx, http.MethodPost, target, bytes.NewReader(raw))
	require.NoError(p.t, err)
	req.Header.Set("Origin", p.origin)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err = http.DefaultClient.Do(req)
	require.NoError(p.t, err)
	defer resp.Body.Close()
	assert.Equal(p.t, p.origin, resp.Header.Get("Access-Control-Allow-Origin"))
	answer, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	var fields map[string]any
	require.NoError(p.t, json.Unmarshal(answer, &fields), "%s", answer)
	return resp.StatusCode, fields
}

// open asks for the link and opens a session on it.
func (p *publicPage) open(link standin.FixtureLink) map[string]any {
	p.t.Helper()
	status, answer := p.call("temporary-chat-api/validate", "", map[string]any{"token": link.Token})
	require.Equal(p.t, http.StatusOK, status, answer)
	require.Equal(p.t, true, answer["success"])
	shown := answer["data"].(map[string]any)["link"].(map[string]any)
	assert.Equal(p.t, link.ID, shown["id"])
	assert.Equal(p.t, "Ada", shown["agent_name"])
	status, answer = p.call("temporary-chat-api/create-session", "", map[string]any{
		"link_token": link.Token, "participant_identifier": "anonymous", "participant_name": "Sam", "metadata": map[string]any{"source": "web"},
	})
	require.Equal(p.t, http.StatusCreated, status, answer)
	require.Equal(p.t, true, answer["success"])
	return answer["data"].(map[string]any)["session"].(map[string]any)
}

// send posts a message; the page sends its anonymous key along, which proves nothing.
func (p *publicPage) send(session map[string]any, text string) (int, map[string]any) {
	p.t.Helper()
	return p.call("temporary-chat-handler", p.anonKey, map[string]any{
		"session_token": session["session_token"], "message": text, "message_type": "text",
	})
}

func (p *publicPage) end(session map[string]any) (int, map[string]any) {
	p.t.Helper()
	return p.call("temporary-chat-api/end-session", "", map[string]any{
		"session_token": session["session_token"], "satisfaction_rating": 5, "feedback_text": "fine",
	})
}

// fromOrigin sends requests as a browser does for a page of that origin.
type fromOrigin string

func (o fromOrigin) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Origin", string(o))
	return http.DefaultTransport.RoundTrip(r)
}

// envelope is an event in the functions' own form.
type envelope struct {
	Type      string          `json:"type"`
	Data      json.RawMessage `json:"data"`
	Timestamp time.Time       `json:"timestamp"`
}

// listen opens the page's event stream; everything in it is unnamed.
func (p *publicPage) listen(session map[string]any) *proxytest.Events {
	p.t.Helper()
	v := proxytest.Visitor{
		Base: p.base, Token: session["session_token"].(string), Client: &http.Client{Transport: fromOrigin(p.origin)},
	}
	events, err := v.Events(p.ctx, proxytest.EventsOptions{Path: "/functions/v1/temporary-chat-events", Query: url.Values{}})
	require.NoError(p.t, err)
	p.t.Cleanup(events.Close)
	require.Equal(p.t, http.StatusOK, events.Status)
	return events
}

// next returns the next event that says something of the conversation.
func (p *publicPage) next(events *proxytest.Events, data any) envelope {
	p.t.Helper()
	for {
		ev, err := events.Next()
		require.NoError(p.t, err)
		assert.Empty(p.t, ev.Name)
		var e envelope
		require.NoError(p.t, json.Unmarshal([]byte(ev.Data), &e), ev.Data)
		assert.False(p.t, e.Timestamp.IsZero())
		if e.Type == "connection" || e.Type == "heartbeat" {
			continue
		}
		if data != nil {
			require.NoError(p.t, json.Unmarshal(e.Data, data), ev.Data)
		}
		return e
	}
}

func newPage(w *world, n *node) *publicPage { return &publicPage{w, n.base, pageOrigin} }

func pagesFrom(origins ...string) func(*proxy.Options) {
	return func(o *proxy.Options) { o.AllowedOrigins = origins }
}

func TestPublicPageWorksWithItsBaseURLPointedAtTheProxy(t *testing.T) {
	for name, broken := range map[string]bool{"the functions as repaired": false, "ending broken as deployed": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, standin.Options{})
			w.standin.DB().SetEndBroken(broken)
			w.standin.Faults().Set(standin.Fault{Kind: standin.ObjectResponse})
			p := newPage(w, w.start(pagesFrom(pageOrigin)))
			chatWith(p)
		})
	}
}

// chatWith plays the page from the link to the end of its session.
func chatWith(p *publicPage) {
	t, f := p.t, p.fixture
	session := p.open(f.Isolated)
	assert.Equal(t, "Hello! What did you think of the pilot?", session["initial_agent_message"])
	status, answer := p.send(session, "Hello from the page")
	require.Equal(t, http.StatusOK, status, answer)
	assert.Equal(t, true, answer["success"])
	assert.IsType(t, "", answer["response"], "an object would crash the page")
	assert.NotContains(t, fmt.Sprint(answer), "SECRET")
	assert.Equal(t, 99.0, answer["remaining_messages"])

	events := p.listen(session)
	var connected struct {
		SessionID      string `json:"session_id"`
		ConversationID string `json:"conversation_id"`
		AgentName      string `json:"agent_name"`
		MaxMessages    int    `json:"max_messages"`
	}
	require.Equal(t, "connected", p.next(events, &connected).Type)
	assert.Equal(t, session["id"], connected.SessionID)
	assert.Equal(t, session["conversation_id"], connected.ConversationID)
	assert.Equal(t, "Ada", connected.AgentName)
	assert.Equal(t, 100, connected.MaxMessages)

	status, answer = p.send(session, "Is this live?")
	require.Equal(t, http.StatusOK, status, answer)
	for _, want := range []struct{ role, text, id string }{
		{"user", "Is this live?", "message_id"}, {"assistant", answer["response"].(string), "assistant_message_id"},
	} {
		var m proxytest.Message
		require.Equal(t, "message", p.next(events, &m).Type)
		assert.Equal(t, [3]any{want.role, want.text, answer[want.id]}, [3]any{m.Role, m.Content, m.ID})
		assert.Equal(t, session["conversation_id"], m.ConversationID)
		assert.NotEmpty(t, m.Timestamp)
	}

	status, answer = p.end(session)
	require.Equal(t, http.StatusOK, status, answer)
	assert.Equal(t, [4]any{true, true, "completed", "Session ended successfully"},
		[4]any{answer["success"], answer["ended"], answer["end_reason"], answer["message"]})
	var over struct {
		SessionID string    `json:"session_id"`
		Status    string    `json:"status"`
		EndReason string    `json:"end_reason"`
		EndedAt   time.Time `json:"ended_at"`
	}
	require.Equal(t, "session_ended", p.next(events, &over).Type)
	assert.Equal(t, [3]any{session["id"], "ended", "completed"}, [3]any{over.SessionID, over.Status, over.EndReason})
	assert.WithinDuration(t, time.Now(), over.EndedAt, time.Minute)
	_, err := events.Next()
	require.Error(t, err, "nothing follows the end")

	status, answer = p.end(session)
	assert.Equal(t, http.StatusNotFound, status)
	assert.Equal(t, false, answer["ended"])
	status, _ = p.send(session, "Anybody?")
	assert.Contains(t, []int{http.StatusUnauthorized, http.StatusGone}, status)
}

func TestEndOfABrokenFunctionIsWritten(t *testing.T) {
	w := newWorld(t, standin.Options{})
	w.standin.DB().SetEndBroken(true)
	p := newPage(w, w.start(pagesFrom(pageOrigin)))
	session := p.open(w.fixture.Isolated)
	status, answer := p.end(session)
	require.Equal(t, http.StatusOK, status, answer)
	row, ok := w.standin.DB().Row(standin.TableSessions, session["id"].(string))
	require.True(t, ok)
	assert.Equal(t, []any{"ended", "completed", "fine"}, []any{row["status"], row["end_reason"], row["feedback_text"]})
	assert.Equal(t, "5", fmt.Sprint(row["satisfaction_rating"]))
	require.NotNil(t, row["ended_at"])
	said, err := time.Parse(time.RFC3339, answer["ended_at"].(string))
	require.NoError(t, err)
	assert.WithinDuration(t, row["ended_at"].(time.Time), said, time.Second)
	talked, ok := w.standin.DB().Row(standin.TableConversationSessions, row["conversation_session_id"].(string))
	require.True(t, ok)
	assert.Equal(t, "completed", talked["status"])
}

func TestUnknownLinkIsRefusedInTheWordsOfThePage(t *testing.T) {
	w := newWorld(t, standin.Options{})
	p := newPage(w, w.start(pagesFrom(pageOrigin)))
	for name, c := range map[string]struct {
		path, field, token string
		status             int
		text               string
	}{
		"unknown":          {"validate", "token", "no-such-link-0123456789", 404, "Invalid or expired chat link"},
		"expired":          {"validate", "token", w.fixture.Expired.Token, 410, "Chat link has expired"},
		"full":             {"validate", "token", w.fixture.Full.Token, 429, "Maximum number of chat sessions reached"},
		"create, unknown":  {"create-session", "link_token", "no-such-link-0123456789", 400, "Invalid chat link"},
		"create, expired":  {"create-session", "link_token", w.fixture.Expired.Token, 400, "Chat link has expired"},
		"create, full":     {"create-session", "link_token", w.fixture.Full.Token, 400, "Maximum sessions reached"},
		"create, inactive": {"create-session", "link_token", w.fixture.Inactive.Token, 400, "Invalid chat link"},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := p.call("temporary-chat-api/"+c.path, "", map[string]any{c.field: c.token})
			assert.Equal(t, c.status, status)
			assert.Equal(t, c.text, answer["error"], "the page shows it as it is")
			assert.NotEqual(t, true, answer["success"])
		})
	}
}

func TestLinkIsHeldToItsListsFromTheFirstCallOn(t *testing.T) {
	for name, c := range map[string]struct {
		set  standin.Row
		code string
	}{
		"domains":   {standin.Row{"allowed_domains": []any{"good.example"}}, "origin_not_allowed"},
		"addresses": {standin.Row{"allowed_ips": []any{"198.51.100.0/24", "2001:db8::/32"}}, "address_not_allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, standin.Options{})
			p := newPage(w, w.start(func(o *proxy.Options) {
				o.AllowedOrigins = []string{pageOrigin}
				o.Session.RecheckInterval, o.Session.ConfirmWithin = 500*time.Millisecond, time.Minute
			}))
			session := p.open(w.fixture.Isolated)
			events := p.listen(session)
			require.Equal(t, "connected", p.next(events, nil).Type)
			_, err := w.standin.DB().Update(standin.TableLinks, standin.Row{"id": w.fixture.Isolated.ID}, c.set)
			require.NoError(t, err)

			var refused struct{ Code string }
			require.Equal(t, "error", p.next(events, &refused).Type, "an open stream ends at the next recheck")
			assert.Equal(t, c.code, refused.Code)
			_, err = events.Next()
			require.Error(t, err)

			before, err := w.standin.DB().Rows(standin.TableSessions, nil)
			require.NoError(t, err)
			for path, body := range map[string]map[string]any{
				"temporary-chat-api/validate":         {"token": w.fixture.Isolated.Token},
				"temporary-chat-api/create-session":   {"link_token": w.fixture.Isolated.Token},
				"temporary-chat-api/validate-session": {"session_token": session["session_token"]},
				"temporary-chat-api/end-session":      {"session_token": session["session_token"]},
				"temporary-chat-handler":              {"session_token": session["session_token"], "message": "a"},
			} {
				status, answer := p.call(path, "", body)
				assert.Equal(t, http.StatusForbidden, status, "%s: %v", path, answer)
				assert.Equal(t, c.code, answer["code"], path)
			}
			after, err := w.standin.DB().Rows(standin.TableSessions, nil)
			require.NoError(t, err)
			assert.Len(t, after, len(before))
		})
	}
}

func TestTotalOfASessionSurvivesARestart(t *testing.T) {
	for _, via := range []string{"function", "insert"} {
		t.Run(via, func(t *testing.T) {
			w := newWorld(t, standin.Options{})
			_, err := w.standin.DB().Update(standin.TableLinks, standin.Row{"id": w.fixture.Isolated.ID}, standin.Row{"max_messages_per_session": 3})
			require.NoError(t, err)
			change := func(o *proxy.Options) { o.AllowedOrigins, o.SendVia = []string{pageOrigin}, via }
			first := w.start(change)
			p := newPage(w, first)
			session, other := p.open(w.fixture.Isolated), p.open(w.fixture.Isolated)
			for range 2 {
				status, answer := p.send(session, "one")
				require.Equal(t, http.StatusOK, status, answer)
			}
			first.stop()
			p = newPage(w, w.start(change))
			status, answer := p.send(session, "two")
			require.Equal(t, http.StatusOK, status, answer)
			assert.Equal(t, 0.0, answer["remaining_messages"])
			status, answer = p.send(session, "three")
			assert.Equal(t, http.StatusTooManyRequests, status)
			assert.Equal(t, []any{"Message limit reached for this session", 3.0, 3.0},
				[]any{answer["error"], answer["max_messages"], answer["current_messages"]})
			status, answer = p.send(other, "of somebody else")
			assert.Equal(t, http.StatusOK, status, answer)
		})
	}
}
