package session_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/session"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// The validation function calls all of these valid.
func TestRowsDecideWhetherAProvedSessionHolds(t *testing.T) {
	cases := map[string]struct {
		change func(f *fixture)
		status int // 0 is granted
		reason string
	}{
		"as it is":      {change: func(*fixture) {}},
		"session ended": {func(f *fixture) { f.store.editSession(1, ended) }, 410, "completed"},
		"session row gone": {
			func(f *fixture) { f.store.change(func(s *fakeStore) { delete(s.sessions, sessionID(1)) }) }, 401, "deleted"},
		"link inactive": {
			func(f *fixture) { f.store.editLink(1, func(l *rest.Link) { l.IsActive = false }) }, 410, "link_deactivated"},
		"link gone": {func(f *fixture) { f.store.change(func(s *fakeStore) { delete(s.links, linkID(1)) }) }, 410, "link_deleted"},
		"link expired by the database's clock": {func(f *fixture) {
			f.store.editLink(1, func(l *rest.Link) { l.ExpiresAt = time.Now().Add(time.Hour) })
			f.store.change(func(s *fakeStore) { s.skew = time.Hour })
		}, 410, "expired"},
		"link not expired by the database's clock": {change: func(f *fixture) {
			f.store.editLink(1, func(l *rest.Link) { l.ExpiresAt = time.Now().Add(-time.Hour) })
			f.store.change(func(s *fakeStore) { s.skew = -2 * time.Hour })
		}},
		"link without an end": {change: func(f *fixture) {
			f.store.editLink(1, func(l *rest.Link) { l.ExpiresAt = time.Time{} })
		}},
		"idle":         {func(f *fixture) { wait(30 * time.Minute) }, 410, "timeout"},
		"not yet idle": {change: func(f *fixture) { wait(30*time.Minute - time.Second) }},
		"message seen": {change: func(f *fixture) {
			wait(45 * time.Minute)
			f.store.editSession(1, func(s *rest.Session) { s.LastMessageAt = time.Now().Add(-20 * time.Minute) })
		}},
		"activity never counted": {func(f *fixture) {
			f.store.editSession(1, func(s *rest.Session) { s.LastActivityAt = time.Time{} })
			wait(31 * time.Minute)
		}, 410, "timeout"},
		"no timeout": {change: func(f *fixture) {
			f.store.editLink(1, func(l *rest.Link) { l.SessionTimeoutMinutes = 0 })
			f.store.change(func(s *fakeStore) {
				v := s.tokens[token(1).Reveal()]
				v.SessionTimeoutMinutes = 0
				s.tokens[token(1).Reveal()] = v
			})
			wait(20 * time.Hour)
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, f *fixture) {
				c.change(f)
				_, err := f.byToken(1)
				if c.status == 0 {
					require.NoError(t, err)
					return
				}
				refusal := requireRefusal(t, err, c.status)
				var ending *session.Ending
				if c.status == 410 {
					require.ErrorAs(t, refusal, &ending)
					assert.Equal(t, c.reason, ending.EndReason)
				}
				validations, _, _ := f.store.counts()
				_, err = f.byToken(1)
				requireRefusal(t, err, c.status)
				again, _, _ := f.store.counts()
				assert.Equal(t, validations, again, "the answer was not remembered")
			})
		})
	}
}

func ended(s *rest.Session) {
	s.Status, s.EndReason, s.EndedAt = "ended", "completed", time.Now().UTC()
}

func TestActivitySeenHerePostponesIdleness(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		f.grant(1)
		wait(20 * time.Minute)
		f.Active(sessionID(1))
		wait(29 * time.Minute)
		f.grant(1)
		wait(time.Minute + time.Second)
		_, err := f.byToken(1)
		requireRefusal(t, err, 410)
	})
}

func TestUnreadableTablesLeaveTheFunctionsFacts(t *testing.T) {
	for name, failure := range map[string]error{"missing": errMissing, "denied": errDenied} {
		t.Run("sessions "+name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, f *fixture) {
				f.store.change(func(s *fakeStore) {
					s.SessionsFunc = func(context.Context, []string) ([]rest.Session, error) { return nil, failure }
				})
				v := f.grant(1).Visitor
				assert.False(t, v.LinkKnown)
				assert.Equal(t, []string{sessionID(1), conversation(1), agentID(1), "Ada"},
					[]string{v.SessionID, v.ConversationID, v.AgentID, v.AgentName})
				assert.Equal(t, 50, v.MaxMessages)
				assert.Equal(t, 30*time.Minute, v.IdleTimeout)
				f.grant(1)
				wait(50 * time.Second)
				f.grant(1)
				validations, _, _ := f.store.counts()
				assert.Equal(t, 1, validations)
				wait(11 * time.Second)
				f.grant(1)
				assert.Equal(t, 1, f.logs.count("level=WARN"))
				assert.Contains(t, f.logs.String(), "names.sessions")
			})
		})
		t.Run("links "+name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, f *fixture) {
				f.store.change(func(s *fakeStore) {
					s.LinksFunc = func(context.Context, []string) ([]rest.Link, error) { return nil, failure }
				})
				v := f.grant(1).Visitor
				assert.False(t, v.LinkKnown)
				assert.Equal(t, []string{linkID(1), agentID(1), id(5, 1)}, []string{v.LinkID, v.AgentID, v.ConversationSessionID})
				assert.Contains(t, f.logs.String(), "chat.visibility=conversation")
			})
		})
	}
}

func TestTransientReadFailureIsUnavailableAndNotRemembered(t *testing.T) {
	for _, table := range []string{"sessions", "links"} {
		t.Run(table, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, f *fixture) {
				if table == "sessions" {
					f.store.change(func(s *fakeStore) {
						s.SessionsFunc = func(context.Context, []string) ([]rest.Session, error) { return nil, errDown }
					})
				} else {
					f.store.change(func(s *fakeStore) {
						s.LinksFunc = func(context.Context, []string) ([]rest.Link, error) { return nil, errDown }
					})
				}
				_, err := f.byToken(1)
				requireRefusal(t, err, 503)
				f.store.mend()
				f.grant(1)
			})
		})
	}
}

func TestKnownSessionIsGrantedOnALateReadingWhileTheDatabaseIsAway(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		ticket := f.grant(1).Ticket
		wait(20 * time.Second)
		f.store.breakDown(errDown)
		f.grant(1)
		_, err := f.byTicket(ticket)
		require.NoError(t, err)
		f.store.change(func(s *fakeStore) {
			s.SessionsFunc = func(ctx context.Context, _ []string) ([]rest.Session, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		})
		began := time.Now()
		f.grant(1)
		assert.Equal(t, 2*time.Second, time.Since(began), "patience is short where an older reading would do")
		f.store.breakDown(errDown)
		wait(40 * time.Second)
		_, err = f.byToken(1)
		requireRefusal(t, err, 503)
		_, err = f.byTicket(ticket)
		requireRefusal(t, err, 503)
	})
}
