package session_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// hideLinks makes the links table unreadable.
func (s *fakeStore) hideLinks() {
	s.change(func(s *fakeStore) {
		s.LinksFunc = func(context.Context, []string) ([]rest.Link, error) { return nil, errDenied }
	})
}

func TestLinksThatBecomeUnreadableAreNotKnownAnyMore(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		g := f.grant(1)
		defer f.Track(g.Visitor)()
		require.True(t, g.Visitor.LinkKnown)
		f.store.hideLinks()
		wait(2 * time.Minute)
		require.Empty(t, f.ended())
		v := f.grant(1).Visitor
		assert.False(t, v.LinkKnown)
		assert.Equal(t, agentID(1), v.AgentID)
		assert.Equal(t, g.Visitor.ExpiresAt, v.ExpiresAt)
	})
}

func TestALinkThatCannotBeReadIsAskedAboutByTheToken(t *testing.T) {
	t.Run("its end closes the streams", func(t *testing.T) {
		inBubble(t, 2, func(t *testing.T, f *fixture) {
			f.store.hideLinks()
			g := f.grant(1)
			defer f.Track(g.Visitor)()
			defer f.track(2)()
			wait(10 * time.Minute)
			require.Empty(t, f.ended())
			validations, _, _ := f.store.counts()
			assert.InDelta(t, 30, validations, 12, "each session about every 40 s")
			f.store.change(func(s *fakeStore) { delete(s.tokens, token(1).Reveal()) })
			wait(45 * time.Second)
			endings := f.ended()
			require.NotEmpty(t, endings)
			for _, e := range endings {
				assert.Equal(t, sessionID(1), e.SessionID)
				assert.Same(t, chat.SessionEnded, e.Why)
			}
			_, err := f.byTicket(g.Ticket)
			requireRefusal(t, err, 410)
			assert.Equal(t, 1, f.logs.count("only the validation function tells of links' endings"))
		})
	})
	t.Run("rows alone confirm nothing", func(t *testing.T) {
		inBubble(t, 1, func(t *testing.T, f *fixture) {
			f.store.hideLinks()
			defer f.track(1)()
			f.store.change(func(s *fakeStore) {
				s.ValidateFunc = func(context.Context, string) (rest.Validation, error) { return rest.Validation{}, errDown }
			})
			wait(61 * time.Second)
			endings := f.ended()
			require.Len(t, endings, 1)
			assert.Same(t, chat.Unavailable, endings[0].Why)
			_, err := f.byToken(1)
			requireRefusal(t, err, 503)
			f.store.change(func(s *fakeStore) { s.ValidateFunc = nil })
			f.grant(1)
		})
	})
	t.Run("a ticket does not do without it", func(t *testing.T) {
		inBubble(t, 1, func(t *testing.T, f *fixture) {
			f.store.hideLinks()
			ticket := f.grant(1).Ticket
			f.store.change(func(s *fakeStore) { delete(s.tokens, token(1).Reveal()) })
			wait(31 * time.Second)
			_, err := f.byTicket(ticket)
			require.Error(t, err)
		})
	})
	t.Run("the session's own end is seen at the next reading", func(t *testing.T) {
		inBubble(t, 1, func(t *testing.T, f *fixture) {
			f.store.hideLinks()
			defer f.track(1)()
			wait(20 * time.Second)
			f.store.editSession(1, ended)
			wait(15 * time.Second)
			assert.Len(t, f.ended(), 1)
		})
	})
	t.Run("a slow function holds up no reading", func(t *testing.T) {
		inBubble(t, 30, func(t *testing.T, f *fixture) {
			f.store.hideLinks()
			for n := range 30 {
				defer f.track(n + 1)()
			}
			f.store.change(func(s *fakeStore) {
				s.ValidateFunc = func(ctx context.Context, _ string) (rest.Validation, error) {
					<-ctx.Done()
					return rest.Validation{}, ctx.Err()
				}
			})
			wait(41 * time.Second)
			f.store.editSession(30, ended)
			wait(15 * time.Second)
			endings := f.ended()
			require.Len(t, endings, 1)
			assert.Equal(t, "completed", endings[0].EndReason)
		})
	})
	t.Run("a session of no link needs none", func(t *testing.T) {
		inBubble(t, 1, func(t *testing.T, f *fixture) {
			f.store.hideLinks()
			f.store.editSession(1, func(s *rest.Session) { s.LinkID = "" })
			defer f.track(1)()
			wait(10 * time.Minute)
			assert.Empty(t, f.ended())
			validations, _, _ := f.store.counts()
			assert.Equal(t, 1, validations)
		})
	})
}

func TestUnreadableSessionsAreConfirmedByTheirTokens(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, f *fixture) {
		f.store.change(func(s *fakeStore) {
			s.SessionsFunc = func(context.Context, []string) ([]rest.Session, error) { return nil, errMissing }
		})
		defer f.track(1)()
		defer f.track(2)()
		wait(10 * time.Minute)
		require.Empty(t, f.ended())
		validations, _, _ := f.store.counts()
		assert.InDelta(t, 30, validations, 12, "about every 40 s")
		f.store.change(func(s *fakeStore) { delete(s.tokens, token(1).Reveal()) })
		wait(time.Minute)
		endings := f.ended()
		require.NotEmpty(t, endings)
		for _, e := range endings {
			assert.Equal(t, sessionID(1), e.SessionID)
			assert.Same(t, chat.SessionEnded, e.Why)
		}
		f.store.breakDown(errDown)
		wait(61 * time.Second)
		var lost []string
		for _, e := range f.ended() {
			if e.Why == chat.Unavailable {
				lost = append(lost, e.SessionID)
			}
		}
		assert.Equal(t, []string{sessionID(2)}, lost)
	})
}
