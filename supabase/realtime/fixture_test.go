package realtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

const (
	topicA = "realtime:a-1"
	topicB = "realtime:b-1"
	// secret has the form of a JWT.
	secret = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoieCJ9.c2lnbmF0dXJl"
)

var binding = realtime.Binding{Event: "*", Schema: "public", Table: "messages"}

type broadcast struct{ Topic, Event, Meta, Payload string }

// recorder is a Handler that keeps everything.
type recorder struct {
	statuses   chan realtime.Status
	changes    chan realtime.Change
	broadcasts chan broadcast
	inCall     sync.Mutex
	t          *testing.T
	onChange   func(realtime.Change)
}

func (r *recorder) enter() func() {
	assert.True(r.t, r.inCall.TryLock(), "two calls at once")
	return r.inCall.Unlock
}

func (r *recorder) OnStatus(s realtime.Status) {
	defer r.enter()()
	r.statuses <- s
}

func (r *recorder) OnChange(c realtime.Change) {
	defer r.enter()()
	if r.onChange != nil {
		r.onChange(c)
	}
	r.changes <- c
}

func (r *recorder) OnBroadcast(topic, event string, meta, payload json.RawMessage) {
	defer r.enter()()
	r.broadcasts <- broadcast{topic, event, string(meta), string(payload)}
}

// fixture is a running client beside a scripted server.
type fixture struct {
	*recorder
	t      *testing.T
	srv    *server
	client *realtime.Client
	cancel context.CancelFunc
	ran    chan error
	log    *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// bubble runs test against a client of topicA, in fake time; adjust may change its options first.
func bubble(t *testing.T, adjust func(*realtime.Options), test func(f *fixture)) {
	t.Helper()
	scripted(t, adjust, func(*server) {}, test)
}

// scripted is bubble with a server that is prepared before the client starts.
func scripted(t *testing.T, adjust func(*realtime.Options), prepare func(s *server), test func(f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, adjust)
		prepare(f.srv)
		f.start()
		defer f.stop()
		test(f)
	})
}

// bothVersions runs test in a bubble for each protocol version.
func bothVersions(t *testing.T, adjust func(*realtime.Options), test func(f *fixture)) {
	t.Helper()
	for _, v := range []phoenix.Version{phoenix.V1, phoenix.V2} {
		t.Run(string(v), func(t *testing.T) {
			bubble(t, func(o *realtime.Options) {
				o.Version = v
				if adjust != nil {
					adjust(o)
				}
			}, test)
		})
	}
}

func newFixture(t *testing.T, adjust func(*realtime.Options)) *fixture {
	t.Helper()
	f := &fixture{
		t: t, srv: newServer(t), ran: make(chan error, 1), log: &lockedBuffer{},
		recorder: &recorder{
			t: t, statuses: make(chan realtime.Status, 1000), changes: make(chan realtime.Change, 1000), broadcasts: make(chan broadcast, 1000),
		},
	}
	opts := realtime.Options{
		URL: "http://supabase.test", Key: secret, Handler: f.recorder, NetDial: f.srv.Dial,
		Channels: []realtime.ChannelSpec{{Topic: topicA, Bindings: []realtime.Binding{binding}}},
		Rand:     func() float64 { return 0.5 },
		Logger:   slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if adjust != nil {
		adjust(&opts)
	}
	if opts.Handler == nil {
		opts.Handler = f.recorder
	}
	var err error
	f.client, err = realtime.New(opts)
	require.NoError(t, err)
	return f
}

func (f *fixture) start() {
	ctx, cancel := context.WithCancel(f.t.Context())
	f.cancel = cancel
	go func() { f.ran <- f.client.Run(ctx) }()
}

func twoChannels(o *realtime.Options) {
	o.Channels = append(o.Channels, realtime.ChannelSpec{Topic: topicB, Bindings: []realtime.Binding{binding}})
}

// stop ends the client and the server; Run has to return at once, and the key may not have been logged.
func (f *fixture) stop() {
	f.t.Helper()
	f.cancel()
	require.NoError(f.t, receive(f.t, f.ran))
	f.srv.stop()
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	assert.NotContains(f.t, f.log.b.String(), secret)
	assert.NotContains(f.t, f.log.b.String(), "apikey")
}

// expect takes the next statuses, which must be these states of the topic, and returns the last.
func (f *fixture) expect(topic string, states ...realtime.State) (last realtime.Status) {
	f.t.Helper()
	for _, want := range states {
		last = receive(f.t, f.statuses)
		require.Equal(f.t, topic+" "+want.String(), last.Topic+" "+last.State.String(), "err: %v", last.Err)
	}
	return last
}

// quiet checks that no further status was reported by now.
func (f *fixture) quiet() {
	f.t.Helper()
	synctest.Wait()
	require.Empty(f.t, f.statuses)
}

// live brings the client's only channel up on a new socket.
func (f *fixture) live() (*peer, phoenix.Message) {
	f.t.Helper()
	p := f.srv.accept()
	join := p.bring(topicA)
	f.expect(topicA, realtime.StateDialing, realtime.StateJoining, realtime.StateJoined, realtime.StateLive)
	return p, join
}

func since(start time.Time) time.Duration { return time.Since(start).Round(time.Millisecond) }
