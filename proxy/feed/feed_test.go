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
func inBubble(t *testing.T, d *database, test func(t *testing.T, f *node)) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(t, d, nil)
		stop := start(t, f)
		test(t, f)
		stop()
	})
}

func start(t *testing.T, f *node) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { assert.NoError(t, f.Run(ctx)) })
	return func() {
		cancel()
		wg.Wait()
	}
}

func TestRowsThatAreThereBeforeTheJoinAreNotShown(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
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
	inBubble(t, d, func(t *testing.T, f *node) {
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
	inBubble(t, d, func(t *testing.T, f *node) {
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
	inBubble(t, d, func(t *testing.T, f *node) {
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
	inBubble(t, d, func(t *testing.T, f *node) {
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

func TestUntaggedRowsWaitForAScopeReadAfterThem(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
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
	inBubble(t, d, func(t *testing.T, f *node) {
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
	inBubble(t, d, func(t *testing.T, f *node) {
		live(f)
		synctest.Wait()
		s := join(t, f, "")
		whole := row(1, "a megabyte", time.Now())
		d.commit(whole)
		cut := map[string]any{"id": whole["id"], "conversation_id": conversation, "created_at": whole["created_at"]}
		f.socket(-1).OnChange(realtime.Change{
			Type: "INSERT", Record: marshal(cut), Errors: []string{"Error 413: Payload Too Large"},
		})
		bring(f, row(2, "behind it", time.Now()))
		synctest.Wait()
		assert.Equal(t, []string{"+a megabyte", "behind it"}, s.texts())
		_, _, byID := d.counts()
		assert.Equal(t, 1, byID)
	})
}

func TestChangesKeepTheTimeOfTheirCommit(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		live(f)
		synctest.Wait()
		s := join(t, f, "")
		r := row(1, "a", time.Now())
		f.socket(-1).OnChange(realtime.Change{Type: "INSERT", Record: marshal(r), CommitTimestamp: "2026-01-02T03:04:05.678Z"})
		f.socket(-1).OnChange(realtime.Change{
			Type: "DELETE", OldRecord: marshal(map[string]any{"id": r["id"]}), CommitTimestamp: "2026-01-02T03:04:06.789Z",
		})
		require.Len(t, s.texts(), 2)
		assert.Contains(t, string(s.got[0].Encode(chat.DialectRealtime)), `"commit_timestamp":"2026-01-02T03:04:05.678Z"`)
		assert.Contains(t, string(s.got[1].Encode(chat.DialectRealtime)), `"commit_timestamp":"2026-01-02T03:04:06.789Z"`)
	})
}

func TestWithheldChangesGoNowhere(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		live(f)
		synctest.Wait()
		s := join(t, f, "")
		f.socket(-1).OnChange(realtime.Change{
			Type: "INSERT", Record: marshal(row(1, "x", time.Now())), Errors: []string{"Error 401: Unauthorized"},
		})
		synctest.Wait()
		assert.Empty(t, s.texts())
	})
}

func TestReconcilingReadFindsWhatADeafChannelDoesNotBring(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		live(f)
		synctest.Wait()
		s := join(t, f, "")
		d.commit(row(1, "unbrought", time.Now()))
		time.Sleep(5 * time.Second)
		assert.Equal(t, []string{"+unbrought"}, s.texts())
	})
}

// Of the reads while the channel is live most ask for little, and none leaves out what a deaf channel did not bring.
func TestReconcilingReadsAskForWhatChanged(t *testing.T) {
	d := newDatabase()
	inBubble(t, d, func(t *testing.T, f *node) {
		s := begin(t, f)
		old := row(1, "old", time.Now())
		d.commit(old)
		bring(f, old)
		time.Sleep(2*time.Minute + time.Second) // between two reads
		from := len(d.asked())
		time.Sleep(time.Minute)
		whole, last := 0, time.Time{}
		for _, q := range d.asked()[from:] {
			if q.ChangedSince.IsZero() {
				whole++
				continue
			}
			assert.True(t, q.ChangedSince.After(last), "since the last read")
			last = q.ChangedSince
			assert.GreaterOrEqual(t, q.ChangedSince.Sub(q.Since), 4*time.Minute)
		}
		assert.WithinDuration(t, time.Now(), last, 16*time.Second)
		assert.Equal(t, 24, len(d.asked())-from)
		assert.Equal(t, 2, whole, "every 30 s")

		d.update(1, "new")
		time.Sleep(3500 * time.Millisecond)
		assert.Equal(t, []string{"old", "~new"}, s.texts(), "changed 3 minutes after it was created")
		d.commit(row(2, "slow", time.Now().Add(-4*time.Minute)))
		time.Sleep(33 * time.Second)
		assert.Equal(t, []string{"old", "~new", "+slow"}, s.texts(), "committed 4 minutes after it was created")
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
