package proxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/supabase/stack"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

func TestRealPartsTheCanaryNoticesADeafServer(t *testing.T) {
	const table = "realtime_proxy_canary"
	w := newRealWorld(t, stack.Options{Profile: stack.Profile{Canary: true}})
	n := w.start(func(o *proxy.Options) {
		o.Names.Canary = table
		o.Feed.ReconcileInterval = time.Hour // reads do not notice it first
	})
	require.NoError(t, w.standin.WaitLive(w.ctx, table))
	events := watch(t, w.ctx, n.visitor(w.fixture.Visitor))
	conn, err := w.stack.Conn(w.ctx)
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close(w.ctx)) }()
	beats := func() (rows int, last time.Time) {
		err := conn.QueryRow(w.ctx, "select count(*), coalesce(max(beat), 'epoch') from "+table).Scan(&rows, &last)
		require.NoError(t, err)
		return rows, last
	}
	var first time.Time
	next := func() bool {
		rows, last := beats()
		if first.IsZero() && rows == 1 {
			first = last
		}
		return rows == 1 && last.After(first)
	}
	require.Eventually(t, next, 20*time.Second, 100*time.Millisecond)
	reason := `realtime_proxy_feed_suspect_total{reason="canary_late"}`
	require.Zero(t, metric(t, n, reason))

	w.standin.Faults().Set(standin.Fault{Kind: standin.DeafChannels})
	id := w.say(w.fixture.Visitor, "nobody brings this")
	m, err := events.Message()
	require.NoError(t, err)
	assert.Equal(t, id, m.ID)
	assert.True(t, m.Recovered)
	assert.Equal(t, 1.0, metric(t, n, reason))
	n.stop()
	rows, _ := beats()
	assert.Zero(t, rows, "its row is gone with it")
	assert.NotContains(t, strings.ToLower(w.logs.String()), "canary row")
}
