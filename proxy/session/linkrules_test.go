package session_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/session"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// linkChanges collects what OnChange is told.
type linkChanges struct {
	mu       sync.Mutex
	visitors []*chat.Visitor
}

func (c *linkChanges) option(o *session.Options) {
	o.OnChange = func(v *chat.Visitor) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.visitors = append(c.visitors, v)
	}
}

func (c *linkChanges) told() []*chat.Visitor {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*chat.Visitor(nil), c.visitors...)
}

func TestChangeOfALinkIsToldAtTheNextRecheck(t *testing.T) {
	for name, change := range map[string]func(*rest.Link){
		"domains":      func(l *rest.Link) { l.AllowedDomains = []string{"good.example"} },
		"no domains":   func(l *rest.Link) { l.AllowedDomains = nil },
		"addresses":    func(l *rest.Link) { l.AllowedIPs = []string{"203.0.113.0/24"} },
		"total":        func(l *rest.Link) { l.MaxMessagesPerSession = 7 },
		"rate":         func(l *rest.Link) { l.RateLimitPerMinute = 7 },
		"several ones": func(l *rest.Link) { l.RateLimitPerMinute, l.AllowedIPs = 7, []string{"203.0.113.9"} },
	} {
		t.Run(name, func(t *testing.T) {
			var changes linkChanges
			inBubble(t, 2, func(t *testing.T, f *fixture) {
				defer f.track(1)()
				defer f.track(2)()
				wait(time.Minute)
				f.store.editSession(1, func(s *rest.Session) { s.LastActivityAt = time.Now() }) // no matter of the link
				wait(15 * time.Second)
				require.Empty(t, changes.told())
				f.store.editLink(1, change)
				wait(15 * time.Second)
				told := changes.told()
				require.Len(t, told, 1)
				assert.Equal(t, sessionID(1), told[0].SessionID)
				assert.Same(t, f.grant(1).Visitor, told[0])
				wait(time.Minute)
				assert.Len(t, changes.told(), 1, "once")
			}, changes.option)
		})
	}
}

func TestChangeBetweenGrantAndStreamIsTold(t *testing.T) {
	var changes linkChanges
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		old := f.grant(1).Visitor
		f.store.editLink(1, func(l *rest.Link) { l.AllowedIPs = []string{"203.0.113.9"} })
		wait(50 * time.Second)
		renewed := f.grant(1).Visitor
		require.NotSame(t, old, renewed)
		require.Empty(t, changes.told(), "nobody is connected")
		defer f.Track(old)()
		told := changes.told()
		require.Len(t, told, 1)
		assert.Same(t, renewed, told[0])
	}, changes.option)
}

func TestListsOfALinkAreReadFresh(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		for _, addresses := range [][]string{nil, {"203.0.113.9"}} {
			f.store.editLink(1, func(l *rest.Link) { l.AllowedIPs = addresses })
			domains, got, err := f.LinkLists(t.Context(), linkID(1))
			require.NoError(t, err)
			assert.Equal(t, []string{"example.org"}, domains)
			assert.Equal(t, addresses, got)
		}
		domains, addresses, err := f.LinkLists(t.Context(), linkID(9))
		require.NoError(t, err)
		assert.Empty(t, append(domains, addresses...), "there is no such link")
		f.store.change(func(s *fakeStore) {
			s.LinksFunc = func(context.Context, []string) ([]rest.Link, error) { return nil, errDenied }
		})
		_, _, err = f.LinkLists(t.Context(), linkID(1))
		require.NoError(t, err, "a table that is never readable holds nobody to anything")
		f.store.breakDown(errDown)
		_, _, err = f.LinkLists(t.Context(), linkID(1))
		requireRefusal(t, err, 503)
	})
}
