package transport

import (
	"container/list"
	"sync"
	"time"
)

// bucket limits how often something happens: rate times a second, and twice as often at once. The zero value is full. It has no lock.
type bucket struct {
	spent float64
	at    time.Time
}

// take reports whether it may happen once more.
func (b *bucket) take(rate int, now time.Time) bool {
	_, ok := b.reserve(rate, 0, now)
	return ok
}

// reserve tells after which wait it may happen once more, which is counted at once. Where the wait were longer than most it is not ok, and
// not counted.
func (b *bucket) reserve(rate int, most time.Duration, now time.Time) (wait time.Duration, ok bool) {
	b.spent = max(0, b.spent-now.Sub(b.at).Seconds()*float64(rate))
	b.at = now
	if over := b.spent + 1 - float64(2*rate); over > 0 {
		wait = time.Duration(over / float64(rate) * float64(time.Second))
	}
	if wait > most {
		return 0, false
	}
	b.spent++
	return wait, true
}

// buckets are those of sessions or addresses. The one that has been quiet the longest is forgotten first. Safe for concurrent use.
type buckets[K comparable] struct {
	mu     sync.Mutex
	known  map[K]*list.Element // of *bucketOf[K]
	recent *list.List          // last used first
}

type bucketOf[K comparable] struct {
	key K
	bucket
}

func newBuckets[K comparable]() *buckets[K] {
	return &buckets[K]{known: make(map[K]*list.Element), recent: list.New()}
}

// take reports whether it may happen n times more.
func (s *buckets[K]) take(key K, n, rate int, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.ofLocked(key)
	for range n {
		if !one.take(rate, now) {
			return false
		}
	}
	return true
}

// reserve tells after which wait it may happen once more.
func (s *buckets[K]) reserve(key K, rate int, most time.Duration, now time.Time) (wait time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ofLocked(key).reserve(rate, most, now)
}

func (s *buckets[K]) ofLocked(key K) *bucketOf[K] {
	e, known := s.known[key]
	if !known {
		e = s.recent.PushFront(&bucketOf[K]{key: key})
		s.known[key] = e
		if s.recent.Len() > maxRates {
			last := s.recent.Back()
			delete(s.known, s.recent.Remove(last).(*bucketOf[K]).key)
		}
	}
	s.recent.MoveToFront(e)
	return e.Value.(*bucketOf[K])
}
