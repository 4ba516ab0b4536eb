package session

import (
	"net/netip"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// Claims mirrors claims for tests.
type Claims struct {
	Kind    byte
	Session string
	Token   chat.Token
	Issued  time.Time
	Life    time.Duration
}

func exported(c claims) Claims { return Claims{byte(c.kind), c.session, c.token, c.issued, c.life} }

// Sealer gives tests the sealing of tickets.
type Sealer struct{ s *sealer }

func NewSealer(keys ...[]byte) (Sealer, error) {
	s, err := newSealer(keys)
	return Sealer{s}, err
}

func (s Sealer) Seal(c Claims) (chat.Token, error) {
	return s.s.seal(claims{ticketKind(c.Kind), c.Session, c.Token, c.Issued, c.Life})
}

func (s Sealer) Open(t chat.Token) (Claims, error) {
	c, err := s.s.open(t)
	return exported(c), err
}

func ParseClaims(b []byte) (Claims, error) {
	c, err := parseClaims(b)
	return exported(c), err
}

func AppendClaims(c Claims) ([]byte, error) {
	return appendClaims(nil, claims{ticketKind(c.Kind), c.Session, c.Token, c.Issued, c.Life})
}

// CacheKeys puts the keys 1..n into a cache of the capacity, touching the first after each, and returns those that stayed.
func CacheKeys(capacity, n int) []int {
	l := newLRU[int, int](capacity)
	for i := 1; i <= n; i++ {
		l.put(i, i)
		l.get(1)
	}
	var kept []int
	l.each(func(k, _ int) { kept = append(kept, k) })
	return kept
}

// Turns gives tests the turns of tokens.
type Turns struct{ t *turns }

func NewTurns() (t Turns, end func()) {
	work := newTasks()
	return Turns{newTurns(Options{AuthorizePerSecond: 1, Concurrency: 1}, 1, work)}, work.close
}

// Ask asks for a turn, which is refused when the queue is full.
func (t Turns) Ask(from netip.Addr) { _, _ = t.t.join(chat.Neighbourhood(from), false) }

// Prove has a token of an address prove a session.
func (t Turns) Prove(from netip.Addr) {
	t.t.mu.Lock()
	defer t.t.mu.Unlock()
	t.t.trustLocked(&turn{from: chat.Neighbourhood(from)})
}

// Trusts reports whether a token of an address waits no longer than others.
func (t Turns) Trusts(from netip.Addr) bool {
	t.t.mu.Lock()
	defer t.t.mu.Unlock()
	return t.t.penaltyLocked(chat.Neighbourhood(from), time.Now()) == 0
}

// Remembered is how many addresses are blamed and trusted, and which of them for the longest.
func (t Turns) Remembered() (blamed, trusted int, oldest [2]netip.Addr) {
	oldest[0] = t.t.blamed.order.Back().Value.(lruEntry[netip.Prefix, blame]).key.Addr()
	oldest[1] = t.t.trusted.order.Back().Value.(lruEntry[netip.Prefix, time.Time]).key.Addr()
	return len(t.t.blamed.entries), len(t.t.trusted.entries), oldest
}

// JoinFullLine fills the line of those who wait and returns what asks for one more turn.
func JoinFullLine(address func(int) netip.Addr) (join func(n int), end func()) {
	work := newTasks()
	t := newTurns(Options{AuthorizePerSecond: 1, Concurrency: 8}, 8, work)
	join = func(n int) { _, _ = t.join(chat.Neighbourhood(address(n%400)), false) } // one of those who wait is refused
	for n := range 2 * t.capacity {
		join(n)
	}
	return join, work.close
}
