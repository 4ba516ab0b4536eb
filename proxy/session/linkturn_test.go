package session_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/session"
)

func TestLinkTokensHaveTurnsOfTheirOwn(t *testing.T) {
	inBubble(t, 5, func(t *testing.T, f *fixture) {
		turn := func() time.Duration {
			began := time.Now()
			done, err := f.LinkTurn(t.Context(), address(1))
			require.NoError(t, err)
			done(true, true)
			return time.Since(began)
		}
		for range 2 {
			assert.Zero(t, turn())
		}
		assert.Equal(t, time.Second, turn(), "two a second")
		began := time.Now()
		f.grant(1)
		assert.Less(t, time.Since(began), 100*time.Millisecond, "sessions are not kept from theirs")
	}, perSecond(2))
}

func TestLinkTokensOfVisitorsGoBeforeThoseOfACrowd(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, f *fixture) {
		ctx, cancel := context.WithCancel(t.Context())
		var crowd sync.WaitGroup
		crowd.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				crowd.Go(func() {
					if done, err := f.LinkTurn(ctx, address(n%400)); err == nil {
						done(true, false)
					}
				})
				time.Sleep(time.Millisecond)
			}
		})
		wait(3 * time.Second)
		for n := range 10 {
			began := time.Now()
			done, err := f.LinkTurn(t.Context(), address(1000+n))
			require.NoError(t, err)
			done(true, true)
			assert.LessOrEqual(t, time.Since(began), 2*time.Second)
		}
		cancel()
		crowd.Wait()
	}, perSecond(20))
}

func TestLinkTurnIsNotGiven(t *testing.T) {
	slow := func(o *session.Options) { o.AuthorizePerSecond = 0.01 }
	take := func(t *testing.T, f *fixture) {
		done, err := f.LinkTurn(t.Context(), address(1))
		require.NoError(t, err)
		done(false, false)
	}
	t.Run("in time", func(t *testing.T) {
		inBubble(t, 0, func(t *testing.T, f *fixture) {
			take(t, f)
			_, err := f.LinkTurn(t.Context(), address(2))
			assert.True(t, requireRefusal(t, err, 503).Quiet)
		}, slow)
	})
	t.Run("to one who has gone", func(t *testing.T) {
		inBubble(t, 0, func(t *testing.T, f *fixture) {
			take(t, f)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := f.LinkTurn(ctx, address(2))
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}, slow)
	})
	t.Run("by a proxy that has stopped", func(t *testing.T) {
		inBubble(t, 0, func(t *testing.T, f *fixture) {
			take(t, f)
			f.stop()
			synctest.Wait()
			_, err := f.LinkTurn(t.Context(), address(2))
			requireRefusal(t, err, 503)
		}, slow)
	})
	t.Run("to more at once than an Edge Function should have", func(t *testing.T) {
		inBubble(t, 0, func(t *testing.T, f *fixture) {
			given := 0
			for n := range 20 {
				if _, err := f.LinkTurn(t.Context(), address(n)); err == nil {
					given++
				}
			}
			assert.Equal(t, 8, given)
		}, func(o *session.Options) { o.Concurrency = 2 })
	})
}
