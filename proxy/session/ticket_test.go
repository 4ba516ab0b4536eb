package session_test

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/session"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

func TestResumeTicketTakesARowReadAndNoValidation(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		first := f.grant(1)
		assert.WithinDuration(t, time.Now().Add(2*time.Hour+10*time.Minute), first.TicketExpires, time.Second)
		wait(25 * time.Minute)
		second, err := f.byTicket(first.Ticket)
		require.NoError(t, err)
		assert.Equal(t, sessionID(1), second.Visitor.SessionID)
		assert.Equal(t, "Ada", second.Visitor.AgentName)
		assert.Equal(t, token(1), second.Token)
		assert.NotEqual(t, first.Ticket, second.Ticket, "the ticket is not fresh")
		validations, sessionReads, linkReads := f.store.counts()
		assert.Equal(t, []int{1, 2, 2}, []int{validations, sessionReads, linkReads})
		_, err = f.Authorize(t.Context(), chat.Credential{Token: first.Ticket})
		require.NoError(t, err, "a ticket in the place of a token")
	})
}

func TestTicketOfAnotherNodeIsAcceptedByTheRows(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		keys := [][]byte{[]byte("a signing key of the tests")}
		other, err := session.NewSealer(keys...)
		require.NoError(t, err)
		ticket, err := other.Seal(session.Claims{Kind: 2, Session: sessionID(1), Token: token(1), Issued: time.Now(), Life: time.Hour})
		require.NoError(t, err)
		g, err := f.byTicket(ticket)
		require.NoError(t, err)
		assert.Equal(t, "Ada", g.Visitor.AgentName)
		assert.True(t, g.Visitor.LinkKnown)
		validations, _, _ := f.store.counts()
		assert.Zero(t, validations)
	})
}

func TestTicketLives(t *testing.T) {
	verify := func(o *session.Options) {
		o.VerifyCursor = func(v *chat.Visitor, cursor string) bool { return cursor == "cursor of "+v.SessionID }
	}
	cases := map[string]struct {
		resume bool
		cursor string
		after  time.Duration
		ok     bool
	}{
		"url, in time":                     {after: 120*time.Second - time.Millisecond, ok: true},
		"url, late":                        {after: 122 * time.Second},
		"url, late, with the cursor":       {after: 2 * time.Hour, cursor: "cursor of " + sessionID(1), ok: true},
		"url, late, with another's cursor": {after: 3 * time.Minute, cursor: "cursor of " + sessionID(2)},
		"url, too late for a cursor":       {after: 2*time.Hour + 11*time.Minute, cursor: "cursor of " + sessionID(1)},
		"resume, in time":                  {resume: true, after: 2*time.Hour + 9*time.Minute, ok: true},
		"resume, late":                     {resume: true, after: 2*time.Hour + 10*time.Minute, cursor: "cursor of " + sessionID(1)},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, f *fixture) {
				f.store.editLink(1, func(l *rest.Link) { l.SessionTimeoutMinutes = 1440 })
				g := f.grant(1)
				ticket, life, err := f.URLTicket(g)
				require.NoError(t, err)
				assert.Equal(t, 120, life)
				if c.resume {
					ticket = g.Ticket
				}
				wait(c.after)
				_, err = f.Authorize(t.Context(), chat.Credential{Ticket: ticket, Cursor: c.cursor})
				if c.ok {
					require.NoError(t, err)
				} else {
					requireRefusal(t, err, 401)
				}
			}, verify)
		})
	}
}

func TestForgedTicketsAreInvalidWithoutACall(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		good := f.grant(1).Ticket.Reveal()
		foreign, err := session.NewSealer([]byte("the key of somebody else"))
		require.NoError(t, err)
		sealed, err := foreign.Seal(session.Claims{Kind: 2, Session: sessionID(1), Token: token(1), Issued: time.Now(), Life: time.Hour})
		require.NoError(t, err)
		v, s, l := f.store.counts()
		bad := []string{
			"", "t1.", "t1.AAAA", "t1.!!", good[3:], good[:len(good)-1], good + "A", good + "=", strings.ToUpper(good), "t2." + good[3:],
			good[:20] + flipped(good[20]) + good[21:], sealed.Reveal(), "t1." + strings.Repeat("A", 2000),
		}
		for _, text := range bad {
			_, err := f.byTicket(chat.Token(text))
			requireRefusal(t, err, 401)
		}
		v2, s2, l2 := f.store.counts()
		assert.Equal(t, []int{v, s, l}, []int{v2, s2, l2})
	})
}

func flipped(b byte) string {
	if b == 'A' {
		return "B"
	}
	return "A"
}

func TestEveryKeyOpensAndTheFirstSeals(t *testing.T) {
	before, now := []byte("the key before this one"), []byte("the key of these days")
	c := session.Claims{Kind: 1, Session: "77", Token: token(1), Issued: time.Unix(1_700_000_000, 0), Life: 2 * time.Minute}
	older, err := session.NewSealer(before)
	require.NoError(t, err)
	both, err := session.NewSealer(now, before)
	require.NoError(t, err)
	newer, err := session.NewSealer(now)
	require.NoError(t, err)
	old, err := older.Seal(c)
	require.NoError(t, err)
	opened, err := both.Open(old)
	require.NoError(t, err)
	assert.Equal(t, c, opened)
	fresh, err := both.Seal(c)
	require.NoError(t, err)
	_, err = newer.Open(fresh)
	require.NoError(t, err)
	_, err = older.Open(fresh)
	require.Error(t, err)
	_, err = session.NewSealer()
	require.Error(t, err)
	_, err = session.NewSealer([]byte("short"))
	require.Error(t, err)
}

func TestTicketIsShortURLSafeAndSealsItsContent(t *testing.T) {
	s, err := session.NewSealer([]byte("a signing key of the tests"))
	require.NoError(t, err)
	for length := 16; length <= 512; length++ {
		text := strings.Repeat("aB3-_9zZ", 64)[:length]
		c := session.Claims{Kind: 2, Session: sessionID(1), Token: chat.Token(text), Issued: time.Unix(1_700_000_000, 0), Life: time.Hour}
		ticket, err := s.Seal(c)
		require.NoError(t, err)
		require.LessOrEqual(t, len(ticket), session.MaxTicketBytes)
		require.Regexp(t, regexp.MustCompile(`^t1\.[A-Za-z0-9_-]+$`), ticket.Reveal())
		opened, err := s.Open(ticket)
		require.NoError(t, err)
		require.Equal(t, c, opened)
	}
	for _, id := range []string{"", "a b", "1; drop", strings.ToUpper(id(1, 1)) + "0"} {
		_, err := s.Seal(session.Claims{Kind: 2, Session: id, Token: token(1)})
		require.Error(t, err)
	}
	upper := session.Claims{Kind: 2, Session: "ABCDEF01-0000-4000-8000-000000000001", Token: token(1), Issued: time.Unix(1, 0)}
	ticket, err := s.Seal(upper)
	require.NoError(t, err)
	opened, err := s.Open(ticket)
	require.NoError(t, err)
	assert.Equal(t, upper, opened)
}

func TestTicketOfAnEndedSessionIsGone(t *testing.T) {
	for name, change := range map[string]func(f *fixture){
		"ended":   func(f *fixture) { f.store.editSession(1, ended) },
		"deleted": func(f *fixture) { f.store.change(func(s *fakeStore) { delete(s.sessions, sessionID(1)) }) },
		"link":    func(f *fixture) { f.store.editLink(1, func(l *rest.Link) { l.IsActive = false }) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, f *fixture) {
				g := f.grant(1)
				change(f)
				wait(15 * time.Second)
				_, err := f.byTicket(g.Ticket)
				requireRefusal(t, err, 410)
				_, sessionReads, _ := f.store.counts()
				_, err = f.byTicket(g.Ticket)
				requireRefusal(t, err, 410)
				_, err = f.byToken(1)
				requireRefusal(t, err, 410)
				_, again, _ := f.store.counts()
				assert.Equal(t, sessionReads, again, "the end was not remembered")
			})
		})
	}
}

func TestTicketIsProvedByItsTokenWhereTheTablesCannotBeRead(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, f *fixture) {
		s, err := session.NewSealer([]byte("a signing key of the tests"))
		require.NoError(t, err)
		f.store.change(func(s *fakeStore) {
			s.SessionsFunc = func(context.Context, []string) ([]rest.Session, error) { return nil, errDenied }
		})
		f.store.change(func(s *fakeStore) {
			s.LinksFunc = func(context.Context, []string) ([]rest.Link, error) { return nil, errDenied }
		})
		ticket, err := s.Seal(session.Claims{Kind: 2, Session: sessionID(1), Token: token(1), Issued: time.Now(), Life: time.Hour})
		require.NoError(t, err)
		g, err := f.byTicket(ticket)
		require.NoError(t, err)
		assert.False(t, g.Visitor.LinkKnown)
		f.store.change(func(s *fakeStore) { s.SessionsFunc = nil })
		ticket, err = s.Seal(session.Claims{Kind: 2, Session: sessionID(2), Token: token(2), Issued: time.Now(), Life: time.Hour})
		require.NoError(t, err)
		g, err = f.byTicket(ticket)
		require.NoError(t, err)
		assert.Equal(t, agentID(1), g.Visitor.AgentID)
	})
}

func TestNoReadForATrackedSessionConfirmedLately(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		g := f.grant(1)
		defer f.Track(g.Visitor)()
		for range 100 {
			_, err := f.byTicket(g.Ticket)
			require.NoError(t, err)
			wait(time.Second)
		}
		_, sessionReads, _ := f.store.counts()
		assert.LessOrEqual(t, sessionReads, 1+8, "only the rechecks read")
	})
}

func TestStormOfResumeTicketsCostsFewReads(t *testing.T) {
	inBubble(t, 2000, func(t *testing.T, f *fixture) {
		s, err := session.NewSealer([]byte("a signing key of the tests"))
		require.NoError(t, err)
		tickets := make([]chat.Token, 2000)
		for i := range tickets {
			tickets[i], err = s.Seal(session.Claims{
				Kind: 2, Session: sessionID(i + 1), Token: token(i + 1), Issued: time.Now(), Life: time.Hour,
			})
			require.NoError(t, err)
		}
		for _, err := range each(len(tickets), func(i int) error { _, err := f.byTicket(tickets[i]); return err }) {
			require.NoError(t, err)
		}
		validations, sessionReads, linkReads := f.store.counts()
		assert.Zero(t, validations)
		assert.LessOrEqual(t, sessionReads+linkReads, 41)
		assert.LessOrEqual(t, f.store.agentReads, 2)
	})
}

func FuzzTicketOpen(f *testing.F) {
	s, err := session.NewSealer([]byte("a signing key of the tests"), []byte("another key of the tests"))
	require.NoError(f, err)
	want := session.Claims{Kind: 1, Session: sessionID(1), Token: token(1), Issued: time.Unix(1_700_000_000, 0)}
	sealed, err := s.Seal(want)
	require.NoError(f, err)
	for _, seed := range []string{sealed.Reveal(), "", "t1.", "t1.AAAA", sealed.Reveal()[:60], "t1." + strings.Repeat("_", 590)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		// Nothing else was ever sealed with these keys.
		if got, err := s.Open(chat.Token(text)); err == nil {
			assert.Equal(t, want, got)
		} else {
			assert.Empty(t, got)
		}
	})
}

func FuzzClaims(f *testing.F) {
	for _, id := range []string{sessionID(1), "7", "ABCDEF01-0000-4000-8000-000000000001"} {
		plain, err := session.AppendClaims(session.Claims{Kind: 1, Session: id, Token: token(1), Issued: time.Unix(1_700_000_000, 0)})
		require.NoError(f, err)
		f.Add(plain)
		f.Add(plain[:len(plain)-1])
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, plain []byte) {
		c, err := session.ParseClaims(plain)
		if err != nil {
			return
		}
		again, err := session.AppendClaims(c)
		require.NoError(t, err)
		reread, err := session.ParseClaims(again)
		require.NoError(t, err)
		assert.Equal(t, c, reread)
	})
}
