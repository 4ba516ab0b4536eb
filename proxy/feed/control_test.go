package feed_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/feed"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// endings notes when the control channels told of an ending first.
type endings struct {
	mu   sync.Mutex
	told map[string]time.Time
	// missed counts how often changes may have gone by.
	missed int
}

func newEndings() *endings { return &endings{told: make(map[string]time.Time)} }

func (e *endings) note(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.told[what].IsZero() {
		e.told[what] = time.Now()
	}
}

func (e *endings) SessionChanged(id, status, _ string, _ time.Time) {
	e.note("session " + id + " " + status)
}
func (e *endings) SessionDeleted(id string)           { e.note("session " + id + " deleted") }
func (e *endings) LinkChanged(id string, active bool) { e.note(fmt.Sprint("link ", id, " ", active)) }
func (e *endings) LinkDeleted(id string)              { e.note("link " + id + " deleted") }

func (e *endings) ControlMissed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.missed++
}

func (e *endings) misses() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.missed
}

func (e *endings) when(what string) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.told[what]
}

// controlTopics are the live channels of the control sockets, sorted.
func (u *upstream) controlTopics() (topics []string) {
	synctest.Wait()
	for _, s := range u.standin.Subscriptions() {
		if s.Live && !strings.Contains(s.Topic, "-messages-") {
			topics = append(topics, s.Topic)
		}
	}
	slices.Sort(topics)
	return topics
}

const recycled = time.Minute // age of the sockets

func withControl(t *testing.T, test func(t *testing.T, u *upstream, e *endings)) {
	e := newEndings()
	withUpstream(t, func(o *feed.Options) { o.Control, o.Realtime.MaxAge = e, recycled }, func(t *testing.T, u *upstream) {
		u.settled(feed.StateLive, time.Second)
		test(t, u, e)
	})
}

func TestAControlChannelThatComesUpMayHaveMissedChanges(t *testing.T) {
	withControl(t, func(t *testing.T, u *upstream, e *endings) {
		require.Equal(t, 2, e.misses(), "one for each channel")
		u.standin.Faults().DropSockets()
		time.Sleep(5 * time.Second)
		assert.Equal(t, 4, e.misses())
	})
}

// TestEndingsAroundTheRecyclingOfTheControlSocketAreToldAtOnce commits an ending every 50 ms from before the fresh socket is opened until
// after the old one has gone.
func TestEndingsAroundTheRecyclingOfTheControlSocketAreToldAtOnce(t *testing.T) {
	withControl(t, func(t *testing.T, u *upstream, e *endings) {
		before := u.controlTopics()
		require.Len(t, before, 2)
		time.Sleep(recycled - 2*time.Second)
		u.standin.Faults().Set(standin.Fault{Kind: standin.DelaySystemOK, Delay: 700 * time.Millisecond}) // or a break would be too short to see
		committed := make(map[string]time.Time)
		most := 0
		for i := range 100 {
			var what string
			if i%10 == 9 {
				u.deactivate(i)
				what = "link " + uuid(2000+i) + " false"
			} else {
				status := []string{"ended", "expired", "terminated"}[i%3]
				what = "session " + u.end(i, status) + " " + status
			}
			committed[what] = time.Now()
			time.Sleep(50 * time.Millisecond)
			most = max(most, len(u.controlTopics()))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for what, at := range committed {
			told := e.when(what)
			require.False(t, told.IsZero(), what)
			assert.Less(t, told.Sub(at), 600*time.Millisecond, what)
		}
		assert.Equal(t, 4, most, "the fresh one is live before the old one goes")
		after := u.controlTopics()
		assert.Len(t, after, 2)
		assert.NotContains(t, before, after[0])
		assert.NotContains(t, before, after[1])
		assert.Equal(t, 2, u.standin.Sockets())
	})
}

// deactivate makes a link and deactivates it.
func (u *upstream) deactivate(i int) {
	u.t.Helper()
	db := u.standin.DB()
	link, ok := db.Row(standin.TableLinks, u.who.LinkID)
	require.True(u.t, ok)
	delete(link, "short_code")
	link["id"], link["vault_link_token_id"] = uuid(2000+i), uuid(3000+i)
	_, err := db.Insert(standin.TableLinks, link)
	require.NoError(u.t, err)
	_, err = db.Update(standin.TableLinks, standin.Row{"id": link["id"]}, standin.Row{"is_active": false})
	require.NoError(u.t, err)
}

// end makes a session of the fixture's link, and ends it.
func (u *upstream) end(i int, status string) (id string) {
	u.t.Helper()
	db := u.standin.DB()
	row, err := db.Insert(standin.TableSessions, standin.Row{
		"link_id": u.who.LinkID, "conversation_id": u.who.ConversationID, "vault_session_token_id": uuid(1000 + i),
	})
	require.NoError(u.t, err)
	id = row["id"].(string)
	_, err = db.Update(standin.TableSessions, standin.Row{"id": id}, standin.Row{"status": status, "ended_at": db.Now()})
	require.NoError(u.t, err)
	return id
}

func TestAnOldControlSocketStaysUntilTheFreshOneIsLive(t *testing.T) {
	withControl(t, func(t *testing.T, u *upstream, e *endings) {
		before := u.controlTopics()
		u.standin.Faults().Set(standin.Fault{Kind: standin.NoSystemOK, Match: "realtime:proxy-links-", For: recycled + 5*time.Second})
		time.Sleep(recycled + 10*time.Second)
		assert.Subset(t, u.controlTopics(), before)
		id := u.end(0, "ended")
		time.Sleep(600 * time.Millisecond)
		synctest.Wait()
		assert.NotZero(t, e.when("session "+id+" ended"))
		time.Sleep(20 * time.Second) // the join of the links table is given up after 20 s and tried again
		topics := u.controlTopics()
		assert.Len(t, topics, 2)
		assert.NotContains(t, topics, before[0])
		assert.NotContains(t, topics, before[1])
	})
}

func TestAnOldControlSocketStaysWhileNoFreshOneCanBeOpened(t *testing.T) {
	withControl(t, func(t *testing.T, u *upstream, _ *endings) {
		before := u.controlTopics()
		u.standin.Faults().Set(standin.Fault{Kind: standin.RefuseDial, For: recycled + 10*time.Second})
		time.Sleep(recycled + 5*time.Second)
		assert.Equal(t, before, u.controlTopics())
		time.Sleep(recycled)
		assert.NotEqual(t, before, u.controlTopics())
		assert.Equal(t, 2, u.standin.Sockets())
	})
}

func TestAnOldControlSocketThatComesBackByItselfIsKeptWhenTheFreshOneIsWorse(t *testing.T) {
	withControl(t, func(t *testing.T, u *upstream, _ *endings) {
		before := u.controlTopics()
		u.standin.Faults().Set(standin.Fault{Kind: standin.NoSystemOK, Match: "realtime:proxy-links-"})
		time.Sleep(recycled + 5*time.Second)
		for _, s := range u.standin.Subscriptions() {
			if !s.Live {
				u.standin.Faults().Set(standin.Fault{Kind: standin.NoSystemOK, Match: s.Topic})
			}
		}
		u.standin.Faults().Set(standin.Fault{Kind: standin.NoSystemOK, Match: "realtime:proxy-links-", For: time.Millisecond})
		time.Sleep(time.Second)
		require.Equal(t, 3, u.standin.Sockets())
		u.standin.Faults().DropSockets()
		time.Sleep(10 * time.Second)
		assert.Equal(t, before, u.controlTopics())
		assert.Equal(t, 2, u.standin.Sockets())
	})
}

func TestALostControlSocketIsFollowedByOneLifeOfTheNext(t *testing.T) {
	withControl(t, func(t *testing.T, u *upstream, _ *endings) {
		time.Sleep(recycled / 2)
		before := u.controlTopics()
		u.standin.Faults().DropSockets()
		time.Sleep(5 * time.Second)
		require.Equal(t, before, u.controlTopics(), "the client comes back by itself")
		time.Sleep(recycled - 6*time.Second)
		assert.Equal(t, before, u.controlTopics(), "its age counts from then")
		time.Sleep(10 * time.Second)
		assert.NotEqual(t, before, u.controlTopics())
		assert.Equal(t, 2, u.standin.Sockets())
	})
}

var _ feed.Control = (*endings)(nil)
