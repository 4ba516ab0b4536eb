package transport

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	transportSSE       = "sse"
	transportWebSocket = "websocket"
	transportRealtime  = "realtime"
)

// knownStatuses are the statuses of refusals that have a label value of their own.
var knownStatuses = []int{400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429, 500, 503}

// The limits that a visitor may reach, as label values.
const (
	limitProcess   = "connections"
	limitAddress   = "connections_per_address"
	limitSession   = "connections_per_session"
	limitNew       = "new_connections_per_second"
	limitFailures  = "failed_tokens_per_minute"
	limitTurns     = "authorize_per_second"
	limitFrames    = "frames_per_second"
	limitCasts     = "broadcasts_per_second"
	limitCalls     = "calls_per_second"
	limitHistories = "histories_per_second"
	limitBody      = "body_bytes"
	limitLength    = "message_max_length"
	limitMessages  = "messages_per_minute"
	limitTotal     = "max_messages_per_session"
)

// limitNames are all of them.
var limitNames = []string{
	limitProcess, limitAddress, limitSession, limitNew, limitFailures, limitTurns, limitFrames, limitCasts, limitCalls, limitHistories,
	limitBody, limitLength, limitMessages, limitTotal,
}

// metrics counts what happens on the wire. Every label value exists from the start.
type metrics struct {
	open     *prometheus.GaugeVec   // by transport
	opened   *prometheus.CounterVec // by transport
	ended    *prometheus.CounterVec // by transport, reason
	refusals *prometheus.CounterVec // by status
	limits   *prometheus.CounterVec // by limit
	events   *prometheus.CounterVec // by transport
	writes   *prometheus.CounterVec // by transport
	bytes    *prometheus.CounterVec // by transport
}

func newMetrics(r prometheus.Registerer) *metrics {
	if r == nil {
		r = prometheus.NewRegistry()
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "realtime_proxy", Subsystem: "transport", Name: name, Help: help,
		}, labels)
		r.MustRegister(c)
		return c
	}
	m := &metrics{
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "realtime_proxy", Subsystem: "transport", Name: "streams", Help: "Open streams.",
		}, []string{"transport"}),
		opened:   counter("streams_opened_total", "Streams opened.", "transport"),
		ended:    counter("streams_ended_total", "Streams ended, by reason.", "transport", "reason"),
		refusals: counter("refusals_total", "Requests refused, by HTTP status.", "status"),
		limits:   counter("limits_reached_total", "What was refused or ended because of a limit, by its name in the configuration.", "limit"),
		events:   counter("events_written_total", "Events written to streams.", "transport"),
		writes:   counter("writes_total", "Writes to streams' connections.", "transport"),
		bytes:    counter("written_bytes_total", "Bytes written to streams' connections.", "transport"),
	}
	r.MustRegister(m.open)
	for _, t := range []string{transportSSE, transportWebSocket, transportRealtime} {
		for _, c := range []*prometheus.CounterVec{m.opened, m.events, m.writes, m.bytes} {
			c.WithLabelValues(t)
		}
		m.open.WithLabelValues(t)
		for _, d := range chat.Disconnects() {
			m.ended.WithLabelValues(t, d.Code)
		}
	}
	for _, status := range knownStatuses {
		m.refusals.WithLabelValues(strconv.Itoa(status))
	}
	m.refusals.WithLabelValues("other")
	for _, limit := range limitNames {
		m.limits.WithLabelValues(limit)
	}
	return m
}

// wireMetrics are the counters of one transport, looked up once.
type wireMetrics struct {
	transport                     string
	open                          prometheus.Gauge
	opened, events, writes, bytes prometheus.Counter
	ended                         *prometheus.CounterVec
}

func (m *metrics) of(transport string) *wireMetrics {
	return &wireMetrics{
		transport: transport,
		open:      m.open.WithLabelValues(transport),
		opened:    m.opened.WithLabelValues(transport),
		events:    m.events.WithLabelValues(transport),
		writes:    m.writes.WithLabelValues(transport),
		bytes:     m.bytes.WithLabelValues(transport),
		ended:     m.ended,
	}
}

func (w *wireMetrics) start() {
	w.opened.Inc()
	w.open.Inc()
}

func (w *wireMetrics) end(why *chat.Disconnect) {
	w.open.Dec()
	w.ended.WithLabelValues(w.transport, why.Code).Inc()
}

func (m *metrics) refused(status int) {
	for _, known := range knownStatuses {
		if status == known {
			m.refusals.WithLabelValues(strconv.Itoa(status)).Inc()
			return
		}
	}
	m.refusals.WithLabelValues("other").Inc()
}
