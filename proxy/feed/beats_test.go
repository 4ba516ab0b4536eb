package feed_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/feed"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

// metronome is a canary table that a test plays.
type metronome struct {
	mu     sync.Mutex
	last   time.Time
	onBeat func(at time.Time)
}

func (m *metronome) WriteBeat(_ context.Context, _ string, at time.Time) error {
	m.mu.Lock()
	m.last = at
	onBeat := m.onBeat
	m.mu.Unlock()
	if onBeat != nil {
		onBeat(at)
	}
	return nil
}

func (m *metronome) DeleteBeat(context.Context, string) error           { return nil }
func (m *metronome) DeleteBeatsBefore(context.Context, time.Time) error { return nil }

func (m *metronome) beat() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// sing lets the socket bring the last beat.
func (p *played) sing(at time.Time) {
	p.OnChange(realtime.Change{
		Topic: p.channels[1].Topic, Type: "UPDATE", Table: canaryTable,
		Record: marshal(map[string]any{"id": uuid(1), "beat": at.UTC().Format(time.RFC3339Nano)}),
	})
}

func (p *played) confirmCanary() {
	p.OnStatus(realtime.Status{Topic: p.channels[1].Topic, State: realtime.StateLive})
}

// elsewhere brings a row of a conversation that nobody watches, committed some time ago.
func (p *played) elsewhere(ago time.Duration) {
	r := row(1, "elsewhere", time.Now().Add(-ago))
	r["conversation_id"] = uuid(2)
	p.OnChange(realtime.Change{
		Type: "INSERT", Table: "chat_messages_v2", Record: marshal(r),
		CommitTimestamp: time.Now().Add(-ago).UTC().Format(time.RFC3339Nano),
	})
}

// withMetronome runs test on a live feed whose canary has sung once.
func withMetronome(t *testing.T, test func(t *testing.T, f *node, m *metronome)) {
	synctest.Test(t, func(t *testing.T) {
		m := &metronome{}
		f := newFeed(t, newDatabase(), nil, func(o *feed.Options) { o.Tables.Canary, o.Beats = canaryTable, m })
		defer start(t, f)()
		begin(t, f)
		f.socket(0).confirmCanary()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.False(t, m.beat().IsZero())
		f.socket(0).sing(m.beat())
		test(t, f, m)
	})
}

func TestAChannelThatIsBehindIsNotTakenForDeaf(t *testing.T) {
	withMetronome(t, func(t *testing.T, f *node, m *metronome) {
		for range 40 {
			f.socket(0).elsewhere(30 * time.Second)
			time.Sleep(500 * time.Millisecond)
			assert.Equal(t, feed.StateLive, f.State())
		}
		time.Sleep(3 * time.Second)
		assertSockets(t, f, 2, 2)
	})
}

func TestABeatOfAnEarlierConfirmationIsNoSign(t *testing.T) {
	withMetronome(t, func(t *testing.T, f *node, m *metronome) {
		for range 10 {
			time.Sleep(3500 * time.Millisecond)
			f.socket(0).confirmCanary() // what was written before may be lost
		}
		assertSockets(t, f, 1, 1)
		time.Sleep(7 * time.Second)
		assertSockets(t, f, 2, 2)
	})
}

func TestABeatOfBeforeTheMessagesChannelCameBackIsNoSign(t *testing.T) {
	withMetronome(t, func(t *testing.T, f *node, _ *metronome) {
		f.socket(0).status(realtime.StateErrored) // it alone
		time.Sleep(10 * time.Second)
		f.socket(0).status(realtime.StateJoined)
		f.socket(0).status(realtime.StateLive)
		time.Sleep(3 * time.Second)
		assertSockets(t, f, 1, 1)
		time.Sleep(4 * time.Second)
		assertSockets(t, f, 2, 2)
	})
}

func TestABeatIsAskedOfTheSocketItWasWrittenFor(t *testing.T) {
	withMetronome(t, func(t *testing.T, f *node, m *metronome) {
		f.socket(0).pending.Store(int64(time.Minute))
		time.Sleep(1500 * time.Millisecond)
		f.socket(1).confirmCanary()
		f.socket(1).status(realtime.StateLive)
		synctest.Wait()
		m.mu.Lock()
		m.onBeat = f.socket(1).sing // it may come before the answer to the write
		m.mu.Unlock()
		time.Sleep(20 * time.Second)
		assertSockets(t, f, 1, 2)
		assert.Equal(t, feed.StateLive, f.State())
		m.mu.Lock()
		m.onBeat = f.socket(0).sing // of one that is not the current one it counts for nothing
		m.mu.Unlock()
		time.Sleep(10 * time.Second)
		assertSockets(t, f, 2, 3)
	})
}

func TestACanaryTableNeedsSomebodyWhoWritesIt(t *testing.T) {
	_, err := feed.New(feed.Options{
		Store: newDatabase(), Realtime: realtime.Options{URL: "http://upstream.test", Key: "sb_secret_test"},
		Tables: feed.Tables{Messages: "chat_messages_v2", Canary: canaryTable},
	})
	assert.ErrorContains(t, err, "Beats")
}
