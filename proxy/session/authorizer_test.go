package session_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
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
				assert.Equal(t, minted.Add(c.back), g.TicketExpires)
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
			if least == 0 || refusal.RetryAfter < least {
				least = refusal.RetryAfter
			}
			most = max(most, refusal.RetryAfter)
		}
		assert.Less(t, least, 2*time.Second)
		assert.Greater(t, most, 4*time.Second)
	})
}

// gone counts the errors, which have to be the refusal of an ended session.
func gone(t *testing.T, errs []error) (n int) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			requireRefusal(t, err, 410)
			n++
		}
	}
	return n
}

func TestCachesHoldAsManyAsTold(t *testing.T) {
	sized := func(n int) func(*session.Options) { return func(o *session.Options) { o.CacheSize = n } }
	grantAll := func(f *fixture) (validations, sessionReads int) {
		for n := 1; n <= 3; n++ {
			f.grant(n)
		}
		validations, sessionReads, _ = f.store.counts()
		return validations, sessionReads
	}
	t.Run("three of three are known", func(t *testing.T) {
		inBubble(t, 3, func(t *testing.T, f *fixture) {
			validations, sessionReads := grantAll(f)
			again, readAgain := grantAll(f)
			assert.Equal(t, []int{validations, sessionReads}, []int{again, readAgain})
		}, sized(3))
	})
	t.Run("the third of two is not", func(t *testing.T) {
		inBubble(t, 3, func(t *testing.T, f *fixture) {
			validations, sessionReads := grantAll(f)
			again, readAgain := grantAll(f)
			assert.Equal(t, []int{validations + 3, sessionReads + 3}, []int{again, readAgain})
		}, sized(2))
	})
	for size, want := range map[int]int{3: 3, 2: 2} {
		t.Run(fmt.Sprintf("%d endings of three", size), func(t *testing.T) {
			inBubble(t, 3, func(t *testing.T, f *fixture) {
				tickets := []chat.Token{f.grant(1).Ticket, f.grant(2).Ticket, f.grant(3).Ticket}
				for n := 1; n <= 3; n++ {
					f.SessionDeleted(sessionID(n))
				}
				assert.Equal(t, want, gone(t, each(3, func(i int) error { _, err := f.byTicket(tickets[i]); return err })))
			}, sized(size))
		})
		t.Run(fmt.Sprintf("%d dead links of three", size), func(t *testing.T) {
			inBubble(t, 3, func(t *testing.T, f *fixture) {
				slow := make(chan struct{})
				f.store.change(func(s *fakeStore) { s.LinksFunc = slowLinks(f.store, slow) })
				answers := make(chan []error)
				go func() {
					answers <- each(3, func(i int) error { _, err := f.byToken(i + 1); return err })
				}()
				wait(time.Second)
				for n := 1; n <= 3; n++ {
					f.LinkDeleted(linkID(n))
				}
				close(slow)
				assert.Equal(t, want, gone(t, <-answers))
			}, sized(size))
		})
	}
	t.Run("names of agents", func(t *testing.T) {
		for size, want := range map[int]int{2: 2, 1: 4} {
			inBubble(t, 2, func(t *testing.T, f *fixture) {
				f.store.change(func(s *fakeStore) {
					s.agents[agentID(2)] = "Bob"
					for n := 1; n <= 2; n++ {
						v := s.tokens[token(n).Reveal()]
						v.AgentName = ""
						s.tokens[token(n).Reveal()] = v
					}
				})
				f.store.editLink(2, func(l *rest.Link) { l.AgentID = agentID(2) })
				for range 2 {
					assert.Equal(t, "Ada", f.grant(1).Visitor.AgentName)
					assert.Equal(t, "Bob", f.grant(2).Visitor.AgentName)
					wait(2 * time.Minute)
				}
				assert.Equal(t, want, f.store.agentReads)
			}, sized(size))
		}
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
