package transport

import (
	"container/list"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	// maxTallies bounds the addresses whose failures are remembered.
	maxTallies = 10_000
	// tallyPeriod is what failures are counted over.
	tallyPeriod = time.Minute
	// tryWait is how long a try waits while others of its address are judged.
	tryWait = 10 * time.Second
	// waitersPerTry bounds those who wait, by the failures that are allowed: with the default limits no more could be judged in tryWait.
	waitersPerTry = 10
	// maxTryWaiters bounds those who wait at all addresses together: more could not be judged in tryWait anyhow.
	maxTryWaiters = 1000
)

// tries bounds how often each address tries a token that is not known: failures of the last minute and tries that are being judged together
// stay within the limit. Who finds all taken by tries waits for what becomes of them, as those of visitors who share an address and come
// back at once are all good; who finds them taken by failures is refused.
type tries struct {
	limit   int
	reached prometheus.Counter
	rand    func() float64

	mu      sync.Mutex
	tallies *list.List // of tally, the one whose last try is longest ago first
	failed  map[netip.Prefix]*list.Element
	crowds  map[netip.Prefix]*crowd
	waiters int // in all crowds
}

// tally is the failures of an address.
type tally struct {
	address netip.Prefix
	count   int
	ends    time.Time
}

// crowd is the tries of an address that are under way: there is one as long as any is judged.
type crowd struct {
	judged  int
	waiting []*waiter // the oldest first
}

// waiter waits for a try. given is closed when it may begin; ref is set before, and then it may not.
type waiter struct {
	given chan struct{}
	ref   *chat.Refusal
}

func newTries(o *Options, reached prometheus.Counter) *tries {
	return &tries{
		limit: o.FailedTokensPerMinute, reached: reached, rand: o.Rand, tallies: list.New(),
		failed: make(map[netip.Prefix]*list.Element), crowds: make(map[netip.Prefix]*crowd),
	}
}

// try is a caller's chat.Try.
type try struct {
	tries   *tries
	address netip.Prefix
	begun   bool // whoever judges the token counts its failure; owned by the caller
}

var _ chat.Try = (*try)(nil)

func (t *tries) of(addr netip.Addr) *try { return &try{tries: t, address: chat.Neighbourhood(addr)} }

// Begin waits for a place.
func (t *try) Begin(ctx context.Context) error {
	if err := t.tries.begin(ctx, t.address); err != nil {
		return err
	}
	t.begun = true
	return nil
}

// Settle gives the place back.
func (t *try) Settle(failed bool) { t.tries.settle(t.address, failed) }

func (t *tries) begin(ctx context.Context, p netip.Prefix) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w, ref := t.enter(p)
	switch {
	case ref != nil:
		return ref
	case w == nil:
		return nil
	}
	timer := time.NewTimer(tryWait)
	defer timer.Stop()
	select {
	case <-w.given:
	case <-timer.C:
		if t.leave(p, w) {
			return t.refuseCrowd()
		}
	case <-ctx.Done():
		if t.leave(p, w) {
			return ctx.Err()
		}
	}
	if w.ref != nil {
		return w.ref
	}
	return nil
}

// enter begins a try, or returns what to wait for.
func (t *tries) enter(p netip.Prefix) (*waiter, *chat.Refusal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left, ends := t.leftLocked(p)
	c := t.crowds[p]
	switch {
	case left <= 0:
		return nil, t.refuseLocked(p, ends)
	case c == nil:
		t.crowds[p] = &crowd{judged: 1}
		return nil, nil
	case c.judged < left && len(c.waiting) == 0:
		c.judged++
		return nil, nil
	case len(c.waiting) >= waitersPerTry*t.limit, t.waiters >= maxTryWaiters:
		return nil, t.refuseCrowd()
	}
	w := &waiter{given: make(chan struct{})}
	c.waiting = append(c.waiting, w)
	t.waiters++
	return w, nil
}

// leave ends a wait, and tells whether it had not ended before.
func (t *tries) leave(p netip.Prefix, w *waiter) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.crowds[p]
	if c == nil {
		return false
	}
	i := slices.Index(c.waiting, w)
	if i < 0 {
		return false
	}
	c.waiting = slices.Delete(c.waiting, i, i+1)
	t.waiters--
	return true
}

// settle ends a try and lets those begin who wait for it.
func (t *tries) settle(p netip.Prefix, failed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if failed {
		t.noteLocked(p)
	}
	c := t.crowds[p]
	c.judged--
	left, ends := t.leftLocked(p)
	for len(c.waiting) > 0 && (c.judged < left || left <= 0) {
		w := c.waiting[0]
		c.waiting = c.waiting[1:]
		t.waiters--
		if left <= 0 {
			w.ref = t.refuseLocked(p, ends)
		} else {
			c.judged++
		}
		close(w.given)
	}
	if c.judged == 0 {
		delete(t.crowds, p)
	}
}

// fail counts a try that nobody had to judge. It returns a refusal when the address has none left.
func (t *tries) fail(addr netip.Addr) *chat.Refusal {
	p := chat.Neighbourhood(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	if left, ends := t.leftLocked(p); left <= 0 {
		return t.refuseLocked(p, ends)
	}
	t.noteLocked(p)
	return nil
}

// leftLocked is how many failures more an address may have before ends.
func (t *tries) leftLocked(p netip.Prefix) (left int, ends time.Time) {
	if e, known := t.failed[p]; known {
		if one := e.Value.(tally); !time.Now().After(one.ends) {
			return t.limit - one.count, one.ends
		}
	}
	return t.limit, time.Time{}
}

// noteLocked counts a failure. Where too many addresses have some, the one whose last is longest ago is forgotten.
func (t *tries) noteLocked(p netip.Prefix) {
	now := time.Now()
	one := tally{address: p, ends: now.Add(tallyPeriod)}
	e, known := t.failed[p]
	if !known {
		e = t.tallies.PushBack(one)
		t.failed[p] = e
	} else if old := e.Value.(tally); !now.After(old.ends) {
		one = old
	}
	one.count++
	e.Value = one
	t.tallies.MoveToBack(e)
	if t.tallies.Len() > maxTallies {
		delete(t.failed, t.tallies.Remove(t.tallies.Front()).(tally).address)
	}
}

// refuseLocked refuses an address that has used up its failures, which is not forgotten as long as it goes on.
func (t *tries) refuseLocked(p netip.Prefix, ends time.Time) *chat.Refusal {
	t.tallies.MoveToBack(t.failed[p])
	t.reached.Inc()
	return chat.RefuseLimit("too_many_attempts", "Too many failed attempts", time.Until(ends))
}

// refuseCrowd refuses a try that may be worth another: nothing is held against the address.
func (t *tries) refuseCrowd() *chat.Refusal {
	t.reached.Inc()
	wait := rushedRetry + time.Duration(t.rand()*float64(rushedRetry))
	return chat.RefuseLimit("too_many_attempts", "Too many attempts at once", wait)
}
