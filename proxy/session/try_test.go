package session_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/session"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

var _ chat.Try = (*countedTry)(nil)

// countedTry is a chat.Try that counts what becomes of it.
type countedTry struct {
	refusal                error
	begun, settled, failed atomic.Int32
}

func (c *countedTry) Begin(context.Context) error {
	if c.refusal == nil {
		c.begun.Add(1)
	}
	return c.refusal
}

func (c *countedTry) Settle(failed bool) {
	c.settled.Add(1)
	if failed {
		c.failed.Add(1)
	}
}

func (c *countedTry) counts() []int32 {
	return []int32{c.begun.Load(), c.settled.Load(), c.failed.Load()}
}

func TestTokenIsATryOnlyWhenNobodyKnowsIt(t *testing.T) {
	tests := []struct {
		name                   string
		bring                  func(f *fixture) chat.Credential
		begun, settled, failed int32
	}{
		{"new and good", func(*fixture) chat.Credential { return chat.Credential{Token: token(1)} }, 1, 1, 0},
		{"new and wrong", func(*fixture) chat.Credential { return chat.Credential{Token: wrong(1)} }, 1, 1, 1},
		{"of a session without a row", func(f *fixture) chat.Credential {
			f.store.change(func(s *fakeStore) { delete(s.sessions, sessionID(1)) })
			return chat.Credential{Token: token(1)}
		}, 1, 1, 1},
		{"while the database is away", func(f *fixture) chat.Credential {
			f.store.breakDown(errDown)
			return chat.Credential{Token: token(1)}
		}, 1, 1, 0},
		{"proved a moment ago", func(f *fixture) chat.Credential { f.grant(1); return chat.Credential{Token: token(1)} }, 0, 0, 0},
		{"proved long ago", func(f *fixture) chat.Credential {
			f.grant(1)
			wait(10 * time.Minute)
			return chat.Credential{Token: token(1)}
		}, 0, 0, 0},
		{"wrong a moment ago", func(f *fixture) chat.Credential {
			_, _ = f.Authorize(f.t.Context(), chat.Credential{Token: wrong(1)})
			return chat.Credential{Token: wrong(1)}
		}, 0, 0, 0},
		{"of no form", func(*fixture) chat.Credential { return chat.Credential{Token: "?"} }, 0, 0, 0},
		{"a resume ticket", func(f *fixture) chat.Credential { return chat.Credential{Ticket: f.grant(1).Ticket} }, 0, 0, 0},
		{"a resume ticket where no table can be read", func(f *fixture) chat.Credential {
			ticket := f.grant(1).Ticket
			wait(10 * time.Minute)
			f.store.change(func(s *fakeStore) {
				s.SessionsFunc = func(context.Context, []string) ([]rest.Session, error) { return nil, errDenied }
			})
			return chat.Credential{Ticket: ticket}
		}, 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, f *fixture) {
				c, try := tt.bring(f), &countedTry{}
				c.Try = try
				_, _ = f.Authorize(t.Context(), c)
				assert.Equal(t, []int32{tt.begun, tt.settled, tt.failed}, try.counts())
			})
		})
	}
}

func TestTryThatMayNotBeginAsksNobody(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		refusal := chat.RefuseLimit("too_many_attempts", "", time.Second)
		_, err := f.Authorize(t.Context(), chat.Credential{Token: token(1), Try: &countedTry{refusal: refusal}})
		assert.Same(t, refusal, requireRefusal(t, err, 429))
		validations, _, _ := f.store.counts()
		assert.Zero(t, validations)
	})
}

func TestWhoHangsUpHasTriedAllTheSame(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		f.store.change(func(s *fakeStore) {
			s.ValidateFunc = func(context.Context, string) (rest.Validation, error) {
				time.Sleep(time.Second)
				return rest.Validation{}, nil
			}
		})
		try := &countedTry{}
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := f.Authorize(ctx, chat.Credential{Token: wrong(1), Try: try})
			left <- err
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-left, context.Canceled)
		assert.Zero(t, try.settled.Load())
		wait(time.Second)
		assert.Equal(t, []int32{1, 1, 1}, try.counts())
	})
}

func TestOneOfManyWithTheSameTokenTries(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		f.store.change(func(s *fakeStore) {
			s.ValidateFunc = func(context.Context, string) (rest.Validation, error) {
				time.Sleep(time.Second)
				return s.tokens[token(1).Reveal()], nil
			}
		})
		tries := make([]countedTry, 50)
		for _, err := range each(len(tries), func(i int) error {
			_, err := f.Authorize(t.Context(), chat.Credential{Token: token(1), Try: &tries[i]})
			return err
		}) {
			require.NoError(t, err)
		}
		validations, _, _ := f.store.counts()
		assert.Equal(t, 1, validations)
		for i := range tries {
			assert.Equal(t, tries[i].begun.Load(), tries[i].settled.Load())
			assert.Zero(t, tries[i].failed.Load())
		}
	})
}

func TestTryThatComesToNoTurnHasNotFailed(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, f *fixture) {
		f.grant(1)
		try := &countedTry{}
		_, err := f.Authorize(t.Context(), chat.Credential{Token: token(2), Try: try})
		requireRefusal(t, err, 503)
		assert.Equal(t, []int32{1, 1, 0}, try.counts())
	}, func(o *session.Options) { o.AuthorizePerSecond = 0.01 })
}
