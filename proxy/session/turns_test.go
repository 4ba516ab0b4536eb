package session_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
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

func perSecond(n float64) func(*session.Options) {
	return func(o *session.Options) { o.AuthorizePerSecond = n }
}

// address gives an IPv4 address of its own to each number.
func address(n int) netip.Addr {
	var raw [4]byte
	binary.BigEndian.PutUint32(raw[:], 10<<24+uint32(n))
	return netip.AddrFrom4(raw)
}

func wrong(n int) chat.Token { return chat.Token(fmt.Sprintf("wrong-token-number-%08d", n)) }

// asked notes when the validation function was called.
type asked struct {
	mu sync.Mutex
	at []time.Time
}

func (f *fixture) noteValidations() *asked {
	a := &asked{}
	f.store.change(func(s *fakeStore) {
		s.ValidateFunc = func(_ context.Context, text string) (rest.Validation, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.at = append(a.at, time.Now())
			return s.tokens[text], nil
		}
	})
	return a
}

// most is the greatest number of calls in any second.
func (a *asked) most() (most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, from := range a.at {
		n := 0
		for _, at := range a.at[i:] {
			if at.Sub(from) < time.Second {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

func TestUnknownTokensAreValidatedSoManyInAnySecond(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		calls := f.noteValidations()
		var crowd sync.WaitGroup
		for n := range 3000 {
			crowd.Go(func() {
				_, err := f.Authorize(t.Context(), chat.Credential{Token: wrong(n), Address: address(n % 400)})
				assert.Error(t, err)
			})
			time.Sleep(2 * time.Millisecond)
		}
		crowd.Wait()
		assert.Equal(t, 20, calls.most())
		assert.Greater(t, len(calls.at), 115, "the budget of 6 s is used")
	}, perSecond(20))
}

func TestFractionOfATokenASecond(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, f *fixture) {
		calls := f.noteValidations()
		began := time.Now()
		f.grant(1)
		f.grant(2)
		assert.Equal(t, 4*time.Second, calls.at[1].Sub(began))
	}, perSecond(0.25))
}

func TestVisitorGoesBeforeThoseWhoTryTokens(t *testing.T) {
	const hostile = 400 // addresses
	flood := func(t *testing.T, f *fixture) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		var crowd sync.WaitGroup
		crowd.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				crowd.Go(func() {
					_, err := f.Authorize(ctx, chat.Credential{Token: wrong(n), Address: address(n % hostile)})
					assert.Error(t, err)
				})
				time.Sleep(time.Millisecond / 2)
			}
		})
		wait(3 * time.Second)
		return func() { cancel(); crowd.Wait() }
	}
	t.Run("a newcomer waits for one turn", func(t *testing.T) {
		inBubble(t, 40, func(t *testing.T, f *fixture) {
			defer flood(t, f)()
			for n := 1; n <= 40; n++ {
				began := time.Now()
				_, err := f.Authorize(t.Context(), chat.Credential{Token: token(n), Address: address(hostile + n)})
				require.NoError(t, err)
				assert.LessOrEqual(t, time.Since(began), 1010*time.Millisecond)
				wait(100 * time.Millisecond)
			}
		}, perSecond(20))
	})
	t.Run("so do many newcomers of one address", func(t *testing.T) {
		inBubble(t, 30, func(t *testing.T, f *fixture) {
			defer flood(t, f)()
			for _, err := range each(30, func(i int) error {
				_, err := f.Authorize(t.Context(), chat.Credential{Token: token(i + 1), Address: address(hostile)})
				return err
			}) {
				require.NoError(t, err)
			}
		}, perSecond(20))
	})
	t.Run("a token that proved a session before goes first", func(t *testing.T) {
		inBubble(t, 1, func(t *testing.T, f *fixture) {
			f.grant(1)
			wait(2 * time.Minute)
			defer flood(t, f)()
			// From an address that has tried many tokens itself: others are behind it.
			_, err := f.Authorize(t.Context(), chat.Credential{Token: token(1), Address: address(7)})
			require.NoError(t, err)
		}, perSecond(20))
	})
	t.Run("a token whose session has a stream needs no turn", func(t *testing.T) {
		inBubble(t, 1, func(t *testing.T, f *fixture) {
			defer f.track(1)()
			wait(2 * time.Minute)
			defer flood(t, f)()
			before, _, _ := f.store.counts()
			began := time.Now()
			f.grant(1)
			after, _, _ := f.store.counts()
			assert.Equal(t, before, after)
			assert.Less(t, time.Since(began), 10*time.Millisecond)
		}, perSecond(20))
	})
}

func TestStrangerIsNotOvertakenForEver(t *testing.T) {
	inBubble(t, 300, func(t *testing.T, f *fixture) {
		_, err := f.Authorize(t.Context(), chat.Credential{Token: token(1), Address: address(1)})
		require.NoError(t, err)
		var trusted sync.WaitGroup
		for n := 3; n <= 300; n++ {
			trusted.Go(func() { _, _ = f.Authorize(t.Context(), chat.Credential{Token: token(n), Address: address(1)}) })
			time.Sleep(40 * time.Millisecond)
			if n != 150 {
				continue
			}
			trusted.Go(func() {
				_, err := f.Authorize(t.Context(), chat.Credential{Token: token(2), Address: address(2)})
				assert.NoError(t, err)
			})
		}
		trusted.Wait()
	}, perSecond(20))
}

func TestTurnIsAwaitedSoLong(t *testing.T) {
	t.Run("the wait ends", func(t *testing.T) {
		inBubble(t, 5, func(t *testing.T, f *fixture) {
			f.grant(1)
			began := time.Now()
			_, err := f.byToken(2)
			assert.True(t, requireRefusal(t, err, 503).Quiet, "a crowd does not fill the log")
			assert.Equal(t, 5*time.Second, time.Since(began))
		}, perSecond(0.01))
	})
	t.Run("the proxy stops", func(t *testing.T) {
		inBubble(t, 5, func(t *testing.T, f *fixture) {
			f.grant(1)
			refused := make(chan error)
			go func() {
				_, err := f.byToken(2)
				refused <- err
			}()
			synctest.Wait()
			f.stop()
			requireRefusal(t, <-refused, 503)
		}, perSecond(0.01))
	})
}

func TestStandingsOfAddressesAreBounded(t *testing.T) {
	turns, end := session.NewTurns()
	defer end()
	for n := range 100_000 {
		turns.Ask(address(n)) // the few who wait have nothing against them
		turns.Prove(address(n))
	}
	blamed, trusted, oldest := turns.Remembered()
	assert.Equal(t, []int{10_000, 10_000}, []int{blamed, trusted})
	assert.Equal(t, [2]netip.Addr{address(90_000), address(90_000)}, oldest)
}

func TestACrowdOfStrangersTakesNobodysTrust(t *testing.T) {
	turns, end := session.NewTurns()
	defer end()
	good := netip.MustParseAddr("2001:db8::1")
	turns.Prove(good)
	for n := range 65_536 { // the /64s of a /48
		turns.Ask(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 1, byte(n >> 8), byte(n), 15: 1}))
	}
	assert.True(t, turns.Trusts(good))
	assert.False(t, turns.Trusts(netip.MustParseAddr("2001:db8:2::1")))
}

func TestVisitorsOfATrustedAddressPassACrowdOfFreshAddresses(t *testing.T) {
	inBubble(t, 21, func(t *testing.T, f *fixture) {
		good := netip.MustParseAddr("192.0.2.1")
		comeIn := func(n int) error {
			_, err := f.Authorize(t.Context(), chat.Credential{Token: token(n), Address: good})
			return err
		}
		require.NoError(t, comeIn(1))
		ctx, cancel := context.WithCancel(t.Context())
		var crowd sync.WaitGroup
		crowd.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				crowd.Go(func() { _, _ = f.Authorize(ctx, chat.Credential{Token: wrong(n), Address: address(n)}) })
				time.Sleep(time.Millisecond / 2)
			}
		})
		wait(8 * time.Second)
		for n := 2; n <= 21; n++ {
			assert.NoError(t, comeIn(n))
			wait(50 * time.Millisecond)
		}
		cancel()
		crowd.Wait()
	}, perSecond(20))
}

func BenchmarkTokenBehindAFullLine(b *testing.B) {
	join, end := session.JoinFullLine(address)
	defer end()
	for n := 0; b.Loop(); n++ {
		join(n)
	}
}
