package session_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/session"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

func TestTokenBecomesVisitorWithTheFactsOfRowAndLink(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		f.store.editLink(1, func(l *rest.Link) {
			l.RateLimitPerMinute, l.AllowedIPs, l.SourceConversationID = 7, []string{"203.0.113.0/24"}, conversation(1)
		})
		g := f.grant(1)
		now := f.store.Now()
		assert.Equal(t, &chat.Visitor{
			SessionID: sessionID(1), ConversationID: conversation(1), ConversationSessionID: id(5, 1), LinkID: linkID(1),
			AgentID: agentID(1), AgentName: "Ada", Title: "Feedback", MaxMessages: 50, RateLimitPerMinute: 7,
			ExpiresAt: now.Add(24 * time.Hour).Truncate(time.Hour), IdleTimeout: 30 * time.Minute,
			LastActivity: g.Visitor.LastActivity, LinkKnown: true, Shared: true,
			AllowedDomains: []string{"example.org"}, AllowedIPs: []string{"203.0.113.0/24"},
		}, g.Visitor)
		assert.Equal(t, token(1), g.Token)
		assert.NotEmpty(t, g.Ticket)
	})
}

func TestTokenIsStrippedAndItsFormCheckedBeforeAnyCall(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		bad := []string{
			"", "short", strings.Repeat("a", 15), strings.Repeat("a", 513), strings.Repeat("a", 30) + "'", "aaaaaaaaaaaaaaaa.aaaa",
			"üüüüüüüüüüüüüüüüüüüü", strings.Repeat(" ", 40), strings.Repeat(" ", 2000) + token(1).Reveal(),
		}
		for _, text := range bad {
			_, err := f.Authorize(t.Context(), chat.Credential{Token: chat.Token(text)})
			requireRefusal(t, err, 401)
		}
		validations, _, _ := f.store.counts()
		require.Zero(t, validations)
		text := token(1).Reveal()
		g, err := f.Authorize(t.Context(), chat.Credential{Token: chat.Token(" " + text[:20] + "\n" + text[20:] + "\t\r\n")})
		require.NoError(t, err)
		assert.Equal(t, token(1), g.Token)
	})
}

func TestManyAtOnceWithOneTokenAreOneValidation(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		f.store.change(func(s *fakeStore) {
			s.ValidateFunc = func(context.Context, string) (rest.Validation, error) {
				time.Sleep(time.Second)
				return f.store.tokens[token(1).Reveal()], nil
			}
		})
		for _, err := range each(100, func(int) error { _, err := f.byToken(1); return err }) {
			require.NoError(t, err)
		}
		validations, sessionReads, linkReads := f.store.counts()
		assert.Equal(t, []int{1, 1, 1}, []int{validations, sessionReads, linkReads})
	})
}

func TestWaiterThatLeavesDoesNotEndTheValidationForOthers(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		f.store.change(func(s *fakeStore) {
			s.ValidateFunc = func(ctx context.Context, _ string) (rest.Validation, error) {
				select {
				case <-time.After(time.Second):
					return f.store.tokens[token(1).Reveal()], nil
				case <-ctx.Done():
					return rest.Validation{}, ctx.Err()
				}
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error)
		go func() {
			_, err := f.Authorize(ctx, chat.Credential{Token: token(1)})
			first <- err
		}()
		synctest.Wait()
		second := make(chan error)
		go func() {
			_, err := f.byToken(1)
			second <- err
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-first, context.Canceled)
		require.NoError(t, <-second)
		validations, _, _ := f.store.counts()
		assert.Equal(t, 1, validations)
	})
}

func TestProvedTokenIsNotValidatedAgainForAMinute(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		for range 59 {
			f.grant(1)
			wait(time.Second)
		}
		validations, sessionReads, _ := f.store.counts()
		assert.Equal(t, 1, validations)
		assert.LessOrEqual(t, sessionReads, 5, "a reading serves until the next recheck")
		wait(2 * time.Second)
		f.grant(1)
		validations, _, _ = f.store.counts()
		assert.Equal(t, 2, validations)
	})
}

func TestUnknownTokenIsRefusedWithoutAskingForTenSeconds(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		for range 9 {
			_, err := f.byToken(2)
			requireRefusal(t, err, 401)
			wait(time.Second)
		}
		validations, _, _ := f.store.counts()
		require.Equal(t, 1, validations)
		f.store.change(func(s *fakeStore) { s.tokens[token(2).Reveal()] = s.tokens[token(1).Reveal()] })
		wait(2 * time.Second)
		g, err := f.byToken(2)
		require.NoError(t, err)
		assert.Equal(t, sessionID(1), g.Visitor.SessionID)
	})
}

func TestFailedValidationIsUnavailableAndNotRemembered(t *testing.T) {
	failures := map[string]error{
		"gateway": errDown, "missing column": &rest.Error{Status: 400, Code: "42703"},
		"missing function": &rest.Error{Status: 404, Code: "42883"}, "raised": &rest.Error{Status: 400, Code: "P0001"},
		"conflict": &rest.Error{Status: 409, Code: "23505"}, "refused key": &rest.Error{Status: 401, Code: "PGRST301"},
		"too many": &rest.Error{Status: 429}, "timeout": context.DeadlineExceeded, "other": errOther,
	}
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, f *fixture) {
				f.store.change(func(s *fakeStore) {
					s.ValidateFunc = func(context.Context, string) (rest.Validation, error) { return rest.Validation{}, failure }
				})
				_, err := f.byToken(1)
				refusal := requireRefusal(t, err, 503)
				require.ErrorIs(t, refusal, failure)
				f.store.mend()
				f.grant(1)
			})
		})
	}
}

func TestValidationThatHangsIsGivenUp(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		f.store.change(func(s *fakeStore) {
			s.ValidateFunc = func(ctx context.Context, _ string) (rest.Validation, error) {
				<-ctx.Done()
				return rest.Validation{}, ctx.Err()
			}
		})
		began := time.Now()
		_, err := f.byToken(1)
		requireRefusal(t, err, 503)
		assert.Equal(t, 15*time.Second, time.Since(began))
	})
}

func TestValidationsRunAFewAtOnceAndOnlySoManyWait(t *testing.T) {
	inBubble(t, 200, func(t *testing.T, f *fixture) {
		var running, most atomic.Int32
		f.store.change(func(s *fakeStore) {
			s.ValidateFunc = func(_ context.Context, text string) (rest.Validation, error) {
				if n := running.Add(1); n > most.Load() {
					most.Store(n)
				}
				defer running.Add(-1)
				time.Sleep(100 * time.Millisecond)
				return f.store.tokens[text], nil
			}
		})
		refused := 0
		for _, err := range each(200, func(i int) error { _, err := f.byToken(i + 1); return err }) {
			if err != nil {
				requireRefusal(t, err, 503)
				refused++
			}
		}
		assert.EqualValues(t, 4, most.Load())
		assert.Equal(t, 200-4*17, refused)
	}, func(o *session.Options) { o.Concurrency = 4 })
}

func TestJoinersAreReadInBatches(t *testing.T) {
	inBubble(t, 250, func(t *testing.T, f *fixture) {
		for _, err := range each(250, func(i int) error { _, err := f.byToken(i + 1); return err }) {
			require.NoError(t, err)
		}
		_, sessionReads, linkReads := f.store.counts()
		assert.Equal(t, []int{3, 3}, []int{sessionReads, linkReads})
		assert.Equal(t, 100, f.store.largest)
	}, func(o *session.Options) { o.Concurrency = 250 })
}

func TestAgentNameComesFromTheAgentsTableAndIsNoReasonToRefuse(t *testing.T) {
	nameless := func(s *fakeStore) {
		v := s.tokens[token(1).Reveal()]
		v.AgentName = ""
		s.tokens[token(1).Reveal()] = v
	}
	t.Run("read once", func(t *testing.T) {
		inBubble(t, 1, func(t *testing.T, f *fixture) {
			f.store.change(nameless)
			assert.Equal(t, "Ada", f.grant(1).Visitor.AgentName)
			wait(2 * time.Minute)
			assert.Equal(t, "Ada", f.grant(1).Visitor.AgentName)
			assert.Equal(t, 1, f.store.agentReads)
		})
	})
	t.Run("unreadable", func(t *testing.T) {
		inBubble(t, 1, func(t *testing.T, f *fixture) {
			f.store.change(nameless)
			f.store.change(func(s *fakeStore) {
				s.AgentsFunc = func(context.Context, []string) (map[string]string, error) { return nil, errDenied }
			})
			assert.Empty(t, f.grant(1).Visitor.AgentName)
		})
	})
}

func TestMetricsCountResultsWithoutIDs(t *testing.T) {
	registry := prometheus.NewRegistry()
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		untrack := f.track(1)
		_, err := f.byToken(2)
		requireRefusal(t, err, 401)
		f.SessionChanged(sessionID(1), "ended", "a reason of the database", time.Time{})
		f.ended()
		untrack()
	}, func(o *session.Options) { o.Metrics = session.NewMetrics(registry) })
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP realtime_proxy_session_validations_total Calls of the validation function.
# TYPE realtime_proxy_session_validations_total counter
realtime_proxy_session_validations_total{result="error"} 0
realtime_proxy_session_validations_total{result="invalid"} 1
realtime_proxy_session_validations_total{result="valid"} 1
# HELP realtime_proxy_session_tracked Sessions with open streams.
# TYPE realtime_proxy_session_tracked gauge
realtime_proxy_session_tracked 0
`), "realtime_proxy_session_validations_total", "realtime_proxy_session_tracked"))
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	assert.Empty(t, problems)
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		assert.NotContains(t, family.String(), "a reason of the database")
		assert.NotContains(t, family.String(), sessionID(1))
	}
}
