package feed

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	changes, recovered, refusals, repairs, missing, replacements prometheus.Counter
	reads, suspects                                              *prometheus.CounterVec
	states                                                       *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	if r == nil {
		r = prometheus.NewRegistry() // counts for nobody
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "realtime_proxy", Subsystem: "feed", Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	m := &metrics{
		changes:      counter("changes_total", "Changes of the messages table received over Realtime."),
		recovered:    counter("recovered_total", "Events made by rows that were read back."),
		refusals:     counter("withheld_total", "Changes withheld by Realtime (errors 400 and 401). Must be 0."),
		repairs:      counter("repairs_total", "Rows that came incomplete and were read by id."),
		missing:      counter("missing_total", "Rows that reads found and the channel did not bring."),
		replacements: counter("replacements_total", "Fresh sockets that took over from one that was old or not believed."),
		suspects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "realtime_proxy", Subsystem: "feed", Name: "suspect_total", Help: "How often the messages channel was not believed.",
		}, []string{"reason"}),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "realtime_proxy", Subsystem: "feed", Name: "reads_total", Help: "Page reads of the messages table.",
		}, []string{"result"}),
		states: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "realtime_proxy", Subsystem: "feed", Name: "state", Help: "1 for the feed's state.",
		}, []string{"state"}),
	}
	r.MustRegister(m.reads, m.states, m.suspects)
	for _, reason := range reasons {
		m.suspects.WithLabelValues(reason)
	}
	m.reads.WithLabelValues("ok")
	m.reads.WithLabelValues("error")
	m.state(StateCatchingUp)
	return m
}

func (m *metrics) change()         { m.changes.Inc() }
func (m *metrics) refused()        { m.refusals.Inc() }
func (m *metrics) repair()         { m.repairs.Inc() }
func (m *metrics) suspect(e event) { m.suspects.WithLabelValues(reasons[e]).Inc() }
func (m *metrics) replace()        { m.replacements.Inc() }
func (m *metrics) missed(n int)    { m.missing.Add(float64(n)) }
func (m *metrics) recover(n int)   { m.recovered.Add(float64(n)) }

func (m *metrics) read(err error) {
	if err != nil {
		m.reads.WithLabelValues("error").Inc()
		return
	}
	m.reads.WithLabelValues("ok").Inc()
}

func (m *metrics) state(now string) {
	for _, s := range []string{StateLive, StateCatchingUp, StatePolling} {
		v := 0.0
		if s == now {
			v = 1
		}
		m.states.WithLabelValues(s).Set(v)
	}
}
