package session_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/session"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

func TestCacheKeepsWhatIsUsed(t *testing.T) {
	assert.Equal(t, []int{1, 9, 8}, session.CacheKeys(3, 9))
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
	t.Run("tokens that prove nothing push out their like alone", func(t *testing.T) {
		inBubble(t, 1, func(t *testing.T, f *fixture) {
			defer f.track(1)()
			for n := range 4 {
				_, err := f.Authorize(t.Context(), chat.Credential{Token: wrong(n)})
				requireRefusal(t, err, 401)
			}
			before, _, _ := f.store.counts()
			f.grant(1)
			for n := 3; n >= 0; n-- {
				_, err := f.Authorize(t.Context(), chat.Credential{Token: wrong(n)})
				requireRefusal(t, err, 401)
			}
			after, _, _ := f.store.counts()
			assert.Equal(t, before+1, after, "the first of the wrong ones is asked about again")
		}, sized(3))
	})
	t.Run("the third of two is not, for tickets", func(t *testing.T) {
		inBubble(t, 3, func(t *testing.T, f *fixture) {
			tickets := []chat.Token{f.grant(1).Ticket, f.grant(2).Ticket, f.grant(3).Ticket}
			_, before, _ := f.store.counts()
			for range 2 {
				for n := range tickets {
					_, err := f.byTicket(tickets[n])
					require.NoError(t, err)
				}
			}
			_, after, _ := f.store.counts()
			assert.Equal(t, before+6, after)
		}, sized(2))
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
