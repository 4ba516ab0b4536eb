package proxy_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/proxytest"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// recheckSoon has sessions read often enough for a test to wait for it.
func recheckSoon(o *proxy.Options) { o.Session.RecheckInterval = 300 * time.Millisecond }

// rechecked waits for readings of the sessions that began after the call.
func rechecked(t *testing.T, n *node) {
	t.Helper()
	reads := func() float64 {
		return metric(t, n, `realtime_proxy_session_reads_total{result="ok",table="sessions"}`)
	}
	before := reads()
	require.Eventually(t, func() bool { return reads() >= before+3 }, time.Minute, 20*time.Millisecond)
}

// hidden reads a stream up to a marker and fails where the row is among what came.
func hidden(t *testing.T, events *proxytest.Events, row standin.Row, marker string) {
	t.Helper()
	for {
		e, err := events.Next()
		require.NoError(t, err)
		require.NotContains(t, e.Data, row["id"].(string))
		if strings.Contains(e.Data, marker) {
			return
		}
	}
}

func TestOpenStreamsAreJudgedByWhatIsKnownNow(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(w *world) error
		row    string
	}{
		"the link is made one on the owner's conversation": {func(w *world) error {
			_, err := w.standin.DB().Update(standin.TableLinks, standin.Row{"id": w.fixture.Isolated.ID},
				standin.Row{"source_conversation_id": w.fixture.Visitor.ConversationID})
			return err
		}, "m05"},
		"links cannot be read any more": {func(w *world) error {
			w.standin.DB().Revoke(standin.TableLinks, "service_role")
			return nil
		}, "m03"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, standin.Options{})
			n := w.start(recheckSoon)
			events := watch(t, w.ctx, n.visitor(w.fixture.Visitor))
			require.NoError(t, tt.change(w))
			rechecked(t, n)
			row := fresh(w.fixture.Rows[tt.row])
			row["conversation_id"] = w.fixture.Visitor.ConversationID
			w.store(row)
			hidden(t, events, row, w.say(w.fixture.Visitor, "marker"))
		})
	}
}

func TestStreamsOfASessionThatMovesComeBackToItsConversation(t *testing.T) {
	w := newWorld(t, standin.Options{})
	n := w.start(recheckSoon)
	require.NoError(t, w.standin.WaitLive(w.ctx, standin.TableSessions))
	v := n.visitor(w.fixture.Visitor)
	old := watch(t, w.ctx, v)
	moved := w.fixture.Visitor
	moved.ConversationID = w.fixture.Shared.ConversationID
	session := standin.Row{"id": moved.ID}
	_, err := w.standin.DB().Update(standin.TableSessions, session, standin.Row{"conversation_id": moved.ConversationID})
	require.NoError(t, err)
	e, err := old.Next()
	require.NoError(t, err)
	require.Equal(t, "reconnect", e.Name, "%s", e.Data)
	assert.Contains(t, e.Data, chat.SessionChanged.Code)
	_, err = old.Next()
	require.Error(t, err, "nothing follows")

	again := watch(t, w.ctx, v)
	left := w.say(w.fixture.Visitor, "left behind")
	hidden(t, again, standin.Row{"id": left}, w.say(moved, "marker"))
	_, err = w.standin.DB().Update(standin.TableSessions, session, standin.Row{"status": "terminated", "end_reason": "terminated"})
	require.NoError(t, err)
	e, err = again.Next()
	require.NoError(t, err)
	assert.Equal(t, "session_ended", e.Name)
}

func TestACursorVouchesForNobodyElse(t *testing.T) {
	for name, mode := range map[string]chat.Mode{"session": chat.ModeSession, "conversation": chat.ModeConversation} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, standin.Options{})
			n := w.start(func(o *proxy.Options) {
				o.Rule = chat.Rule{Mode: mode}
				o.Session.TicketLife = time.Second
			})
			a := &asker{t: t, ctx: w.ctx, base: n.base}
			victim, attacker := w.fixture.SharedOther, w.fixture.Shared
			require.Equal(t, victim.ConversationID, attacker.ConversationID)
			ticket := field(t, a.do("POST", "/temporary-chat-ticket", `{"session_token":"`+victim.Token+`"}`), "ticket")
			path := "/temporary-chat-messages?ticket=" + ticket
			expired := func() bool { return a.do("GET", path, "").status == http.StatusUnauthorized }
			require.Eventually(t, expired, hostilePatience, 100*time.Millisecond)
			cursorOf := func(s standin.FixtureSession) string {
				return field(t, a.do("GET", "/temporary-chat-messages?session_token="+s.Token, ""), "cursor")
			}
			assert.Equal(t, http.StatusUnauthorized, a.do("GET", path+"&cursor="+cursorOf(attacker), "").status)
			own := map[chat.Mode]int{chat.ModeSession: http.StatusOK, chat.ModeConversation: http.StatusUnauthorized}
			assert.Equal(t, own[mode], a.do("GET", path+"&cursor="+cursorOf(victim), "").status,
				"only where a cursor is of one session does it tell whose ticket it was")
		})
	}
}
