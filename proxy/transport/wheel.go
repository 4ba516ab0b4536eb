package transport

import (
	"context"
	"sync"
	"time"
)

const (
	wheelSlots = 128
	wheelStep  = time.Second
)

// ticking is something with a timer. tick returns after how long it wants the next one, or 0 for none.
type ticking interface {
	tick(now time.Time) time.Duration
}

// timer is one owner's place in the wheel. It is embedded in the owner and costs no allocation. Guarded by wheel.mu.
type timer struct {
	owner      ticking
	prev, next *timer // nil when in no slot
	due        int64  // in steps
	removed    bool
	hurried    bool // while its tick was running
}

// wheel is the one timer of all streams: a ring of slots, one a step, of which each holds the timers due then or whole rounds
// later. Timers fire at most one step late and never early.
type wheel struct {
	mu      sync.Mutex
	start   time.Time
	current int64 // the last step that was run
	slots   [wheelSlots]timer
}

func newWheel() *wheel {
	w := &wheel{start: time.Now()}
	for i := range w.slots {
		s := &w.slots[i]
		s.prev, s.next = s, s
	}
	return w
}

// run fires timers until ctx ends.
func (w *wheel) run(ctx context.Context) {
	ticker := time.NewTicker(wheelStep)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			w.advance(time.Now())
		}
	}
}

// add starts the timer of an owner.
func (w *wheel) add(t *timer, owner ticking, in time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t.owner = owner
	if !t.removed && t.next == nil {
		w.insert(t, time.Now(), in)
	}
}

// remove stops a timer for good. A tick that is running meanwhile is not waited for.
func (w *wheel) remove(t *timer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t.removed = true
	t.unlink()
}

// hurry makes a timer that was added fire at the wheel's next step.
func (w *wheel) hurry(t *timer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case t.removed || t.owner == nil:
	case t.next == nil:
		t.hurried = true
	default:
		t.unlink()
		w.insert(t, time.Now(), nextStep)
	}
}

func (w *wheel) insert(t *timer, now time.Time, in time.Duration) {
	at := now.Sub(w.start) + in
	t.due = max(int64((at+wheelStep-1)/wheelStep), w.current+1)
	head := &w.slots[t.due%wheelSlots]
	t.prev, t.next = head.prev, head
	t.prev.next, head.prev = t, t
}

func (t *timer) unlink() {
	if t.next != nil {
		t.prev.next, t.next.prev = t.next, t.prev
		t.prev, t.next = nil, nil
	}
}

// advance fires what is due at now. After a long pause every slot is visited once.
func (w *wheel) advance(now time.Time) {
	for _, t := range w.collect(now) {
		in := t.owner.tick(now)
		w.mu.Lock()
		if t.hurried {
			t.hurried, in = false, nextStep
		}
		if in > 0 && !t.removed {
			w.insert(t, now, in)
		}
		w.mu.Unlock()
	}
}

func (w *wheel) collect(now time.Time) []*timer {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := int64(now.Sub(w.start) / wheelStep)
	var due []*timer
	for step := max(w.current+1, last-wheelSlots+1); step <= last; step++ {
		head := &w.slots[step%wheelSlots]
		for t := head.next; t != head; {
			next := t.next
			if t.due <= last {
				t.unlink()
				due = append(due, t)
			}
			t = next
		}
	}
	w.current = max(w.current, last)
	return due
}
