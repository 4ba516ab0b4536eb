package transport_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// value returns one sample of the rig's transport; labels are name, value pairs. It fails when there is none.
func (g *rig) value(name string, labels ...string) float64 {
	g.t.Helper()
	return g.sample("transport_"+name, labels...)
}

// sample is value for any part.
func (g *rig) sample(name string, labels ...string) float64 {
	g.t.Helper()
	families, err := g.registry.Gather()
	require.NoError(g.t, err)
	for _, family := range families {
		if family.GetName() != "realtime_proxy_"+name {
			continue
		}
		for _, m := range family.GetMetric() {
			matching := 0
			for _, pair := range m.GetLabel() {
				for i := 0; i+1 < len(labels); i += 2 {
					if pair.GetName() == labels[i] && pair.GetValue() == labels[i+1] {
						matching++
					}
				}
			}
			if 2*matching == len(labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	require.Fail(g.t, "no sample", "%s %v", name, labels)
	return 0
}

func TestMetricsCountStreamsAndTheirEnds(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	for _, why := range chat.Disconnects() {
		assert.Zero(t, g.value("streams_ended_total", "transport", "sse", "reason", why.Code), "exists from the start")
	}
	events := g.openEvents(base + eventsPath)
	events.must()
	events.must()
	p := g.dial(base, socketPath, nil)
	p.authenticated()
	assert.EqualValues(t, 1, g.value("streams", "transport", "sse"))
	assert.EqualValues(t, 1, g.value("streams", "transport", "websocket"))
	g.publish(1)
	events.must()
	p.next()
	g.endSession()
	events.must()
	events.close()
	p.closed()
	require.NoError(t, p.conn.Close())
	g.tracked.Wait()
	g.stop()
	for _, transport := range []string{"sse", "websocket"} {
		assert.Zero(t, g.value("streams", "transport", transport))
		assert.EqualValues(t, 1, g.value("streams_opened_total", "transport", transport))
		assert.EqualValues(t, 1, g.value("events_written_total", "transport", transport))
		assert.EqualValues(t, 1, g.value("streams_ended_total", "transport", transport, "reason", "session_ended"))
		assert.Greater(t, g.value("written_bytes_total", "transport", transport), 500.0)
	}
}

func TestMetricsCountRefusals(t *testing.T) {
	g := newRig(t, nil)
	w := httptest.NewRecorder()
	g.server.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/temporary-chat-events?session_token=x", nil))
	assert.EqualValues(t, 1, g.value("refusals_total", "status", "401"))
	assert.True(t, strings.HasPrefix(w.Header().Get("Content-Type"), "application/json"))
}
