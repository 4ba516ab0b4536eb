package transport_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/transport"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

func TestLimitsOfMessagesAreCounted(t *testing.T) {
	g := newSendRig(t, 200, sent, func(o *transport.Options) { o.MessagesPerMinute, o.MaxMessageLength = 1, 10 })
	count := func(limit string) float64 { return g.value("limits_reached_total", "limit", limit) }
	for _, limit := range []string{"body_bytes", "message_max_length", "messages_per_minute"} {
		assert.Zero(t, count(limit), limit)
	}
	assert.Equal(t, 413, do(g.rig, "POST", sendPath, message(strings.Repeat("a", 70_000))).Code)
	assert.EqualValues(t, 1, count("body_bytes"))
	assert.Equal(t, 400, do(g.rig, "POST", sendPath, message(strings.Repeat("a", 11))).Code)
	assert.EqualValues(t, 1, count("message_max_length"))
	assert.Equal(t, 200, do(g.rig, "POST", sendPath, message("a")).Code)
	assert.Equal(t, 429, do(g.rig, "POST", sendPath, message("b")).Code)
	assert.EqualValues(t, 1, count("messages_per_minute"))
}

func TestLimitOfASessionsMessagesIsCounted(t *testing.T) {
	g := newSendRig(t, 200, sent, nil)
	stored := 5
	limitedTo(g, 5, &stored)
	assert.Equal(t, 429, do(g.rig, "POST", sendPath, message("a")).Code)
	assert.EqualValues(t, 1, g.value("limits_reached_total", "limit", "max_messages_per_session"))
}

func TestSocketWithTooManyFramesIsCountedAndToldWhenToComeBack(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.FramesPerSecond = 1 })
	p := g.dial(g.serve(), socketPath, nil)
	p.authenticated()
	for range 3 {
		p.send(`{"type":"ping"}`)
	}
	code, _, before := p.closed()
	assert.Equal(t, 4429, code)
	assert.Equal(t, `{"type":"error","code":"limit_reached","message":"Too many messages per second","retry_after":1}`, before[len(before)-1])
	assert.EqualValues(t, 1, g.value("limits_reached_total", "limit", "frames_per_second"))
}

func TestRealtimeSocketWithTooManyFramesIsCounted(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.FramesPerSecond = 1 })
	c := g.realtime(g.serve(), phoenix.V2)
	for range 3 {
		c.push("", "phoenix", phoenix.EventHeartbeat, `{}`)
	}
	code, _, _ := c.closed()
	assert.Equal(t, websocket.CloseGoingAway, code)
	assert.EqualValues(t, 1, g.value("limits_reached_total", "limit", "frames_per_second"))
}

func TestARealtimeSocketThatProvedNoSessionMakesRoom(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.Connections = 2 })
	base := g.serve()
	silent, visitor := g.realtime(base, phoenix.V2), g.realtime(base, phoenix.V2)
	visitor.live(frontTopic, frontBinding)
	assert.Eventually(t, func() bool { // for its first second it may stay
		conn, res, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(base, "http")+frontPath+"?vsn=2.0.0", nil)
		if res != nil {
			_ = res.Body.Close()
		}
		if err != nil {
			return false
		}
		t.Cleanup(func() { _ = conn.Close() })
		return true
	}, 10*time.Second, 50*time.Millisecond)
	code, _, _ := silent.closed()
	assert.Equal(t, websocket.CloseGoingAway, code)
	g.publish(1)
	visitor.change(frontTopic)
}

// counted asserts how often each of these limits was reached, and that no other limit of connections and tokens was.
func counted(t *testing.T, g *rig, want map[string]float64) {
	t.Helper()
	for _, limit := range []string{
		"connections", "connections_per_address", "connections_per_session", "new_connections_per_second", "failed_tokens_per_minute",
	} {
		assert.Equal(t, want[limit], g.value("limits_reached_total", "limit", limit), limit)
	}
}

func TestLimitsOfConnectionsAreCountedByTheirNames(t *testing.T) {
	for limit, change := range map[string]func(*transport.Options){
		"connections":             func(o *transport.Options) { o.Connections = 1 },
		"connections_per_address": func(o *transport.Options) { o.ConnectionsPerAddress = 1 },
		"connections_per_session": func(o *transport.Options) { o.ConnectionsPerSession = 1 },
	} {
		for _, path := range []string{eventsPath, pollPath + "?session_token=" + rigToken} {
			t.Run(limit+" "+path[:len("/temporary-chat-events")], func(t *testing.T) {
				g := newRig(t, change)
				base := g.serve()
				first := g.openEvents(base + eventsPath)
				first.must()
				res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(base + path)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				assert.Equal(t, http.StatusTooManyRequests, res.StatusCode)
				counted(t, g, map[string]float64{limit: 1})
			})
		}
	}
}

func TestFailedTokensAreCountedByTheirName(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.FailedTokensPerMinute = 1 })
	for _, status := range []int{401, 429} {
		assert.Equal(t, status, do(g, "GET", "/temporary-chat-events?session_token=wrong", "").Code)
	}
	counted(t, g, map[string]float64{"failed_tokens_per_minute": 1})
}

func TestASocketThatProvedNoSessionMakesRoom(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.Connections = 2 })
	base := g.serve()
	silent, visitor := g.dial(base, socketPath, nil), g.dial(base, socketPath, nil)
	visitor.authenticated()
	assert.Eventually(t, func() bool { // for its first second it may stay
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(base + pollPath + "?session_token=" + otherToken)
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	}, 10*time.Second, 50*time.Millisecond)
	code, _, before := silent.closed()
	assert.Equal(t, 4429, code)
	assert.Contains(t, before[0], `"code":"limit_reached"`)
	g.publish(1)
	assert.Contains(t, visitor.next(), `"row-1"`)
}

func TestWhatLimitsRememberIsBounded(t *testing.T) {
	assert.Equal(t, 10_000, transport.BucketsAfter(20_000))
	assert.Equal(t, 10_000, transport.QuotasAfter(20_000))
}

// inPieces is a text message in so many pieces, the last of which is the end of its text.
func inPieces(n int, piece, last string) []byte {
	frame := func(head byte, text string) []byte {
		return append([]byte{head, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...) // with a mask of zeros
	}
	message := frame(0x01, "")
	for range n {
		message = append(message, frame(0x00, piece)...)
	}
	return append(message, frame(0x80, last)...)
}

func TestMessageInTooManyPiecesIsCounted(t *testing.T) {
	write := func(conn *websocket.Conn, message []byte) {
		go func() { _, _ = conn.NetConn().Write(message) }() // ends with the connection at the latest
	}
	for name, tt := range map[string]struct {
		message []byte
		counted int
	}{
		"empty ones":        {inPieces(100_000, "", "{}"), 1},
		"some empty ones":   {inPieces(100, "", `{"type":"ping"}`), 0},
		"of eight bytes":    {inPieces(1500, "        ", `{"type":"ping"}`), 0},
		"of the whole size": {inPieces(1, strings.Repeat(" ", 120), `{"type":"ping"}`), 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, nil)
			p := g.dial(g.serve(), socketPath, nil)
			p.authenticated()
			write(p.conn, tt.message)
			if tt.counted == 0 {
				assert.Contains(t, p.next(), `"pong"`)
			} else {
				code, _, before := p.closed()
				assert.Equal(t, 4429, code)
				assert.Contains(t, before[len(before)-1], `"limit_reached"`)
			}
			assert.EqualValues(t, tt.counted, g.value("limits_reached_total", "limit", "frames_per_second"))
		})
	}
	t.Run("to the Realtime front", func(t *testing.T) {
		g := newRig(t, nil)
		c := g.realtime(g.serve(), phoenix.V2)
		write(c.conn, inPieces(100_000, "", "[]"))
		code, _, _ := c.closed()
		assert.Equal(t, websocket.CloseGoingAway, code)
		assert.EqualValues(t, 1, g.value("limits_reached_total", "limit", "frames_per_second"))
	})
}
