package transport

import (
	"net/netip"
	"sync"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	// maxTallies bounds the addresses whose failures are remembered.
	maxTallies = 10_000
	// tallyPeriod is what failures are counted over.
	tallyPeriod = time.Minute
	// crowdedRetry is when a place among the connections is worth another try.
	crowdedRetry = 10 * time.Second
)

// limits counts connections and failed credentials. Its maps hold only what is open or recent, so the limits bound them.
type limits struct {
	perSession, perAddress, total, failures int

	mu        sync.Mutex
	open      int
	addresses map[netip.Prefix]int
	sessions  map[string]int
	tallies   map[netip.Prefix]tally
}

type tally struct {
	count int
	ends  time.Time
}

func newLimits(o Options) *limits {
	return &limits{
		perSession: o.ConnectionsPerSession, perAddress: o.ConnectionsPerAddress, total: o.Connections,
		failures:  o.FailedTokensPerMinute,
		addresses: make(map[netip.Prefix]int),
		sessions:  make(map[string]int),
		tallies:   make(map[netip.Prefix]tally),
	}
}

// neighbourhood is what counts as one address: an IPv4 address or an IPv6 /64, which one customer holds whole.
func neighbourhood(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no IP address: all such share one count
	}
	return p
}

// lease is one connection's place in the counts.
type lease struct {
	limits  *limits
	address netip.Prefix
	session string
}

// enter takes a place of the process and of the address.
func (l *limits) enter(addr netip.Addr) (*lease, *chat.Refusal) {
	p := neighbourhood(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.total {
		return nil, chat.RefuseLimit("too_many_connections", "The service has too many connections", crowdedRetry)
	}
	if l.addresses[p] >= l.perAddress {
		return nil, chat.RefuseLimit("too_many_connections", "Too many connections from this address", crowdedRetry)
	}
	l.open++
	l.addresses[p]++
	return &lease{limits: l, address: p}, nil
}

// bind takes a place of the session as well.
func (l *lease) bind(session string) *chat.Refusal {
	l.limits.mu.Lock()
	defer l.limits.mu.Unlock()
	if l.limits.sessions[session] >= l.limits.perSession {
		return chat.RefuseLimit("too_many_connections", "Too many connections for this session", crowdedRetry)
	}
	l.limits.sessions[session]++
	l.session = session
	return nil
}

// release gives all places back. It is called once.
func (l *lease) release() {
	l.limits.mu.Lock()
	defer l.limits.mu.Unlock()
	l.limits.open--
	decrement(l.limits.addresses, l.address)
	if l.session != "" {
		decrement(l.limits.sessions, l.session)
	}
}

func decrement[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

// mayTry refuses an address that brought too many invalid credentials in the last minute.
func (l *limits) mayTry(addr netip.Addr) *chat.Refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, now := l.tallies[neighbourhood(addr)], time.Now()
	if t.count < l.failures || now.After(t.ends) {
		return nil
	}
	return chat.RefuseLimit("too_many_attempts", "Too many failed attempts", t.ends.Sub(now))
}

// failed notes an invalid credential.
func (l *limits) failed(addr netip.Addr) {
	p, now := neighbourhood(addr), time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	t, known := l.tallies[p]
	if !known && len(l.tallies) >= maxTallies {
		l.forget(now)
	}
	if !known || now.After(t.ends) {
		t = tally{ends: now.Add(tallyPeriod)}
	}
	t.count++
	l.tallies[p] = t
}

// forget drops the tallies that are over, or any one when none is.
func (l *limits) forget(now time.Time) {
	for p, t := range l.tallies {
		if now.After(t.ends) {
			delete(l.tallies, p)
		}
	}
	for p := range l.tallies {
		if len(l.tallies) < maxTallies {
			return
		}
		delete(l.tallies, p)
	}
}
