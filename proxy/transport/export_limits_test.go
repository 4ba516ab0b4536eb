package transport

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// Limits gives tests the counts of connections and failures.
type Limits struct{ l *limits }

func NewLimits(o Options) Limits {
	o.completeNumbers()
	o.Rand = func() float64 { return 0 }
	return Limits{newLimits(o, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "limits"}, []string{"limit"}))}
}

// Place is one connection's.
type Place struct{ l *lease }

func (l Limits) Enter(addr netip.Addr) (Place, *chat.Refusal) {
	place, ref := l.l.enter(addr)
	return Place{place}, ref
}

func (p Place) Evictable(evict func())            { p.l.evictable(evict) }
func (p Place) Bind(session string) *chat.Refusal { return p.l.bind(session) }
func (p Place) Unbind(session string)             { p.l.unbind(session) }
func (p Place) Release()                          { p.l.release() }

// Reached is how often a limit was.
func (l Limits) Reached(limit string) float64 {
	return testutil.ToFloat64(l.l.reached.WithLabelValues(limit))
}

// Remembered is how many entries all maps have.
func (l Limits) Remembered() int { return len(l.l.addresses) + len(l.l.sessions) + l.l.nobodies.Len() }

// Tries gives tests the tries of addresses.
type Tries struct{ t *tries }

func NewTries(perMinute int) Tries {
	o := Options{FailedTokensPerMinute: perMinute, Rand: func() float64 { return 0 }}
	return Tries{newTries(&o, prometheus.NewCounter(prometheus.CounterOpts{Name: "tries"}))}
}

func (t Tries) Of(addr netip.Addr) chat.Try        { return t.t.of(addr) }
func (t Tries) Fail(addr netip.Addr) *chat.Refusal { return t.t.fail(addr) }
func (t Tries) Remembered() (failed, crowds int) {
	return len(t.t.failed) + t.t.tallies.Len(), len(t.t.crowds)
}

// KnownLinksAfter remembers n link tokens and tells how many stayed, and whether the first and the last did.
func KnownLinksAfter(n int) (kept int, first, last bool) {
	k := newKnownLinks()
	name := func(i int) chat.Token { return chat.Token(strconv.Itoa(i)) }
	for i := range n {
		k.put(name(i), "")
	}
	return len(k.entries), k.good(name(0)), k.good(name(n - 1))
}

// BucketsAfter counts once for each of n sessions and tells how many are remembered.
func BucketsAfter(n int) int {
	b := newBuckets[int]()
	for i := range n {
		b.take(i, 1, 1, time.Time{})
	}
	return len(b.known)
}

// QuotasAfter asks for the quotas of n sessions and tells how many are remembered.
func QuotasAfter(n int) int {
	q := newQuotas()
	for i := range n {
		q.of(strconv.Itoa(i))
	}
	return len(q.sessions)
}

// Lingering is how many sockets that were turned away are waited for.
func (s *Server) Lingering() int { return int(s.lingering.Load()) }
