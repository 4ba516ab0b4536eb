package transport_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

// judgment is what became of one try.
type judgment struct {
	judged bool
	err    error
}

// tryAtOnce tries n times at once; each try that begins takes a tenth of a second.
func tryAtOnce(ctx context.Context, tries transport.Tries, n int, failed bool) []judgment {
	all := make([]judgment, n)
	var crowd sync.WaitGroup
	for i := range all {
		crowd.Go(func() {
			try := tries.Of(floodAddress(1))
			if all[i].err = try.Begin(ctx); all[i].err != nil {
				return
			}
			all[i].judged = true
			time.Sleep(100 * time.Millisecond)
			try.Settle(failed)
		})
	}
	crowd.Wait()
	return all
}

func countJudged(all []judgment) (n int) {
	for _, one := range all {
		if one.judged {
			n++
		}
	}
	return n
}

func requireTooMany(t *testing.T, err error) *chat.Refusal {
	t.Helper()
	ref, ok := errors.AsType[*chat.Refusal](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, 429, ref.Status)
	assert.Equal(t, "too_many_attempts", ref.Code)
	return ref
}

func TestTriesAtOnceStayWithinTheLimitOfFailures(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before int // failures
		failed bool
		judged int
	}{
		{"all are wrong", 0, true, 3},
		{"all are wrong, and one was before", 1, true, 2},
		{"all are good", 0, false, 30},
		{"all are good behind a failure", 2, false, 30},
		{"none are left", 3, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := transport.NewTries(3)
				for range tt.before {
					require.Nil(t, tries.Fail(floodAddress(1)))
				}
				all := tryAtOnce(t.Context(), tries, 30, tt.failed)
				assert.Equal(t, tt.judged, countJudged(all))
				for _, one := range all {
					if !one.judged {
						assert.Greater(t, requireTooMany(t, one.err).RetryAfter, 59*time.Second)
					}
				}
				_, crowds := tries.Remembered()
				assert.Zero(t, crowds)
			})
		})
	}
}

func TestTriesWaitForThoseOfTheirAddress(t *testing.T) {
	hold := func(t *testing.T, tries transport.Tries, n int) (release func()) {
		for range n {
			require.NoError(t, tries.Of(floodAddress(1)).Begin(t.Context()))
		}
		return func() {
			for range n {
				tries.Of(floodAddress(1)).Settle(false)
			}
		}
	}
	t.Run("only so long, and nothing is held against them", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tries := transport.NewTries(2)
			release := hold(t, tries, 2)
			began := time.Now()
			ref := requireTooMany(t, tries.Of(floodAddress(1)).Begin(t.Context()))
			assert.Equal(t, 10*time.Second, time.Since(began))
			assert.Equal(t, time.Second, ref.RetryAfter)
			require.NoError(t, tries.Of(floodAddress(2)).Begin(t.Context()), "another address")
			release()
			require.NoError(t, tries.Of(floodAddress(1)).Begin(t.Context()))
			failed, _ := tries.Remembered()
			assert.Zero(t, failed)
		})
	})
	t.Run("only so many at all addresses together", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tries := transport.NewTries(20)
			var late atomic.Int32
			var crowd sync.WaitGroup
			const addresses, each = 6, 200
			for address := range addresses {
				for range 20 {
					require.NoError(t, tries.Of(floodAddress(address)).Begin(t.Context()))
				}
				for range each {
					crowd.Go(func() {
						began := time.Now()
						if tries.Of(floodAddress(address)).Begin(t.Context()) != nil && time.Since(began) == 0 {
							late.Add(1)
						}
					})
				}
			}
			synctest.Wait()
			assert.EqualValues(t, addresses*each-1000, late.Load())
			crowd.Wait()
		})
	})
	t.Run("only so many", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tries := transport.NewTries(2)
			release := hold(t, tries, 2)
			var late atomic.Int32
			var crowd sync.WaitGroup
			for range 25 {
				crowd.Go(func() {
					began := time.Now()
					if tries.Of(floodAddress(1)).Begin(t.Context()) != nil && time.Since(began) == 0 {
						late.Add(1)
					}
				})
			}
			synctest.Wait()
			assert.EqualValues(t, 5, late.Load())
			release()
			crowd.Wait()
		})
	})
	t.Run("unless they go away", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tries := transport.NewTries(2)
			release := hold(t, tries, 2)
			ctx, cancel := context.WithCancel(t.Context())
			left := make(chan error)
			go func() { left <- tries.Of(floodAddress(1)).Begin(ctx) }()
			synctest.Wait()
			cancel()
			require.ErrorIs(t, <-left, context.Canceled)
			require.ErrorIs(t, tries.Of(floodAddress(2)).Begin(ctx), context.Canceled, "who has gone does not begin")
			release()
			_, crowds := tries.Remembered()
			assert.Zero(t, crowds)
		})
	})
}

func TestFailuresOfManyAddressesAreBounded(t *testing.T) {
	tries := transport.NewTries(2)
	constant := floodAddress(0)
	for n := range 100_000 {
		assert.Nil(t, tries.Fail(floodAddress(n+1)))
		if n%5000 == 0 {
			assert.Equal(t, n < 10_000, tries.Fail(constant) == nil)
		}
	}
	failed, _ := tries.Remembered()
	assert.Equal(t, 20_000, failed, "10,000 addresses, in a map and a list")
	assert.NotNil(t, tries.Fail(constant), "who goes on is not forgotten")
	assert.Nil(t, tries.Fail(floodAddress(1)))
}

func TestWhatIsKnownToBeGoodPassesBesideFailures(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.FailedTokensPerMinute = 2 })
	try := func(token string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		g.server.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, pollPath+"?session_token="+token, nil))
		return w
	}
	for range 2 {
		assert.Equal(t, 401, try("wrong").Code)
	}
	w := try("wrong")
	assert.Equal(t, 429, w.Code)
	assert.Contains(t, w.Body.String(), `"code":"too_many_attempts"`)
	assert.Equal(t, 200, try(rigToken).Code, "the same address, and a token that nobody had to be asked about")
}
