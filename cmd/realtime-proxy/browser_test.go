package main_test

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/proxytest"
)

const scripts = "../../testdata/e2e"

// The tabs of browser.mjs, with the sizes of their windows.
const (
	phone = "phone"
	desk  = "desk"
)

var (
	tabs        = []string{phone, desk}
	windowSizes = map[string][2]int{phone: {390, 844}, desk: {1280, 800}}
)

// outage outlasts the 3 s after which a browser's EventSource tries again by itself.
const outage = 5 * time.Second

// What a console may say while the network is away, behind the name of the tab; at any other time it may say nothing.
var networkFailure = regexp.MustCompile(
	`^(phone|desk): Failed to load resource: net::ERR_(CONNECTION_RESET|SOCKET_NOT_CONNECTED)$`)

func TestChatPageInChromium(t *testing.T) {
	c := openChat(t)
	greeting := c.history(1)
	require.Equal(t, "assistant", greeting[0].Role)
	for _, tab := range tabs {
		c.shows(tab, greeting)
		c.picture(tab, "greeting")
	}
	c.streams(2)

	c.say(phone, "Hello from the phone")
	c.shows(desk, c.history(3))
	c.shows(phone, c.history(3))
	for _, tab := range tabs {
		c.picture(tab, "conversation")
	}
	assert.Empty(t, c.complaints())

	// The row of this message is stored, its answer is still to come.
	c.say(phone, "Sent as the line went dead")
	c.until(desk, "the phone's message is there", func(v view) bool { return v.newest().Content == "Sent as the line went dead" })
	c.relay.cut()
	over := time.NewTimer(outage)
	defer over.Stop()
	c.streams(0) // the proxy notices that both are gone
	reply, err := c.visitor.Send(t.Context(), "Thank you, from somewhere else", "")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, reply.Status, reply.Body)
	c.until(phone, "the loss is told", func(v view) bool { return v.State == "Offline" })
	c.say(phone, "Written in the tunnel")
	for _, tab := range tabs {
		v := c.until(tab, "the loss is told", func(v view) bool { return v.State == "Offline" && v.Notice != "" })
		assert.NotContains(t, v.spoken(), "user: Thank you, from somewhere else")
		assert.True(t, v.Writable, "a draft can be written while the network is away")
		c.picture(tab, "away")
	}
	<-over.C
	assert.Positive(t, c.relay.refusals(), "the pages tried to come back")
	c.relay.mend()

	back := c.history(9)
	assert.Equal(t, []string{
		"Hello from the phone", "Sent as the line went dead", "Thank you, from somewhere else", "Written in the tunnel",
	}, said(back))
	for _, tab := range tabs {
		c.shows(tab, back)
	}
	for _, complaint := range c.complaints() {
		assert.Regexp(t, networkFailure, complaint)
	}

	// What a further message finds in both tabs also proves that nothing else came after the messages missed.
	c.say(desk, "We are back, are you?")
	all := c.history(11)
	for _, tab := range tabs {
		v := c.shows(tab, all)
		assert.Empty(t, v.Notice)
		c.picture(tab, "back")
	}
	c.streams(2)
	assert.Empty(t, c.complaints())
}

func TestChatPageKeepsTheConversationOverAReload(t *testing.T) {
	c := openChat(t)
	c.say(desk, "Keep this, please")
	before := c.history(3)
	for _, tab := range tabs {
		c.shows(tab, before)
		c.do(step{Do: "reload", Tab: tab}, nil)
		v := c.shows(tab, before)
		assert.NotContains(t, v.URL, c.visitor.Token)
		c.picture(tab, "reloaded")
	}
	c.say(phone, "And one more")
	c.shows(desk, c.history(5))
	c.shows(phone, c.history(5))
	assert.Empty(t, c.complaints())
}

func TestChatPageSaysThatTheSessionHasEnded(t *testing.T) {
	c := openChat(t)
	greeting := c.history(1)
	for _, tab := range tabs {
		c.shows(tab, greeting)
	}
	reply, err := c.visitor.Post(t.Context(), "/functions/v1/temporary-chat-api/end-session", map[string]any{"session_token": c.visitor.Token})
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, reply.Status, reply.Body)
	for _, tab := range tabs {
		v := c.until(tab, "the end is told", func(v view) bool { return v.Closed != "" })
		assert.Equal(t, "This chat has ended", v.Closed)
		assert.Equal(t, "Ended", v.State)
		assert.False(t, v.Writable, "nothing can be written any more")
		assert.Equal(t, spoken(greeting), v.spoken(), "what was said stays readable")
		c.picture(tab, "ended")
	}
	c.streams(0)
	assert.Empty(t, c.complaints())

	c.do(step{Do: "reload", Tab: desk}, nil)
	c.do(step{Do: "open", Tab: phone, URL: c.relay.url() + "/chat#token=" + c.visitor.Token}, nil)
	for _, tab := range tabs {
		v := c.until(tab, "the end is told again", func(v view) bool { return v.Blank != "" })
		assert.Equal(t, "This chat has ended", v.Blank)
		assert.Equal(t, "Ended", v.State)
		assert.False(t, v.Writable)
		assert.Empty(t, v.Messages, "what was said in a session that is over is not given out again")
		c.picture(tab, "over")
	}
	for _, complaint := range c.complaints() {
		assert.Equal(t, "phone: Failed to load resource: the server responded with a status of 410 (Gone)", complaint)
	}
}

// chat is the chat page of dev in two tabs, with a relay between them and the visitor port.
type chat struct {
	*browser
	relay   *relay
	visitor *proxytest.Visitor // past the relay
	process *child
}

func openChat(t *testing.T) *chat {
	t.Helper()
	b := openBrowser(t)
	process, base, token := spawnDev(t)
	c := &chat{b, newRelay(t, strings.TrimPrefix(base, "http://")), &proxytest.Visitor{Base: base, Token: token}, process}
	for _, tab := range tabs {
		c.do(step{Do: "open", Tab: tab, URL: c.relay.url() + "/chat#token=" + token}, nil)
		v := c.until(tab, "the page is live", func(v view) bool { return v.State == "Online" })
		assert.Equal(t, c.relay.url()+"/chat", v.URL, "the address bar does not keep the token")
	}
	return c
}

// history is what the proxy has stored, once that is n messages.
func (c *chat) history(n int) (messages []proxytest.Message) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		reply, err := c.visitor.Poll(c.t.Context(), "", 100, 0)
		if err == nil {
			messages = reply.Messages
		}
		return len(messages) >= n
	}, 30*time.Second, 50*time.Millisecond, "%d messages are stored", n)
	require.Len(c.t, messages, n)
	return messages
}

// shows waits until a tab is live and shows as many messages, and compares them: each once, in order, all delivered.
func (c *chat) shows(tab string, messages []proxytest.Message) view {
	c.t.Helper()
	undelivered := func(m shown) bool { return m.Pending || m.Failed }
	v := c.until(tab, fmt.Sprintf("%d delivered messages and a live connection", len(messages)), func(v view) bool {
		return v.State == "Online" && len(v.Messages) >= len(messages) && !v.Answering && !slices.ContainsFunc(v.Messages, undelivered)
	})
	require.Equal(c.t, spoken(messages), v.spoken(), tab)
	assert.True(c.t, v.Writable && v.NewestInView, "%s: %+v", tab, v)
	assert.Zero(c.t, v.Overflow, "%s scrolls sideways", tab)
	return v
}

var (
	metricsLine = regexp.MustCompile(`http://(\S+)/metrics`)
	streamsLine = regexp.MustCompile(`(?m)^realtime_proxy_transport_streams\{transport="sse"\} (\d+)$`)
)

// streams waits until the proxy says that it has n event streams.
func (c *chat) streams(n int) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return c.openStreams() == n }, 30*time.Second, 20*time.Millisecond, "%d open streams", n)
}

// openStreams is -1 while the proxy does not tell.
func (c *chat) openStreams() int {
	at := metricsLine.FindString(c.process.output())
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(at)
	if err != nil {
		return -1
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	line := streamsLine.FindSubmatch(body)
	if err != nil || line == nil {
		return -1
	}
	n, err := strconv.Atoi(string(line[1]))
	if err != nil {
		return -1
	}
	return n
}

// view is what a tab shows, as browser.mjs reports it.
type view struct {
	URL          string  `json:"url"`
	State        string  `json:"state"`
	Notice       string  `json:"notice"`
	Closed       string  `json:"closed"`
	Blank        string  `json:"blank"` // title of what stands in place of messages
	Writable     bool    `json:"writable"`
	Answering    bool    `json:"answering"`
	NewestInView bool    `json:"newestInView"`
	Overflow     int     `json:"overflow"` // pixels
	Messages     []shown `json:"messages"`
}

type shown struct {
	Role    string `json:"role"`
	Content string `json:"content"`
	Pending bool   `json:"pending"`
	Failed  bool   `json:"failed"`
}

func (v view) newest() shown {
	if len(v.Messages) == 0 {
		return shown{}
	}
	return v.Messages[len(v.Messages)-1]
}

func (v view) spoken() (lines []string) {
	for _, m := range v.Messages {
		lines = append(lines, m.Role+": "+m.Content)
	}
	return lines
}

func spoken(messages []proxytest.Message) (lines []string) {
	for _, m := range messages {
		lines = append(lines, m.Role+": "+m.Content)
	}
	return lines
}

// said are the visitors' own.
func said(messages []proxytest.Message) (texts []string) {
	for _, m := range messages {
		if m.Role == "user" {
			texts = append(texts, m.Content)
		}
	}
	return texts
}
