package transport_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

func TestClientThatDisconnectsLeavesNothing(t *testing.T) {
	g := newRig(t, nil)
	events := g.openEvents(g.serve() + eventsPath)
	events.must()
	events.must()
	events.close()
	g.tracked.Wait() // untrack is called when the stream is taken down
	assert.Empty(t, g.hub.Visitors())
}

func TestClientThatDisconnectsWhileJoiningIsNoticed(t *testing.T) {
	g := newRig(t, nil)
	entered, left := make(chan struct{}), make(chan error, 1)
	g.authorizer.authorize = func(ctx context.Context, _ chat.Credential) (*chat.Grant, error) {
		close(entered)
		<-ctx.Done()
		left <- ctx.Err()
		return nil, ctx.Err()
	}
	u, err := url.Parse(g.serve())
	require.NoError(t, err)
	conn, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	_, err = io.WriteString(conn, "GET "+eventsPath+" HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
	require.NoError(t, err)
	<-entered
	require.NoError(t, conn.Close())
	assert.ErrorIs(t, <-left, context.Canceled)
}

func TestClientThatDisconnectsWhileCatchingUpIsNoticed(t *testing.T) {
	g := newRig(t, nil)
	left := make(chan error, 1)
	g.backfiller.deliver = func(ctx context.Context) error {
		<-ctx.Done()
		left <- ctx.Err()
		return ctx.Err()
	}
	events := g.openEvents(g.serve() + eventsPath)
	events.must()
	events.must()
	events.close()
	assert.ErrorIs(t, <-left, context.Canceled)
}

func TestSessionThatEndsWhileCatchingUpGetsOnlyTheEnd(t *testing.T) {
	g := newRig(t, nil)
	entered := make(chan struct{})
	g.backfiller.deliver = func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}
	events := g.openEvents(g.serve() + eventsPath)
	events.must()
	events.must()
	<-entered
	g.publish(1)
	g.endSession()
	assert.Equal(t, "session_ended", events.must().name)
	_, more := events.next()
	assert.False(t, more)
}

func TestSessionEndReachesEveryStreamOfTheSessionOnly(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	own := []*eventReader{g.openEvents(base + eventsPath), g.openEvents(base + "/functions/v1" + eventsPath)}
	other := g.openEvents(base + "/temporary-chat-events?session_token=token-of-session-2-0123456789")
	for _, e := range append(own, other) {
		e.must()
		e.must()
	}
	g.endSession()
	for _, e := range own {
		assert.Contains(t, e.must().data, `"status":"completed"`)
		_, more := e.next()
		assert.False(t, more)
	}
	row := rigRow("session-2", 5)
	g.hub.Publish(row, false)
	assert.Contains(t, other.must().data, `"row-5"`)
}

func TestSlowConsumerEndsOnlyItself(t *testing.T) {
	g := newRig(t, func(o *transport.Options) {
		o.QueueEvents, o.WriteTimeout = 50, 100*time.Millisecond
	})
	base := g.serve()
	_, _, slow := rawStream(t, base, eventsPath, "")
	require.NoError(t, slow.(*net.TCPConn).SetReadBuffer(4096))
	quick := g.openEvents(base + eventsPath)
	quick.must()
	quick.must()
	big := strings.Repeat("x", 60_000)
	n := 0
	for ; len(subscribers(g)) == 2 && n < 10_000; n++ {
		row := rigRow(rigSession, n)
		row.Content.Text = big
		g.hub.Publish(row, false)
		require.Contains(t, quick.must().data, row.ID)
	}
	assert.Less(t, n, 10_000, "the slow stream never ended")
	g.publish(20_000)
	assert.Contains(t, quick.must().data, "row-20000")
}

func subscribers(g *rig) (subs []*chat.Subscriber) {
	g.hub.EachSubscriber(func(s *chat.Subscriber) {
		if s.Ended() == nil {
			subs = append(subs, s)
		}
	})
	return subs
}

func TestDeliveryThatFailsIsToldInTheStream(t *testing.T) {
	g := newRig(t, nil)
	g.backfiller.deliver = func(context.Context) error { return chat.RefuseUnavailable(time.Second, io.ErrUnexpectedEOF) }
	events := g.openEvents(g.serve() + eventsPath)
	events.must()
	events.must()
	ev := events.must()
	assert.Equal(t, "error", ev.name)
	assert.Contains(t, ev.data, `"code":"upstream_unavailable"`)
	_, more := events.next()
	assert.False(t, more)
}

func TestHTTP2VisitorWhoLeavesIsNoticed(t *testing.T) {
	g := newRig(t, nil)
	srv := httptest.NewUnstartedServer(g.server.Handler())
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	res, err := srv.Client().Get(srv.URL + eventsPath)
	require.NoError(t, err)
	events := &eventReader{t: t, r: bufio.NewReader(res.Body), body: res.Body}
	events.must()
	events.must()
	events.close()
	g.tracked.Wait()
	assert.Empty(t, g.hub.Visitors())
}
