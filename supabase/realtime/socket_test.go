package realtime_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

func TestHeartbeatIsSentEvery25Seconds(t *testing.T) {
	bothVersions(t, nil, func(f *fixture) {
		start := time.Now()
		f.srv.delay.Store(int64(40 * time.Millisecond))
		f.live()
		assert.Zero(t, f.client.RTT())
		for i := range 4 {
			assert.Equal(t, time.Duration(i+1)*25*time.Second, receive(t, f.srv.beats).Sub(start))
		}
		time.Sleep(time.Second)
		assert.Equal(t, 40*time.Millisecond, f.client.RTT())
	})
}

func TestHeartbeatPendingTellsHowLongAnAnswerIsAwaited(t *testing.T) {
	bubble(t, nil, func(f *fixture) {
		f.srv.delay.Store(int64(7 * time.Second))
		f.live()
		time.Sleep(24 * time.Second)
		assert.Zero(t, f.client.HeartbeatPending())
		time.Sleep(6 * time.Second)
		assert.Equal(t, 5*time.Second, f.client.HeartbeatPending())
		time.Sleep(3 * time.Second)
		assert.Zero(t, f.client.HeartbeatPending(), "answered after 7 s")
		f.srv.mute.Store(true)
		time.Sleep(31 * time.Second) // the next is due at 50 s
		assert.Equal(t, 14*time.Second, f.client.HeartbeatPending())
		time.Sleep(2 * time.Second)
		assert.Zero(t, f.client.HeartbeatPending(), "its socket is given up")
		f.expect(topicA, realtime.StateErrored)
		f.live()
	})
}

func TestDeadPeerIsNoticedDespiteItsTraffic(t *testing.T) {
	bothVersions(t, nil, func(f *fixture) {
		f.srv.mute.Store(true) // long before the first heartbeat
		start := time.Now()
		p, _ := f.live()
		for range 39 {
			time.Sleep(time.Second)
			p.send(change(topicA, "x"))
			p.send(phoenix.Reply(phoenix.Ref{}, phoenix.StringRef("999"), phoenix.TopicPhoenix, phoenix.StatusOK, nil))
		}
		f.quiet()
		assert.ErrorIs(t, f.expect(topicA, realtime.StateErrored).Err, realtime.ErrHeartbeatTimeout)
		assert.Equal(t, 40*time.Second, since(start))
		assert.Len(t, f.changes, 39)
		f.srv.mute.Store(false)
		f.live()
	})
}

// Three refused joins keep the server from reading for 15 s, as long as HeartbeatTimeout.
func TestHeartbeatAllowsForTheFreezeOfRefusedJoins(t *testing.T) {
	adjust := func(o *realtime.Options) {
		twoChannels(o)
		o.Channels = append(o.Channels, realtime.ChannelSpec{Topic: "realtime:c-1"})
		o.Rand = func() float64 { return 0.25 / 1.5 } // 35 s between a refusal and the next join
		o.Heartbeat = 20 * time.Second
	}
	bubble(t, adjust, func(f *fixture) {
		start := time.Now()
		p := f.srv.accept()
		for _, topic := range []string{topicA, topicB, "realtime:c-1"} {
			p.refuse(p.expect(phoenix.EventJoin, topic), "Unauthorized: no")
		}
		for _, topic := range []string{topicA, topicB, "realtime:c-1"} {
			p.expect(phoenix.EventJoin, topic)
		}
		assert.Equal(t, 35*time.Second, since(start))
		f.srv.delay.Store(int64(16 * time.Second))
		time.Sleep(22 * time.Second) // the heartbeat of 40 s is answered at 56 s
		assert.Equal(t, 16*time.Second, f.client.RTT())
		assert.Empty(t, f.srv.peers)
	})
}

func TestSlowHandlerIsNotTakenForADeadPeer(t *testing.T) {
	bubble(t, nil, func(f *fixture) {
		p, _ := f.live()
		f.onChange = func(realtime.Change) { time.Sleep(20 * time.Second) }
		time.Sleep(24900 * time.Millisecond)
		for range 10 {
			p.send(change(topicA, "slow"))
			time.Sleep(20 * time.Millisecond)
		}
		for range 10 {
			receive(t, f.changes)
		}
		f.onChange = nil
		time.Sleep(5 * time.Minute)
		f.quiet()
	})
}

func TestSocketIsRedialledWhateverTheCloseCode(t *testing.T) {
	for _, code := range []int{websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseProtocolError, websocket.CloseServiceRestart, 0} {
		bubble(t, nil, func(f *fixture) {
			p, _ := f.live()
			if code == 0 {
				p.ws.Close() // 1006
			} else {
				p.close(code)
			}
			err := f.expect(topicA, realtime.StateErrored).Err
			assert.True(t, realtime.Temporary(err))
			assert.ErrorContains(t, err, "read:")
			f.live()
		})
	}
}

func TestFramesBeforeACloseAreHandled(t *testing.T) {
	bubble(t, nil, func(f *fixture) {
		p, _ := f.live()
		f.onChange = func(realtime.Change) { time.Sleep(time.Second) }
		for range 10 {
			p.send(change(topicA, "x"))
		}
		p.close(websocket.CloseServiceRestart)
		f.expect(topicA, realtime.StateErrored)
		assert.Len(t, f.changes, 10)
	})
}

func TestFrameOverTheReadLimitEndsTheSocket(t *testing.T) {
	bubble(t, func(o *realtime.Options) { o.ReadLimit = 2000 }, func(f *fixture) {
		p, _ := f.live()
		p.send(change(topicA, strings.Repeat("x", 1000)))
		assert.Len(t, receive(t, f.changes).Record, 1010)
		p.send(change(topicA, strings.Repeat("x", 3000)))
		assert.ErrorIs(t, f.expect(topicA, realtime.StateErrored).Err, websocket.ErrReadLimit)
	})
}

func TestServerThatDoesNotReadIsGivenUp(t *testing.T) {
	adjust := func(o *realtime.Options) { o.JoinTimeout = time.Minute }
	scripted(t, adjust, func(s *server) { s.deaf.Store(true) }, func(f *fixture) {
		start := time.Now()
		p := f.srv.accept()
		err := f.expect(topicA, realtime.StateDialing, realtime.StateJoining, realtime.StateErrored).Err
		assert.Equal(t, 10*time.Second, since(start).Truncate(2*time.Second))
		assert.ErrorContains(t, err, "write:")
		assert.True(t, realtime.Temporary(err))
		p.ws.Close()
	})
}
