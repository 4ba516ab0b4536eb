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

func TestStreamsOfAnotherConversationOrAgentComeBack(t *testing.T) {
	cases := map[string]func(f *fixture){
		"conversation": func(f *fixture) {
			f.store.editSession(1, func(s *rest.Session) { s.ConversationID = conversation(9) })
		},
		"agent": func(f *fixture) { f.store.editLink(1, func(l *rest.Link) { l.AgentID = agentID(9) }) },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, f *fixture) {
				g := f.grant(1)
				untrack := f.Track(g.Visitor)
				wait(20 * time.Second)
				change(f)
				wait(15 * time.Second)
				endings := f.ended()
				require.Len(t, endings, 1)
				assert.Same(t, chat.SessionChanged, endings[0].Why)
				assert.Equal(t, conversation(1), f.lastTold().ConversationID, "the streams are where they were opened")
				untrack()
				back, err := f.byTicket(g.Ticket)
				require.NoError(t, err)
				assert.NotEqual(t, g.Visitor, back.Visitor)
				defer f.Track(back.Visitor)()
				wait(time.Minute)
				assert.Len(t, f.ended(), 1, "said once")
				f.store.editSession(1, ended)
				wait(15 * time.Second)
				require.Len(t, f.ended(), 2)
				assert.Equal(t, back.Visitor.ConversationID, f.lastTold().ConversationID)
			})
		})
	}
}

func TestANewScopeIsToldAtTheNextReading(t *testing.T) {
	cases := map[string]func(f *fixture){
		"conversation session": func(f *fixture) {
			f.store.editSession(1, func(s *rest.Session) { s.ConversationSessionID = id(5, 9) })
		},
		"link shared": func(f *fixture) {
			f.store.editLink(1, func(l *rest.Link) { l.SourceConversationID = conversation(1) })
		},
		"link not readable": func(f *fixture) { f.store.hideLinks() },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			var changes linkChanges
			inBubble(t, 1, func(t *testing.T, f *fixture) {
				v := f.grant(1).Visitor
				defer f.Track(v)()
				wait(20 * time.Second)
				change(f)
				wait(15 * time.Second)
				told := changes.told()
				require.Len(t, told, 1)
				assert.NotEqual(t, v, told[0])
				assert.Empty(t, f.ended(), "the streams go on")
			}, changes.option)
		})
	}
}

func TestAChangeBetweenTheGrantAndTheStreamIsTold(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		defer f.track(1)()
		late := f.grant(1).Visitor
		f.store.editSession(1, func(s *rest.Session) { s.ConversationID = conversation(9) })
		wait(15 * time.Second)
		require.Len(t, f.ended(), 1)
		defer f.Track(late)()
		require.Len(t, f.ended(), 2)
		assert.Same(t, late, f.lastTold())
	})
}

func TestAnEndingIsRememberedLongerThanAReadingTakes(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		slow := make(chan struct{})
		f.store.change(func(s *fakeStore) { s.LinksFunc = slowLinks(s, slow) })
		errs := make(chan error, 1)
		go func() { _, err := f.byToken(1); errs <- err }()
		wait(100 * time.Millisecond)
		f.SessionDeleted(sessionID(1))
		wait(10 * time.Second)
		close(slow)
		requireRefusal(t, <-errs, 410)
	}, func(o *session.Options) { o.CachePositive = time.Second })
}

func TestNothingIsDoneForASessionThatHasEnded(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		require.NoError(t, f.Active(sessionID(1)), "not known")
		f.grant(1)
		require.NoError(t, f.Active(sessionID(1)))
		f.SessionChanged(sessionID(1), "terminated", "terminated", time.Now())
		requireRefusal(t, f.Active(sessionID(1)), 410)
	})
}

func TestAnOlderReadingChangesNothing(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, f *fixture) {
		slow := make(chan struct{})
		f.store.change(func(s *fakeStore) { s.LinksFunc = slowLinks(s, slow) })
		old := make(chan *chat.Grant, 1)
		go func() {
			g, err := f.byToken(1)
			assert.NoError(t, err)
			old <- g
		}()
		wait(100 * time.Millisecond)
		f.store.change(func(s *fakeStore) { s.LinksFunc = nil })
		f.store.editLink(1, func(l *rest.Link) { l.AllowedDomains = []string{"new.example.org"} })
		defer f.Track(&chat.Visitor{
			SessionID: sessionID(1), ConversationID: conversation(1), ConversationSessionID: id(5, 1), AgentID: agentID(1),
		})()
		f.ControlMissed() // rechecks do not wait for the reads of others
		wait(2 * time.Second)
		close(slow)
		assert.Equal(t, []string{"new.example.org"}, (<-old).Visitor.AllowedDomains)
	})
}
