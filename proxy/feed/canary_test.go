package feed_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"regexp"
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

const (
	canaryTable = "realtime_proxy_canary"
	canaryTopic = "realtime:proxy-canary-"
)

// logs is what was logged. Safe for concurrent use.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), s)
}

func defineCanary(up *standin.Server) {
	up.DB().Define(standin.TableDef{
		Name: canaryTable, PrimaryKey: []string{"id"}, RLS: true,
		Columns: []standin.Column{{Name: "id", Type: "uuid", NotNull: true}, {Name: "beat", Type: "timestamptz", NotNull: true}},
	})
}

func publishCanary(up *standin.Server) {
	defineCanary(up)
	up.DB().SetPublication(standin.TableMessages, standin.TableSessions, standin.TableLinks, canaryTable)
}

// withCanary runs test with a canary and with reads that are too seldom to notice anything.
func withCanary(t *testing.T, prepare func(*standin.Server), test func(t *testing.T, u *upstream, l *logs)) {
	l := &logs{}
	withPrepared(t, prepare, func(o *feed.Options) {
		o.Tables.Canary, o.Beats = canaryTable, o.Store.(feed.Beats)
		o.ReconcileInterval = time.Hour
		o.Logger = slog.New(slog.NewTextHandler(l, nil))
	}, func(t *testing.T, u *upstream) {
		u.settled(feed.StateLive, 10*time.Second)
		test(t, u, l)
	})
}

// suspects counts by reason how often the messages channel was not believed.
func (u *upstream) suspects() map[string]int {
	families, err := u.registry.Gather()
	require.NoError(u.t, err)
	counts := make(map[string]int)
	for _, f := range families {
		if f.GetName() != "realtime_proxy_feed_suspect_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if n := int(m.GetCounter().GetValue()); n > 0 {
				counts[m.GetLabel()[0].GetValue()] = n
			}
		}
	}
	return counts
}

// suspected waits for the first doubt and returns how long it took.
func (u *upstream) suspected(within time.Duration) time.Duration {
	u.t.Helper()
	for since := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		synctest.Wait()
		if len(u.suspects()) > 0 {
			return time.Since(since)
		}
		require.LessOrEqual(u.t, time.Since(since), within, "nobody noticed")
	}
}

// beats are the rows of the canary table.
func (u *upstream) beats() []standin.Row {
	u.t.Helper()
	synctest.Wait()
	rows, err := u.standin.DB().Rows(canaryTable, nil)
	require.NoError(u.t, err)
	return rows
}

const noticed = 2*time.Second + 4*time.Second + time.Second

func TestTheCanaryNoticesADeafServerWhereNothingHappens(t *testing.T) {
	for i := range 10 { // at different moments between two beats
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			withCanary(t, publishCanary, func(t *testing.T, u *upstream, _ *logs) {
				w := u.watch()
				time.Sleep(10*time.Second + time.Duration(i)*200*time.Millisecond)
				require.Empty(t, u.suspects())
				stop := u.silences()
				u.standin.Faults().Set(standin.Fault{Kind: standin.DeafChannels})
				u.suspected(noticed)
				assert.Equal(t, map[string]int{"canary_late": 1}, u.suspects())
				u.settled(feed.StateLive, time.Second)
				fresh, gap := stop()
				assert.Equal(t, 1, fresh)
				assert.False(t, gap)

				u.say()
				time.Sleep(time.Second)
				assert.Less(t, w.check(), 600*time.Millisecond, "the fresh one hears")
				time.Sleep(2 * time.Minute)
				assert.Equal(t, map[string]int{"canary_late": 1}, u.suspects())
				assert.Equal(t, 1, u.standin.Sockets())
			})
		})
	}
}

func TestARowThatADeafServerDidNotBringIsReadWhenTheCanaryIsLate(t *testing.T) {
	withCanary(t, publishCanary, func(t *testing.T, u *upstream, _ *logs) {
		w := u.watch()
		time.Sleep(10 * time.Second)
		u.standin.Faults().Set(standin.Fault{Kind: standin.DeafChannels})
		u.say()
		time.Sleep(noticed)
		assert.LessOrEqual(t, w.check(), noticed)
		assert.Equal(t, map[string]int{"canary_late": 1}, u.suspects())
	})
}

func TestABeatThatLaterOnesPassTellsOfLostChanges(t *testing.T) {
	withCanary(t, publishCanary, func(t *testing.T, u *upstream, _ *logs) {
		w := u.watch()
		time.Sleep(10 * time.Second)
		u.standin.Faults().Set(standin.Fault{Kind: standin.DropChanges, For: 2500 * time.Millisecond})
		u.say()
		time.Sleep(noticed)
		assert.LessOrEqual(t, w.check(), noticed)
		assert.Equal(t, map[string]int{"rows_skipped": 1}, u.suspects())
	})
}

func TestEachNodeWritesOneRowAndHearsItsOwnOnly(t *testing.T) {
	withCanary(t, publishCanary, func(t *testing.T, u *upstream, _ *logs) {
		db := u.standin.DB()
		for i, age := range []time.Duration{25 * time.Hour, 23 * time.Hour} {
			_, err := db.Insert(canaryTable, standin.Row{"id": uuid(i), "beat": db.Now().Add(-age)})
			require.NoError(t, err)
		}
		time.Sleep(20 * time.Second)
		ids := make(map[string]time.Time)
		for _, row := range u.beats() {
			ids[row["id"].(string)] = row["beat"].(time.Time)
		}
		require.Len(t, ids, 2)
		assert.Contains(t, ids, uuid(1), "of a node that may only be away")
		delete(ids, uuid(1))
		for id, beat := range ids {
			assert.Less(t, time.Since(beat), 3*time.Second)
			for _, s := range u.standin.Subscriptions() {
				if strings.HasPrefix(s.Topic, canaryTopic) {
					require.Len(t, s.Bindings, 1)
					assert.Equal(t, "id=eq."+id, s.Bindings[0].Filter)
				}
			}
		}
		u.stop()
		rows := u.beats()
		require.Len(t, rows, 1, "a node takes its row along")
		assert.Equal(t, uuid(1), rows[0]["id"])
	})
}

func TestACanaryTableThatIsNotPublishedChangesNothingButTheLog(t *testing.T) {
	for name, prepare := range map[string]func(*standin.Server){"not published": defineCanary, "not there": func(*standin.Server) {}} {
		t.Run(name, func(t *testing.T) {
			withCanary(t, prepare, func(t *testing.T, u *upstream, l *logs) {
				w := u.watch()
				stop := u.silences()
				u.chatter(2 * time.Minute)
				time.Sleep(time.Second)
				assert.Less(t, w.check(), 600*time.Millisecond)
				fresh, gap := stop()
				assert.Zero(t, fresh)
				assert.False(t, gap)
				assert.Equal(t, 1, l.count("optional channel refused"), "one join on each socket")
				u.standin.Faults().DropSockets()
				time.Sleep(10 * time.Second)
				u.chatter(10 * time.Second)
				time.Sleep(time.Second)
				w.check()
				assert.Equal(t, feed.StateLive, u.State())
				assert.Empty(t, u.suspects())
				assert.Equal(t, 2, l.count("optional channel refused"))
				assert.Equal(t, 1, l.count("no canary on this socket"), "said once")
				assert.Equal(t, 1, l.count("add table public."+canaryTable+";"))
				assert.Zero(t, l.count("canary row"), "nobody writes for nobody")
			})
		})
	}
}

func TestACanaryThatIsPublishedLaterWorksOnTheNextSocket(t *testing.T) {
	withCanary(t, defineCanary, func(t *testing.T, u *upstream, l *logs) {
		publishCanary(u.standin)
		time.Sleep(5 * time.Minute)
		assert.Empty(t, u.beats())
		u.standin.Faults().DropSockets()
		time.Sleep(20 * time.Second)
		assert.Len(t, u.beats(), 1)
		assert.Equal(t, 1, l.count("the canary works now"))
		u.standin.Faults().Set(standin.Fault{Kind: standin.DeafChannels})
		u.suspected(noticed)
	})
}

func TestARefusedJoinOfTheCanaryCostsTheSocketNoMoreThanOnce(t *testing.T) {
	refuse := func(up *standin.Server) {
		publishCanary(up)
		up.Faults().Set(standin.Fault{Kind: standin.RefuseJoin, Match: canaryTopic, Reason: "ChannelRateLimitReached: Too many channels"})
	}
	withCanary(t, refuse, func(t *testing.T, u *upstream, l *logs) {
		w := u.watch()
		u.chatter(2 * time.Minute)
		time.Sleep(time.Second)
		assert.Less(t, w.check(), 600*time.Millisecond)
		assert.Equal(t, 1, u.standin.Faults().Fired(standin.RefuseJoin))
		assert.Equal(t, 1, l.count("realtime refuses the canary"))
		assert.Empty(t, u.suspects())
		assert.Empty(t, u.beats())
	})
}

func TestABeatThatCannotBeWrittenIsNoSign(t *testing.T) {
	withCanary(t, publishCanary, func(t *testing.T, u *upstream, l *logs) {
		time.Sleep(10 * time.Second)
		u.standin.Faults().Set(standin.Fault{Kind: standin.FailHTTP, Match: "/rest/v1/" + canaryTable, For: 5 * time.Minute})
		time.Sleep(5 * time.Minute)
		assert.Empty(t, u.suspects())
		assert.Equal(t, 1, l.count("the canary row cannot be written"))
		assert.Less(t, u.standin.Faults().Fired(standin.FailHTTP), 20, "the wait grows")
		time.Sleep(2 * time.Minute)
		assert.Equal(t, 1, l.count("the canary works now"))
		u.standin.Faults().Set(standin.Fault{Kind: standin.DeafChannels})
		u.suspected(noticed)
	})
}

func TestACanaryThatNeverSangIsNotBelieved(t *testing.T) {
	for name, fault := range map[string]standin.Fault{
		"lost":     {Kind: standin.DropChanges, Match: canaryTable},
		"withheld": {},
	} {
		t.Run(name, func(t *testing.T) {
			mute := func(up *standin.Server) {
				publishCanary(up)
				if fault.Kind == "" {
					up.DB().Revoke(canaryTable, "service_role")
					return
				}
				up.Faults().Set(fault)
			}
			withCanary(t, mute, func(t *testing.T, u *upstream, l *logs) {
				time.Sleep(2 * time.Minute)
				assert.Empty(t, u.suspects())
				assert.Equal(t, 1, l.count("remedy="))
				assert.Equal(t, feed.StateLive, u.State())
			})
		})
	}
}

func TestADeafCanaryBesideALivelyChannelCostsOneReplacement(t *testing.T) {
	withCanary(t, publishCanary, func(t *testing.T, u *upstream, _ *logs) {
		w := u.watch()
		u.chatter(10 * time.Second)
		u.standin.Faults().Set(standin.Fault{Kind: standin.DeafChannels, Match: canaryTopic})
		u.chatter(2 * time.Minute)
		time.Sleep(time.Second)
		assert.Less(t, w.check(), 600*time.Millisecond)
		assert.Equal(t, map[string]int{"rows_skipped": 1}, u.suspects())
		assert.Equal(t, 1, u.replacements())
		assert.Len(t, u.beats(), 1)
	})
}

func TestTheCanaryIsQuietThroughRecycledAndLostSockets(t *testing.T) {
	withPrepared(t, publishCanary, func(o *feed.Options) {
		o.Tables.Canary, o.Beats, o.Realtime.MaxAge = canaryTable, o.Store.(feed.Beats), time.Minute
	}, func(t *testing.T, u *upstream) {
		for i := range 50 {
			time.Sleep(time.Duration(i) * 170 * time.Millisecond)
			u.standin.Faults().DropSockets()
		}
		time.Sleep(10 * time.Minute)
		assert.Empty(t, u.suspects())
		assert.GreaterOrEqual(t, u.replacements(), 5)
	})
}

func TestTheRemedyOfTheCanaryIsTheTablesSQL(t *testing.T) {
	withCanary(t, func(*standin.Server) {}, func(t *testing.T, _ *upstream, l *logs) {
		require.Equal(t, 1, l.count(" remedy="))
		_, rest, _ := strings.Cut(l.text.String(), ` remedy="`)
		remedy, _, _ := strings.Cut(rest, `"`)
		file, err := os.ReadFile("../../testdata/sql/51_canary.sql")
		require.NoError(t, err)
		statements := regexp.MustCompile(`(?m)^--.*$`).ReplaceAllString(string(file), "")
		assert.Equal(t, strings.Join(strings.Fields(statements), " "), remedy)
		readme, err := os.ReadFile("../../README.md")
		require.NoError(t, err)
		assert.Contains(t, string(readme), strings.TrimSpace(statements))
	})
}
