package transport

import "time"

// Past opens the memory of lost channels to tests.
type Past struct{ p *frontPast }

func NewPast(window time.Duration) Past           { return Past{newFrontPast(window)} }
func (p Past) Keep(session, topic, cursor string) { p.p.keep(session, topic, cursor) }
func (p Past) Take(session, topic string) string  { return p.p.take(session, topic) }
func (p Past) Len() int                           { return p.p.entries.Len() }

// Bucket opens rate limits to tests.
type Bucket struct{ b bucket }

func (b *Bucket) Take(rate int, now time.Time) bool { return b.b.take(rate, now) }
