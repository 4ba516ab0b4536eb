package realtime

import "time"

// stableAfter is how long something must have been live before its back-off starts anew; a join alone proves little.
const stableAfter = time.Minute

// Errors of configuration are retried after slowRetry to twice slowRetry.
const slowRetry = 30 * time.Second

// backoff gives waits with full jitter: uniform in [0, cap), where cap doubles from first to max.
type backoff struct {
	first, max time.Duration
	rand       func() float64
	cap        time.Duration // of the next wait, 0 = first
}

func newBackoff(o *Options) backoff {
	return backoff{first: o.BackoffMin, max: o.BackoffMax, rand: o.Rand}
}

func (b *backoff) reset() { b.cap = 0 }

func (b *backoff) next() time.Duration {
	if b.cap == 0 {
		b.cap = b.first
	}
	wait := time.Duration(b.rand() * float64(b.cap))
	b.cap = min(2*b.cap, b.max)
	return wait
}

// slow returns the wait before trying again what only an operator can repair.
func slow(rand func() float64) time.Duration {
	return slowRetry + time.Duration(rand()*float64(slowRetry))
}
