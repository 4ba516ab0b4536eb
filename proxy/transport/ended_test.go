package transport_test

import (
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/transport"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

// sockets are the paths of both protocols.
var sockets = map[string]string{"chat": socketPath, "realtime": fmt.Sprintf("%s?vsn=%s", frontPath, phoenix.V2)}

func TestAnEndedSocketIsNotKeptByATalkingPeer(t *testing.T) {
	for name, path := range sockets {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, nil)
			p := g.dial(g.serve(), path, http.Header{})
			p.conn.SetCloseHandler(func(int, string) error { return nil }) // it is not answered
			require.NoError(t, p.conn.WriteMessage(websocket.TextMessage, make([]byte, 100_000)))
			code, _, _ := p.closed()
			require.Equal(t, websocket.CloseMessageTooBig, code)
			require.Eventually(t, func() bool {
				return p.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)) != nil ||
					p.conn.WriteMessage(websocket.TextMessage, []byte("{}")) != nil
			}, 15*time.Second, 50*time.Millisecond, "the proxy hangs up")
		})
	}
}

func TestControlFramesAreCounted(t *testing.T) {
	for name, path := range sockets {
		for kind, frame := range map[string]int{"ping": websocket.PingMessage, "pong": websocket.PongMessage} {
			t.Run(name+" "+kind, func(t *testing.T) {
				g := newRig(t, func(o *transport.Options) { o.FramesPerSecond = 20 })
				p := g.dial(g.serve(), path, http.Header{})
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					for range 60 {
						_ = p.conn.WriteControl(frame, []byte("x"), time.Now().Add(time.Second)) // the server may hang up first
					}
				}()
				p.conn.SetPongHandler(nil)
				code, _, _ := p.closed()
				assert.Contains(t, []int{websocket.CloseGoingAway, 4429}, code)
				<-sent
				assert.EqualValues(t, 1, g.value("limits_reached_total", "limit", "frames_per_second"))
			})
		}
	}
}

// What a channel leaves behind must not outlive the next one of its topic.
func TestJoiningAgainAndAgainTakesNoMemory(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.FramesPerSecond, o.RefusalDelay = 1_000_000, time.Hour })
	p := g.dial(g.serve(), sockets["realtime"], http.Header{})
	before := heapInUse()
	for i := range 20_000 {
		p.send(fmt.Sprintf(`["%d","%d","realtime:x","phx_join","no config"]`, i, i))
	}
	p.send(`[null,"last","phoenix","heartbeat",{}]`)
	require.Contains(t, p.next(), `"last"`)
	assert.Less(t, heapInUse(), before+5<<20)
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
