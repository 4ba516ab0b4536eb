package session_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/session"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

func TestControlChangeEndsASessionAtOnceAndForLaterCredentials(t *testing.T) {
	at := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	cases := map[string]struct {
		change         func(f *fixture)
		status, reason string
	}{
		"session ended":   {func(f *fixture) { f.SessionChanged(sessionID(1), "ended", "completed", at) }, "ended", "completed"},
		"session deleted": {func(f *fixture) { f.SessionDeleted(sessionID(1)) }, "terminated", "deleted"},
		"link inactive":   {func(f *fixture) { f.LinkChanged(linkID(1), false) }, "terminated", "link_deactivated"},
		"link deleted":    {func(f *fixture) { f.LinkDeleted(linkID(1)) }, "terminated", "link_deleted"},
		"status unknown": {func(f *fixture) {
			f.store.editSession(1, ended)
			f.SessionChanged(sessionID(1), "", "", time.Time{})
		}, "ended", "completed"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 2, func(t *testing.T, f *fixture) {
				g := f.grant(1)
				untrack := f.Track(g.Visitor)
				defer f.track(2)()
				began := time.Now()
				c.change(f)
				endings := f.ended()
				require.Len(t, endings, 1)
				assert.Equal(t, []string{sessionID(1), c.status, c.reason},
					[]string{endings[0].SessionID, endings[0].Status, endings[0].EndReason})
				assert.Equal(t, began, f.endedAt())
				untrack()
				validations, sessionReads, _ := f.store.counts()
				_, err := f.byToken(1)
				requireRefusal(t, err, 410)
				_, err = f.byTicket(g.Ticket)
				requireRefusal(t, err, 410)
				again, sessionAgain, _ := f.store.counts()
				assert.Equal(t, []int{validations, sessionReads}, []int{again, sessionAgain})
				f.grant(2)
			})
		})
	}
}

func TestControlChangeEndsUntrackedSessionsToo(t *testing.T) {
	for name, change := range map[string]func(f *fixture){
		"session": func(f *fixture) { f.SessionDeleted(sessionID(1)) },
		"link":    func(f *fixture) { f.LinkDeleted(linkID(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 2, func(t *testing.T, f *fixture) {
				f.grant(1)
				f.grant(2)
				change(f)
				_, err := f.byToken(1)
				requireRefusal(t, err, 410)
				f.grant(2)
				assert.Empty(t, f.ended(), "nobody is to be told")
			})
		})
	}
}

func TestHarmlessControlChangesEndNothing(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		defer f.track(1)()
		f.SessionChanged(sessionID(1), "active", "", time.Time{})
		f.SessionChanged(sessionID(1), "", "", time.Time{})
		f.SessionChanged(sessionID(7), "", "", time.Time{})
		f.SessionDeleted(sessionID(9))
		f.LinkChanged(linkID(1), true)
		f.LinkDeleted(linkID(9))
		f.LinkDeleted("")
		assert.Empty(t, f.ended())
		f.grant(1)
	})
}

// The answer of a read may be older than a change that arrived first.
func TestChangeThatOvertakesAReadCounts(t *testing.T) {
	for name, change := range map[string]func(f *fixture){
		"session": func(f *fixture) { f.SessionChanged(sessionID(1), "ended", "completed", time.Now()) },
		"link":    func(f *fixture) { f.LinkChanged(linkID(1), false) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, f *fixture) {
				slow := make(chan struct{})
				f.store.change(func(s *fakeStore) { s.LinksFunc = slowLinks(f.store, slow) })
				errs := make(chan error)
				go func() {
					_, err := f.byToken(1)
					errs <- err
				}()
				wait(time.Second)
				change(f)
				close(slow)
				requireRefusal(t, <-errs, 410)
			})
		})
	}
}

func TestLinkThatIsActiveAgainIsReadAgain(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		f.LinkChanged(linkID(1), false)
		wait(time.Second)
		f.grant(1)
	})
}

func TestEndingIsForgottenAndThenReadAgain(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		f.grant(1)
		f.SessionChanged(sessionID(1), "ended", "completed", time.Time{})
		wait(59 * time.Second)
		_, err := f.byToken(1)
		requireRefusal(t, err, 410)
		wait(2 * time.Second)
		f.grant(1) // the row says active
	})
}

func TestStreamTrackedAfterTheEndIsToldToo(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		g := f.grant(1)
		f.SessionDeleted(sessionID(1))
		require.Empty(t, f.ended())
		untrack := f.Track(g.Visitor)
		require.Len(t, f.ended(), 1)
		wait(14 * time.Second)
		require.Len(t, f.ended(), 1)
		wait(2 * time.Second)
		require.Len(t, f.ended(), 2, "the stream is still tracked")
		untrack()
		wait(time.Hour)
		require.Len(t, f.ended(), 2)
	})
}

func TestTrackingIsCountedByStream(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		first, second := f.track(1), f.track(1)
		first()
		first()
		f.SessionDeleted(sessionID(1))
		require.Len(t, f.ended(), 1, "the second stream is still open")
		second()
	})
}

func TestForgottenSessionIsTrackedAllTheSame(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, f *fixture) {
		g := f.grant(1)
		f.grant(2)
		f.grant(3)
		defer f.Track(g.Visitor)()
		wait(2 * time.Minute)
		require.Empty(t, f.ended())
		f.store.editSession(1, ended)
		wait(15 * time.Second)
		require.Len(t, f.ended(), 1)
	}, func(o *session.Options) { o.CacheSize = 1 })
}

func TestVisitorIsKeptWhileNothingChanges(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		var before *chat.Visitor = f.grant(1).Visitor
		defer f.Track(before)()
		wait(time.Minute)
		assert.Same(t, before, f.grant(1).Visitor)
		f.store.editLink(1, func(l *rest.Link) { l.Title = "Another title" })
		wait(16 * time.Second)
		assert.Equal(t, "Another title", f.grant(1).Visitor.Title)
		assert.Equal(t, "Feedback", before.Title)
	})
}
