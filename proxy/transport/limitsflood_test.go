package transport_test

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/transport"
)

func floodAddress(n int) netip.Addr {
	var raw [4]byte
	binary.BigEndian.PutUint32(raw[:], 10<<24+uint32(n))
	return netip.AddrFrom4(raw)
}

func TestAFloodOfAddressesIsNotRemembered(t *testing.T) {
	l := transport.NewLimits(transport.Options{})
	for n := range 100_000 {
		place, ref := l.Enter(floodAddress(n + 1))
		require.Nil(t, ref)
		place.Evictable(func() {})
		place.Release()
	}
	assert.Zero(t, l.Remembered())
}

func TestNobodyMakesRoomWhenAllPlacesAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := transport.NewLimits(transport.Options{Connections: 3})
		var evicted []string
		enter := func(name string) transport.Place {
			place, ref := l.Enter(floodAddress(1))
			require.Nil(t, ref, name)
			place.Evictable(func() { evicted = append(evicted, name) })
			return place
		}
		visitor := enter("visitor")
		require.Nil(t, visitor.Bind("session-1"))
		first, second := enter("first"), enter("second")
		_, ref := l.Enter(floodAddress(2))
		require.NotNil(t, ref, "all are too new to have to go")
		assert.Equal(t, "too_many_connections", ref.Code)

		time.Sleep(time.Second)
		third := enter("third")
		assert.Equal(t, []string{"first"}, evicted)
		assert.EqualValues(t, 2, l.Reached("connections"), "one was refused, and one had to go")
		ref = first.Bind("session-2")
		require.NotNil(t, ref, "too late")
		assert.Equal(t, "too_many_connections", ref.Code)
		first.Release() // of what it has lost
		require.Nil(t, second.Bind("session-3"))

		time.Sleep(time.Second)
		enter("fourth")
		assert.Equal(t, []string{"first", "third"}, evicted)
		third.Release()
		_, ref = l.Enter(floodAddress(2))
		require.NotNil(t, ref, "two visitors and one who is new")
	})
}

func TestNewConnectionsOfASecondAreLimited(t *testing.T) {
	t.Run("at most", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := transport.NewLimits(transport.Options{NewConnectionsPerSecond: 10})
			begin := func(n int) (begun int) {
				for i := range n {
					place, ref := l.Enter(floodAddress(i))
					require.Nil(t, ref)
					if ref = place.Bind(fmt.Sprint("session-", i)); ref == nil {
						begun++
						assert.Nil(t, place.Bind(fmt.Sprint("another-", i)), "the same connection")
					} else {
						assert.Equal(t, "too_many_new_connections", ref.Code)
						assert.Equal(t, time.Second, ref.RetryAfter)
					}
					place.Release()
				}
				return begun
			}
			assert.Equal(t, 20, begin(50), "twice as many at once")
			time.Sleep(time.Second)
			assert.Equal(t, 10, begin(50))
		})
	})
	t.Run("polls are none", func(t *testing.T) {
		g := newRig(t, func(o *transport.Options) { o.NewConnectionsPerSecond = 1 })
		for range 5 {
			assert.Equal(t, 200, do(g, "GET", pollPath+"?session_token="+rigToken, "").Code)
		}
	})
	t.Run("is told and counted", func(t *testing.T) {
		g := newRig(t, func(o *transport.Options) { o.NewConnectionsPerSecond = 1 })
		base := g.serve()
		for range 2 {
			stream := g.openEvents(base + eventsPath)
			stream.must()
		}
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(base + eventsPath)
		require.NoError(t, err)
		res.Body.Close()
		assert.Equal(t, http.StatusTooManyRequests, res.StatusCode)
		assert.Equal(t, "2", res.Header.Get("Retry-After"))
		assert.EqualValues(t, 1, g.value("limits_reached_total", "limit", "new_connections_per_second"))
	})
}
