package feed_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/feed"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

func TestOldSocketsAreRecycledWithoutABreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(t, newDatabase(), nil, func(o *feed.Options) { o.Realtime.MaxAge = time.Hour })
		defer start(t, f)()
		begin(t, f)
		time.Sleep(time.Hour)
		for i := range 3 {
			assertSockets(t, f, 2, i+2)
			assert.Equal(t, feed.StateLive, f.State(), "the old one serves")
			time.Sleep(time.Second)
			live(f)
			synctest.Wait()
			time.Sleep(time.Second)
			assertSockets(t, f, 1, i+2)
			time.Sleep(time.Hour - time.Second)
		}
	})
}

func TestTheOldSocketIsKeptWhenItRecoversFirst(t *testing.T) {
	inBubble(t, newDatabase(), func(t *testing.T, f *node) {
		begin(t, f)
		f.socket(0).pending.Store(int64(time.Minute))
		time.Sleep(time.Second)
		assertSockets(t, f, 2, 2)
		f.socket(0).pending.Store(0)
		f.socket(0).status(realtime.StateErrored)
		f.socket(0).status(realtime.StateDialing)
		f.socket(0).status(realtime.StateJoined)
		f.socket(0).status(realtime.StateLive)
		assertSockets(t, f, 1, 2)
		assert.True(t, f.socket(0).running.Load())
		assert.Equal(t, feed.StateLive, f.State())
	})
}
