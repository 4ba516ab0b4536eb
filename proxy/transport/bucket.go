package transport

import "time"

// bucket limits how often something happens: rate times a second, and twice as often at once. The zero value is full. It has no lock.
type bucket struct {
	spent float64
	at    time.Time
}

// take reports whether it may happen once more.
func (b *bucket) take(rate int, now time.Time) bool {
	b.spent = max(0, b.spent-now.Sub(b.at).Seconds()*float64(rate))
	b.at = now
	if b.spent+1 > float64(2*rate) {
		return false
	}
	b.spent++
	return true
}
