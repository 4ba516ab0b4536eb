package feed_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/feed"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
	"github.com/agentopia/realtime-proxy/supabase/rest"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// pipes is a listener without a network, so that a server can run in a bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.IPAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// upstream is a feed beside a stand-in for Supabase.
type upstream struct {
	*feed.Feed
	t        *testing.T
	standin  *standin.Server
	who      standin.FixtureSession
	agent    string
	rows     int // said so far
	stop     func()
	registry *prometheus.Registry
}

// withUpstream runs test in a bubble with a stand-in that takes its time as real servers do.
func withUpstream(t *testing.T, change func(*feed.Options), test func(t *testing.T, u *upstream)) {
	withPrepared(t, func(*standin.Server) {}, change, test)
}

func withPrepared(t *testing.T, prepare func(*standin.Server), change func(*feed.Options), test func(t *testing.T, u *upstream)) {
	synctest.Test(t, func(t *testing.T) {
		up, err := standin.New(standin.Options{
			PollInterval: 260 * time.Millisecond, SubscribeDelay: 5 * time.Millisecond,
			HandshakeBackoff: 2 * time.Second, JoinBackoff: 5 * time.Second,
		})
		require.NoError(t, err)
		fixture, err := up.Seed()
		require.NoError(t, err)
		prepare(up)
		l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		server := &http.Server{Handler: up.Handler(), ReadHeaderTimeout: time.Minute}
		var wg sync.WaitGroup
		wg.Go(func() { assert.ErrorIs(t, server.Serve(l), http.ErrServerClosed) })
		transport := &http.Transport{DialContext: l.dial}
		names := rest.DefaultNames()
		names.Canary = canaryTable
		store, err := rest.New(rest.Options{URL: "http://upstream.test", Key: up.ServiceKey(), Transport: transport, Names: names})
		require.NoError(t, err)
		signer, err := chat.NewSigner([]byte("a key of the tests, long enough"))
		require.NoError(t, err)
		o := feed.Options{
			Store: store, Hub: chat.Options{Signer: signer, Epoch: 1},
			Tables: feed.Tables{
				Schema: "public", Messages: names.Messages.Name, Sessions: names.Sessions.Name, Links: names.Links.Name,
			},
			Realtime: realtime.Options{
				URL: "http://upstream.test", Key: up.ServiceKey(), NetDial: l.dial, Rand: func() float64 { return 0.5 },
			},
		}
		registry := prometheus.NewRegistry()
		o.Registerer = registry
		if change != nil {
			change(&o)
		}
		f, err := feed.New(o)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			assert.NoError(t, f.Run(ctx))
		}()
		stop := func() { cancel(); <-ended }
		u := &upstream{Feed: f, stop: stop, t: t, standin: up, who: fixture.Visitor, agent: fixture.AgentID, registry: registry}
		test(t, u)
		stop()
		up.Close()
		transport.CloseIdleConnections()
		require.NoError(t, server.Close())
		wg.Wait()
	})
}

// watch joins the fixture's visitor; every delivery is timed.
func (u *upstream) watch() *watcher {
	u.t.Helper()
	w := &watcher{u: u}
	v := &chat.Visitor{
		SessionID: u.who.ID, ConversationID: u.who.ConversationID, ConversationSessionID: u.who.ConversationSessionID,
		AgentID: u.agent, LinkID: u.who.LinkID, LinkKnown: true,
	}
	att, err := u.Join(u.t.Context(), v, "", chat.SubscriberOptions{Wake: w.take, MaxBytes: 1 << 20, MaxEvents: 1000})
	require.NoError(u.t, err)
	w.sub = att.Subscriber
	u.t.Cleanup(att.Close)
	require.NoError(u.t, u.Deliver(u.t.Context(), att, func(events []*chat.Event) error { w.got(events...); return nil }))
	return w
}

// watcher is a visitor's stream.
type watcher struct {
	u      *upstream
	sub    *chat.Subscriber
	mu     sync.Mutex
	texts  []string
	delays []time.Duration
	wg     sync.WaitGroup
}

// take is the subscriber's wake: it may not read under the hub's lock.
func (w *watcher) take() {
	w.wg.Go(func() {
		for items, more := w.sub.Take(nil); more; items, more = w.sub.Take(nil) {
			for _, it := range items {
				if it.Event != nil {
					w.got(it.Event)
				}
			}
		}
	})
}

func (w *watcher) got(events ...*chat.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range events {
		w.texts = append(w.texts, e.Message.Content)
		w.delays = append(w.delays, time.Since(e.Message.Timestamp))
	}
}

// check waits until nothing moves and checks that every row said so far came once; it returns the greatest delay since the last check.
func (w *watcher) check() (worst time.Duration) {
	w.u.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	var want []string
	for i := range w.u.rows {
		want = append(want, fmt.Sprint("row ", i))
	}
	assert.ElementsMatch(w.u.t, want, w.texts)
	if len(w.delays) > 0 {
		worst = slices.Max(w.delays)
	}
	w.delays = nil
	return worst
}

// say commits a row of the visitor.
func (u *upstream) say() {
	u.t.Helper()
	_, err := u.standin.DB().Insert(standin.TableMessages, standin.Row{
		"conversation_id": u.who.ConversationID, "session_id": u.who.ConversationSessionID, "role": "system",
		"content": map[string]any{"type": "text", "text": fmt.Sprint("row ", u.rows), "metadata": map[string]any{
			"temp_session_id": u.who.ID, "is_anonymous_user": true, "original_role": "user", "temporary_chat": true,
		}},
	})
	require.NoError(u.t, err)
	u.rows++
}

func (u *upstream) replacements() int {
	families, err := u.registry.Gather()
	require.NoError(u.t, err)
	for _, f := range families {
		if f.GetName() == "realtime_proxy_feed_replacements_total" {
			return int(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	u.t.Fatal("no counter of replacements")
	return 0
}

// chatter commits a row every 400 ms for a time.
func (u *upstream) chatter(d time.Duration) {
	u.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(400 * time.Millisecond) {
		u.say()
	}
}

// silences watches the live channels until stop, which returns how many fresh ones took over, and whether there ever was none.
func (u *upstream) silences() (stop func() (fresh int, gap bool)) {
	ctx, cancel := context.WithCancel(u.t.Context())
	var wg sync.WaitGroup
	gap := false
	wg.Go(func() {
		seen := -1
		for {
			err := u.standin.WaitFor(ctx, func(subs []standin.Subscription, sockets int) bool {
				n := len(slices.DeleteFunc(slices.Clone(subs), func(s standin.Subscription) bool { return !s.Live }))
				if n == seen {
					return false
				}
				seen, gap = n, gap || n == 0
				return true
			})
			if err != nil {
				return
			}
		}
	})
	before := u.replacements()
	return func() (int, bool) {
		synctest.Wait()
		cancel()
		wg.Wait()
		return u.replacements() - before, gap
	}
}
