package chat

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what the hub does. A nil *Metrics counts nothing.
type Metrics struct {
	Events   *prometheus.CounterVec // by kind
	Hidden   prometheus.Counter
	Guarded  prometheus.Counter
	Dropped  prometheus.Counter
	LateRows prometheus.Counter
	Overflow prometheus.Counter
}

// NewMetrics registers the hub's metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "realtime_proxy", Subsystem: "hub", Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	m := &Metrics{
		Events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "realtime_proxy", Subsystem: "hub", Name: "events_total", Help: "Events published, by kind.",
		}, []string{"kind"}),
		Hidden:   counter("rows_hidden_total", "Rows of watched conversations that the rule hid."),
		Guarded:  counter("guard_refusals_total", "Events that the guard in front of a write refused. Must be 0."),
		Dropped:  counter("queue_items_dropped_total", "Queued items dropped when a stream ended."),
		LateRows: counter("late_rows_total", "Rows delivered live although created longer ago than the overlap."),
		Overflow: counter("hold_overflows_total", "Holds that grew too large and were replaced by a read."),
	}
	r.MustRegister(m.Events)
	for k := range kindNames {
		m.Events.WithLabelValues(Kind(k).String())
	}
	return m
}

func (m *Metrics) event(k Kind) {
	if m != nil {
		m.Events.WithLabelValues(k.String()).Inc()
	}
}

func (m *Metrics) hidden() {
	if m != nil {
		m.Hidden.Inc()
	}
}

func (m *Metrics) guarded() {
	if m != nil {
		m.Guarded.Inc()
	}
}

func (m *Metrics) dropped(n int) {
	if m != nil {
		m.Dropped.Add(float64(n))
	}
}

func (m *Metrics) late() {
	if m != nil {
		m.LateRows.Inc()
	}
}

func (m *Metrics) overflow() {
	if m != nil {
		m.Overflow.Inc()
	}
}
