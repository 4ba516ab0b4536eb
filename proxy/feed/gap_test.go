package feed_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/feed"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

func TestUpdatesAndDeletesInAGapReachThosePresent(t *testing.T) {
	for name, age := range map[string]time.Duration{"young rows": 0, "rows older than a catch-up reads": 20 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			d := newDatabase()
			inBubble(t, d, func(t *testing.T, f *node) {
				s := begin(t, f)
				for i, text := range []string{"a", "b", "c"} {
					r := row(i+1, text, time.Now())
					d.commit(r)
					bring(f, r)
					time.Sleep(time.Millisecond)
				}
				time.Sleep(age)
				lost(f, nil)
				synctest.Wait()
				time.Sleep(time.Second)
				d.update(1, "changed")
				d.remove(2)
				live(f)
				assert.ElementsMatch(t, []string{"a", "b", "c", "~changed", "-2"}, s.texts())
				live(f)
				assert.Len(t, s.texts(), 5, "told once")
			})
		})
	}
}

func TestARowThatWaitsAndIsDeletedInAGapIsNotShown(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		s := begin(t, f)
		setNoScopes := func(no bool) { d.mu.Lock(); d.noScopes = no; d.mu.Unlock() }
		setNoScopes(true)
		r := reply(1, "a", time.Now())
		d.commit(r)
		bring(f, r)
		lost(f, nil)
		synctest.Wait()
		d.remove(1)
		live(f)
		setNoScopes(false)
		time.Sleep(time.Minute)
		assert.Empty(t, s.texts())
	})
}

func TestAReadUnderWayMakesWayForACatchUp(t *testing.T) {
	for name, idle := range map[string]time.Duration{"a reconciling read": 3 * time.Second, "a poll": 0} {
		t.Run(name, func(t *testing.T) {
			d := newDatabase()
			inBubble(t, d, func(t *testing.T, f *node) {
				s := begin(t, f)
				d.mu.Lock()
				d.delay = time.Second
				d.mu.Unlock()
				time.Sleep(idle) // into the read
				lost(f, nil)
				if idle == 0 {
					time.Sleep(2500 * time.Millisecond)
				}
				missed := row(1, "missed", time.Now())
				d.commit(missed)
				time.Sleep(time.Millisecond)
				f.socket(0).status(realtime.StateJoined)
				f.socket(0).status(realtime.StateLive)
				synctest.Wait()
				late := row(2, "live", time.Now())
				d.commit(late)
				bring(f, late)
				synctest.Wait()
				assert.Empty(t, s.texts(), "what comes live waits")
				time.Sleep(1100 * time.Millisecond)
				assert.Equal(t, []string{"+missed", "+live"}, s.texts())
			})
		})
	}
}

func TestShownRowsAreComparedAfterAGapOnly(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		begin(t, f)
		for i := range 250 {
			r := row(i, fmt.Sprint(i), time.Now())
			d.commit(r)
			bring(f, r)
		}
		byID := func() int { synctest.Wait(); _, _, n := d.counts(); return n }
		live(f)
		assert.Zero(t, byID(), "the catch-up itself has read them")
		time.Sleep(20 * time.Minute)
		assert.Zero(t, byID(), "reconciling compares nothing")
		lost(f, nil)
		time.Sleep(time.Minute)
		assert.Equal(t, feed.StatePolling, f.State())
		assert.Zero(t, byID(), "nor does polling")
		live(f)
		assert.Equal(t, 3, byID(), "100 rows a query")
	})
}

func TestARowThatMovedToAnotherConversationIsTakenBack(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		s := begin(t, f)
		r := row(1, "a", time.Now())
		d.commit(r)
		bring(f, r)
		lost(f, nil)
		synctest.Wait()
		d.mu.Lock()
		d.rows[0]["conversation_id"] = uuid(9)
		d.mu.Unlock()
		live(f)
		assert.Equal(t, []string{"a", "-1"}, s.texts())
	})
}

func TestAFailedComparisonIsMadeUpFor(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		s := begin(t, f)
		r := row(1, "a", time.Now())
		d.commit(r)
		bring(f, r)
		time.Sleep(20 * time.Minute)
		lost(f, nil)
		synctest.Wait()
		d.remove(1)
		d.setDown(true)
		live(f)
		synctest.Wait()
		assert.Equal(t, feed.StateCatchingUp, f.State())
		d.setDown(false)
		time.Sleep(6 * time.Second)
		assert.Equal(t, []string{"a", "-1"}, s.texts())
	})
}

func TestRowsCommittedLateAreFoundAfterAGap(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		s := begin(t, f)
		time.Sleep(10 * time.Minute)
		newer := row(2, "newer", time.Now())
		d.commit(newer)
		bring(f, newer)
		lost(f, nil)
		time.Sleep(time.Second)
		d.commit(row(1, "committed 4 min after it was made", time.Now().Add(-4*time.Minute)))
		live(f)
		assert.Equal(t, []string{"newer", "+committed 4 min after it was made"}, s.texts())
	})
}

func TestNothingIsLostWhileRealtimeAndTheDatabaseAreAway(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		s := begin(t, f)
		lost(f, nil)
		d.setDown(true)
		for i := range 5 {
			time.Sleep(20 * time.Second)
			d.commit(row(i, fmt.Sprint(i), time.Now()))
		}
		assert.Empty(t, s.texts())
		assert.Nil(t, s.att.Subscriber.Ended(), "the stream stays open")
		d.setDown(false)
		time.Sleep(6 * time.Second)
		assert.Equal(t, []string{"+0", "+1", "+2", "+3", "+4"}, s.texts())
		assert.Equal(t, feed.StatePolling, f.State())
		assertSockets(t, f, 1, 1)
	})
}

func TestVisitorsAreToldOfEveryChangeOfState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		f := newFeed(t, newDatabase(), nil, func(o *feed.Options) { o.OnState = func(s string) { told = append(told, s) } })
		stop := start(t, f)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		live(f)
		synctest.Wait()
		lost(f, nil)
		time.Sleep(time.Second)
		live(f)
		synctest.Wait()
		lost(f, nil)
		time.Sleep(3 * time.Second)
		stop()
		assert.Equal(t, []string{"polling", "catching_up", "live", "catching_up", "live", "catching_up", "polling"}, told)
	})
}

func TestAReconcilingRoundTakesTheActiveFirstAndTheOthersInTurn(t *testing.T) {
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ active, quiet, wantActive, wantQuiet int }{
		{0, 0, 0, 0}, {10, 10, 10, 10}, {400, 5000, 400, 100}, {100, 5000, 100, 400}, {5000, 5000, 400, 100},
		{5000, 0, 500, 0}, {5000, 30, 470, 30}, {0, 5000, 0, 500},
	} {
		t.Run(fmt.Sprintf("%d active, %d quiet", c.active, c.quiet), func(t *testing.T) {
			var all []chat.Interest
			for i := range c.active + c.quiet {
				in := chat.Interest{ConversationID: fmt.Sprint(i), Looked: now.Add(-time.Duration(i) * time.Millisecond)}
				if i < c.active {
					in.Activity = now.Add(-59 * time.Second)
				}
				all = append(all, in)
			}
			active, quiet := 0, 0
			for _, in := range feed.Reconcilable(all, now) {
				if in.Activity.IsZero() {
					quiet++
					assert.Less(t, now.Sub(in.Looked), time.Duration(c.active+c.quiet)*time.Millisecond)
					assert.GreaterOrEqual(t, now.Sub(in.Looked), time.Duration(c.active+c.quiet-c.wantQuiet)*time.Millisecond, "the stalest")
				} else {
					active++
				}
			}
			assert.Equal(t, c.wantActive, active)
			assert.Equal(t, c.wantQuiet, quiet)
		})
	}
}
