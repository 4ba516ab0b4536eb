package session

import (
	"errors"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// Metrics counts what the authoriser does. A nil *Metrics counts nothing.
type Metrics struct {
	Authorizations *prometheus.CounterVec // by credential and result
	Validations    *prometheus.CounterVec // by result
	Reads          *prometheus.CounterVec // by table and result
	Endings        *prometheus.CounterVec // by reason
	Tracked        prometheus.Gauge
}

const (
	byToken  = "token"
	byTicket = "ticket"

	resultGranted  = "granted"
	resultCanceled = "canceled"
	resultValid    = "valid"
	resultInvalid  = "invalid"
	resultOK       = "ok"
	resultError    = "error"

	tableSessions = "sessions"
	tableLinks    = "links"
	tableAgents   = "agents"

	reasonUnavailable = "unavailable"
	reasonChanged     = "changed"
	reasonOther       = "other"
)

// countedReasons are the label values of Endings for sessions that are over; what the database says otherwise counts as other.
var countedReasons = []string{
	"completed", "terminated", "error", "max_messages", "max_duration", "manually_ended",
	reasonDeleted, reasonLinkDeleted, reasonLinkDeactivated, reasonExpired, reasonTimeout, reasonOther,
}

// NewMetrics registers the authoriser's metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "realtime_proxy", Subsystem: "session", Name: name, Help: help,
		}, labels)
		r.MustRegister(c)
		return c
	}
	m := &Metrics{
		Authorizations: vec("authorizations_total", "Credentials judged.", "credential", "result"),
		Validations:    vec("validations_total", "Calls of the validation function.", "result"),
		Reads:          vec("reads_total", "Batched row reads.", "table", "result"),
		Endings:        vec("endings_total", "Sessions with open streams that ended, or lost them.", "reason"),
		Tracked: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "realtime_proxy", Subsystem: "session", Name: "tracked", Help: "Sessions with open streams.",
		}),
	}
	r.MustRegister(m.Tracked)
	m.prepare()
	return m
}

func (m *Metrics) prepare() {
	refusals := []*chat.Refusal{chat.RefuseInvalid(nil), chat.RefuseEnded(nil), chat.RefuseUnavailable(0, nil)}
	for _, credential := range []string{byToken, byTicket} {
		for _, refusal := range refusals {
			m.Authorizations.WithLabelValues(credential, refusal.Code)
		}
		m.Authorizations.WithLabelValues(credential, resultGranted)
		m.Authorizations.WithLabelValues(credential, resultCanceled)
	}
	for _, result := range []string{resultValid, resultInvalid, resultError} {
		m.Validations.WithLabelValues(result)
	}
	for _, table := range []string{tableSessions, tableLinks, tableAgents} {
		m.Reads.WithLabelValues(table, resultOK)
		m.Reads.WithLabelValues(table, resultError)
	}
	for _, reason := range append(slices.Clone(countedReasons), reasonUnavailable, reasonChanged) {
		m.Endings.WithLabelValues(reason)
	}
}

func (m *Metrics) authorized(credential string, err error) {
	if m == nil {
		return
	}
	result := resultGranted
	if refusal, ok := errors.AsType[*chat.Refusal](err); ok {
		result = refusal.Code
	} else if err != nil {
		result = resultCanceled
	}
	m.Authorizations.WithLabelValues(credential, result).Inc()
}

func (m *Metrics) validated(valid bool, err error) {
	if m == nil {
		return
	}
	result := resultInvalid
	switch {
	case err != nil:
		result = resultError
	case valid:
		result = resultValid
	}
	m.Validations.WithLabelValues(result).Inc()
}

func (m *Metrics) read(table string, err error) {
	if m == nil {
		return
	}
	result := resultOK
	if err != nil {
		result = resultError
	}
	m.Reads.WithLabelValues(table, result).Inc()
}

func (m *Metrics) ended(e *Ending) {
	if m == nil {
		return
	}
	reason := e.EndReason
	switch {
	case e.Why == chat.SessionChanged:
		reason = reasonChanged
	case !e.final():
		reason = reasonUnavailable
	case !slices.Contains(countedReasons, reason):
		reason = reasonOther
	}
	m.Endings.WithLabelValues(reason).Inc()
}

func (m *Metrics) tracked(n int) {
	if m != nil {
		m.Tracked.Set(float64(n))
	}
}
