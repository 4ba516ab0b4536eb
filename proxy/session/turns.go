package session

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// maxWait is how long a token waits for its turn.
	maxWait = 5 * time.Second
	// standingPeriod is how long an address answers for the tokens that it brought.
	standingPeriod = time.Minute
	// maxStandings bounds the addresses that are remembered; the one that has been quiet the longest is forgotten first.
	maxStandings = 10_000
	// forgiven unproved tokens do not set an address back: visitors mistype, and come again when they were refused.
	forgiven = 3
)

var errTooMany = errors.New("too many unknown tokens")

// standing is what an address has against it: tokens that it brought and that proved nothing or came to no turn.
type standing struct {
	unproved int
	ends     time.Time
}

// turn is one wait for the validation function. given is closed when the turn has come; err is set before, and then there is none.
type turn struct {
	from  netip.Prefix
	known bool // the token has proved a session before
	until time.Time
	given chan struct{}
	err   error
}

// turns decide who may call the validation function, and when: so many in any period, and so many at once. Whoever has to wait does
// so behind tokens that proved a session before and behind addresses with fewer unproved tokens, so that one who tries tokens waits
// for the others and not they for him. When the queue is full the last of that order is refused.
type turns struct {
	period   time.Duration
	slots    int // validations at once
	capacity int // of waiting
	tasks    *tasks
	wake     chan struct{} // one slot: there is something to give or to await

	mu        sync.Mutex
	given     []time.Time // ring: when the last turns began
	oldest    int         // of given
	running   int         // validations
	waiting   []*turn     // the oldest first
	serving   bool        // a goroutine gives turns
	standings *lru[netip.Prefix, standing]
}

func newTurns(o Options, t *tasks) *turns {
	n := max(1, int(o.AuthorizePerSecond))
	return &turns{
		period: time.Duration(math.Ceil(float64(n) / o.AuthorizePerSecond * float64(time.Second))),
		slots:  o.Concurrency, capacity: o.Concurrency * waitersPerSlot, tasks: t,
		wake:      make(chan struct{}, 1),
		given:     make([]time.Time, n),
		standings: newLRU[netip.Prefix, standing](maxStandings),
	}
}

// join asks for a turn. The caller awaits it, and returns it if it was given.
func (t *turns) join(from netip.Prefix, known bool) (*turn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	one := &turn{from: from, known: known, until: now.Add(maxWait), given: make(chan struct{})}
	if len(t.waiting) == 0 && t.openLocked(now) {
		t.beginLocked(one, now)
		return one, nil
	}
	if len(t.waiting) >= t.capacity {
		last := t.lastLocked(now)
		if t.rankLocked(one, now) >= t.rankLocked(t.waiting[last], now) {
			t.blameLocked(one)
			return nil, errTooMany
		}
		t.refuseLocked(last, errTooMany)
	}
	if !t.serving && !t.tasks.start(t.serve) {
		return nil, errStopped
	}
	t.serving = true
	t.waiting = append(t.waiting, one)
	signal(t.wake)
	return one, nil
}

// await returns when the turn has come. After an error there is none.
func (t *turns) await(ctx context.Context, one *turn) error {
	select {
	case <-one.given:
		return one.err
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting, one); i >= 0 {
		t.refuseLocked(i, ctx.Err())
	} else if one.err == nil {
		t.running--
		signal(t.wake)
	}
	return ctx.Err()
}

// release gives a turn back. proved says that the token is no reason to distrust its address: it proved a session, or could not be
// looked at.
func (t *turns) release(one *turn, proved bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running--
	if !proved {
		t.blameLocked(one)
	}
	signal(t.wake)
}

// serve gives turns until nobody waits.
func (t *turns) serve(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-t.wake:
		}
		next, more := t.give(ctx)
		if !more {
			return
		}
		timer.Reset(next)
	}
}

// give hands out what can be had now, ends waits that took too long, and tells when to look again.
func (t *turns) give(ctx context.Context) (next time.Duration, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for i := 0; i < len(t.waiting); {
		switch {
		case ctx.Err() != nil:
			t.refuseLocked(i, errStopped)
		case !now.Before(t.waiting[i].until):
			t.refuseLocked(i, errTooMany)
		default:
			i++
		}
	}
	for len(t.waiting) > 0 && t.openLocked(now) {
		t.beginLocked(t.takeLocked(t.firstLocked(now)), now)
	}
	if len(t.waiting) == 0 {
		t.serving = false
		return 0, false
	}
	next = t.waiting[0].until.Sub(now)
	if t.running < t.slots {
		next = min(next, t.given[t.oldest].Add(t.period).Sub(now))
	}
	return next, true
}

// openLocked tells whether another validation may begin.
func (t *turns) openLocked(now time.Time) bool {
	return t.running < t.slots && now.Sub(t.given[t.oldest]) >= t.period
}

func (t *turns) beginLocked(one *turn, now time.Time) {
	t.given[t.oldest] = now
	t.oldest = (t.oldest + 1) % len(t.given)
	t.running++
	close(one.given)
}

func (t *turns) takeLocked(i int) *turn {
	one := t.waiting[i]
	t.waiting = slices.Delete(t.waiting, i, i+1)
	return one
}

func (t *turns) refuseLocked(i int, err error) {
	one := t.takeLocked(i)
	one.err = err
	if errors.Is(err, errTooMany) {
		t.blameLocked(one)
	}
	close(one.given)
}

// firstLocked is whose turn is next; of equals the one who has waited longest.
func (t *turns) firstLocked(now time.Time) (first int) {
	best := math.MaxInt
	for i, one := range t.waiting {
		if r := t.rankLocked(one, now); r < best {
			first, best = i, r
		}
	}
	return first
}

// lastLocked is whom all others go before; of equals the one who came last.
func (t *turns) lastLocked(now time.Time) (last int) {
	worst := math.MinInt
	for i, one := range t.waiting {
		if r := t.rankLocked(one, now); r >= worst {
			last, worst = i, r
		}
	}
	return last
}

// rankLocked orders the waiting, the smallest first.
func (t *turns) rankLocked(one *turn, now time.Time) int {
	if one.known {
		return -1
	}
	s, _ := t.standings.peek(one.from)
	if now.After(s.ends) {
		return 0
	}
	return max(0, s.unproved-forgiven)
}

func (t *turns) blameLocked(one *turn) {
	if one.known {
		return
	}
	now := time.Now()
	s, ok := t.standings.get(one.from)
	if !ok || now.After(s.ends) {
		s = standing{ends: now.Add(standingPeriod)}
	}
	s.unproved++
	t.standings.put(one.from, s)
}
