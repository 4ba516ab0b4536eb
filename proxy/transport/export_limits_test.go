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

func (l Limits) Failed(addr netip.Addr)               { l.l.noteFailure(addr) }
func (l Limits) MayTry(addr netip.Addr) *chat.Refusal { return l.l.mayTry(addr) }

// Remembered is how many addresses have failures, and how many entries all maps have.
func (l Limits) Remembered() (failed, entries int) {
	return len(l.l.failed), len(l.l.failed) + l.l.tallies.Len() + len(l.l.addresses) + len(l.l.sessions) + l.l.nobodies.Len()
}
