package transport

import (
	"container/list"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	// crowdedRetry is when a place among the connections is worth another try.
	crowdedRetry = 10 * time.Second
	// rushedRetry is when a new connection is worth another try where too many came at once; up to as much again is added at random.
	rushedRetry = time.Second
	// nobodyAfter is the age at which a connection that has proved nothing has to make room for others.
	nobodyAfter = time.Second
)

// limits counts connections. Its maps hold only what is open, so the limits bound them.
type limits struct {
	perSession, perAddress, total, perSecond int

	reached *prometheus.CounterVec // by limit
	rand    func() float64

	mu        sync.Mutex
	open      int
	addresses map[netip.Prefix]int
	sessions  map[string]int
	nobodies  *list.List // of *lease: open, unproved and with a way to end them, the oldest first
	fresh     bucket
}

func newLimits(o Options, reached *prometheus.CounterVec) *limits {
	return &limits{
		perSession: o.ConnectionsPerSession, perAddress: o.ConnectionsPerAddress, total: o.Connections,
		perSecond: o.NewConnectionsPerSecond,
		reached:   reached, rand: o.Rand,
		addresses: make(map[netip.Prefix]int),
		sessions:  make(map[string]int),
		nobodies:  list.New(),
	}
}

// refuse counts a limit that was reached.
func (l *limits) refuse(limit, code, message string, retryAfter time.Duration) *chat.Refusal {
	l.reached.WithLabelValues(limit).Inc()
	return chat.RefuseLimit(code, message, retryAfter)
}

// lease is one connection's place in the counts.
type lease struct {
	limits  *limits
	address netip.Prefix
	brief   bool // one request, not a connection that stays; set before bind

	// Guarded by limits.mu.
	sessions []bound // each counts this connection once
	begun    bool    // a session was bound
	released bool
	since    time.Time
	evict    func()        // ends the connection; nil where it cannot be ended from outside
	nobody   *list.Element // in limits.nobodies
}

// bound is a session that a connection serves, so many times: in channels.
type bound struct {
	session string
	times   int
}

// enter takes a place of the process and of the address. Where the process has none left, the connection that has been open the
// longest without proving a session gives its own.
func (l *limits) enter(addr netip.Addr) (*lease, *chat.Refusal) {
	p, now := chat.Neighbourhood(addr), time.Now()
	l.mu.Lock()
	if l.addresses[p] >= l.perAddress {
		l.mu.Unlock()
		return nil, l.refuse(limitAddress, "too_many_connections", "Too many connections from this address", crowdedRetry)
	}
	evict := func() {}
	if l.open >= l.total {
		if evict = l.evictLocked(now); evict == nil {
			l.mu.Unlock()
			return nil, l.refuse(limitProcess, "too_many_connections", "The service has too many connections", crowdedRetry)
		}
	}
	l.open++
	l.addresses[p]++
	l.mu.Unlock()
	evict()
	return &lease{limits: l, address: p, since: now}, nil
}

// evictLocked frees the place of the oldest nobody and returns what ends the connection, or nil when there is none.
func (l *limits) evictLocked(now time.Time) func() {
	oldest := l.nobodies.Front()
	if oldest == nil {
		return nil
	}
	one := oldest.Value.(*lease)
	if now.Sub(one.since) < nobodyAfter {
		return nil
	}
	one.releaseLocked()
	l.reached.WithLabelValues(limitProcess).Inc()
	return one.evict
}

// evictable lets the connection make room for others until it is bound. evict may not block.
func (l *lease) evictable(evict func()) {
	l.limits.mu.Lock()
	defer l.limits.mu.Unlock()
	if !l.released && !l.begun {
		l.evict, l.nobody = evict, l.limits.nobodies.PushBack(l)
	}
}

// bind takes a place of the session as well, unless the connection has it. The first makes it one of the new connections of this second.
func (l *lease) bind(session string) *chat.Refusal {
	limits := l.limits
	limits.mu.Lock()
	defer limits.mu.Unlock()
	i := l.indexLocked(session)
	switch {
	case l.released:
		return limits.refuse(limitProcess, "too_many_connections", "The service has too many connections", crowdedRetry)
	case i >= 0:
		l.sessions[i].times++
		return nil
	case limits.sessions[session] >= limits.perSession:
		return limits.refuse(limitSession, "too_many_connections", "Too many connections for this session", crowdedRetry)
	case !l.begun && !l.brief && !limits.fresh.take(limits.perSecond, time.Now()):
		wait := rushedRetry + time.Duration(limits.rand()*float64(rushedRetry))
		return limits.refuse(limitNew, "too_many_new_connections", "Too many new connections at once", wait)
	}
	limits.sessions[session]++
	l.sessions = append(l.sessions, bound{session, 1})
	l.begun = true
	l.knownLocked()
	return nil
}

// unbind gives the place of a session back that was bound as often.
func (l *lease) unbind(session string) {
	l.limits.mu.Lock()
	defer l.limits.mu.Unlock()
	i := l.indexLocked(session)
	if l.released || i < 0 {
		return
	}
	if l.sessions[i].times--; l.sessions[i].times == 0 {
		l.sessions = slices.Delete(l.sessions, i, i+1)
		decrement(l.limits.sessions, session)
	}
}

func (l *lease) indexLocked(session string) int {
	return slices.IndexFunc(l.sessions, func(b bound) bool { return b.session == session })
}

// knownLocked says that the connection is nobody's no more.
func (l *lease) knownLocked() {
	if l.nobody != nil {
		l.limits.nobodies.Remove(l.nobody)
		l.nobody = nil
	}
}

// release gives all places back.
func (l *lease) release() {
	l.limits.mu.Lock()
	defer l.limits.mu.Unlock()
	l.releaseLocked()
}

// releaseUnless gives all places back at the end of a function that did not hand them over: it refused, or it panicked, which the HTTP
// server recovers from. A nil lease has none.
func (l *lease) releaseUnless(handed *bool) {
	if l != nil && !*handed {
		l.release()
	}
}

func (l *lease) releaseLocked() {
	if l.released {
		return // it made room for another
	}
	l.released = true
	l.knownLocked()
	l.limits.open--
	decrement(l.limits.addresses, l.address)
	for _, b := range l.sessions {
		decrement(l.limits.sessions, b.session)
	}
}

func decrement[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}
