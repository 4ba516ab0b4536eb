package transport

import (
	"container/list"
	"time"
)

const (
	// maxRates bounds the sessions whose messages are counted; the one that has been quiet the longest is forgotten first.
	maxRates = 10_000
	// ratePeriod is what messages are counted over.
	ratePeriod = time.Minute
)

// rates counts the messages of each session in the last minute. It is guarded by its owner's mutex.
type rates struct {
	sessions map[string]*list.Element // of *rate
	recent   list.List                // last used first
}

type rate struct {
	session string
	sent    []time.Time // of the last period, ascending
}

func newRates() rates { return rates{sessions: make(map[string]*list.Element)} }

// take counts one message, unless limit messages were counted in the last period: then it tells in how long one is allowed.
func (r *rates) take(session string, limit int, now time.Time) (current int, wait time.Duration, ok bool) {
	e, known := r.sessions[session]
	if !known {
		e = r.recent.PushFront(&rate{session: session})
		r.sessions[session] = e
		r.forget()
	}
	r.recent.MoveToFront(e)
	one := e.Value.(*rate)
	for len(one.sent) > 0 && now.Sub(one.sent[0]) >= ratePeriod {
		one.sent = one.sent[1:]
	}
	if n := len(one.sent); n >= limit {
		return n, ratePeriod - now.Sub(one.sent[n-limit]), false
	}
	one.sent = append(one.sent, now)
	return len(one.sent), 0, true
}

func (r *rates) forget() {
	for len(r.sessions) > maxRates {
		last := r.recent.Back()
		delete(r.sessions, last.Value.(*rate).session)
		r.recent.Remove(last)
	}
}
