package transport_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
)

func hangingAuthorize(ctx context.Context, _ chat.Credential) (*chat.Grant, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestDrainEndsStreamsOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		l := g.pipe()
		const n = 4
		ends := make(chan time.Duration, n)
		var begun time.Time
		for range n {
			events, _ := l.events(t, eventsPath)
			events.must()
			events.must()
			go func() {
				ev := events.must()
				assert.Equal(t, "reconnect", ev.name)
				assert.Equal(t, `{"retry_ms":2000,"reason":"restart"}`, ev.data)
				_, more := events.next()
				assert.False(t, more)
				ends <- time.Since(begun)
			}()
		}
		begun = time.Now()
		g.server.Drain(t.Context())
		assert.Equal(t, 7500*time.Millisecond, time.Since(begun), "the last of four ends at three quarters of ten seconds")
		for i := range n {
			assert.Equal(t, time.Duration(i)*2500*time.Millisecond, <-ends)
		}
		g.tracked.Wait()
	})
}

func TestDrainClosesSocketsWhetherAuthenticatedOrNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil)
		l := g.pipe()
		silent, joined, joining := l.socket(t), l.socket(t), l.socket(t)
		joined.authenticated()
		g.authorizer.authorize = hangingAuthorize
		joining.send(authenticate)
		synctest.Wait()
		done := make(chan struct{})
		go func() { g.server.Drain(t.Context()); close(done) }()
		var peers sync.WaitGroup
		for _, p := range []*peer{silent, joined, joining} {
			peers.Go(func() { // a pipe has no buffer: all must be read
				code, _, before := p.closed()
				assert.Equal(t, 1012, code)
				assert.Equal(t, []string{`{"type":"reconnect","retry_ms":2000,"reason":"restart"}`}, before)
			})
		}
		peers.Wait()
		<-done
	})
}

func TestDrainingServerRefusesStreams(t *testing.T) {
	g := newRig(t, nil)
	g.server.Drain(t.Context())
	for _, path := range []string{eventsPath, socketPath} {
		req := httptest.NewRequest(http.MethodGet, path, nil)
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "websocket")
		w := httptest.NewRecorder()
		g.server.Handler().ServeHTTP(w, req)
		assert.Equal(t, http.StatusServiceUnavailable, w.Code)
		assert.Equal(t, "2", w.Header().Get("Retry-After"))
		assert.Contains(t, w.Body.String(), `"code":"restart"`)
	}
}

func TestDrainGivesUpWithItsContext(t *testing.T) {
	g := newRig(t, nil)
	events := g.openEvents(g.serve() + eventsPath)
	events.must()
	events.must()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.server.Drain(ctx)
	assert.Len(t, subscribers(g), 1, "nothing was ended")
}

func TestRunCutsWhatIsLeft(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	events := g.openEvents(base + eventsPath)
	events.must()
	events.must()
	p := g.dial(base, socketPath, nil)
	p.authenticated()
	g.stop()
	_, more := events.next()
	assert.False(t, more)
	_, _, err := p.conn.ReadMessage()
	assert.Error(t, err)
	assert.Empty(t, g.hub.Visitors())
}

func TestStateReachesEveryDialect(t *testing.T) {
	g := newRig(t, nil)
	base := g.serve()
	message, envelope := g.openEvents(base+eventsPath), g.openEvents(base+"/functions/v1"+eventsPath)
	for _, e := range []*eventReader{message, envelope} {
		e.must()
		e.must()
	}
	p := g.dial(base, socketPath, nil)
	p.authenticated()
	g.server.SetState("polling")
	ev := message.must()
	assert.Equal(t, "connection", ev.name)
	assert.Equal(t, `{"state":"polling"}`, ev.data)
	assert.Equal(t, `{"type":"connection","data":{"state":"polling"},"timestamp":"2026-01-02T03:04:05Z"}`, envelope.must().data)
	assert.Equal(t, `{"type":"connection","state":"polling"}`, p.next())
}

func TestNewChecksItsOptions(t *testing.T) {
	_, err := transport.New(transport.Options{})
	assert.ErrorContains(t, err, "required")
	_, err = transport.New(transport.Options{
		Authorizer: &rigAuthorizer{}, Backfiller: &rigBackfiller{}, Functions: &rigFunctions{}, Store: rigStore{},
		Hub: &chat.Hub{}, SendVia: "pigeon",
	})
	assert.ErrorContains(t, err, "pigeon")
}
