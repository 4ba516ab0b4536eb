package feed_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/feed"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

// begin makes the first socket live and joins a visitor.
func begin(t *testing.T, f *node) *stream {
	t.Helper()
	live(f)
	synctest.Wait()
	return join(t, f, "")
}

// assertSockets checks how many sockets run and how many there ever were.
func assertSockets(t *testing.T, f *node, running, made int) {
	t.Helper()
	synctest.Wait()
	r, m := f.count()
	assert.Equal(t, []int{running, made}, []int{r, m}, "sockets running and made")
}

func TestAFreshSocketIsLiveBeforeADeafOneGoes(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		s := begin(t, f)
		d.commit(row(1, "a", time.Now()), row(2, "b", time.Now().Add(time.Millisecond)))
		time.Sleep(5 * time.Second)
		assert.Equal(t, []string{"+a", "+b"}, s.texts(), "the rows do not wait for the socket")
		assertSockets(t, f, 2, 2)
		f.socket(1).status(realtime.StateJoined)
		assertSockets(t, f, 2, 2)
		d.commit(row(3, "c", time.Now()))
		f.socket(1).status(realtime.StateLive)
		assertSockets(t, f, 1, 2)
		assert.True(t, f.socket(1).running.Load())
		assert.Equal(t, feed.StateLive, f.State())
		assert.Equal(t, []string{"+a", "+b", "+c"}, s.texts(), "an entry to live owes a catch-up")
	})
}

func TestOnlyTheCurrentSocketFeedsTheHub(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		s := begin(t, f)
		d.commit(row(1, "a", time.Now()), row(2, "b", time.Now().Add(time.Millisecond)))
		time.Sleep(5 * time.Second)
		require.Len(t, s.texts(), 2)
		old, fresh := f.socket(0), f.socket(1)
		fresh.status(realtime.StateJoined)
		early, late := row(3, "too early", time.Now()), row(4, "old", time.Now())
		d.commit(early, late)
		fresh.bring(early)
		old.bring(late)
		fresh.status(realtime.StateLive)
		synctest.Wait()
		fresh.bring(row(5, "fresh", time.Now()))
		old.bring(row(6, "too late", time.Now()))
		assert.Equal(t, []string{"old", "+too early", "fresh"}, s.texts()[2:])
	})
}

func TestOneMissingRowIsDoubtedAtTheNextReadOnly(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		s := begin(t, f)
		time.Sleep(time.Second) // the next reconciling read is 1.5 s away
		d.commit(row(1, "a", time.Now()))
		time.Sleep(3500 * time.Millisecond)
		assert.Equal(t, []string{"+a"}, s.texts())
		assertSockets(t, f, 1, 1)
		time.Sleep(3 * time.Second)
		assertSockets(t, f, 2, 2)
	})
}

func TestARowThatTheChannelBringsAfterTheReadIsNoReasonToDoubt(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		begin(t, f)
		for i := range 100 {
			// Two rows of a slow transaction, visible to reads 0.6 s before the channel brings them.
			rows := []map[string]any{row(2*i, "x", time.Now().Add(-4*time.Second)), row(2*i+1, "y", time.Now().Add(-3*time.Second))}
			d.commit(rows...)
			time.Sleep(600 * time.Millisecond)
			for _, r := range rows {
				bring(f, r)
			}
			time.Sleep(time.Duration(i) * 17 * time.Millisecond)
		}
		assertSockets(t, f, 1, 1)
	})
}

func TestARowThatIsGoneBeforeTheChannelCouldBringItIsNoReasonToDoubt(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		s := begin(t, f)
		time.Sleep(time.Second)
		rows := []map[string]any{row(1, "a", time.Now()), row(2, "b", time.Now().Add(time.Millisecond))}
		d.commit(rows...)
		time.Sleep(2 * time.Second) // a reconciling read finds them
		require.Equal(t, []string{"+a", "+b"}, s.texts())
		for _, r := range rows {
			f.socket(0).OnChange(realtime.Change{Type: "DELETE", OldRecord: marshal(map[string]any{"id": r["id"]})})
		}
		time.Sleep(10 * time.Second)
		assertSockets(t, f, 1, 1)
	})
}

func TestRowsThatWaitForAScopeAreNotMissing(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		s := begin(t, f)
		setNoScopes := func(no bool) { d.mu.Lock(); d.noScopes = no; d.mu.Unlock() }
		for i := range 50 {
			setNoScopes(true)
			for j := range 2 {
				r := reply(2*i+j, "x", time.Now())
				d.commit(r)
				bring(f, r)
			}
			time.Sleep(2500*time.Millisecond + time.Duration(i)*20*time.Millisecond)
			setNoScopes(false)
			time.Sleep(5 * time.Second)
			require.Len(t, s.texts(), 2*i+2)
		}
		assert.Contains(t, s.texts(), "+x", "some come by reading first")
		assertSockets(t, f, 1, 1)
	})
}

func TestRowsFromBeforeTheSubscriptionAreNotExpectedFromTheChannel(t *testing.T) {
	t.Run("created before it", func(t *testing.T) {
		d := newDatabase()
		inBubble(t, d, func(t *testing.T, f *node) {
			s := begin(t, f)
			d.commit(row(1, "a", time.Now().Add(-time.Second)), row(2, "b", time.Now().Add(-time.Second)))
			time.Sleep(20 * time.Second)
			assert.Len(t, s.texts(), 2)
			assertSockets(t, f, 1, 1)
		})
	})
	t.Run("found before it was confirmed again", func(t *testing.T) {
		d := newDatabase()
		inBubble(t, d, func(t *testing.T, f *node) {
			s := begin(t, f)
			time.Sleep(time.Second)
			d.commit(row(1, "a", time.Now()), row(2, "b", time.Now()))
			time.Sleep(2 * time.Second)
			require.Len(t, s.texts(), 2, "found")
			live(f)
			time.Sleep(20 * time.Second)
			assertSockets(t, f, 1, 1)
		})
	})
}

func TestARowAheadOfTheClockIsFoundToo(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		s := begin(t, f)
		d.commit(row(1, "tomorrow", time.Now().Add(24*time.Hour)))
		time.Sleep(5 * time.Second)
		assert.Equal(t, []string{"+tomorrow"}, s.texts())
	})
}

func TestAChannelThatIsBehindIsNotReplaced(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		s := begin(t, f)
		lag := 300 * time.Millisecond
		for i := range 600 { // a minute, in which the lag grows to 6 s
			r, at := row(i, "x", time.Now()), time.Now()
			d.commit(r)
			time.AfterFunc(lag, func() {
				f.socket(0).OnChange(realtime.Change{Type: "INSERT", Record: marshal(r), CommitTimestamp: at.UTC().Format(time.RFC3339Nano)})
			})
			lag += 10 * time.Millisecond
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		assert.Len(t, s.texts(), 600)
		assertSockets(t, f, 1, 1)
	})
}

func TestALateHeartbeatBringsAFreshSocket(t *testing.T) {
	inBubble(t, newDatabase(), func(t *testing.T, f *node) {
		begin(t, f)
		f.socket(0).pending.Store(int64(4900 * time.Millisecond))
		time.Sleep(3 * time.Second)
		assertSockets(t, f, 1, 1)
		f.socket(0).pending.Store(int64(5 * time.Second))
		time.Sleep(time.Second)
		assertSockets(t, f, 2, 2)
	})
}

func TestTheReturnOfTheDatabaseBringsAFreshSocket(t *testing.T) {
	for name, c := range map[string]struct {
		away time.Duration
		made int
	}{"away for 5 s": {5 * time.Second, 1}, "away for 20 s": {20 * time.Second, 2}} {
		t.Run(name, func(t *testing.T) {
			d := newDatabase()
			inBubble(t, d, func(t *testing.T, f *node) {
				s := begin(t, f)
				d.setDown(true)
				time.Sleep(c.away)
				d.setDown(false)
				back := row(1, "back", time.Now())
				d.commit(back)
				bring(f, back)
				time.Sleep(6 * time.Second)
				assert.Equal(t, []string{"back"}, s.texts())
				assertSockets(t, f, c.made, c.made)
			})
		})
	}
}

func TestSocketsThatBringNothingAreNotAddedWithoutEnd(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		s := begin(t, f)
		polling, made := 0, 1
		for i := range 600 { // ten minutes in which no socket brings anything
			d.commit(row(i, fmt.Sprint(i), time.Now()))
			time.Sleep(time.Second)
			if _, n := f.count(); n > made {
				made = n
				live(f)
			}
			assert.GreaterOrEqual(t, len(s.texts()), i-4, "every row comes within 5 s")
			if f.State() == feed.StatePolling {
				polling++
			}
		}
		assert.InDelta(t, 8, made, 2)
		assert.Greater(t, polling, 450, "mostly polled")

		for i := 0; f.State() != feed.StatePolling; i++ {
			require.Less(t, i, 60)
			d.commit(row(1000+2*i, "x", time.Now()), row(1001+2*i, "x", time.Now()))
			time.Sleep(time.Second)
		}
		_, made = f.count()
		limitIsOver := row(2000, "brought", time.Now())
		d.commit(limitIsOver)
		bring(f, limitIsOver)
		synctest.Wait()
		assert.Equal(t, feed.StateLive, f.State(), "the present socket will do")
		assertSockets(t, f, 1, made)
	})
}

func TestAServerThatSkipsSomeRowsIsNotGivenASocketForEach(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		s := begin(t, f)
		made := 1
		for i := range 300 { // five minutes
			brought := row(3*i+2, "x", time.Now())
			d.commit(row(3*i, "x", time.Now()), row(3*i+1, "x", time.Now()), brought)
			f.socket(-1).bring(brought)
			time.Sleep(time.Second)
			if i%100 == 0 {
				s.texts() // empties the queue
			}
			if _, n := f.count(); n > made {
				made = n
				live(f)
			}
		}
		assert.InDelta(t, 7, made, 1)
		assert.Greater(t, len(s.texts()), 880)
	})
}
