package feed_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

func TestResumeOnAnotherNodeBringsExactlyWhatWasMissed(t *testing.T) {
	d := newDatabase()
	synctest.Test(t, func(t *testing.T) {
		first := newFeed(t, d, nil)
		stop := start(t, first)
		live(first)
		synctest.Wait()
		s := join(t, first, "")
		seen := row(1, "seen", time.Now())
		d.commit(seen)
		bring(first, seen)
		require.Equal(t, []string{"seen"}, s.texts())
		cursor := s.cursor()
		stop()

		time.Sleep(10 * time.Minute)
		d.commit(row(2, "missed", time.Now()), row(3, "missed too", time.Now().Add(time.Millisecond)))
		d.commit(row(4, "committed late", time.Now().Add(-10*time.Minute-30*time.Second)))
		second := newFeed(t, d, nil)
		defer start(t, second)()
		live(second)
		s = join(t, second, cursor)
		assert.True(t, s.att.Resumed())
		assert.Equal(t, []string{"+committed late", "+missed", "+missed too"}, s.texts())

		again := join(t, second, s.cursor())
		assert.Empty(t, again.texts(), "nothing twice")
	})
}

func TestLongBacklogIsReadPageByPage(t *testing.T) {
	d := newDatabase()
	d.pageRows = 7
	synctest.Test(t, func(t *testing.T) {
		first := newFeed(t, d, nil)
		stop := start(t, first)
		live(first)
		synctest.Wait()
		cursor := join(t, first, "").cursor()
		stop()
		time.Sleep(time.Second)
		for i := range 200 {
			d.commit(row(i, "m", time.Now().Add(time.Duration(i)*time.Millisecond)))
		}
		time.Sleep(time.Hour)
		second := newFeed(t, d, nil)
		defer start(t, second)()
		live(second)
		assert.Len(t, join(t, second, cursor).texts(), 200)
	})
}

func TestHistoryHoldsTheNewestVisibleRowsOldestFirst(t *testing.T) {
	d := newDatabase()
	d.pageRows = 5
	inBubble(t, d, func(t *testing.T, f *node) {
		for i := range 12 {
			r := row(i, string(rune('a'+i)), time.Now().Add(time.Duration(i-20)*time.Minute))
			if i%2 == 1 {
				r["sender_user_id"] = "50000000-0000-4000-8000-0000000000ff"
			}
			d.commit(r)
		}
		live(f)
		s := join(t, f, "")
		events, err := f.History(t.Context(), s.att, 4)
		require.NoError(t, err)
		var texts []string
		for _, e := range events {
			texts = append(texts, e.Message.Content)
		}
		assert.Equal(t, []string{"e", "g", "i", "k"}, texts)
	})
}

func TestAStormOfJoinsSharesReads(t *testing.T) {
	d := newDatabase()
	d.delay = 5 * time.Millisecond
	inBubble(t, d, func(t *testing.T, f *node) {
		live(f)
		synctest.Wait()
		before, _, _ := d.counts()
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				v := visitor()
				v.ConversationID = uuid(i)
				v.SessionID = uuid(i)
				a, err := f.Join(t.Context(), v, "", chat.SubscriberOptions{Wake: func() {}, MaxBytes: 1 << 20, MaxEvents: 10})
				if assert.NoError(t, err) {
					a.Close()
				}
			})
		}
		wg.Wait()
		after, _, _ := d.counts()
		assert.LessOrEqual(t, after-before, 20)
	})
}

func TestJoinIsRefusedWhileTheDatabaseIsAway(t *testing.T) {
	d := newDatabase()
	d.down = true
	inBubble(t, d, func(t *testing.T, f *node) {
		_, err := f.Join(t.Context(), visitor(), "", chat.SubscriberOptions{Wake: func() {}, MaxBytes: 1, MaxEvents: 1})
		var refusal *chat.Refusal
		require.ErrorAs(t, err, &refusal)
		assert.Equal(t, 503, refusal.Status)
		assert.Positive(t, refusal.RetryAfter)
		assert.False(t, f.Hub().Watched(conversation) && len(f.Hub().Interests()) > 0, "nothing is left of the attempt")
	})
}
