package realtime_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

func TestHandshakeCarriesKeyVersionAndAgent(t *testing.T) {
	for base, want := range map[string]string{
		"http://supabase.test":         "/realtime/v1/websocket",
		"ws://supabase.test:8000/":     "/realtime/v1/websocket",
		"http://supabase.test/a/path/": "/a/path/realtime/v1/websocket",
	} {
		bubble(t, func(o *realtime.Options) { o.URL, o.Version = base, phoenix.V1 }, func(f *fixture) {
			r := receive(t, f.srv.requests)
			assert.Equal(t, want, r.URL.Path)
			assert.Equal(t, secret, r.URL.Query().Get("apikey"))
			assert.Equal(t, "1.0.0", r.URL.Query().Get("vsn"))
			assert.Equal(t, "realtime-proxy", r.UserAgent())
			f.srv.accept()
		})
	}
}

func TestUnreachableServerIsTriedWithDoublingCapsAndFullJitter(t *testing.T) {
	jitter := []float64{0.5, 0, 0.99, 0.25, 0.5, 0.5, 0.5, 0.5, 0.99}
	caps := []time.Duration{500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000} // ms
	n := 0
	adjust := func(o *realtime.Options) {
		o.Rand = func() float64 { n++; return jitter[(n-1)%len(jitter)] }
	}
	scripted(t, adjust, func(s *server) { s.down.Store(true) }, func(f *fixture) {
		last := receive(t, f.srv.dials)
		for i := range caps {
			next := receive(t, f.srv.dials)
			assert.Equal(t, time.Duration(jitter[i]*float64(caps[i]*time.Millisecond)), next.Sub(last), "wait %d", i)
			last = next
		}
	})
}

func TestBackoffStartsAnewAfterAMinuteOfLife(t *testing.T) {
	for name, tc := range map[string]struct{ life, want time.Duration }{
		"a short life":  {59 * time.Second, 500 * time.Millisecond}, // second wait: half of 1 s
		"a minute live": {61 * time.Second, 250 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(f *fixture) {
				p := f.srv.accept()
				p.close(websocket.CloseServiceRestart)
				f.expect(topicA, realtime.StateDialing, realtime.StateJoining, realtime.StateErrored)
				p, _ = f.live()
				time.Sleep(tc.life)
				p.close(websocket.CloseServiceRestart)
				f.expect(topicA, realtime.StateErrored)
				start := time.Now()
				f.expect(topicA, realtime.StateDialing)
				assert.Equal(t, tc.want, since(start))
				f.srv.accept()
			})
		})
	}
}

func TestBrokenLifeOfTheChannelsDoesNotResetTheBackoff(t *testing.T) {
	bubble(t, nil, func(f *fixture) {
		f.srv.accept().close(websocket.CloseServiceRestart)
		f.expect(topicA, realtime.StateDialing, realtime.StateJoining, realtime.StateErrored)
		p, join := f.live()
		for range 3 {
			time.Sleep(40 * time.Second)
			p.send(phoenix.Close(join.JoinRef, topicA))
			join = p.bring(topicA)
			f.expect(topicA, realtime.StateErrored, realtime.StateJoining, realtime.StateJoined, realtime.StateLive)
		}
		p.close(websocket.CloseServiceRestart)
		f.expect(topicA, realtime.StateErrored)
		start := time.Now()
		f.expect(topicA, realtime.StateDialing)
		assert.Equal(t, 500*time.Millisecond, since(start))
		f.srv.accept()
	})
}

func TestRefusedHandshakesAreClassified(t *testing.T) {
	const slow, quick = 45 * time.Second, 250 * time.Millisecond
	for name, tc := range map[string]struct {
		status     int
		body, text string
		wait       time.Duration
	}{
		"malformed key":    {401, `{"error":"The token provided is not a valid JWT"}`, "The token provided is not a valid JWT", slow},
		"gateway":          {401, `{"message":"Invalid authentication credentials"}`, "Invalid authentication credentials", slow},
		"suspended":        {403, `{"error":"Realtime was disabled for this tenant"}`, "Realtime was disabled for this tenant", slow},
		"bare":             {403, "", "", slow},
		"wrong path":       {404, "Not Found", "", slow},
		"no websocket":     {200, "<html>", "", slow},
		"too many users":   {429, `{"error":"Too many connected users"}`, "Too many connected users", quick},
		"database is down": {500, "Internal Server Error", "", quick},
		"the key echoed":   {401, `{"error":"bad key ` + secret + `"}`, "bad key (key)", slow},
		"a long text":      {503, `{"error":"` + strings.Repeat("é", 400) + `"}`, strings.Repeat("é", 150), quick},
	} {
		t.Run(name, func(t *testing.T) {
			refuse := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				time.Sleep(2 * time.Second)
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
			})
			scripted(t, nil, func(s *server) { s.refuse.Store(&refuse) }, func(f *fixture) {
				err := f.expect(topicA, realtime.StateDialing, realtime.StateErrored).Err
				var refused *realtime.HandshakeError
				require.ErrorAs(t, err, &refused)
				assert.Equal(t, realtime.HandshakeError{Status: tc.status, Message: tc.text}, *refused)
				assert.Equal(t, tc.wait == slow, realtime.IsConfiguration(err))
				assert.NotContains(t, err.Error(), secret)
				start := time.Now()
				f.srv.refuse.Store(nil)
				f.live() // the operator repaired it
				assert.Equal(t, tc.wait, since(start))
			})
		})
	}
}

func TestReconnectDropsTheSocketAndDialsAtOnce(t *testing.T) {
	bothVersions(t, nil, func(f *fixture) {
		p, _ := f.live()
		start := time.Now()
		for range 5 {
			f.client.Reconnect("canary late")
		}
		err := f.expect(topicA, realtime.StateErrored).Err
		assert.ErrorIs(t, err, realtime.ErrReconnect)
		assert.ErrorContains(t, err, "canary late")
		assert.True(t, websocket.IsCloseError(receive(t, p.ended), websocket.CloseNormalClosure))
		f.live()
		assert.Zero(t, since(start))
		time.Sleep(time.Minute)
		f.quiet()
		assert.Empty(t, f.srv.peers, "five requests were one")
	})
}

func TestReconnectEndsAWait(t *testing.T) {
	refuse := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) })
	scripted(t, nil, func(s *server) { s.refuse.Store(&refuse) }, func(f *fixture) {
		f.expect(topicA, realtime.StateDialing, realtime.StateErrored)
		f.srv.refuse.Store(nil)
		start := time.Now()
		f.client.Reconnect("key replaced")
		f.live()
		assert.Zero(t, since(start))
	})
}

func TestSocketIsReplacedAtItsMaximumAge(t *testing.T) {
	bubble(t, func(o *realtime.Options) { o.MaxAge = time.Hour }, func(f *fixture) {
		for range 3 {
			f.live()
			start := time.Now()
			assert.ErrorIs(t, f.expect(topicA, realtime.StateErrored).Err, realtime.ErrRecycled)
			assert.Equal(t, time.Hour, since(start))
		}
		f.live()
	})
}

func TestEndOfTheContextClosesTheSocketPolitely(t *testing.T) {
	bubble(t, nil, func(f *fixture) {
		p, _ := f.live()
		f.cancel()
		assert.True(t, websocket.IsCloseError(receive(t, p.ended), websocket.CloseNormalClosure))
		require.NoError(t, f.expect(topicA, realtime.StateClosed).Err)
		require.NoError(t, receive(t, f.ran))
		f.ran <- nil // for stop
		require.Error(t, f.client.Run(t.Context()), "a second Run")
		f.quiet()
	})
}

func TestEndOfTheContextEndsAHangingHandshake(t *testing.T) {
	hang := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	scripted(t, nil, func(s *server) { s.refuse.Store(&hang) }, func(f *fixture) {
		receive(t, f.srv.requests)
		time.Sleep(time.Second)
		start := time.Now()
		f.cancel()
		require.NoError(t, receive(t, f.ran))
		f.ran <- nil
		assert.Zero(t, since(start))
		f.expect(topicA, realtime.StateDialing, realtime.StateClosed)
	})
}

func TestEndOfTheContextEndsAWait(t *testing.T) {
	scripted(t, nil, func(s *server) { s.down.Store(true) }, func(f *fixture) {
		time.Sleep(10 * time.Minute)
		start := time.Now()
		f.cancel()
		require.NoError(t, receive(t, f.ran))
		f.ran <- nil
		assert.Zero(t, since(start))
	})
}

func TestNewRefusesWrongOptions(t *testing.T) {
	good := func() realtime.Options {
		return realtime.Options{
			URL: "https://x.supabase.co", Key: secret, Handler: &recorder{}, Channels: []realtime.ChannelSpec{{Topic: topicA}},
		}
	}
	_, err := realtime.New(good())
	require.NoError(t, err)
	for want, spoil := range map[string]func(*realtime.Options){
		"scheme is not http":           func(o *realtime.Options) { o.URL = "ftp://x" },
		"no host":                      func(o *realtime.Options) { o.URL = "http:///path" },
		"user, query or fragment":      func(o *realtime.Options) { o.URL = "https://u:" + secret + "@x" },
		"url:":                         func(o *realtime.Options) { o.URL = "http://x/\x7f" + secret },
		"key is empty":                 func(o *realtime.Options) { o.Key = "" },
		"handler is nil":               func(o *realtime.Options) { o.Handler = nil },
		"no channels":                  func(o *realtime.Options) { o.Channels = nil },
		"unknown version":              func(o *realtime.Options) { o.Version = "3.0.0" },
		"heartbeat must be":            func(o *realtime.Options) { o.Heartbeat = 26 * time.Second },
		"negative duration":            func(o *realtime.Options) { o.JoinTimeout = -1 },
		"negative limit":               func(o *realtime.Options) { o.MaxAge = -1 },
		"back-off maximum":             func(o *realtime.Options) { o.BackoffMin = time.Hour },
		`topic "a-1" is not realtime:`: func(o *realtime.Options) { o.Channels[0].Topic = "a-1" },
		`topic "realtime:" is not`:     func(o *realtime.Options) { o.Channels[0].Topic = "realtime:" },
		"twice":                        func(o *realtime.Options) { o.Channels = append(o.Channels, o.Channels[0]) },
	} {
		o := good()
		spoil(&o)
		_, err := realtime.New(o)
		assert.ErrorContains(t, err, want)
		if err != nil {
			assert.NotContains(t, err.Error(), secret)
		}
	}
}

func TestStatesHaveNames(t *testing.T) {
	for state, want := range map[realtime.State]string{
		realtime.StateClosed: "closed", realtime.StateDialing: "dialing", realtime.StateJoining: "joining",
		realtime.StateJoined: "joined", realtime.StateLive: "live", realtime.StateErrored: "errored", 99: "state(99)",
	} {
		assert.Equal(t, want, state.String())
	}
}
