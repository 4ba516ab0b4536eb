package transport_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/transport"
)

// turning runs a wheel in a bubble until the test ends.
func turning(t *testing.T) transport.Wheel {
	w := transport.NewWheel()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

func TestTimersFireOnTimeOrOneStepLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, begun := turning(t), time.Now()
		fired := make(map[time.Duration]time.Duration)
		waits := []time.Duration{time.Nanosecond, time.Second, 1500 * time.Millisecond, 25 * time.Second, 127 * time.Second,
			128 * time.Second, 129 * time.Second, 10 * time.Minute}
		for _, in := range waits {
			w.Add(&transport.Ticker{Tick: func(time.Time) time.Duration {
				fired[in] = time.Since(begun)
				return 0
			}}, in)
		}
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		for _, in := range waits {
			assert.GreaterOrEqual(t, fired[in], in)
			assert.Less(t, fired[in], in+time.Second)
		}
	})
}

func TestTimerComesBackAfterWhatItAsksFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, begun := turning(t), time.Now()
		var at []time.Duration
		w.Add(&transport.Ticker{Tick: func(time.Time) time.Duration {
			at = append(at, time.Since(begun))
			if len(at) == 4 {
				return 0
			}
			return 3 * time.Second
		}}, time.Second)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, []time.Duration{time.Second, 4 * time.Second, 7 * time.Second, 10 * time.Second}, at)
	})
}

func TestRemovedTimerDoesNotFire(t *testing.T) {
	w := transport.NewWheel()
	fired := 0
	var self, other transport.Ticker
	self.Tick = func(time.Time) time.Duration {
		fired++
		w.Remove(&self)
		return time.Second
	}
	other.Tick = func(time.Time) time.Duration { fired += 100; return time.Second }
	w.Add(&self, time.Second)
	w.Add(&other, time.Second)
	w.Remove(&other)
	w.Add(&other, time.Second) // removal is for good
	now := time.Now()
	for i := 1; i <= 10; i++ {
		w.Advance(now.Add(time.Duration(i) * time.Second))
	}
	assert.Equal(t, 1, fired)
}

func TestLongPauseFiresEverythingOnce(t *testing.T) {
	w := transport.NewWheel()
	fired := 0
	for i := range 500 {
		w.Add(&transport.Ticker{Tick: func(time.Time) time.Duration { fired++; return 0 }}, time.Duration(i)*time.Second)
	}
	now := time.Now()
	w.Advance(now.Add(time.Hour))
	w.Advance(now.Add(2 * time.Hour))
	assert.Equal(t, 500, fired)
}
