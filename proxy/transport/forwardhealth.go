package transport

import (
	"context"
	"sync"
	"time"
)

// healthLife is for how long an answer about the function's health serves whoever asks.
const healthLife = time.Second

// healths are the last answers about the function's health. Anybody may ask, from any number of addresses: the function is asked once a
// second and form of the question, beside the calls that cost a place.
type healths struct {
	mu      sync.Mutex
	answers map[healthQuestion]*health
}

// healthQuestion is one of the few forms in which the question is forwarded.
type healthQuestion struct{ method, path string }

// health is one answer. reply and f are set before done is closed.
type health struct {
	done  chan struct{}
	asked time.Time
	reply *FunctionReply
	f     *failure
}

// askHealth returns the answer of the last second, or a new one.
func (s *Server) askHealth(ctx context.Context, c *apiCall) (*FunctionReply, *failure) {
	one, ok := s.healthOf(c)
	if !ok {
		return nil, fail(errStopped)
	}
	select {
	case <-one.done:
		return one.reply, one.f
	case <-ctx.Done():
		return nil, fail(context.Cause(ctx))
	}
}

func (s *Server) healthOf(c *apiCall) (one *health, ok bool) {
	s.healths.mu.Lock()
	defer s.healths.mu.Unlock()
	question := healthQuestion{c.method, c.path}
	if one, ok = s.healths.answers[question]; ok && !one.stale() {
		return one, true
	}
	one = &health{done: make(chan struct{}), asked: time.Now()}
	ok = s.spawn(func(ctx context.Context) {
		defer close(one.done)
		one.reply, one.f = s.callLinks(ctx, c, nil, forwardTimeout)
	})
	if ok {
		s.healths.answers[question] = one
	}
	return one, ok
}

// stale reports whether there is an answer that has served its time.
func (h *health) stale() bool {
	select {
	case <-h.done:
		return time.Since(h.asked) >= healthLife
	default:
		return false
	}
}
