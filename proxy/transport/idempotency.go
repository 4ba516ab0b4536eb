package transport

import (
	"container/list"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	// maxAttempts and maxAttemptBytes bound the finished sends whose answers are kept.
	maxAttempts     = 10_000
	maxAttemptBytes = 16 << 20
	// maxRunning bounds the sends of the process that are being answered.
	maxRunning = 2_000
)

// sends is what sending remembers: who sends how often, and which messages were sent. Its mutex is a leaf: nothing is called under it.
type sends struct {
	metrics  sendMetrics
	forwards chan struct{} // one for each forwarded call under way

	mu       sync.Mutex
	rates    rates
	running  int
	attempts map[sendKey]*attempt // running and finished
	finished list.List            // of *attempt, last used first
	bytes    int
}

// sendKey names a message of a session. Sends without a client message id have none and are not remembered.
type sendKey struct{ session, client string }

// attempt is one message on its way, and then its outcome.
type attempt struct {
	key   sendKey
	print [sha256.Size]byte // of the text
	// known is closed when the id of the visitor's row is known or the attempt is over, done when it is over.
	known, done chan struct{}
	asking      chan struct{} // held by the repeat that looks into the table

	// Guarded by sends.mu; outcome does not change once done is closed.
	isKnown   bool
	messageID string
	outcome   outcome
	place     *list.Element // in finished
}

// outcome is what a send came to: a reply or a failure.
type outcome struct {
	reply   *sendReply
	failure *failure
	// stored says that the visitor's row exists, so that sending again would store another.
	stored bool
	// effect says what of that is this send's doing.
	effect rowEffect
}

func (o *outcome) size() int {
	n := 256
	if o.reply != nil {
		n += len(o.reply.body)
	}
	return n
}

type sendMetrics struct {
	sends   *prometheus.CounterVec // by result
	replies *prometheus.CounterVec // by kind
}

func newSends(o *Options) *sends {
	s := &sends{
		metrics: newSendMetrics(o.Registerer), forwards: make(chan struct{}, maxForwards),
		rates: newRates(), attempts: make(map[sendKey]*attempt),
	}
	s.finished.Init()
	return s
}

func newSendMetrics(r prometheus.Registerer) sendMetrics {
	if r == nil {
		r = prometheus.NewRegistry()
	}
	counter := func(name, help, label string, values ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "realtime_proxy", Subsystem: "transport", Name: name, Help: help,
		}, []string{label})
		r.MustRegister(c)
		for _, value := range values {
			c.WithLabelValues(value)
		}
		return c
	}
	return sendMetrics{
		sends:   counter("sends_total", "Visitors' messages, by what came of them.", "result", statusSent, statusAccepted, "failed"),
		replies: counter("replies_total", "Agents' replies to sends, by whether a row holds them.", "kind", "stored", "unstored"),
	}
}

func (m *sendMetrics) finished(o *outcome) {
	result := "failed"
	if o.reply != nil {
		result = o.reply.Status
	}
	m.sends.WithLabelValues(result).Inc()
}

// begin enters a message. first says that the caller sends it and must call finish; otherwise somebody does or did.
func (s *sends) begin(key sendKey, text string) (a *attempt, first bool, ref *chat.Refusal) {
	print := sha256.Sum256([]byte(text))
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.attempts[key]; ok {
		if a.print != print {
			return nil, false, refuseRequest(http.StatusUnprocessableEntity, "client_message_id_reused",
				"Another message was sent with this clientMessageId")
		}
		if a.place != nil {
			s.finished.MoveToFront(a.place)
		}
		return a, false, nil
	}
	if s.running >= maxRunning {
		return nil, false, chat.RefuseUnavailable(5*time.Second, errTooManySends)
	}
	s.running++
	a = &attempt{key: key, print: print, known: make(chan struct{}), done: make(chan struct{}), asking: make(chan struct{}, 1)}
	if key.client != "" {
		s.attempts[key] = a
	}
	return a, true, nil
}

// finish ends an attempt. One that stored nothing is forgotten and may be made again.
func (s *sends) finish(a *attempt, o outcome) {
	s.metrics.finished(&o)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	a.outcome = o
	if o.reply != nil {
		a.messageID = o.reply.MessageID
	}
	switch {
	case a.key.client == "":
	case o.stored:
		a.place = s.finished.PushFront(a)
		s.bytes += o.size()
		s.forgetLocked()
	default:
		delete(s.attempts, a.key)
	}
	if !a.isKnown {
		a.isKnown = true
		close(a.known)
	}
	close(a.done)
}

func (s *sends) forgetLocked() {
	for s.finished.Len() > maxAttempts || s.bytes > maxAttemptBytes {
		a := s.finished.Remove(s.finished.Back()).(*attempt)
		s.bytes -= a.outcome.size()
		delete(s.attempts, a.key)
	}
}

// observed notes the id of the row of a message that is being sent.
func (s *sends) observed(key sendKey, messageID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.attempts[key]; ok && !a.isKnown {
		a.isKnown, a.messageID = true, messageID
		close(a.known)
	}
}

// messageID is "" while the row of the message is not known.
func (s *sends) messageID(a *attempt) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return a.messageID
}

// result returns what an attempt came to, if it is over.
func (s *sends) result(a *attempt) (o outcome, over bool) {
	select {
	case <-a.done:
		return a.outcome, true
	default:
		return outcome{}, false
	}
}

// take counts a message of a session against its limit for a minute.
func (s *sends) take(session string, limit int) (current int, wait time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rates.take(session, limit, time.Now())
}

// Observed is told of each new row of a visitor that carries a client message id, so that a repeat of a send that is still being
// answered can be confirmed. It does not block and may be called under the hub's locks.
func (s *Server) Observed(sessionID, clientMessageID, messageID string) {
	s.sends.observed(sendKey{sessionID, clientMessageID}, messageID)
}
