package feed_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/feed"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// settled lets the feed come to rest in a state.
func (u *upstream) settled(state string, within time.Duration) {
	u.t.Helper()
	for range int(within / (100 * time.Millisecond)) {
		synctest.Wait()
		if u.State() == state {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	require.Equal(u.t, state, u.State())
}

func TestADeafChannelCostsNoMoreThanFiveSeconds(t *testing.T) {
	for i := range 20 { // at different moments of the reconciling interval
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			withUpstream(t, nil, func(t *testing.T, u *upstream) {
				u.settled(feed.StateLive, time.Second)
				w := u.watch()
				u.chatter(5 * time.Second)
				time.Sleep(time.Second + time.Duration(i)*130*time.Millisecond)
				assert.Less(t, w.check(), 600*time.Millisecond)

				stop := u.silences()
				u.standin.Faults().Set(standin.Fault{Kind: standin.DeafChannels})
				u.chatter(10 * time.Second)
				time.Sleep(5 * time.Second)
				assert.Less(t, w.check(), 5*time.Second)
				fresh, gap := stop()
				assert.Equal(t, 1, fresh)
				assert.False(t, gap, "the fresh socket is live before the old one goes")

				assert.Equal(t, 1, u.standin.Sockets())
				u.chatter(3 * time.Second)
				time.Sleep(time.Second)
				assert.Less(t, w.check(), 600*time.Millisecond, "the fresh one hears")
			})
		})
	}
}

func TestATrippedEventLimitIsPolledThrough(t *testing.T) {
	withUpstream(t, nil, func(t *testing.T, u *upstream) {
		u.settled(feed.StateLive, time.Second)
		w := u.watch()
		u.chatter(5 * time.Second)
		u.standin.Faults().Set(standin.Fault{Kind: standin.RateLimit})
		for range 60 {
			u.chatter(time.Second)
			assert.LessOrEqual(t, u.standin.Sockets(), 2)
		}
		time.Sleep(5 * time.Second)
		assert.Less(t, w.check(), 5*time.Second)
		assert.Greater(t, u.standin.Faults().Fired(standin.RateLimit), 100)
		u.standin.Faults().ClearAll()
		u.chatter(5 * time.Second)
		u.settled(feed.StateLive, 5*time.Second)
		time.Sleep(5 * time.Second)
		w.check()
		u.chatter(5 * time.Second)
		time.Sleep(time.Second)
		assert.Less(t, w.check(), 600*time.Millisecond)
		assert.Equal(t, 1, u.standin.Sockets())
	})
}

func TestADatabaseThatWasAwayTwentySecondsLosesNothing(t *testing.T) {
	withUpstream(t, nil, func(t *testing.T, u *upstream) {
		u.settled(feed.StateLive, time.Second)
		w := u.watch()
		u.chatter(5 * time.Second)
		stop := u.silences()
		u.standin.Faults().Set(standin.Fault{Kind: standin.DeafChannels}) // as a server whose replication gave up
		u.standin.Faults().Set(standin.Fault{Kind: standin.DatabaseDown, For: 20 * time.Second})
		u.chatter(time.Second) // the writes that raced with the stop
		time.Sleep(19 * time.Second)
		u.chatter(time.Second)
		time.Sleep(10 * time.Second)
		w.check()
		fresh, _ := stop()
		assert.Equal(t, 1, fresh, "the return is answered by a fresh socket")
		u.settled(feed.StateLive, time.Second)
		u.chatter(5 * time.Second)
		time.Sleep(time.Second)
		assert.Less(t, w.check(), 600*time.Millisecond)
	})
}

func TestStalledSocketsArePolledAround(t *testing.T) {
	withUpstream(t, nil, func(t *testing.T, u *upstream) {
		u.settled(feed.StateLive, time.Second)
		w := u.watch()
		u.chatter(5 * time.Second)
		u.standin.Faults().Set(standin.Fault{Kind: standin.StallSockets, For: time.Minute})
		u.chatter(time.Minute)
		time.Sleep(5 * time.Second)
		assert.Less(t, w.check(), 5*time.Second)
		u.settled(feed.StateLive, 2*time.Minute)
		u.chatter(5 * time.Second)
		time.Sleep(time.Second)
		assert.Less(t, w.check(), 600*time.Millisecond)
	})
}

func TestUnansweredHeartbeatsBringAFreshSocketBeforeTheOldOneIsGivenUp(t *testing.T) {
	withUpstream(t, nil, func(t *testing.T, u *upstream) {
		u.settled(feed.StateLive, time.Second)
		w := u.watch()
		stop := u.silences()
		u.standin.Faults().Set(standin.Fault{Kind: standin.MuteHeartbeats, For: 30 * time.Second})
		u.chatter(40 * time.Second)
		time.Sleep(time.Second)
		assert.Less(t, w.check(), 600*time.Millisecond, "the old one brings rows as long as it can")
		fresh, gap := stop()
		assert.Equal(t, 1, fresh)
		assert.False(t, gap)
		assert.Equal(t, feed.StateLive, u.State())
	})
}

func TestATableIsPolledUntilItIsPublished(t *testing.T) {
	withUpstream(t, nil, func(t *testing.T, u *upstream) {
		u.standin.DB().SetPublication(standin.TableSessions, standin.TableLinks)
		u.standin.Faults().DropSockets()
		time.Sleep(10 * time.Second)
		w := u.watch()
		u.chatter(30 * time.Second)
		time.Sleep(3 * time.Second)
		assert.Less(t, w.check(), 2500*time.Millisecond)
		assert.Equal(t, feed.StatePolling, u.State())
		u.standin.DB().SetPublication(standin.TableMessages)
		u.chatter(time.Minute)
		u.settled(feed.StateLive, time.Minute)
		time.Sleep(3 * time.Second)
		w.check()
		u.chatter(5 * time.Second)
		time.Sleep(time.Second)
		assert.Less(t, w.check(), 600*time.Millisecond)
	})
}

func TestSocketsAreRecycledBeforeTheKeysLifeEnds(t *testing.T) {
	withUpstream(t, func(o *feed.Options) { o.Realtime.MaxAge = time.Minute }, func(t *testing.T, u *upstream) {
		u.settled(feed.StateLive, time.Second)
		w := u.watch()
		stop := u.silences()
		topics := make(map[string]bool)
		for range 20 {
			u.chatter(10 * time.Second)
			for _, s := range u.standin.Subscriptions() {
				topics[s.Topic] = true
			}
		}
		time.Sleep(time.Second)
		assert.Less(t, w.check(), 600*time.Millisecond, "nobody notices")
		fresh, gap := stop()
		assert.Equal(t, 3, fresh, "three recycles in 200 s")
		assert.False(t, gap)
		assert.Len(t, topics, 4)
	})
}
