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
	// blamePeriod is how long an address answers for the tokens that it brought, creditPeriod how long it is trusted for one that proved
	// a session.
	blamePeriod  = time.Minute
	creditPeriod = time.Hour
	// maxStandings bounds the addresses that are blamed, and those that are trusted: a crowd of the one must not push out the other. The
	// one that has been quiet the longest is forgotten first.
	maxStandings = 10_000

	// What sets a token back in the order of those who wait. A few unproved tokens put an address behind all who have none.
	blamePenalty    = time.Second
	maxBlame        = 60
	strangerPenalty = 2 * time.Second
	knownBonus      = time.Hour
)

var errTooMany = errors.New("too many unknown tokens")

// blame is how many tokens an address brought that proved nothing or came to no turn.
type blame struct {
	unproved int
	until    time.Time
}

// turn is one wait for the function. given is closed when the turn has come; err is set before, and then there is none.
type turn struct {
	from  netip.Prefix
	known bool // the token has proved good before
	since time.Time
	place time.Time // in the order of those who wait; see placeLocked
	given chan struct{}
	err   error
}

// turns decide who may call a function that judges tokens, and when: so many in any period and so many at once. Whoever has
// to wait does so behind tokens that proved a session before, and the longer the more unproved tokens came from the same address: one who
// tries tokens waits for the others and not they for him. When the queue is full the last of that order is refused.
type turns struct {
	period   time.Duration
	spacing  time.Duration // between turns of those who wait: bursts would meet at the database when one is delayed
	slots    int           // calls at once
	capacity int           // of waiting
	tasks    *tasks
	wake     chan struct{} // one slot: there is something to give or to await

	mu      sync.Mutex
	given   []time.Time // ring: when the last turns began
	oldest  int         // of given
	running int         // calls
	waiting []*turn     // the oldest first
	serving bool        // a goroutine gives turns
	blamed  *lru[netip.Prefix, blame]
	trusted *lru[netip.Prefix, time.Time] // addresses that brought a token which proved a session, until when
}

// newTurns allows what the options say in any period, and as many at once as there are slots.
func newTurns(o Options, slots int, t *tasks) *turns {
	n := max(1, int(o.AuthorizePerSecond))
	period := time.Duration(math.Ceil(float64(n) / o.AuthorizePerSecond * float64(time.Second)))
	return &turns{
		period: period, spacing: period / time.Duration(2*n),
		slots: slots, capacity: o.Concurrency * waitersPerSlot, tasks: t,
		wake:    make(chan struct{}, 1),
		given:   make([]time.Time, n),
		blamed:  newLRU[netip.Prefix, blame](maxStandings),
		trusted: newLRU[netip.Prefix, time.Time](maxStandings),
	}
}

// join asks for a turn. The caller awaits it, and returns it if it was given.
func (t *turns) join(from netip.Prefix, known bool) (*turn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	one := &turn{from: from, known: known, since: now, given: make(chan struct{})}
	if len(t.waiting) == 0 && t.openLocked(now) {
		t.beginLocked(one, now)
		return one, nil
	}
	one.place = t.placeLocked(one, now)
	if len(t.waiting) >= t.capacity {
		last := t.lastLocked()
		if !one.place.Before(t.waiting[last].place) {
			t.blameLocked(one)
			return nil, errTooMany
		}
		t.refuseLocked(last, errTooMany)
	}
	if !t.serving && !t.tasks.start(t.serve) {
		return nil, errStopped
	}
	t.serving = true
	t.waiting = append(t.waiting, one) // serve looks early enough: others in the line do not get their turn later than this one
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

// release gives a turn back, with what the token says of its address: that a visitor came from there, or, when it was asked and proved
// nothing, the opposite.
func (t *turns) release(one *turn, asked, proved bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running--
	switch {
	case proved:
		t.trustLocked(one)
	case asked:
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
		case now.Sub(t.waiting[i].since) >= maxWait:
			t.refuseLocked(i, errTooMany)
		default:
			i++
		}
	}
	for len(t.waiting) > 0 && t.running < t.slots && !now.Before(t.nextLocked()) {
		t.beginLocked(t.takeLocked(t.firstLocked()), now)
	}
	if len(t.waiting) == 0 {
		t.serving = false
		return 0, false
	}
	next = t.waiting[0].since.Add(maxWait).Sub(now)
	if t.running < t.slots {
		next = min(next, t.nextLocked().Sub(now))
	}
	return next, true
}

// openLocked tells whether another call may begin.
func (t *turns) openLocked(now time.Time) bool {
	return t.running < t.slots && !now.Before(t.given[t.oldest].Add(t.period))
}

// nextLocked is when one who waits may have a turn.
func (t *turns) nextLocked() time.Time {
	newest := t.given[(t.oldest+len(t.given)-1)%len(t.given)]
	return later(t.given[t.oldest].Add(t.period), newest.Add(t.spacing))
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

// firstLocked is whose turn is next.
func (t *turns) firstLocked() (first int) {
	for i, one := range t.waiting {
		if one.place.Before(t.waiting[first].place) {
			first = i
		}
	}
	return first
}

// lastLocked is whom all others go before.
func (t *turns) lastLocked() (last int) {
	for i, one := range t.waiting {
		if !one.place.Before(t.waiting[last].place) {
			last = i
		}
	}
	return last
}

// placeLocked orders those who wait: by the time they came and their penalty, so that nobody is overtaken for ever. A place holds until the
// standing of the address changes; that a penalty lapses during a wait, which is short, does not matter.
func (t *turns) placeLocked(one *turn, now time.Time) time.Time {
	if one.known {
		return one.since.Add(-knownBonus)
	}
	return one.since.Add(t.penaltyLocked(one.from, now))
}

// penaltyLocked is how much longer than others a token of the address waits.
func (t *turns) penaltyLocked(from netip.Prefix, now time.Time) (d time.Duration) {
	if b, _ := t.blamed.peek(from); now.Before(b.until) {
		d = time.Duration(min(b.unproved, maxBlame)) * blamePenalty
	}
	if until, _ := t.trusted.peek(from); !now.Before(until) {
		d += strangerPenalty
	}
	return d
}

func (t *turns) blameLocked(one *turn) {
	if one.known {
		return
	}
	b, _ := t.blamed.peek(one.from)
	now := time.Now()
	if !now.Before(b.until) {
		b = blame{until: now.Add(blamePeriod)}
	}
	b.unproved++
	t.blamed.put(one.from, b)
	t.judgeLocked(one.from, now)
}

func (t *turns) trustLocked(one *turn) {
	now := time.Now()
	t.trusted.put(one.from, now.Add(creditPeriod))
	t.judgeLocked(one.from, now)
}

// judgeLocked changes the places of those who wait from an address whose standing has changed.
func (t *turns) judgeLocked(from netip.Prefix, now time.Time) {
	for _, one := range t.waiting {
		if one.from == from {
			one.place = t.placeLocked(one, now)
		}
	}
}
