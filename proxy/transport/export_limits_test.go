package transport

import (
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

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
func (p Place) Release()                          { p.l.release() }

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
