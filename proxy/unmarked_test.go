package proxy_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// An unmarked row under the visitor's conversation session is theirs, unless that belongs to a signed-in user or another session, of
// whatever status, has used it.
func TestUnmarkedRowsOfASharedConversation(t *testing.T) {
	for name, tt := range map[string]struct {
		table         string
		where, change func(w *world) standin.Row
		shown         bool
	}{
		"alone and anonymous": {shown: true},
		"of a signed-in user": {
			table:  standin.TableConversationSessions,
			where:  func(w *world) standin.Row { return standin.Row{"id": w.fixture.Shared.ConversationSessionID} },
			change: func(w *world) standin.Row { return standin.Row{"user_id": w.fixture.OwnerID} },
		},
		"used by a session that has ended": {
			table: standin.TableSessions,
			where: func(w *world) standin.Row { return standin.Row{"id": w.fixture.SharedOther.ID} },
			change: func(w *world) standin.Row {
				return standin.Row{
					"conversation_session_id": w.fixture.Shared.ConversationSessionID, "status": "ended", "end_reason": "completed",
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, standin.Options{})
			if tt.table != "" {
				_, err := w.standin.DB().Update(tt.table, tt.where(w), tt.change(w))
				require.NoError(t, err)
			}
			events := watch(t, w.ctx, w.start(nil).visitor(w.fixture.Shared))
			unmarked := fresh(w.fixture.Rows["m03"])
			unmarked["conversation_id"], unmarked["session_id"] = w.fixture.Shared.ConversationID, w.fixture.Shared.ConversationSessionID
			w.store(unmarked)
			marked := w.say(w.fixture.Shared, "marked")
			shown := false
			for last := ""; !strings.Contains(last, marked); {
				e, err := events.Next()
				require.NoError(t, err)
				last = e.Data
				shown = shown || strings.Contains(last, unmarked["id"].(string))
			}
			assert.Equal(t, tt.shown, shown)
		})
	}
}
