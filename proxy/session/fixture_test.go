package session_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/session"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// fakeStore is a database in memory. A function field, when set, answers in place of it.
type fakeStore struct {
	ValidateFunc func(ctx context.Context, token string) (rest.Validation, error)
	SessionsFunc func(ctx context.Context, ids []string) ([]rest.Session, error)
	LinksFunc    func(ctx context.Context, ids []string) ([]rest.Link, error)
	AgentsFunc   func(ctx context.Context, ids []string) (map[string]string, error)

	mu       sync.Mutex
	tokens   map[string]rest.Validation
	sessions map[string]rest.Session
	links    map[string]rest.Link
	agents   map[string]string
	skew     time.Duration

	validations, sessionReads, linkReads, agentReads int
	largest                                          int
}

var _ session.Store = (*fakeStore)(nil)

func (s *fakeStore) ValidateSession(ctx context.Context, token string) (rest.Validation, error) {
	s.mu.Lock()
	s.validations++
	f, answer := s.ValidateFunc, s.tokens[token]
	s.mu.Unlock()
	if f != nil {
		return f(ctx, token)
	}
	return answer, nil
}

func (s *fakeStore) Sessions(ctx context.Context, ids []string) ([]rest.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessionReads++
	s.largest = max(s.largest, len(ids))
	if f := s.SessionsFunc; f != nil {
		s.mu.Unlock()
		defer s.mu.Lock()
		return f(ctx, ids)
	}
	return pick(s.sessions, ids), nil
}

func (s *fakeStore) Links(ctx context.Context, ids []string) ([]rest.Link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.linkReads++
	s.largest = max(s.largest, len(ids))
	if f := s.LinksFunc; f != nil {
		s.mu.Unlock()
		defer s.mu.Lock()
		return f(ctx, ids)
	}
	return pick(s.links, ids), nil
}

func (s *fakeStore) AgentNames(ctx context.Context, ids []string) (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agentReads++
	if f := s.AgentsFunc; f != nil {
		s.mu.Unlock()
		defer s.mu.Lock()
		return f(ctx, ids)
	}
	return s.agents, nil
}

func (s *fakeStore) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.skew).UTC()
}

func pick[T any](rows map[string]T, ids []string) []T {
	var out []T
	for _, id := range ids {
		if row, ok := rows[id]; ok {
			out = append(out, row)
		}
	}
	return out
}

// change edits rows under the lock.
func (s *fakeStore) change(f func(s *fakeStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *fakeStore) editSession(n int, f func(*rest.Session)) {
	s.change(func(s *fakeStore) {
		row := s.sessions[sessionID(n)]
		f(&row)
		s.sessions[sessionID(n)] = row
	})
}

func (s *fakeStore) editLink(n int, f func(*rest.Link)) {
	s.change(func(s *fakeStore) {
		row := s.links[linkID(n)]
		f(&row)
		s.links[linkID(n)] = row
	})
}

func (s *fakeStore) counts() (validations, sessionReads, linkReads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.validations, s.sessionReads, s.linkReads
}

func (s *fakeStore) breakDown(err error) {
	s.change(func(s *fakeStore) {
		s.ValidateFunc = func(context.Context, string) (rest.Validation, error) { return rest.Validation{}, err }
		s.SessionsFunc = func(context.Context, []string) ([]rest.Session, error) { return nil, err }
		s.LinksFunc = func(context.Context, []string) ([]rest.Link, error) { return nil, err }
	})
}

func (s *fakeStore) mend() {
	s.change(func(s *fakeStore) { s.ValidateFunc, s.SessionsFunc, s.LinksFunc = nil, nil, nil })
}

var (
	errDown    = &rest.Error{Op: "read", Status: 502}
	errMissing = &rest.Error{Op: "read", Status: 404, Code: "PGRST205"}
	errDenied  = &rest.Error{Op: "read", Status: 403, Code: "42501"}
)

func id(kind, n int) string     { return fmt.Sprintf("0000000%d-0000-4000-8000-%012d", kind, n) }
func sessionID(n int) string    { return id(1, n) }
func linkID(n int) string       { return id(2, n) }
func conversation(n int) string { return id(3, n) }
func agentID(n int) string      { return id(4, n) }
func token(n int) chat.Token    { return chat.Token(fmt.Sprintf("token-of-a-session_%044d", n)) }

// fixture is an authoriser over a fake store, in a bubble. Session n has token n and link n; agent 1 answers in all.
type fixture struct {
	*session.Authorizer
	t     *testing.T
	store *fakeStore
	logs  *syncBuffer

	mu      sync.Mutex
	endings []session.Ending
	told    []*chat.Visitor
	at      []time.Time
	stop    context.CancelFunc
	stopped chan error
}

func newStore(sessions int) *fakeStore {
	s := &fakeStore{
		tokens: map[string]rest.Validation{}, sessions: map[string]rest.Session{}, links: map[string]rest.Link{},
		agents: map[string]string{agentID(1): "Ada"},
	}
	now := time.Now().UTC()
	for n := 1; n <= sessions; n++ {
		s.tokens[token(n).Reveal()] = rest.Validation{
			Valid: true, SessionID: sessionID(n), ConversationID: conversation(n), AgentID: agentID(1), AgentName: "Ada",
			Title: "Feedback", MaxMessages: 50, SessionTimeoutMinutes: 30, ExpiresAt: now.Add(24 * time.Hour),
		}
		s.sessions[sessionID(n)] = rest.Session{
			ID: sessionID(n), LinkID: linkID(n), ConversationID: conversation(n), ConversationSessionID: id(5, n), Status: "active",
			StartedAt: now, LastActivityAt: now,
		}
		s.links[linkID(n)] = rest.Link{
			ID: linkID(n), AgentID: agentID(1), IsActive: true, ExpiresAt: now.Add(24 * time.Hour), SessionTimeoutMinutes: 30,
			MaxMessagesPerSession: 50, RateLimitPerMinute: 10, Title: "Feedback", AllowedDomains: []string{"example.org"},
		}
	}
	return s
}

// inBubble runs a test over a started authoriser with n sessions, and stops it.
func inBubble(t *testing.T, n int, test func(t *testing.T, f *fixture), options ...func(*session.Options)) {
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{t: t, store: newStore(n), logs: &syncBuffer{}, stopped: make(chan error, 1)}
		opts := session.Options{
			Store: f.store, Keys: [][]byte{[]byte("a signing key of the tests")}, OnEnd: f.onEnd, AuthorizePerSecond: 1000,
			Logger: slog.New(slog.NewTextHandler(f.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		}
		for _, option := range options {
			option(&opts)
		}
		a, err := session.New(opts)
		require.NoError(t, err)
		f.Authorizer = a
		ctx, cancel := context.WithCancel(context.Background())
		f.stop = cancel
		go func() { f.stopped <- a.Run(ctx) }()
		defer func() {
			cancel()
			assert.NoError(t, <-f.stopped)
		}()
		test(t, f)
		for i := range n {
			assert.NotContains(t, f.logs.String(), token(i+1).Reveal(), "a token is in the log")
		}
		assert.NotContains(t, f.logs.String(), session.TicketPrefix, "a ticket is in the log")
	})
}

func (f *fixture) onEnd(v *chat.Visitor, e session.Ending) {
	f.mu.Lock()
	defer f.mu.Unlock()
	assert.Equal(f.t, v.SessionID, e.SessionID)
	f.endings, f.told, f.at = append(f.endings, e), append(f.told, v), append(f.at, time.Now())
}

// lastTold is whose streams OnEnd was told to close last.
func (f *fixture) lastTold() *chat.Visitor {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.told[len(f.told)-1]
}

func (f *fixture) ended() []session.Ending {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]session.Ending(nil), f.endings...)
}

// endedAt is when OnEnd was first called.
func (f *fixture) endedAt() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	require.NotEmpty(f.t, f.at)
	return f.at[0]
}

func (f *fixture) byToken(n int) (*chat.Grant, error) {
	return f.Authorize(f.t.Context(), chat.Credential{Token: token(n)})
}

func (f *fixture) byTicket(ticket chat.Token) (*chat.Grant, error) {
	return f.Authorize(f.t.Context(), chat.Credential{Ticket: ticket})
}

func (f *fixture) grant(n int) *chat.Grant {
	f.t.Helper()
	g, err := f.byToken(n)
	require.NoError(f.t, err)
	return g
}

// track authorises session n and opens a stream of it.
func (f *fixture) track(n int) (untrack func()) {
	f.t.Helper()
	return f.Track(f.grant(n).Visitor)
}

func requireRefusal(t *testing.T, err error, status int) *chat.Refusal {
	t.Helper()
	var refusal *chat.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, status, refusal.Status, "%v", err)
	if status == 503 {
		assert.GreaterOrEqual(t, refusal.RetryAfter, time.Second)
		assert.LessOrEqual(t, refusal.RetryAfter, 5*time.Second)
	}
	return refusal
}

func wait(d time.Duration) {
	time.Sleep(d) // of the bubble's clock
	synctest.Wait()
}

// each runs f n times at once and returns the errors.
func each(n int, f func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errs
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *syncBuffer) count(text string) int { return strings.Count(b.String(), text) }

var errOther = errors.New("something else")

// slowLinks answers with the rows as they are when asked, once slow is closed.
func slowLinks(s *fakeStore, slow <-chan struct{}) func(context.Context, []string) ([]rest.Link, error) {
	return func(_ context.Context, ids []string) ([]rest.Link, error) {
		s.mu.Lock()
		rows := pick(s.links, ids)
		s.mu.Unlock()
		<-slow
		return rows, nil
	}
}
