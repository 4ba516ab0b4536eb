package transport_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/transport"
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
