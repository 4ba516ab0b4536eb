package feed

import "sync"

// idSet collects ids that wait for somebody; ready has a token while it is not empty.
type idSet struct {
	mu    sync.Mutex
	ids   map[string]struct{}
	order []string
	ready chan struct{}
}

func newIDSet() *idSet {
	return &idSet{ids: make(map[string]struct{}), ready: make(chan struct{}, 1)}
}

func (s *idSet) add(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.ids[id]; ok {
		return
	}
	s.ids[id] = struct{}{}
	s.order = append(s.order, id)
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// take removes and returns up to n ids, oldest first.
func (s *idSet) take(n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(n, len(s.order))
	out := s.order[:n:n]
	s.order = s.order[n:]
	for _, id := range out {
		delete(s.ids, id)
	}
	if len(s.order) > 0 {
		select {
		case s.ready <- struct{}{}:
		default:
		}
	} else {
		s.order = nil
	}
	return out
}
