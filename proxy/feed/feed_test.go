package feed_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/feed"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inBubble runs the feed in virtual time and stops it at the end.
func inBubble(t *testing.T, d *database, test func(t *testing.T, f *feed.Feed)) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(t, d, nil)
		stop := start(t, f)
		test(t, f)
		stop()
	})
}

func start(t *testing.T, f *feed.Feed) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { f.RunReads(ctx) })
	return func() {
		cancel()
		wg.Wait()
	}
}

func TestRowsThatAreThereBeforeTheJoinAreNotShown(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *feed.Feed) {
		d.commit(row(1, "before", time.Now().Add(-time.Minute)))
		live(f)
		synctest.Wait()
		s := join(t, f, "")
		bring(f, row(1, "before", time.Now().Add(-time.Minute))) // the channel is late
		after := row(2, "after", time.Now())
		d.commit(after)
		bring(f, after)
		bring(f, after) // and stutters
		assert.Equal(t, []string{"after"}, s.texts())
	})
}

func TestALongBaselineIsReadToItsEnd(t *testing.T) {
	d := newDatabase()
	d.pageRows = 3
	inBubble(t, d, func(t *testing.T, f *feed.Feed) {
		for i := range 100 {
			d.commit(row(i, "before", time.Now().Add(time.Duration(i-100)*time.Second)))
		}
		s := join(t, f, "")
		live(f)
		assert.Empty(t, s.texts())
		d.commit(row(100, "after", time.Now()))
		live(f)
		assert.Equal(t, []string{"+after"}, s.texts())
	})
}

func TestWithoutRealtimeRowsComeByPolling(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *feed.Feed) {
		assert.Equal(t, feed.StateCatchingUp, f.State())
		s := join(t, f, "")
		time.Sleep(3 * time.Second)
		assert.Equal(t, feed.StatePolling, f.State())
		d.commit(row(1, "one", time.Now()), row(2, "two", time.Now().Add(time.Millisecond)))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Equal(t, []string{"+one", "+two"}, s.texts())
		time.Sleep(time.Minute)
		assert.Len(t, s.texts(), 2, "polling again shows nothing twice")
	})
}

func TestEveryConfirmationOwesACatchUp(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *feed.Feed) {
		live(f)
		s := join(t, f, "")
		for i := range 3 {
			d.commit(row(i+1, "missed", time.Now()))
			live(f) // repeated confirmations too
			synctest.Wait()
			assert.Len(t, s.texts(), i+1)
			assert.Equal(t, feed.StateLive, f.State())
			time.Sleep(10 * time.Millisecond)
		}
	})
}

func TestRecoveredRowsGoAheadOfLiveRowsHeldBehindTheRead(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *feed.Feed) {
		live(f)
		synctest.Wait()
		s := join(t, f, "")
		lost(f, nil)
		synctest.Wait()
		missed := row(1, "missed", time.Now())
		d.commit(missed)
		time.Sleep(time.Millisecond)
		during := row(2, "live during the read", time.Now())
		d.mu.Lock()
		d.onRead = func() {
			d.onRead = nil
			bring(f, during)
		}
		d.mu.Unlock()
		live(f)
		synctest.Wait()
		assert.Equal(t, []string{"+missed", "live during the read"}, s.texts())
	})
}

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

func TestUntaggedRowsWaitForAScopeReadAfterThem(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *feed.Feed) {
		live(f)
		synctest.Wait()
		s := join(t, f, "")
		bring(f, reply(1, "first", time.Now()))
		bring(f, row(2, "second", time.Now()))
		synctest.Wait()
		assert.Equal(t, []string{"first", "second"}, s.texts())
		_, scopes, _ := d.counts()

		d.mu.Lock()
		d.sessions = append(d.sessions, rest.Session{ID: "another", ConversationID: conversation})
		d.mu.Unlock()
		bring(f, reply(3, "not isolated any more", time.Now()))
		synctest.Wait()
		assert.Len(t, s.texts(), 2)
		_, after, _ := d.counts()
		assert.Equal(t, scopes+1, after)
	})
}

func TestUntaggedRowsAreHeldWhileTheScopeCannotBeRead(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *feed.Feed) {
		live(f)
		synctest.Wait()
		s := join(t, f, "")
		d.setDown(true)
		bring(f, reply(1, "first", time.Now()))
		bring(f, row(2, "second", time.Now()))
		time.Sleep(10 * time.Second)
		assert.Empty(t, s.texts())
		require.Error(t, f.Ready())
		d.setDown(false)
		time.Sleep(10 * time.Second)
		assert.Equal(t, []string{"first", "second"}, s.texts())
		assert.NoError(t, f.Ready())
	})
}

func TestIncompleteRowsAreReadById(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *feed.Feed) {
		live(f)
		synctest.Wait()
		s := join(t, f, "")
		whole := row(1, "a megabyte", time.Now())
		d.commit(whole)
		cut := map[string]any{"id": whole["id"], "conversation_id": conversation, "created_at": whole["created_at"]}
		f.MessagesHandler().OnChange(realtime.Change{
			Type: "INSERT", Record: marshal(cut), Errors: []string{"Error 413: Payload Too Large"},
		})
		bring(f, row(2, "behind it", time.Now()))
		synctest.Wait()
		assert.Equal(t, []string{"+a megabyte", "behind it"}, s.texts())
		_, _, byID := d.counts()
		assert.Equal(t, 1, byID)
	})
}

func TestWithheldChangesGoNowhere(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *feed.Feed) {
		live(f)
		synctest.Wait()
		s := join(t, f, "")
		f.MessagesHandler().OnChange(realtime.Change{
			Type: "INSERT", Record: marshal(row(1, "x", time.Now())), Errors: []string{"Error 401: Unauthorized"},
		})
		synctest.Wait()
		assert.Empty(t, s.texts())
	})
}

func TestReconcilingReadFindsWhatADeafChannelDoesNotBring(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *feed.Feed) {
		live(f)
		synctest.Wait()
		s := join(t, f, "")
		d.commit(row(1, "unbrought", time.Now()))
		time.Sleep(5 * time.Second)
		assert.Equal(t, []string{"+unbrought"}, s.texts())
	})
}

func TestHistoryHoldsTheNewestVisibleRowsOldestFirst(t *testing.T) {
	d := newDatabase()
	d.pageRows = 5
	inBubble(t, d, func(t *testing.T, f *feed.Feed) {
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

func TestJoinIsRefusedWhileTheDatabaseIsAway(t *testing.T) {
	d := newDatabase()
	d.down = true
	inBubble(t, d, func(t *testing.T, f *feed.Feed) {
		_, err := f.Join(t.Context(), visitor(), "", chat.SubscriberOptions{Wake: func() {}, MaxBytes: 1, MaxEvents: 1})
		var refusal *chat.Refusal
		require.ErrorAs(t, err, &refusal)
		assert.Equal(t, 503, refusal.Status)
		assert.Positive(t, refusal.RetryAfter)
		assert.False(t, f.Hub().Watched(conversation) && len(f.Hub().Interests()) > 0, "nothing is left of the attempt")
	})
}

func TestAStormOfJoinsSharesReads(t *testing.T) {
	d := newDatabase()
	d.delay = 5 * time.Millisecond
	inBubble(t, d, func(t *testing.T, f *feed.Feed) {
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

func TestUnpublishedTableIsExplainedOnceWithTheRemedy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs bytes.Buffer
		f := newFeed(t, newDatabase(), &logs)
		refusal := &realtime.SubscribeError{Topic: "realtime:x", Message: "Unable to subscribe to changes with given parameters. " +
			"Please check Realtime is enabled for the given connect parameters: [event: *, schema: public, table: chat_messages_v2]"}
		lost(f, refusal)
		lost(f, refusal)
		assert.Equal(t, 1, bytes.Count(logs.Bytes(), []byte("alter publication supabase_realtime add table public.chat_messages_v2;")))
	})
}

func TestIdentifiersAreQuotedWhereTheyNeedIt(t *testing.T) {
	for in, want := range map[string]string{"public": "public", "Chat": `"Chat"`, "a b": `"a b"`, `x"y`: `"x""y"`, "1a": `"1a"`, "": `""`} {
		assert.Equal(t, want, feed.QuoteIdent(in))
	}
}
