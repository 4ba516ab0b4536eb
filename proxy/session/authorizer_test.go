package session_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/session"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// knownAt grants session 1, which will not end for idleness, and waits until the clock is past a whole second. Until the session is
// read again, which is not for some seconds, grants take no time.
func knownAt(f *fixture, past time.Duration) {
	f.store.editLink(1, func(l *rest.Link) { l.SessionTimeoutMinutes = 1440 })
	f.grant(1)
	wait(time.Until(time.Now().Truncate(time.Second).Add(time.Second + past)))
}

func rareRechecks(o *session.Options) {
	o.RecheckInterval, o.ConfirmWithin = 45*time.Second, time.Minute
}

func TestTicketLivesToTheSecondWheneverItIsMinted(t *testing.T) {
	cases := map[string]struct {
		past time.Duration // of a second of the clock
		url  time.Duration // from minting to the end
		back time.Duration
	}{
		"on the second":  {0, 120 * time.Second, 130 * time.Minute},
		"just after it":  {time.Nanosecond, 121*time.Second - time.Nanosecond, 130*time.Minute - time.Nanosecond},
		"in the middle":  {time.Second / 2, 120*time.Second + time.Second/2, 130*time.Minute - time.Second/2},
		"just before it": {time.Second - 1, 120*time.Second + time.Nanosecond, 130*time.Minute - time.Second + 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, f *fixture) {
				knownAt(f, c.past)
				minted := time.Now()
				g := f.grant(1)
				url, _, err := f.URLTicket(g)
				require.NoError(t, err)
				require.Equal(t, minted.Add(c.back), g.TicketExpires)
				s, err := session.NewSealer([]byte(formSecret))
				require.NoError(t, err)
				for ticket, want := range map[chat.Token]session.Claims{
					g.Ticket: {Kind: 2, Session: sessionID(1), Token: token(1), Issued: g.TicketExpires.Add(-130 * time.Minute), Life: 130 * time.Minute},
					url:      {Kind: 1, Session: sessionID(1), Token: token(1), Issued: minted.Add(c.url - 2*time.Minute), Life: 2 * time.Minute},
				} {
					got, err := s.Open(ticket)
					require.NoError(t, err)
					got.Issued = got.Issued.In(want.Issued.Location())
					assert.Equal(t, want, got)
				}
				wait(c.url - 1)
				_, err = f.byTicket(url)
				require.NoError(t, err)
				wait(1)
				_, err = f.byTicket(url)
				requireRefusal(t, err, 401)
				wait(time.Until(g.TicketExpires) - 1)
				_, err = f.byTicket(g.Ticket)
				require.NoError(t, err)
				wait(1)
				_, err = f.byTicket(g.Ticket)
				requireRefusal(t, err, 401)
			}, rareRechecks)
		})
	}
}

func TestURLTicketTellsItsLifeInWholeSeconds(t *testing.T) {
	for life, want := range map[time.Duration]int{
		time.Millisecond: 1, time.Second: 1, 1999 * time.Millisecond: 1, 90500 * time.Millisecond: 90, time.Hour: 3600,
	} {
		t.Run(life.String(), func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, f *fixture) {
				knownAt(f, 0)
				ticket, told, err := f.URLTicket(f.grant(1))
				require.NoError(t, err)
				assert.Equal(t, want, told)
				wait(time.Duration(want) * time.Second)
				_, err = f.byTicket(ticket)
				requireRefusal(t, err, 401)
			}, rareRechecks, func(o *session.Options) { o.TicketLife = life })
		})
	}
}

func TestURLTicketIsNotMintedForWhatCannotBeSealed(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		ticket, _, err := f.URLTicket(&chat.Grant{Visitor: &chat.Visitor{SessionID: "no id"}, Token: token(1)})
		require.Error(t, err)
		assert.Empty(t, ticket)
	})
}

func TestTokenGoesBeforeTicketAndATicketInItsPlaceBeforeTheOther(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, f *fixture) {
		first, second := f.grant(1), f.grant(2)
		cases := map[string]struct {
			credential chat.Credential
			want       string // session, "" for none
		}{
			"a token beside a ticket":             {chat.Credential{Token: token(1), Ticket: second.Ticket}, sessionID(1)},
			"a token beside a forged ticket":      {chat.Credential{Token: token(1), Ticket: "t1.AAAA"}, sessionID(1)},
			"a token of no session beside one":    {chat.Credential{Token: wrong(1), Ticket: second.Ticket}, ""},
			"a ticket as a token beside one":      {chat.Credential{Token: first.Ticket, Ticket: second.Ticket}, sessionID(1)},
			"a forged ticket as a token":          {chat.Credential{Token: "t1.AAAA", Ticket: second.Ticket}, ""},
			"a ticket as a token beside nonsense": {chat.Credential{Token: first.Ticket, Ticket: "t1.AAAA"}, sessionID(1)},
			"nothing":                             {chat.Credential{}, ""},
		}
		for name, c := range cases {
			g, err := f.Authorize(t.Context(), c.credential)
			if c.want == "" {
				requireRefusal(t, err, 401)
				continue
			}
			require.NoError(t, err, name)
			assert.Equal(t, c.want, g.Visitor.SessionID, name)
		}
	})
}

func TestAuthorizationsAreCountedByCredentialAndResult(t *testing.T) {
	registry := prometheus.NewRegistry()
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		g := f.grant(1)
		f.grant(1)
		_, err := f.byToken(2)
		requireRefusal(t, err, 401)
		for range 3 {
			_, err = f.byTicket(g.Ticket)
			require.NoError(t, err)
		}
		_, err = f.Authorize(t.Context(), chat.Credential{Token: "t1.AAAA"})
		requireRefusal(t, err, 401)
		f.SessionDeleted(sessionID(1))
		_, err = f.byTicket(g.Ticket)
		requireRefusal(t, err, 410)
	}, func(o *session.Options) { o.Metrics = session.NewMetrics(registry) })
	families, err := registry.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "realtime_proxy_session_authorizations_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			if n := m.GetCounter().GetValue(); n > 0 {
				got[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = n
			}
		}
	}
	assert.Equal(t, map[string]float64{
		"token granted": 2, "token " + chat.RefuseInvalid(nil).Code: 1,
		"ticket granted": 3, "ticket " + chat.RefuseInvalid(nil).Code: 1, "ticket " + chat.RefuseEnded(nil).Code: 1,
	}, got)
}

// A visitor makes the address known that they came from, and another token of it waits less than one of a stranger's.
func TestCredentialSpeaksForItsAddress(t *testing.T) {
	for name, ticket := range map[string]bool{"token": false, "ticket": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 3, func(t *testing.T, f *fixture) {
				f.store.change(func(s *fakeStore) {
					s.SessionsFunc = func(context.Context, []string) ([]rest.Session, error) { return nil, errDenied }
					s.LinksFunc = func(context.Context, []string) ([]rest.Link, error) { return nil, errDenied }
				})
				first := chat.Credential{Token: token(1), Address: address(1)}
				if ticket {
					s, err := session.NewSealer([]byte(formSecret))
					require.NoError(t, err)
					first.Token = ""
					first.Ticket, err = s.Seal(session.Claims{Kind: 2, Session: sessionID(1), Token: token(1), Issued: time.Now(), Life: time.Hour})
					require.NoError(t, err)
				}
				_, err := f.Authorize(t.Context(), first)
				require.NoError(t, err)
				order := make(chan string, 2)
				for n, who := range map[int]string{2: "stranger", 1: "neighbour"} {
					go func() {
						time.Sleep(time.Duration(3-n) * 100 * time.Millisecond)
						_, err := f.Authorize(t.Context(), chat.Credential{Token: token(n + 1), Address: address(n)})
						assert.NoError(t, err)
						order <- who
					}()
				}
				assert.Equal(t, []string{"neighbour", "stranger"}, []string{<-order, <-order})
			}, perSecond(1))
		})
	}
}

func TestRefusedForNowAreToldToComeBackAtDifferentTimes(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		f.store.breakDown(errDown)
		var least, most time.Duration
		for range 200 {
			_, err := f.byToken(1)
			refusal := requireRefusal(t, err, 503)
			require.ErrorIs(t, refusal, errDown)
			require.False(t, refusal.Quiet)
			if least == 0 || refusal.RetryAfter < least {
				least = refusal.RetryAfter
			}
			most = max(most, refusal.RetryAfter)
		}
		assert.Less(t, least, 2*time.Second)
		assert.Greater(t, most, 4*time.Second)
	})
}

func TestLogLinesNameTheirComponent(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		f.store.change(func(s *fakeStore) {
			s.LinksFunc = func(context.Context, []string) ([]rest.Link, error) { return nil, errDenied }
		})
		f.grant(1)
		lines := strings.TrimSpace(f.logs.String())
		require.NotEmpty(t, lines)
		for line := range strings.Lines(lines) {
			assert.Contains(t, line, "component=session")
		}
	})
}

func TestEndingWhileAnotherIsToldIsToldRightAfter(t *testing.T) {
	var telling chan struct{}
	var told chan string
	inBubble(t, 2, func(t *testing.T, f *fixture) {
		defer f.track(1)()
		defer f.track(2)()
		f.SessionDeleted(sessionID(1))
		synctest.Wait()
		f.SessionDeleted(sessionID(2))
		close(telling)
		synctest.Wait()
		require.Len(t, told, 2)
		assert.Equal(t, []string{sessionID(1), sessionID(2)}, []string{<-told, <-told})
	}, func(o *session.Options) {
		telling, told = make(chan struct{}), make(chan string, 4)
		o.OnEnd = func(v *chat.Visitor, _ session.Ending) { told <- v.SessionID; <-telling }
	})
}

func TestSessionThatIsToBeReadWhileOthersAreIsReadRightAfter(t *testing.T) {
	cases := map[string]func(f *fixture, n int){
		"a change without a status": func(f *fixture, n int) { f.SessionChanged(sessionID(n), "", "", time.Time{}) },
		"changes that were missed":  func(f *fixture, _ int) { f.ControlMissed() },
	}
	for name, happens := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 2, func(t *testing.T, f *fixture) {
				defer f.track(1)()
				defer f.track(2)()
				wait(20 * time.Second)
				slow := make(chan struct{})
				f.store.change(func(s *fakeStore) { s.SessionsFunc = slowSessions(s, slow) })
				happens(f, 1)
				synctest.Wait()
				f.store.editSession(2, ended)
				happens(f, 2)
				require.Empty(t, f.ended())
				close(slow)
				wait(time.Second)
				require.Len(t, f.ended(), 1)
				assert.Equal(t, sessionID(2), f.ended()[0].SessionID)
			})
		})
	}
}

// slowSessions is slowLinks for sessions.
func slowSessions(s *fakeStore, slow <-chan struct{}) func(context.Context, []string) ([]rest.Session, error) {
	return func(_ context.Context, ids []string) ([]rest.Session, error) {
		s.mu.Lock()
		rows := pick(s.sessions, ids)
		s.mu.Unlock()
		<-slow
		return rows, nil
	}
}

func TestRunReturnsAfterItsReads(t *testing.T) {
	cases := map[string]func(f *fixture){
		"of one":       func(f *fixture) { f.SessionChanged(sessionID(1), "", "", time.Time{}) },
		"of all there": func(f *fixture) { f.ControlMissed() },
	}
	for name, happens := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, f *fixture) {
				defer f.track(1)()
				wait(5 * time.Second)
				slow := make(chan struct{})
				f.store.change(func(s *fakeStore) { s.SessionsFunc = slowSessions(s, slow) })
				happens(f)
				synctest.Wait()
				f.stop()
				synctest.Wait()
				assert.Empty(t, f.stopped, "a read goes on")
				close(slow)
			})
		})
	}
}
