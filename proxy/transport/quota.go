package transport

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

const (
	// maxQuotas bounds the sessions whose messages are counted; the one that has been quiet the longest is forgotten first.
	maxQuotas = 10_000
	// recountAfter is how old a count may become: other processes store messages too.
	recountAfter     = time.Minute
	codeMessageLimit = "message_limit_reached"
	// maxCounts bounds the counts that are read for visitors who only connect. They are told no count when there are more, or when the
	// answer takes longer than countWait.
	maxCounts = 8
	countWait = time.Second
)

// quotas count the messages that each session has stored, on top of a count that is read from the table.
type quotas struct {
	mu       sync.Mutex
	sessions map[string]*list.Element // of *quota
	recent   list.List                // last used first
	counts   chan struct{}            // slots
}

type quota struct {
	session string
	gate    chan struct{} // held by whoever counts and is admitted

	// Guarded by quotas.mu.
	stored, running int
	counted         time.Time // zero when the table must be asked
}

// admission is a message's place in its session's total.
type admission struct {
	quotas *quotas
	quota  *quota
	limit  int
}

// rowEffect is what a send did to the table.
type rowEffect int

const (
	rowNone rowEffect = iota
	rowAdded
	rowUnknown
)

func newQuotas() *quotas {
	return &quotas{sessions: make(map[string]*list.Element), counts: make(chan struct{}, maxCounts)}
}

func (q *quotas) of(session string) *quota {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e, known := q.sessions[session]; known {
		q.recent.MoveToFront(e)
		return e.Value.(*quota)
	}
	one := &quota{session: session, gate: make(chan struct{}, 1)}
	q.sessions[session] = q.recent.PushFront(one)
	if q.recent.Len() > maxQuotas {
		delete(q.sessions, q.recent.Remove(q.recent.Back()).(*quota).session)
	}
	return one
}

// reserve takes a place in the total of a session's messages. A session without a limit has no places: the admission is nil.
func (s *Server) reserve(ctx context.Context, v *chat.Visitor) (*admission, *failure) {
	if v.MaxMessages <= 0 {
		return nil, nil
	}
	one := s.quotas.of(v.SessionID)
	select {
	case one.gate <- struct{}{}:
		defer func() { <-one.gate }()
	case <-ctx.Done():
		return nil, fail(context.Cause(ctx))
	}
	if err := s.recount(ctx, v, one); err != nil {
		return nil, fail(unavailable(ctx, err))
	}
	s.quotas.mu.Lock()
	defer s.quotas.mu.Unlock()
	if current := one.stored + one.running; current >= v.MaxMessages {
		s.metrics.limits.WithLabelValues(limitTotal).Inc()
		return nil, &failure{
			Refusal: chat.RefuseLimit(codeMessageLimit, "Message limit reached for this session", 0),
			fields:  map[string]any{"max_messages": v.MaxMessages, "current_messages": current},
		}
	}
	one.running++
	return &admission{s.quotas, one, v.MaxMessages}, nil
}

// sentBy begins to find out how many messages a session's visitor has sent; what it returns waits for that and is nil where it is not
// known. The table is asked only for those who come without a cursor: whoever comes back is one of many.
func (s *Server) sentBy(v *chat.Visitor, cursor string) (sent func() *int) {
	known := func() *int { return s.quotas.known(v.SessionID) }
	if cursor != "" || v.MaxMessages <= 0 || known() != nil {
		return known
	}
	select {
	case s.quotas.counts <- struct{}{}:
	default:
		return known
	}
	counted := make(chan struct{})
	started := s.spawn(func(ctx context.Context) {
		defer close(counted)
		defer func() { <-s.quotas.counts }()
		s.count(ctx, v)
	})
	if !started {
		<-s.quotas.counts
		return known
	}
	return func() *int {
		timer := time.NewTimer(countWait)
		defer timer.Stop()
		select {
		case <-counted:
		case <-timer.C:
		}
		return known()
	}
}

// count has a session's messages counted, unless they are.
func (s *Server) count(ctx context.Context, v *chat.Visitor) {
	one := s.quotas.of(v.SessionID)
	select {
	case one.gate <- struct{}{}:
		defer func() { <-one.gate }()
	case <-ctx.Done():
		return
	}
	if err := s.recount(ctx, v, one); err != nil && ctx.Err() == nil {
		s.log.Warn("messages of a session not counted", "session_id", v.SessionID, "err", err)
	}
}

// known is how many messages a session has stored or is about to, as far as this process has counted them lately.
func (q *quotas) known(session string) *int {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.sessions[session]
	if !ok {
		return nil
	}
	one := e.Value.(*quota)
	if one.counted.IsZero() || time.Since(one.counted) >= recountAfter {
		return nil
	}
	n := one.stored + one.running
	return &n
}

// recount asks the table where the count is missing or old. While sends are under way it cannot tell which of them it counted.
func (s *Server) recount(ctx context.Context, v *chat.Visitor, one *quota) error {
	s.quotas.mu.Lock()
	wanted := one.running == 0 && (one.counted.IsZero() || time.Since(one.counted) >= recountAfter)
	s.quotas.mu.Unlock()
	if !wanted {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	n, err := s.opts.Store.CountMessages(bounded, v)
	if err != nil {
		return err
	}
	s.quotas.mu.Lock()
	defer s.quotas.mu.Unlock()
	one.stored, one.counted = n, time.Now()
	return nil
}

// release ends the reservation; a send whose outcome is unknown has the table asked again.
func (a *admission) release(effect rowEffect) {
	if a == nil {
		return
	}
	a.quotas.mu.Lock()
	defer a.quotas.mu.Unlock()
	a.quota.running--
	if effect != rowNone {
		a.quota.stored++
	}
	if effect == rowUnknown {
		a.quota.counted = time.Time{}
	}
}

// remaining is how many messages the session may still send after this one; it is not ok where there is no limit.
func (a *admission) remaining() (n int, ok bool) {
	if a == nil {
		return 0, false
	}
	a.quotas.mu.Lock()
	defer a.quotas.mu.Unlock()
	return max(0, a.limit-a.quota.stored-a.quota.running), true
}
