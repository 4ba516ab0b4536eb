package feed

import (
	"sync"
	"time"
)

// maxMissing bounds the rows that are remembered as not brought by the channel.
const maxMissing = 10_000

// missingRows are rows that a reconciling read found and the channel has not brought. A healthy channel brings each of them within
// a second or so; one that does not has gone deaf.
type missingRows struct {
	mu    sync.Mutex
	found map[string]time.Time // when, on the proxy's clock
}

func newMissingRows() *missingRows { return &missingRows{found: make(map[string]time.Time)} }

func (m *missingRows) add(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.found[id]; !ok && len(m.found) < maxMissing {
		m.found[id] = time.Now()
	}
}

// brought notes that the channel brought a row.
func (m *missingRows) brought(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.found, id)
}

// overdue counts the rows that have been missing for at least age, and forgets all when there are any: they have told their story.
func (m *missingRows) overdue(age time.Duration) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, at := range m.found {
		if time.Since(at) >= age {
			n++
		}
	}
	if n > 0 {
		clear(m.found)
	}
	return n
}

func (m *missingRows) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.found)
}
