package feed

import "time"

// readKind says why conversations are read.
type readKind uint8

const (
	readNothing   readKind = iota
	readCatchUp            // after an entry to live: everything, and the rows that visitors see are compared
	readPoll               // while the way is not live: everything
	readReconcile          // while it is live: what is worth a look
)

// schedule says when to read. One read runs at a time. Part of the machine.
type schedule struct {
	owed, paying, paid uint64 // entries to live, that of the running catch-up, the last one caught up with
	running            readKind
	startedAt          time.Time
	nextRead           time.Time
	asked              bool      // nextRead was set since the running read began
	givenUp            bool      // the running read is to make way for a catch-up
	retryAt            time.Time // not before, after a failure
	retry              backoff
}

func newSchedule(rand func() float64) schedule {
	return schedule{retry: backoff{min: 200 * time.Millisecond, max: 5 * time.Second, rand: rand}}
}

// owes reports whether an entry to live has not been caught up with.
func (s *schedule) owes() bool { return s.paid != s.owed }

// due returns the read to begin now.
func (m *machine) due(now time.Time) readKind {
	switch {
	case m.running != readNothing || now.Before(m.retryAt):
		return readNothing
	case m.state == wayLive && m.owes():
		return readCatchUp
	case now.Before(m.nextRead):
		return readNothing
	case m.state == wayLive:
		return readReconcile
	default:
		return readPoll
	}
}

func (m *machine) begin(kind readKind, now time.Time) {
	m.running, m.startedAt, m.paying, m.asked, m.givenUp = kind, now, m.owed, false, false
}

// giveUp reports, once, that the running read must make way for the catch-up that an entry to live owes: rows that come live in the meantime
// would pass those that are to be read. A catch-up shows all that other reads do.
func (m *machine) giveUp() bool {
	if m.givenUp || m.running == readNothing || m.running == readCatchUp || m.state != wayLive || !m.owes() {
		return false
	}
	m.givenUp = true
	return true
}

// readAt plans the next read.
func (s *schedule) readAt(at time.Time) { s.nextRead, s.asked = at, true }

// end notes how the running read went.
func (m *machine) end(ok bool, now time.Time) {
	kind := m.running
	m.running = readNothing
	switch {
	case !ok && m.givenUp:
		return
	case !ok:
		m.retryAt = now.Add(m.retry.next())
		return
	}
	m.retry.reset()
	if kind == readCatchUp {
		m.paid = m.paying
	}
	if m.asked {
		return
	}
	every := m.reconcileInterval
	if m.state != wayLive {
		every = m.pollInterval
	}
	// A slow database gets some rest between reads.
	m.nextRead = later(m.startedAt.Add(every), now.Add(every/4))
}

// wake is when the machine has something to do next, at the latest: no event comes sooner by itself.
func (m *machine) wake(now time.Time) time.Time {
	next := now.Add(time.Hour)
	if m.running == readNothing {
		next = later(m.nextRead, m.retryAt)
		if m.state == wayLive && m.owes() {
			next = m.retryAt
		}
	}
	if told := m.since.Add(m.pollAfter); m.state != wayLive && told.After(now) {
		next = earlier(next, told)
	}
	if !m.fresh {
		switch {
		case m.state == waySuspect:
			next = earlier(next, m.replaceAt())
		case m.state == wayLive && m.maxAge > 0:
			next = earlier(next, later(m.socketSince.Add(m.maxAge), m.replaceAt()))
		}
	}
	return next
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
