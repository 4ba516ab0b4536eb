package session_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/session"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

func TestTrackedSessionEndsWithinTheRecheckInterval(t *testing.T) {
	cases := map[string]struct {
		change         func(f *fixture)
		status, reason string
	}{
		"ended":       {func(f *fixture) { f.store.editSession(1, ended) }, "ended", "completed"},
		"terminated":  {func(f *fixture) { f.store.editSession(1, func(s *rest.Session) { s.Status = "terminated" }) }, "terminated", ""},
		"status null": {func(f *fixture) { f.store.editSession(1, func(s *rest.Session) { s.Status = "" }) }, "ended", ""},
		"deleted": {
			func(f *fixture) { f.store.change(func(s *fakeStore) { delete(s.sessions, sessionID(1)) }) }, "terminated", "deleted"},
		"link deactivated": {
			func(f *fixture) { f.store.editLink(1, func(l *rest.Link) { l.IsActive = false }) }, "terminated", "link_deactivated"},
		"link deleted": {
			func(f *fixture) { f.store.change(func(s *fakeStore) { delete(s.links, linkID(1)) }) }, "terminated", "link_deleted"},
		"link expired earlier": {
			func(f *fixture) { f.store.editLink(1, func(l *rest.Link) { l.ExpiresAt = time.Now() }) }, "expired", "expired"},
		"timeout shortened": {
			func(f *fixture) { f.store.editLink(1, func(l *rest.Link) { l.SessionTimeoutMinutes = 1 }) }, "expired", "timeout"},
		"ended while links fail": {func(f *fixture) {
			f.store.editSession(1, ended)
			f.store.change(func(s *fakeStore) {
				s.LinksFunc = func(context.Context, []string) ([]rest.Link, error) { return nil, errDown }
			})
		}, "ended", "completed"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 2, func(t *testing.T, f *fixture) {
				untrack := f.track(1)
				defer f.track(2)()
				wait(67 * time.Second)
				require.Empty(t, f.ended())
				c.change(f)
				wait(15 * time.Second)
				endings := f.ended()
				require.Len(t, endings, 1)
				assert.Equal(t, []string{sessionID(1), c.status, c.reason},
					[]string{endings[0].SessionID, endings[0].Status, endings[0].EndReason})
				assert.Same(t, chat.SessionEnded, endings[0].Why)
				assert.False(t, endings[0].EndedAt.IsZero())
				f.store.mend()
				untrack()
				_, err := f.byToken(1)
				requireRefusal(t, err, 410)
				wait(40 * time.Second)
				assert.Len(t, f.ended(), 1)
			})
		})
	}
}

func TestMissedControlChangesAreReadAtOnce(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		defer f.track(1)()
		wait(20 * time.Second)
		f.store.editSession(1, ended)
		f.ControlMissed()
		wait(time.Second)
		assert.Len(t, f.ended(), 1)
	})
}

func TestManyMissedControlChangesCostAReadASecond(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		defer f.track(1)()
		wait(20 * time.Second)
		_, before, _ := f.store.counts()
		for range 500 {
			f.ControlMissed()
			wait(10 * time.Millisecond)
		}
		_, after, _ := f.store.counts()
		assert.InDelta(t, 5, after-before, 2)
	})
}

func TestStreamOpenedOnAnOldReadingEndsWithinTheRecheckInterval(t *testing.T) {
	for opened := time.Second; opened <= 40*time.Second; opened += time.Second {
		inBubble(t, 1, func(t *testing.T, f *fixture) {
			wait(opened / 2)
			f.grant(1)
			f.store.editSession(1, ended)
			end := time.Now()
			wait(opened - opened/2)
			g, err := f.byToken(1)
			if err != nil {
				requireRefusal(t, err, 410)
				return
			}
			defer f.Track(g.Visitor)()
			wait(time.Until(end.Add(15 * time.Second)))
			assert.Len(t, f.ended(), 1, "opened %v after the start", opened)
		})
	}
}

func TestLinkExpiryEndsASessionToTheSecond(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		end := time.Now().Add(100 * time.Second)
		f.store.editLink(1, func(l *rest.Link) { l.ExpiresAt = end.UTC() })
		defer f.track(1)()
		wait(time.Until(end) + time.Second)
		endings := f.ended()
		require.Len(t, endings, 1)
		assert.Equal(t, "expired", endings[0].EndReason)
		assert.True(t, end.Equal(endings[0].EndedAt))
		assert.WithinRange(t, f.endedAt(), end, end.Add(time.Second))
	})
}

func TestLinkExpiryEndsASessionWhileTheDatabaseIsAway(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		end := time.Now().Add(40 * time.Second)
		f.store.editLink(1, func(l *rest.Link) { l.ExpiresAt = end.UTC() })
		defer f.track(1)()
		f.store.breakDown(errDown)
		wait(time.Until(end) + time.Second)
		endings := f.ended()
		require.Len(t, endings, 1)
		assert.Equal(t, "expired", endings[0].EndReason)
	})
}

func TestIdleSessionEndsToTheSecond(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		end := time.Now().Add(30 * time.Minute)
		defer f.track(1)()
		wait(time.Until(end) - time.Second)
		require.Empty(t, f.ended())
		wait(2 * time.Second)
		endings := f.ended()
		require.Len(t, endings, 1)
		assert.Equal(t, []string{"expired", "timeout"}, []string{endings[0].Status, endings[0].EndReason})
		assert.WithinRange(t, f.endedAt(), end, end.Add(time.Second))
	})
}

func TestIdleSessionIsReadBeforeItEnds(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		defer f.track(1)()
		// The rows as the rechecks saw them last say idle; the newest row says otherwise.
		wait(30*time.Minute - 2*time.Second)
		f.store.editSession(1, func(s *rest.Session) { s.LastMessageAt = time.Now() })
		wait(time.Minute)
		require.Empty(t, f.ended())
		wait(29 * time.Minute)
		require.Len(t, f.ended(), 1)
	})
}

func TestActiveVisitorIsNotIdle(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		defer f.track(1)()
		for range 10 {
			wait(20 * time.Minute)
			f.Active(sessionID(1))
		}
		require.Empty(t, f.ended())
		wait(30*time.Minute + time.Second)
		require.Len(t, f.ended(), 1)
	})
}

func TestUnconfirmedSessionsLoseTheirStreamsUntilTheyCanBeRead(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, f *fixture) {
		var untrack []func()
		for n := range 3 {
			untrack = append(untrack, f.track(n+1))
		}
		began := time.Now()
		ticket := f.grant(1).Ticket
		f.store.breakDown(errDown)
		wait(59 * time.Second)
		require.Empty(t, f.ended())
		wait(2 * time.Second)
		endings := f.ended()
		require.Len(t, endings, 3)
		for _, e := range endings {
			assert.Same(t, chat.Unavailable, e.Why)
			assert.Empty(t, e.Status)
		}
		assert.WithinRange(t, f.endedAt(), began.Add(59*time.Second), began.Add(61*time.Second))
		for _, u := range untrack {
			u()
		}
		_, err := f.byToken(1)
		requireRefusal(t, err, 503)
		_, err = f.byTicket(ticket)
		requireRefusal(t, err, 503)
		f.store.mend()
		_, err = f.byTicket(ticket)
		require.NoError(t, err)
		wait(10 * time.Minute)
		assert.Len(t, f.ended(), 3)
		assert.Equal(t, 1, f.logs.count("sessions not confirmed"), "a failure that lasts is said once")
	})
}

func TestDatabaseThatHangsConfirmsNothing(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		defer f.track(1)()
		f.store.change(func(s *fakeStore) {
			s.SessionsFunc = func(ctx context.Context, _ []string) ([]rest.Session, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		})
		wait(61 * time.Second)
		endings := f.ended()
		require.Len(t, endings, 1)
		assert.Same(t, chat.Unavailable, endings[0].Why)
	})
}

func TestLinksThatFailConfirmNothing(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		defer f.track(1)()
		f.store.change(func(s *fakeStore) {
			s.LinksFunc = func(context.Context, []string) ([]rest.Link, error) { return nil, errDown }
		})
		wait(61 * time.Second)
		endings := f.ended()
		require.Len(t, endings, 1)
		assert.Same(t, chat.Unavailable, endings[0].Why)
	})
}

func TestShortOutageEndsNobody(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		defer f.track(1)()
		for range 5 {
			f.store.breakDown(errDown)
			wait(40 * time.Second)
			f.store.mend()
			wait(20 * time.Second)
		}
		assert.Empty(t, f.ended())
		assert.Equal(t, f.logs.count("sessions not confirmed"), f.logs.count("sessions confirmed again"))
	})
}

func TestManyTrackedSessionsAreReadInBatches(t *testing.T) {
	inBubble(t, 250, func(t *testing.T, f *fixture) {
		f.store.change(func(s *fakeStore) {
			for id, row := range s.sessions { // all of one link
				row.LinkID = linkID(1)
				s.sessions[id] = row
			}
		})
		for n := range 250 {
			defer f.track(n + 1)()
		}
		_, before, linksBefore := f.store.counts()
		wait(13500 * time.Millisecond)
		_, after, linksAfter := f.store.counts()
		assert.Equal(t, []int{3, 3}, []int{after - before, linksAfter - linksBefore})
		assert.Equal(t, 100, f.store.largest)
		f.store.editLink(1, func(l *rest.Link) { l.IsActive = false })
		wait(15 * time.Second)
		assert.Len(t, f.ended(), 250)
	})
}

func TestRunEndsWithItsContextAndRunsOnce(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		f.store.change(func(s *fakeStore) {
			s.ValidateFunc = func(ctx context.Context, _ string) (rest.Validation, error) {
				<-ctx.Done()
				return rest.Validation{}, ctx.Err()
			}
		})
		errs := make(chan error)
		go func() {
			_, err := f.byToken(1)
			errs <- err
		}()
		wait(time.Second)
		f.stop()
		requireRefusal(t, <-errs, 503)
		err := <-f.stopped
		require.NoError(t, err)
		f.stopped <- err
		_, err = f.byToken(1)
		requireRefusal(t, err, 503)
		again, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.Error(t, f.Run(again))
	})
}

func TestOptionsAreChecked(t *testing.T) {
	good := func() session.Options {
		return session.Options{
			Store: newStore(0), Keys: [][]byte{make([]byte, 16)}, OnEnd: func(*chat.Visitor, session.Ending) {},
		}
	}
	_, err := session.New(good())
	require.NoError(t, err)
	bad := map[string]func(o *session.Options){
		"no store":         func(o *session.Options) { o.Store = nil },
		"no OnEnd":         func(o *session.Options) { o.OnEnd = nil },
		"no signing key":   func(o *session.Options) { o.Keys = nil },
		"shorter than 16":  func(o *session.Options) { o.Keys = [][]byte{make([]byte, 15)} },
		"CacheSize":        func(o *session.Options) { o.CacheSize = -1 },
		"Concurrency":      func(o *session.Options) { o.Concurrency = -1 },
		"CachePositive":    func(o *session.Options) { o.CachePositive = -time.Second },
		"RecheckInterval":  func(o *session.Options) { o.ConfirmWithin = 15 * time.Second },
		"AuthorizePerSeco": func(o *session.Options) { o.AuthorizePerSecond = -1 },
	}
	for text, change := range bad {
		o := good()
		change(&o)
		_, err := session.New(o)
		require.ErrorContains(t, err, text)
	}
}
