package main_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/proxytest"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// publicPage is agentopia.html in Chromium, played by page.mjs.
type publicPage struct{ *browser }

// publicView is what the page shows.
type publicView struct {
	Title    string       `json:"title"`
	State    string       `json:"state"`
	Error    string       `json:"error"`
	Messages []publicLine `json:"messages"`
}

// publicLine is a message and where the page has it from: itself, an answer or the stream.
type publicLine struct {
	Role    string `json:"role"`
	Via     string `json:"via"`
	Content string `json:"content"`
}

// servePublicPage serves the page on an origin of its own.
func servePublicPage(t *testing.T) (origin string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/temp-chat" {
			w.WriteHeader(http.StatusNoContent) // the icon
			return
		}
		http.ServeFile(w, r, filepath.Join(scripts, "agentopia.html"))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func openPublicPage(t *testing.T) *publicPage {
	t.Helper()
	node, chromium := browserTools(t)
	b := &browser{t: t, answers: make(chan answer, 8)}
	cmd := exec.Command(node, "page.mjs", chromium)
	cmd.Dir, cmd.Env = scripts, environ()
	var err error
	b.steps, err = cmd.StdinPipe()
	require.NoError(t, err)
	spawn(t, cmd, b.hear)
	t.Cleanup(func() {
		_ = b.steps.Close() // fails when page.mjs has died
		await(t, b.answers)
	})
	return &publicPage{b}
}

// until looks at the page until it shows what is wanted.
func (p *publicPage) until(what string, ok func(publicView) bool) publicView {
	p.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	var seen json.RawMessage
	for {
		var v publicView
		p.do(step{Do: "look", Unlike: seen}, &seen)
		require.NoError(p.t, json.Unmarshal(seen, &v))
		if ok(v) {
			return v
		}
		require.True(p.t, time.Now().Before(deadline), "%s: not within 30 s: %s", what, seen)
	}
}

// untilLines waits for n messages, the last an answer: the page's own copy of a message stands beside the stream's until it is answered.
func (p *publicPage) untilLines(n int) []publicLine {
	p.t.Helper()
	v := p.until("the messages", func(v publicView) bool {
		return len(v.Messages) == n && v.Messages[n-1].Role == "assistant"
	})
	return v.Messages
}

func TestPublicPageInChromium(t *testing.T) {
	p := openPublicPage(t)
	origin, u := servePublicPage(t), spawnStandin(t)
	_, s := spawnProxy(t, u, "PROXY_CORS_ALLOWED_ORIGINS="+origin)
	base := "http://" + s.Listen
	fragment := url.Values{"base": {base}, "token": {standin.NewFixture().Isolated.Token}, "key": {u.AnonKey}}
	p.do(step{Do: "open", URL: origin + "/temp-chat#" + fragment.Encode()}, nil)

	v := p.until("the session is open", func(v publicView) bool { return v.State != "loading" || v.Error != "" })
	assert.Equal(t, "ready", v.State, v.Error)
	assert.Equal(t, "Pilot feedback", v.Title)
	assert.Equal(t, []publicLine{{"assistant", "answer", "Hello! What did you think of the pilot?"}}, v.Messages)

	p.do(step{Do: "say", Text: "It went well"}, nil)
	lines := p.untilLines(3)
	assert.Equal(t, publicLine{"user", "page", "It went well"}, lines[1])
	assert.Equal(t, [2]string{"assistant", "answer"}, [2]string{lines[2].Role, lines[2].Via})
	assert.NotContains(t, lines[2].Content, "[object")

	p.do(step{Do: "click", Text: "listen"}, nil)
	p.until("the stream", func(v publicView) bool { return v.State == "connected to Ada" })
	visitor := &proxytest.Visitor{Base: base}
	p.do(step{Do: "token"}, &visitor.Token)
	reply, err := visitor.Send(t.Context(), "From my other window", "")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, reply.Status, reply.Body)
	lines = p.untilLines(5)
	assert.Equal(t, []publicLine{
		{"user", "stream", "From my other window"}, {"assistant", "stream", reply.Body["response"].(string)},
	}, lines[3:], "what was there before the stream is not told again")

	p.do(step{Do: "say", Text: "And once more"}, nil)
	p.untilLines(7)
	reply, err = visitor.Send(t.Context(), "Each of them once", "")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, reply.Status, reply.Body)
	lines = p.untilLines(9)
	assert.Equal(t, "Each of them once", lines[7].Content)

	p.do(step{Do: "click", Text: "end"}, nil)
	v = p.until("the end", func(v publicView) bool { return v.State == "ended: completed" })
	assert.Empty(t, v.Error)
	var complaints []string
	p.do(step{Do: "complained"}, &complaints)
	assert.Empty(t, complaints)
}
