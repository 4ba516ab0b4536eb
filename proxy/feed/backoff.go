package feed

import (
	"context"
	"time"
)

// backoff gives full-jitter waits whose cap doubles.
type backoff struct {
	min, max, cap time.Duration
	rand          func() float64
}

func (b *backoff) next() time.Duration {
	b.cap = min(max(b.min, 2*b.cap), b.max)
	return time.Duration(float64(b.cap) * (0.1 + 0.9*b.rand()))
}

func (b *backoff) reset() { b.cap = 0 }

// sleep waits and returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
