package feed_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// On a shared conversation a row without a mark is a visitor's by its conversation session alone, which must be an anonymous one.
func TestUnmarkedRowsOfASharedConversationFollowItsConversationSession(t *testing.T) {
	const own, owner = "cs000000-0000-4000-8000-000000000001", "u0000000-0000-4000-8000-000000000001"
	for name, tt := range map[string]struct {
		owners []rest.ConversationSession
		others []rest.Session
		shown  bool
	}{
		"anonymous":           {[]rest.ConversationSession{{ID: own, ConversationID: conversation}}, nil, true},
		"of a signed-in user": {[]rest.ConversationSession{{ID: own, ConversationID: conversation, UserID: owner}}, nil, false},
		"not there":           {nil, nil, false},
		"of another conversation": {
			[]rest.ConversationSession{{ID: own, ConversationID: uuid(1)}}, nil, false,
		},
		"beside others": {
			[]rest.ConversationSession{{ID: own, ConversationID: conversation}, {ID: uuid(2), ConversationID: conversation, UserID: owner}},
			[]rest.Session{{ID: uuid(3), ConversationID: conversation, ConversationSessionID: uuid(2)}}, true,
		},
		"used by another session that has ended": {
			[]rest.ConversationSession{{ID: own, ConversationID: conversation}},
			[]rest.Session{{ID: uuid(3), ConversationID: conversation, ConversationSessionID: own, Status: "ended"}}, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDatabase()
			d.owners, d.sessions[0].ConversationSessionID = tt.owners, own
			d.sessions = append(d.sessions, tt.others...)
			inBubble(t, d, func(t *testing.T, f *node) {
				live(f)
				synctest.Wait()
				v := visitor()
				v.Shared, v.ConversationSessionID = true, own
				s := joinAs(t, f, v, "")
				unmarked := reply(1, "unmarked", time.Now())
				unmarked["session_id"] = own
				bring(f, unmarked)
				bring(f, row(2, "marked", time.Now()))
				want := []string{"marked"}
				if tt.shown {
					want = []string{"unmarked", "marked"}
				}
				assert.Equal(t, want, s.texts())
			})
		})
	}
}

// crowdAt has another session come to the conversation when so many reads are made: from there on it is nobody's alone.
func (d *database) crowdAt(read int) {
	before := d.reads
	d.onRead = func() {
		if d.reads == before+read {
			d.sessions = append(d.sessions, rest.Session{ID: uuid(9), ConversationID: conversation})
		}
	}
}

func TestLaterPagesOfABacklogAreJudgedAnew(t *testing.T) {
	d := newDatabase()
	d.pageRows = 5
	synctest.Test(t, func(t *testing.T) {
		first := newFeed(t, d, nil)
		stop := start(t, first)
		live(first)
		synctest.Wait()
		cursor := join(t, first, "").cursor()
		stop()
		time.Sleep(time.Second)
		for i := range 200 {
			d.commit(reply(i, fmt.Sprint(i), time.Now().Add(time.Duration(i)*time.Millisecond)))
		}
		time.Sleep(time.Hour)
		second := newFeed(t, d, nil)
		defer start(t, second)()
		live(second)
		synctest.Wait()
		hold := join(t, second, "") // has the class ready
		d.crowdAt(31)
		texts := join(t, second, cursor).texts()
		assert.Len(t, texts, 150, "30 pages before the other session came")
		require.Empty(t, hold.texts())
	})
}

func TestLaterPagesOfABaselineAreJudgedAnew(t *testing.T) {
	d := newDatabase()
	d.pageRows = 5
	inBubble(t, d, func(t *testing.T, f *node) {
		live(f)
		synctest.Wait()
		for i := range 200 {
			d.commit(reply(i, fmt.Sprint(i), time.Now().Add(time.Duration(i-200)*time.Second)))
		}
		d.crowdAt(31)
		s := join(t, f, "")
		f.Hub().Delete(reply(199, "", time.Now())["id"].(string))
		assert.Empty(t, s.texts(), "a row that was never the visitor's leaves no trace")
	})
}

func TestLaterPagesOfAHistoryAreJudgedAnew(t *testing.T) {
	d := newDatabase()
	d.pageRows = 5
	inBubble(t, d, func(t *testing.T, f *node) {
		live(f)
		synctest.Wait()
		for i := range 10 {
			d.commit(reply(i, fmt.Sprint(i), time.Now().Add(time.Duration(i-20)*time.Minute)))
		}
		s := join(t, f, "")
		d.crowdAt(2)
		events, err := f.History(t.Context(), s.att, 8)
		require.NoError(t, err)
		assert.Empty(t, events)
	})
}
