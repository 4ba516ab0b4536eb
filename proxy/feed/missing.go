package feed

import (
	"sync"
	"time"
)

const (
	// maxMissing bounds the rows that are remembered as not brought by the channel.
	maxMissing = 10_000
	// maxBrought bounds the ids that are remembered as brought; the older half is forgotten first.
	maxBrought = 20_000
	// settle is how long a channel may take for a row, from its creation or from when a read found it: real ones need up to 0.6 s.
	settle = time.Second
	// freshFor is how soon after its commit a row comes over a channel that keeps up, clock errors included.
	freshFor = 3 * time.Second
)

// missingRows are rows that a read found and the channel has not brought. A read may be a moment ahead of the channel, and a slow
// transaction makes a row that is old when it is committed; a row is therefore judged by the time since it was found. While the channel
// brings rows committed before that, it is behind, not deaf.
type missingRows struct {
	mu    sync.Mutex
	found map[string]foundRow
	// brought are ids that the channel brought lately, in two generations: a read may show what still waits for a scope.
	brought, before map[string]struct{}
	broughtAt       time.Time // of the last change, proxy's clock
	commit          time.Time // the greatest commit time of a change, database's clock
}

type foundRow struct {
	at       time.Time // proxy's clock
	database time.Time // the same on the database's clock
	created  time.Time // its created_at
}

func newMissingRows() *missingRows {
	return &missingRows{found: make(map[string]foundRow), brought: make(map[string]struct{})}
}

// add notes that a read found a row, unless the channel has brought it.
func (m *missingRows) add(id string, f foundRow) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.brought[id]; ok {
		return
	}
	if _, ok := m.before[id]; ok {
		return
	}
	if _, ok := m.found[id]; !ok && len(m.found) < maxMissing {
		m.found[id] = f
	}
}

// note takes a change of any conversation; commit may be zero.
func (m *missingRows) note(now, commit time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broughtAt, m.commit = now, later(m.commit, commit)
}

// bring notes that the channel brought a row.
func (m *missingRows) bring(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.found, id)
	if len(m.brought) >= maxBrought/2 {
		m.before, m.brought = m.brought, make(map[string]struct{})
	}
	m.brought[id] = struct{}{}
}

// verdict judges the rows that have been missing for longer than settle: two of them, or one that was missing at the next read too,
// which comes every interval, speak against the channel. Then all are forgotten: they have told their story. The event is evSkipped when
// the channel has brought changes committed after each of them was created.
func (m *missingRows) verdict(now time.Time, interval time.Duration) (e event, rows int, against bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	skipped, lasting := 0, false
	for _, f := range m.found {
		age := now.Sub(f.at)
		if age < settle || m.behind(now, f.at, f.database) {
			continue
		}
		rows++
		lasting = lasting || age >= interval
		if m.commit.After(f.created) {
			skipped++
		}
	}
	if rows < 2 && !lasting {
		return 0, 0, false
	}
	clear(m.found)
	if skipped == rows {
		return evSkipped, rows, true
	}
	return evMissing, rows, true
}

// behind reports whether the channel brings rows, but only such as were committed before a time, given on both clocks.
func (m *missingRows) behind(now, at, database time.Time) bool {
	return now.Sub(m.broughtAt) < settle && m.broughtAt.After(at) && m.commit.Before(database)
}

// compare says how the channel stands to a time, given on both clocks: behind it, or past it, having brought a row committed later.
func (m *missingRows) compare(now, at, database time.Time) (behind, past bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.behind(now, at, database), m.commit.After(database)
}

func (m *missingRows) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.found)
}
